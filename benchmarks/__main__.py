"""python -m benchmarks [NAME...]: time them and print a table.

python -m benchmarks                         # all, on all cores, some ten minutes; nothing else should run
python -m benchmarks training dcff --rounds 3
python -m benchmarks --write docs/performance.md     # the figures into the document, each benchmark in its place
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from bench import machine
from benchmarks import dcff, gates, loading, overhead, pruning, training, widths
from benchmarks.turns import HEAD, Figure

BENCHMARKS: dict[str, Callable[[int, int], Iterator[Figure]]] = {
    "training": training.training,
    "settings": training.settings,
    "denormals": training.denormals,
    "widths": widths.widths,
    "dcff": dcff.dcff,
    "gates": gates.gates,
    "pruning": pruning.pruning,
    "loading": loading.loading,
    "overhead": overhead.overhead,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="batches of a round, where it trains")
    parser.add_argument("--write", type=Path, help="a Markdown file with a place for each benchmark")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is named {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    machine.prepare()
    about = machine.describe({"threads": torch.get_num_threads(), "precision": "fp32"}, machine.device())
    where = f"{about.device if about.device != 'cpu' else about.cpu}, {about.threads} threads, torch "
    where += f"{about.versions['torch']}, load {os.getloadavg()[0]:.1f} at the start"
    print(json.dumps(about.model_dump()))
    for name in arguments.names or BENCHMARKS:
        lines = [HEAD]
        print(f"\n{name} ({where})\n\n{HEAD}", flush=True)
        for figure in BENCHMARKS[name](arguments.rounds, arguments.steps):
            lines.append(figure.line())
            print(lines[-1], flush=True)
        if arguments.write:
            _write(arguments.write, name, "\n".join([*lines, "", f"*{where}, {arguments.rounds} rounds*"]))
    return 0


def _write(path: Path, name: str, table: str) -> None:
    """Put the table between the benchmark's two marks."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text, found = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: f"{begin}\n{table}\n{end}",
        path.read_text(),
        flags=re.DOTALL,
    )
    if not found:
        raise SystemExit(f"{path} has no place for {name}: add a line {begin} and a line {end}")
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
