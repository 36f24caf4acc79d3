"""Which files of a folder a report is made from, and what each belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

SUITE, METHODS, PLAN = "suite.yaml", "methods.json", "plan.json"
"""What a run says of itself: its suite file, its methods, its trials."""

RECORD = re.compile(r"record\.json|[0-9a-f]{16}\.json")
LATENCY = re.compile(r"([0-9a-f]{16}\.)?latency(-[a-z0-9-]*)?\.json")
FAILED = re.compile(r"failed-([0-9]+)\.json")


def files(folder: Path) -> Iterator[Path]:
    """Every file that matters, in a fixed order; of the failed tries of a trial, the last one."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "journal" and not name.startswith("."))
        names.sort(key=lambda name: (name not in (SUITE, METHODS), name))  # what records are looked up in comes first
        wanted = (n for n in names if n in (SUITE, METHODS, PLAN) or RECORD.fullmatch(n) or LATENCY.fullmatch(n))
        yield from (Path(where, name) for name in wanted)
        yield from (Path(where, name) for name in folders if name == "record.json")  # no record: reading it says so
        tries = [(int(match[1]), name) for name in names if (match := FAILED.fullmatch(name))]
        if tries:
            yield Path(where, max(tries)[1])


def home(path: Path) -> Path:
    """The folder that speaks for a trial's file: the run's, three levels up, or the flat one that the file lies in."""
    in_run = path.name == "record.json" or FAILED.fullmatch(path.name)
    return path.parents[2] if in_run and len(path.parents) > 2 else path.parent


def key_of(path: Path) -> str:
    """Of the trial whose record lies at `path`, going by names."""
    return path.parent.name if path.name == "record.json" else path.stem
