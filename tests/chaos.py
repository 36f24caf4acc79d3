"""kill -9 at random moments, start again, and compare with what an uninterrupted run leaves: bit for bit, on the CPU.

    python tests/chaos.py --kills 200                    # over every registered method
    python tests/chaos.py --kills 0 --ray-kills 20       # drivers and workers of a whole suite on Ray

A "worker" kill ends the process of one `run_trial`, a "driver" kill that of `run_trials` above it. Prints a table and
ends with status 1 where one record or one model differs, or where a kill cost more than one finished epoch.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sklearn.datasets  # noqa: F401  every process is forked from this one, so that none imports anything
import torch
from test_contract import EPOCHS, SHORT
from test_resume import timeless

from bench import registry, run_trial
from bench.lease import holder
from bench.record import Record, read_record
from bench.running.schedule import Resources, run_trials
from bench.spec import DENSE, BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial

FORK = multiprocessing.get_context("fork")
RECIPE = {"lr": 0.05, "batch_size": 32}


@dataclass
class Row:
    """What happened to one method. `again`: finished epochs that were trained again."""

    method: str
    seconds: float = 0.0
    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    runs: int = 0
    resumed: int = 0
    again: int = 0
    differs: list[str] = field(default_factory=list)

    def line(self) -> str:
        killed = sum(self.kills.values())
        verdict = "; ".join(self.differs) or "identical"
        return (
            f"| {self.method} | {killed} | {self.kills['driver']} | {self.runs} | {self.resumed} | {self.again} "
            f"| {verdict} |"
        )


HEAD = """| method | kills | of drivers | finished runs | resumed in mid-phase | epochs trained again | result |
|---|---|---|---|---|---|---|"""


def trials(name: str, images: int) -> list[Trial]:
    """A short trial of the method, after what it needs."""
    cls = registry.methods()[name]
    common: dict[str, Any] = {
        "dataset": DataSpec(name="digits", subset=images, holdout=64 if cls.selects else 0),
        "backbone": BackboneSpec(name="cifar_resnet20"),
        "dense": DenseSpec(recipe=Recipe(epochs=2, **RECIPE)),
        "smoke": True,
    }
    dense = Trial(method=MethodSpec(name=DENSE), recipe=Recipe(epochs=2, **RECIPE), **common)
    if name == DENSE:
        return [dense]
    trial = Trial(
        method=MethodSpec(name=name, version=cls.version, params=SHORT.get(name, {})),
        recipe=Recipe(epochs=EPOCHS.get(name, 3), **RECIPE),
        keep_macs=0.5 if cls.prunes else None,
        baseline=dense.key,
        **common,
    )
    return [dense, trial]


def chaos(name: str, kills: int, out: Path, rng: random.Random, images: int) -> Row:
    """Kill a method's trial so often, at moments drawn evenly over its course, whole runs as often as that takes."""
    row, todo = Row(name), trials(name, images)
    trial = todo[-1]

    def worker(out: Path) -> None:
        torch.set_num_threads(1)
        run_trial(trial, out, suite="chaos", threads=1)

    def driver(out: Path) -> None:
        run_trials(todo, out, suite="chaos", scheduler="inline", resources=Resources(cpus=1))

    start, whole, broken = out / "start", out / "whole", out / "broken"
    start.mkdir(parents=True)
    for need in todo[:-1]:
        _finish(partial(run_trial, need, suite="chaos", threads=1), start)
    shutil.copytree(start, whole)
    began = time.monotonic()
    _finish(worker, whole)
    row.seconds = time.monotonic() - began
    while sum(row.kills.values()) < kills or not row.runs:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(start, broken)
        mine: collections.Counter[str] = collections.Counter()
        while True:
            kind, work = rng.choice([("worker", worker), ("driver", driver)])
            process = FORK.Process(target=work, args=(broken,))
            process.start()
            enough = sum(row.kills.values()) + sum(mine.values()) >= kills
            process.join(None if enough else rng.uniform(0, row.seconds))
            if not process.is_alive():
                break
            process.kill()
            process.join()
            mine[kind] += 1
        row.kills += mine
        row.runs += 1
        row.differs += compare(trial, whole, broken)
        log = (broken / "trials" / trial.key / "log.txt").read_text().splitlines()
        epochs = sum(": loss " in line for line in log)
        row.resumed += sum("goes on after epoch" in line for line in log)
        again = epochs - len(read_record(broken / "trials" / trial.key / "record.json").history)
        row.again += again
        if again > sum(mine.values()):
            row.differs.append(f"{again} epochs trained again after {sum(mine.values())} kills")
    shutil.rmtree(out)
    return row


