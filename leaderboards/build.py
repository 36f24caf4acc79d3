"""Everything that a report is made of, written in one go or compared with what is there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.errors import UserError
from bench.record import RecordError, beside
from leaderboards.boards import Board, Boards, boards
from leaderboards.doubts import doubts
from leaderboards.latex import HEAD, bibtex, latex, latex_compact
from leaderboards.results import Folders, Results, check_publishable, read, without_collector
from leaderboards.tables import csv_table, flat_rows, markdown, terminal
from leaderboards.titles import slugs

FILES = ("index.html", "table.md", "table-compact.md", "table.tex", "table-compact.tex", "methods.bib", "table.csv")
"""Of a report, beside the page's `data/` and `figures/`."""

MARK = b"<title>prunebench leaderboards</title>"

MAX_NETWORK = 5 * 10**6
"""Bytes of a compact network that may come with a reviewed record."""


def text(source: Folders | Results | Boards) -> str:
    """The tables for a terminal, fitted to its width where standard output is one."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    found = boards(source)
    return "\n".join(terminal(board, width) for board in found) if found else "No records yet.\n"


def report(source: Folders | Results | Boards, out: str | Path) -> list[Path]:
    """Write all formats into the folder `out` and return their paths. A file is replaced whole or not at all.

    Raises UserError where a file of that name there is not of a report.
    """
    folder = Path(out)
    paths = []
    contents = render(source, folder)
    check_place(folder, contents)
    for name, content in contents.items():
        _replace(folder / name, content)
        paths.append(folder / name)
    for path in _left_over(folder, paths):
        path.unlink()
    return paths


def check_place(out: str | Path, names: Iterable[str] = FILES) -> None:
    """Raise UserError where a report in `out` would replace a file that is none of a report's."""
    folder = Path(out)
    above = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not above.is_dir():
        raise UserError(f"{above} is a file: name a folder for the report with --out (nothing is written)")
    page = folder / "index.html"
    ours = page.is_file() and MARK in page.read_bytes()[:2000]  # it is the first file that a report writes
    foreign = next((folder / name for name in names if (folder / name).exists() and not ours), None)
    if foreign:
        raise UserError(f"{foreign} is not of a report: name another folder with --out (nothing is written)")


def rows(source: Folders | Results | Boards) -> list[dict[str, object]]:
    """The rows of all boards as plain values, for a table elsewhere."""
    return flat_rows(boards(source))


def check(folders: Folders | Results, out: str | Path) -> list[str]:
    """Where the files in `out` differ from what the records give, one line each; [] when they agree.

    What may not enter a leaderboard is named too: smoke records, networks that are too large, results of code that is
    in no commit, records that contradict each other or their suite.
    """
    results, folder = folders if isinstance(folders, Results) else read(folders), Path(out)
    differences = list(_unpublishable(results))
    contents = render(results, folder)
    remedy = f"make it with `prunebench report FOLDER --out {folder}`, and commit it"
    for name, content in contents.items():
        path = folder / name
        if not path.is_file():
            differences.append(f"{path} is missing: {remedy}")
        elif path.read_bytes() != content.encode():
            differences.append(f"{path} differs from what its records give: {remedy}")
    paths = [folder / name for name in contents]
    differences += [f"{path} belongs to no board any more: remove it" for path in _left_over(folder, paths)]
    return differences


def _unpublishable(results: Results) -> Iterator[str]:
    unclean = "with changes not committed: do it again from a clean checkout"
    for entry in results.records:
        try:
            check_publishable(entry.record)
        except RecordError as error:
            yield f"{entry.path}: {error}"
        if entry.record.machine.commit.endswith("+"):
            yield f"{entry.path} was made {unclean}"
        if any(latency.machine.commit.endswith("+") for latency in entry.latencies):
            yield f"the speed beside {entry.path} was measured {unclean}"
        network = beside(entry.path, "model.safetensors")
        if network.is_file() and network.stat().st_size > MAX_NETWORK:
            yield f"{network} is larger than {MAX_NETWORK // 10**6} MB: leave it out"
    yield from doubts(results)


def render(source: Folders | Results | Boards, out: Path) -> dict[str, str]:
    """File name -> content, for a report that is to lie in `out`."""
    with without_collector():
        return _render(boards(source), out)


def _render(found: list[Board], out: Path) -> dict[str, str]:
    from leaderboards.page import page  # jinja2 is not needed by the table in the terminal

    named = list(zip(found, slugs([board.title for board in found]), strict=True))
    return {
        **page(found, out),
        "table.md": "\n".join(markdown(board, out=out) for board in found),
        "table-compact.md": "\n".join(markdown(board, "compact") for board in found),
        "table.tex": HEAD + "\n".join(latex(board, name) for board, name in named),
        "table-compact.tex": HEAD + "\n".join(latex_compact(board, name) for board, name in named),
        "methods.bib": bibtex(found),
        "table.csv": csv_table(found),
    }


def _left_over(folder: Path, paths: list[Path]) -> list[Path]:
    """Run details of boards that are no more."""
    others = sorted(set(folder.glob("data/*.js")) - set(paths))
    return [path for path in others if path.read_bytes().startswith(b"details(")]


def _replace(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # another process may write the same report
    try:
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
