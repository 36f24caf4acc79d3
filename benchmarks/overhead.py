"""What everything around the training costs: starting trials, answering a command, building tables, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.record import Record, read_record, write_json
from bench.spec import DENSE, Recipe
from benchmarks.turns import Figure, taken

TRIALS = """
name: trivial
dataset: {name: digits, subset: 64}
backbone: cifar_resnet20
dense: {recipe: {epochs: 1, lr: 0.05, batch_size: 32}}
keep_macs: [0.7, 0.5]
seeds: SEEDS
methods: [random, l1]
recipe: {epochs: 1, lr: 0.05, batch_size: 32}
smoke: true
resources: {cpus: 1}
"""

RECORDS, SEEDS = 10_000, 50


def overhead(rounds: int, steps: int) -> Iterator[Figure]:
    """Seconds of whole commands, each a program of its own. `rounds` of the short ones, one of the long ones."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        suite = folder / "trivial.yaml"
        suite.write_text(TRIALS.replace("SEEDS", str(list(range(40)))))
        seconds, _ = command("run", str(suite), "--out", str(folder / "run"))
        done = len(list((folder / "run").glob("trials/*/record.json")))
        detail = f"{done} trials on Ray in {seconds:.0f} s; W&B offline, tables and page included"
        yield taken("a trivial trial", [seconds / done], "< 1 s", detail)
        for words in (["--help"], ["status", str(suite), "--out", str(folder / "run")]):
            times = [command(*words)[0] for _ in range(rounds)]
            yield taken(f"prunebench {words[0]}", times, "< 0.5 s")
        write_records(folder / "run", folder / "many")
        seconds, memory = command("report", str(folder / "many"), "--out", str(folder / "tables"))
        detail = f"{memory:.0f} MB; {os.cpu_count()} cores"
        yield taken(f"report of {RECORDS} records", [seconds], "< 10 s, 1 GB", detail)


def command(*words: str) -> tuple[float, float]:
    """(seconds, MB of the largest process) of a prunebench command, with which nothing may be wrong."""
    program = "import atexit, resource, sys; from bench.cli import main; usage = resource.getrusage; "
    program += "atexit.register(lambda: print(usage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)); "
    program += "sys.exit(main(sys.argv[1:]))"
    started = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if ended.returncode:
        raise SystemExit(f"prunebench {' '.join(words)} failed: {ended.stderr[-500:]}")
    return seconds, float(ended.stderr.split()[-1]) / 1024


def write_records(run: Path, out: Path) -> None:
    """Ten thousand finished trials made of those of a run: fifty seeds, and as many boards as that takes.

    Boards differ in the learning rate after the dense networks, which they share.
    """
    found = [read_record(path) for path in run.glob("trials/*/record.json")]
    some = {(record.trial.method.name, record.trial.keep_macs): record for record in found}
    dense = some.pop((DENSE, None))
    made = [_variant(dense, seed, dense.trial.recipe) for seed in range(SEEDS)]
    for number in range(RECORDS - SEEDS):
        record, again = list(some.values())[number % len(some)], number // len(some)
        recipe = record.trial.recipe.model_copy(update={"lr": 0.01 * (1 + again // SEEDS), "epochs": 10})
        made.append(_variant(record, again % SEEDS, recipe))
    for number, record in enumerate(made):
        folder = out / "trials" / f"{number:05d}"
        folder.mkdir(parents=True)
        write_json(folder / "record.json", record)


def _variant(record: Record, seed: int, recipe: Recipe) -> Record:
    trial = record.trial.model_copy(update={"seed": seed, "smoke": False, "recipe": recipe})
    history = [record.history[0].model_copy(update={"epoch": epoch}) for epoch in range(10)]
    return record.model_copy(update={"trial": trial, "key": trial.key, "history": history})