def _finish(work: Callable[[Path], Any], where: Path) -> None:
    process = FORK.Process(target=work, kwargs={"out": where})
    process.start()
    process.join()
    assert process.exitcode == 0, "an uninterrupted run failed"


def compare(trial: Trial, whole: Path, broken: Path) -> list[str]:
    """Where the two runs' results differ, times apart."""
    one, two = (out / "trials" / trial.key for out in (whole, broken))
    if not (two / "record.json").exists():
        return ["no record"]
    found = []
    first, second = (timeless(read_record(folder / "record.json")) for folder in (one, two))
    found += [f"{key} differs" for key in Record.model_fields if first.get(key) != second.get(key)]
    if (one / "model.safetensors").read_bytes() != (two / "model.safetensors").read_bytes():
        found.append("the model differs")
    return found


SUITE = """
name: chaos
smoke: true
dataset: {name: digits, subset: 320}
backbone: cifar_resnet20
dense: {recipe: {epochs: 2, lr: 0.1, batch_size: 32}}
keep_macs: [0.5]
methods: [l1, dcff, {scratch: {of: dcff}}, {gate_decorator: {ticks: 2, tick_epochs: 1, tock_epochs: 1}}]
recipe: {epochs: 6, lr: 0.02, batch_size: 32}
resources: {cpus: 1}
tracking: {mode: disabled}
"""


def chaos_on_ray(kills: int, out: Path, rng: random.Random) -> Row:
    """The command itself, on Ray: its driver or one of its workers is killed."""
    row = Row("a suite on Ray")
    file = out / "chaos.yaml"
    out.mkdir(parents=True)
    file.write_text(SUITE)

    def run(where: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bench.cli", "run", str(file), "--out", str(where)]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=Path(__file__).parents[1])

    began = time.monotonic()
    assert run(out / "whole").wait() == 0
    row.seconds = time.monotonic() - began
    broken = out / "broken"
    while sum(row.kills.values()) < kills or not row.runs:
        shutil.rmtree(broken, ignore_errors=True)
        while True:
            process = run(broken)
            workers: list[int] = []
            while not _workers(broken) and process.poll() is None:
                time.sleep(0.2)
            if sum(row.kills.values()) < kills:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0, row.seconds / 2))
                workers = _workers(broken)
            else:
                process.wait()
            if process.poll() is None and workers and rng.random() < 0.5:
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                row.kills["worker"] += 1
                process.wait()  # the driver tries that trial again
            elif process.poll() is None:
                process.kill()
                row.kills["driver"] += 1
            if process.wait() == 0:
                break
        row.runs += 1
        for record in sorted((out / "whole").glob("trials/*/record.json")):
            row.differs += compare(read_record(record).trial, out / "whole", broken)
    return row


def _workers(out: Path) -> list[int]:
    """The processes that hold a trial now."""
    return [int(place.split()[1]) for folder in out.glob("trials/*") if (place := holder(folder))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="spread evenly over the methods")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="default: all")
    parser.add_argument("--ray-kills", type=int, default=0)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, rows = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory(prefix="prunebench-chaos-") as folder:
        print(HEAD, flush=True)
        if arguments.kills:
            names = arguments.methods or list(registry.methods())
            shares = [len(range(i, arguments.kills, len(names))) for i in range(len(names))]
            for name, share in zip(names, shares, strict=True):
                rows.append(chaos(name, share, Path(folder, name), rng, arguments.images))
                print(rows[-1].line(), flush=True)
        if arguments.ray_kills:
            rows.append(chaos_on_ray(arguments.ray_kills, Path(folder, "ray"), rng))
            print(rows[-1].line(), flush=True)
    total = sum(sum(row.kills.values()) for row in rows)
    wrong = [row.method for row in rows if row.differs]
    runs = sum(row.runs for row in rows)
    print(f"\n{total} kills, {runs} finished runs; of {len(rows)} methods {len(wrong)} differ {' '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
