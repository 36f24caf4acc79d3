"""The command `prunebench`. Each command imports what it needs when it runs: help must not pay for torch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import UserError

RUNS = Path("runs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (something failed), 2 (refused) or 130 (interrupted)."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except UserError as error:
        print(f"prunebench: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"prunebench: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prunebench: interrupted; finished trials are kept, the same command goes on", file=sys.stderr)
        return 130


def run(arguments: argparse.Namespace) -> int:
    """Run a suite, or what is left of it, and print its table."""
    from bench import launch, suite

    path = suite.find(arguments.suite)
    wanted = suite.load(path)
    if arguments.dry_run:
        print(launch.estimate(wanted, only=arguments.only, seeds=arguments.seeds))
        return 0
    out = arguments.out or RUNS / wanted.name
    summary = launch.run_suite(
        path,
        out=out,
        only=arguments.only,
        seeds=arguments.seeds,
        scheduler=arguments.scheduler,
        address=arguments.address,
        retry_failed=arguments.retry_failed,
    )
    problems = _publish([out], out / "report", mirror=wanted if summary.trained else None)
    print(f"records: {out / 'trials'}; logs: `prunebench logs KEY`; W&B: {out / 'wandb'}")
    print(f"{len(summary.done)} trials done ({summary.trained} now), {len(summary.failed)} failed, ", end="")
    print(f"{len(summary.blocked)} blocked, in {summary.seconds:.0f} s")
    return 1 if summary.failed or summary.blocked or problems else 0


def status(arguments: argparse.Namespace) -> None:
    """Print how far a suite is."""
    from bench import status as state

    print(state.text(_run_folder(arguments)))


def report(arguments: argparse.Namespace) -> int:
    """Build tables and page from records."""
    folders = [folder if folder.is_dir() else RUNS / str(folder) for folder in arguments.folders] or _run_folders()
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise UserError(f"there is no folder {missing[0]}: name a suite that has run, or a folder of records")
    out = arguments.out or (folders[0] / "report" if len(folders) == 1 else Path("report"))
    return 1 if _publish(folders, out) else 0


def list_names(arguments: argparse.Namespace) -> None:
    """List what there is."""
    from bench import listing

    rows = listing.rows(arguments.what)
    print(json.dumps(rows, indent=1) if arguments.json else listing.table(rows))


def logs(arguments: argparse.Namespace) -> None:
    """Print a trial's log."""
    from bench.status import find_trial

    folder = find_trial(arguments.key, iter([arguments.out] if arguments.out else _run_folders()))
    path = folder / "log.txt"
    if not path.exists():
        raise UserError(f"trial {folder.name} has no log yet")
    print(path.read_text(), end="")


def profile(arguments: argparse.Namespace) -> None:
    """Count a backbone's MACs and parameters."""
    from bench import listing

    values = dict(item.partition("=")[::2] for item in arguments.set)
    counted = listing.profile(arguments.backbone, values, arguments.dataset)
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
    print(f"try it: pip install --no-build-isolation -e {root} && prunebench run {root / 'suite.yaml'}")


def export(arguments: argparse.Namespace) -> None:
    """Write a compact network as ONNX, or as a torch.export program."""
    from bench.compact import describe
    from bench.export import export as write
    from bench.status import find_trial

    path = Path(arguments.network)
    if not path.is_file() and not path.suffix:
        path = find_trial(arguments.network, iter(_run_folders())) / "model.safetensors"
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
        arguments.json or RUNS / f"{arguments.out.stem}.json",
        keep_macs=arguments.keep,
        max_params=arguments.max_params,
        limit=arguments.limit,
        again=arguments.again,
    )
    arguments.out.write_text(matrix.table(found, "prunebench " + " ".join(sys.argv[1:]), arguments.keep))
    print(f"written: {arguments.out}")


def _publish(folders: list[Path], out: Path, mirror: Any = None) -> list[str]:
    """Table to the terminal, all formats into `out`; the problems found, also printed."""
    import leaderboards

    problems = leaderboards.read(folders).problems
    print(leaderboards.text(folders))
    paths = leaderboards.report(folders, out)
    print("written: " + " ".join(map(str, paths)))
    if mirror is not None:
        from bench import launch
        from leaderboards.build import rows

        launch.mirror_report(mirror, rows(folders), out)
    for problem in problems:
        print(f"prunebench: {problem}", file=sys.stderr)
    return problems


