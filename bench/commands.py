"""What each command does. It imports what it needs when it runs: help must not pay for torch."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench import runfolders
from bench.errors import UserError
from bench.labels import plain
from bench.publish import compare, publish, tell, warn
from bench.runfolders import RESULTS, RUNS, TABLES


def run(arguments: argparse.Namespace) -> int:
    """Run a suite, or what is left of it, and print its table."""
    from bench import launch, machine, suite
    from bench.running import plan
    from bench.running.part import Part

    path = suite.find(arguments.suite)
    wanted = suite.load(path)
    part = Part(arguments.only, arguments.seeds, arguments.keep, arguments.shard)
    if arguments.dry_run:
        print(launch.estimate(wanted, part))
        return 0
    out = arguments.out or RUNS / wanted.name
    if not wanted.smoke and machine.commit().endswith("+"):
        warn("this checkout has changes that are in no commit: a leaderboard does not take records made with them")
    summary = launch.run(
        path,
        wanted,
        out=out,
        part=part,
        scheduler=arguments.scheduler,
        address=arguments.address,
        retry_failed=arguments.retry_failed,
    )
    problems = publish([out], out / "report", mirror=(wanted, summary.tracking) if summary.trained else None)
    for line in plan.changed(out, summary.done):
        warn(line)
    offline = f"; W&B: {out / 'wandb'}" if (out / "wandb").is_dir() else ""
    print(f"records: {out / 'trials'}; logs: `prunebench logs KEY`{offline}")
    print(f"{len(summary.done)} trials done ({summary.trained} now), {len(summary.failed)} failed, ", end="")
    print(f"{len(summary.blocked)} blocked, in {summary.seconds:.0f} s")
    if summary.failed:
        print("trials that failed through their method are not tried again without --retry-failed")
    return 1 if summary.failed or summary.blocked or problems else 0


def status(arguments: argparse.Namespace) -> None:
    """Print how far a suite is."""
    from bench.running import status as state

    name = Path(arguments.suite)
    find = runfolders.of_suite if name.is_file() else runfolders.find
    print(state.text(arguments.out or find(name)))


def report(arguments: argparse.Namespace) -> int:
    """Build tables and page from records, or check those that are there."""
    if arguments.check:
        return compare(runfolders.find_all(arguments.folders) or [arguments.results], arguments.out or TABLES)
    folders = runfolders.find_all(arguments.folders) or runfolders.every()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is a file: name the folder of records that holds it (nothing is written)")
    if not any(map(runfolders.is_ours, folders)):
        raise UserError(f"{folders[0]} holds no records, and is no run folder: nothing is written")
    out = arguments.out or (folders[0] / "report" if len(folders) == 1 else Path("report"))
    return 1 if publish(folders, out, keep=arguments.keep, figures=arguments.figures) else 0


def show(arguments: argparse.Namespace) -> int:
    """Show where a result comes from: its trial, machine, history and command."""
    import leaderboards
    from bench.record import read_record

    folders, key = arguments.folders, arguments.key
    if Path(key).is_file():
        path = Path(key).absolute()
        in_run = path.name == "record.json" and path.parents[1].name == "trials"
        folders, key = [path.parents[2] if in_run else path.parent], read_record(path).key
    ours = [path for path in [*RUNS.glob("*"), RESULTS] if path.is_dir()]
    if not (folders or ours):
        raise UserError(f"there is no run folder in {RUNS} and no {RESULTS} here: name a folder of records")
    found = leaderboards.read(runfolders.find_all(folders) or ours)
    problems = tell(found.problems)
    print(leaderboards.show(found, key), end="")
    return 1 if problems else 0


def measure(arguments: argparse.Namespace) -> None:
    """Measure how fast compact networks are; the machine should do nothing else."""
    from bench.record import find_records

    paths = [path for folder in runfolders.find_all(arguments.folders) for path in find_records(folder)]
    if not paths:
        raise UserError(f"there is no record in {arguments.folders[0]}")
    from bench import latency

    latency.measure(
        paths,
        name=arguments.machine,
        threads=arguments.threads,
        batches=arguments.batch,
        loaded=arguments.loaded,
        rounds=arguments.rounds,
    )


def verify(arguments: argparse.Namespace) -> int:
    """Check records against their compact networks, the test set and their own sums."""
    from bench.record import find_records

    paths = [path for where in runfolders.find_all(arguments.records) for path in find_records(where)]
    if not paths:
        raise UserError(f"there is no record in {arguments.records[0]}")
    if arguments.network and len(paths) > 1:
        raise UserError("--network goes with one record")
    from bench import verify as checking

    refused = 0
    for path in paths:
        checks = checking.verify(path, network=arguments.network, root=arguments.root)
        wrong = [check for check in checks if check.outcome == "refused"]
        refused += bool(wrong)
        print(f"{path}: {'refused' if wrong else 'verified'}")
        for check in checks:
            print(f"  {check.outcome:<8} {plain(check.text)}")
    print(f"{len(paths) - refused} verified, {refused} refused")
    return 1 if refused else 0


def sync(arguments: argparse.Namespace) -> int:
    """Send to W&B what it does not have yet of run folders."""
    import leaderboards
    from bench.tracking import wandb_sync

    wandb_sync.check()
    to, counts = (arguments.project, arguments.entity, warn), wandb_sync.Sent()
    for folder in runfolders.find_all(arguments.folders) or runfolders.every():
        counts += wandb_sync.send_trials(folder, *to)
        if counts.lost:
            break
        found, page = leaderboards.read(folder), folder / "report"
        leaderboards.report(found, page)
        counts += wandb_sync.send_report(folder, leaderboards.rows(found), page, *to)
    print(f"{counts.sent} sent, {counts.there} there already, {counts.failed} failed")
    return 1 if counts.failed else 0


def pull(arguments: argparse.Namespace) -> int:
    """Bring records here from a W&B project."""
    from bench.tracking import pull as records

    out = arguments.out or RUNS / (arguments.suite or arguments.project.rpartition("/")[2])
    counts = records.pull(arguments.project, out, suite=arguments.suite, models=arguments.models, note=warn)
    print(f"{counts} in {out}: `prunebench report {out}`")
    return 1 if counts.refused else 0


def list_names(arguments: argparse.Namespace) -> None:
    """List what there is."""
    from bench import listing, registry

    rows = listing.rows(arguments.what)
    if arguments.what == "methods":
        tell(registry.broken())
    print(json.dumps(rows, indent=1) if arguments.json else listing.table(rows))


def logs(arguments: argparse.Namespace) -> None:
    """Print a trial's log."""
    from bench.running.status import find_trial

    folder = find_trial(arguments.key, iter([arguments.out] if arguments.out else runfolders.every()))
    path = folder / "log.txt"
    if not path.exists():
        raise UserError(f"trial {folder.name} has no log yet")
    print(path.read_text(), end="")


