"""What the commands say of records: tables on the terminal and in files, what is wrong with them, one line each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.labels import plain

if TYPE_CHECKING:
    from bench.spec import Tracked
    from bench.suite import Suite


def publish(
    folders: list[Path],
    out: Path,
    *,
    mirror: tuple[Suite, Tracked] | None = None,
    keep: Sequence[float] = (),
    figures: bool = False,
) -> list[str]:
    """Table to the terminal, all formats into `out`, and to W&B; the problems found, also printed."""
    import leaderboards
    from leaderboards.boards import boards

    leaderboards.check_place(out)
    found = leaderboards.read(folders)
    shown = boards(found, keep)
    if not shown:
        tell(found.problems)
        raise UserError("there is no record that can be shown: nothing is written")
    print(leaderboards.text(shown))
    paths = leaderboards.report(shown, out)
    if figures:
        paths += leaderboards.draw(shown, out / "figures")
    print(f"written: {len(paths)} files in {out}; the page is {out / 'index.html'}")
    if mirror is not None:
        from bench import launch

        launch.mirror_report(*mirror, leaderboards.rows(shown), out)
    return tell(found.problems)


def compare(folders: list[Path], tables: Path) -> int:
    """Whether the files in `tables` are what the records give: the exit status."""
    import leaderboards

    if not (tables.exists() or any(folder.exists() for folder in folders)):
        raise UserError(f"there are neither {' '.join(map(str, folders))} nor {tables}: nothing to compare")
    found = leaderboards.read(folders)
    empty = not (found.records or found.unfinished or tables.exists())  # then every file would be missing
    differences = [] if empty else leaderboards.check(found, tables)
    if tell(found.problems + differences):
        return 1
    print(f"the tables in {tables} are what {len(found.records)} records give")
    return 0


def tell(problems: list[str]) -> list[str]:
    """One line each; what was met twice, while tables were made one after the other, is told once."""
    problems = list(dict.fromkeys(problems))
    for problem in problems:
        warn(problem)
    return problems


def warn(text: str) -> None:
    """One line on standard error."""
    print(f"prunebench: {plain(text)}", file=sys.stderr)