def _run_folder(arguments: argparse.Namespace) -> Path:
    if arguments.out:
        return Path(arguments.out)
    path = Path(arguments.suite)
    if path.is_file():
        import yaml

        values = yaml.safe_load(path.read_text())
        return RUNS / str(values.get("name", path.stem) if isinstance(values, dict) else path.stem)
    return RUNS / arguments.suite


def _run_folders() -> list[Path]:
    folders = sorted(path.parent for path in RUNS.glob("*/trials"))
    if not folders:
        raise UserError("there is no run folder under runs/: start a suite with `prunebench run`, or name a folder")
    return folders


def _comma(text: str) -> list[str]:
    return [item for item in text.split(",") if item]


def _millions(text: str) -> float:
    return float(text.removesuffix("M"))


def _numbers(text: str) -> list[int]:
    return [int(item) for item in _comma(text)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prunebench", description="Compare filter-pruning methods honestly.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Any, name: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name or function.__name__, help=function.__doc__, description=function.__doc__)
        added.set_defaults(run=function)
        return added

    parser_run = command(run)
    parser_run.add_argument("suite", help="a name from `prunebench list suites`, or a YAML file")
    parser_run.add_argument("--out", type=Path, help="run folder (default: runs/NAME)")
    parser_run.add_argument(
        "--only", type=_comma, default=[], metavar="METHODS", help="such as l1,dcff; and what they need"
    )
    parser_run.add_argument("--seeds", type=_numbers, metavar="SEEDS", help="such as 0,1,2 in place of the suite's")
    parser_run.add_argument("--scheduler", choices=["ray", "inline"], default="ray")
    parser_run.add_argument("--address", help="of a Ray cluster to join (default: Ray on this machine)")
    parser_run.add_argument("--retry-failed", action="store_true", help="run trials again whose method failed")
    parser_run.add_argument("--dry-run", action="store_true", help="print the trials and their estimated cost")

    parser_status = command(status)
    parser_status.add_argument("suite")
    parser_status.add_argument("--out", type=Path)

    parser_report = command(report)
    parser_report.add_argument(
        "folders", nargs="*", type=Path, help="run folders or suite names (default: all of runs/)"
    )
    parser_report.add_argument("--out", type=Path, help="where the tables go (default: FOLDER/report)")

    parser_list = command(list_names, "list")
    parser_list.add_argument("what", choices=["methods", "backbones", "datasets", "suites"])
    parser_list.add_argument("--json", action="store_true")

    parser_logs = command(logs)
    parser_logs.add_argument("key", help="a trial's key, or its beginning")
    parser_logs.add_argument("--out", type=Path)

    parser_profile = command(profile)
    parser_profile.add_argument("backbone")
    parser_profile.add_argument("--dataset", help="its classes and image size (default: by the backbone's name)")
    parser_profile.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as shortcut=B")
    parser_profile.add_argument("--json", action="store_true")

    parser_fetch = command(fetch)
    parser_fetch.add_argument("dataset")
    parser_fetch.add_argument("--from", dest="source", type=Path, help="a folder with the official files")

    parser_new = command(new_method, "new-method")
    parser_new.add_argument("name", help="such as my_method")
    parser_new.add_argument("--out", type=Path, default=Path(), help="where its folder goes (default: here)")

    parser_export = command(export)
    parser_export.add_argument("network", help="a trial's key, or its beginning, or a model.safetensors")
    parser_export.add_argument("--to", choices=["onnx", "torch"], default="onnx")
    parser_export.add_argument("--out", type=Path, help="the new file (default: beside the network's)")

    parser_coverage = command(coverage)
    parser_coverage.add_argument("--methods", type=_comma, metavar="METHODS", help="such as l1,dcff (default: all)")
    parser_coverage.add_argument("--backbones", type=_comma, metavar="BACKBONES", help="default: one of each kind")
    parser_coverage.add_argument("--family", choices=["cnn"], help="in their place all convolutional networks of timm")
    parser_coverage.add_argument("--max-params", type=_millions, metavar="60M", help="leave larger ones out")
    parser_coverage.add_argument("--keep", type=float, default=0.5, help="share of the MACs (default: 0.5)")
    parser_coverage.add_argument("--limit", type=float, default=120, help="seconds for a cell (default: 120)")
    parser_coverage.add_argument("--again", action="store_true", help="check the cells that failed anew")
    parser_coverage.add_argument("--out", type=Path, default=Path("docs/coverage.md"))
    parser_coverage.add_argument("--json", type=Path, help="where finished cells are kept (default: under runs/)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
