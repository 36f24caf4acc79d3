"""Which folder is meant: a path, the name of a suite that has run, or a suite file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from bench.errors import UserError

RUNS, RESULTS, TABLES = Path("runs"), Path("leaderboards/results"), Path("leaderboards/tables")
"""Run folders; reviewed records, and what is made of them."""


def find(name: Path) -> Path:
    """A run folder, a folder of records, or a record. A suite's name stands for runs/NAME, its file for that too.

    A folder of that name that holds nothing of ours does not hide runs/NAME. Raises UserError where nothing is there.
    """
    if name.is_file() and name.suffix in (".yaml", ".yml"):
        folder = of_suite(name)
        if not folder.is_dir():
            raise UserError(f"{name} has not run: there is no {folder} (start it with `prunebench run {name}`)")
        return folder
    run = RUNS / name.name if len(name.parts) == 1 else name
    found = run if run.exists() and not (name.exists() and is_ours(name)) else name
    if not found.exists():
        near = difflib.get_close_matches(name.name, [path.parent.name for path in RUNS.glob("*/plan.json")], n=1)
        hint = f"did you mean '{near[0]}'?" if near else "name a suite that has run, or a folder of records"
        raise UserError(f"there is no '{name}', here or in {RUNS}/: {hint}")
    return found


def find_all(names: Iterable[Path]) -> list[Path]:
    """`find` for each."""
    return [find(name) for name in names]


def of_suite(file: Path) -> Path:
    """Where a suite file runs, whether it has run or not. Raises UserError where it is none."""
    from bench import suitefile

    name = str(suitefile.read(file).values.get("name", file.stem))
    if Path(name).name != name:
        raise UserError(f"{file}: '{name}' is no suite's name")
    return RUNS / name


def every() -> list[Path]:
    """All run folders under runs/. Raises UserError where there is none."""
    folders = sorted(path.parent for path in RUNS.glob("*/trials"))
    if not folders:
        raise UserError("there is no run folder under runs/: start a suite with `prunebench run`, or name a folder")
    return folders


def is_ours(folder: Path) -> bool:
    """Whether it is a run folder, or holds records."""
    from bench.record import find_records

    return (folder / "plan.json").exists() or bool(find_records(folder))