def profile(arguments: argparse.Namespace) -> None:
    """Count a backbone's MACs and parameters."""
    from bench import listing

    counted = listing.profile(arguments.backbone, _settings(arguments.set), arguments.dataset)
    print(json.dumps(counted, indent=1) if arguments.json else listing.profile_table(counted))


def fetch(arguments: argparse.Namespace) -> None:
    """Bring a data set to this machine and check it."""
    from bench.data.fetch import fetch as bring

    bring(arguments.dataset, source=arguments.source)


def new_method(arguments: argparse.Namespace) -> None:
    """Write the start of a method of your own."""
    from bench import template

    paths = template.write(arguments.name, arguments.out)
    root = paths[0].parent
    print("written: " + " ".join(map(str, paths)))
    print(f"try it: pip install --no-build-isolation -e {root} && ", end="")
    print(f"prunebench check-method {arguments.name} && prunebench run {root / 'suite.yaml'}")


def check_method(arguments: argparse.Namespace) -> int:
    """Hold a method to the contract, on a small network."""
    from bench import contract

    name, values = arguments.name, _settings(arguments.set)
    if broken := contract.broken_rule(name, values, backbone=arguments.backbone, epochs=arguments.epochs):
        warn(broken)
        return 1
    print(f"{name} keeps the contract")
    return 0


def export(arguments: argparse.Namespace) -> None:
    """Write a compact network as ONNX, or as a torch.export program."""
    from bench.compact import describe
    from bench.export import export as write
    from bench.running.status import find_trial

    path = Path(arguments.network)
    if not path.is_file() and not path.suffix:
        path = find_trial(arguments.network, iter(runfolders.every())) / "model.safetensors"
    out, difference = write(path, arguments.out, arguments.to)
    about = describe(path)
    print(f"written: {out}")
    print(
        f"input: (batch, {about.in_chans}, {about.image_size}, {about.image_size}), mean {about.mean}, std {about.std}"
    )
    print(
        "not checked: onnxruntime is not installed" if difference is None else f"largest difference: {difference:.1e}"
    )


def coverage(arguments: argparse.Namespace) -> None:
    """Check methods on backbones and write the table."""
    from bench import coverage as matrix

    backbones = matrix.cnns() if arguments.family else arguments.backbones or matrix.BACKBONES.split()
    found = matrix.fill(
        arguments.methods or matrix.prunable(),
        backbones,
        arguments.json or RUNS / f"{arguments.out.stem if arguments.out else 'coverage'}.json",
        keep_macs=arguments.keep,
        max_params=arguments.max_params,
        limit=arguments.limit,
        minutes=arguments.minutes,
        again=arguments.again,
    )
    table = matrix.table(found, "prunebench " + " ".join(sys.argv[1:]))
    if arguments.out is None:
        print(table)
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(table)
    print(f"written: {arguments.out}")


def _settings(items: list[str]) -> dict[str, Any]:
    import yaml

    from bench import suitefile

    for item in items:
        if "=" not in item:
            raise UserError(f"--set wants KEY=VALUE, such as shortcut=B, not '{item}'")
    try:
        return {key: suitefile.parse(value) for key, _, value in (item.partition("=") for item in items)}
    except yaml.YAMLError as error:
        raise UserError(f"--set: this is no value: {' '.join(str(error).split())}") from error
