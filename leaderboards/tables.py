"""A board as text: terminal, Markdown and CSV. Each format escapes whatever a name may hold."""

from __future__ import annotations

import csv
import io
import os
import textwrap
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from bench.labels import plain
from leaderboards.boards import Board
from leaderboards.columns import Form, columns
from leaderboards.escape import escape_markdown
from leaderboards.notes import notes
from leaderboards.row import Row
from leaderboards.stats import Stat


def terminal(board: Board, width: int | None = None) -> str:
    """Aligned columns; `**` after the best top-1 and `*` after the second best of a point.

    Where the table is wider than `width` characters, the columns of the compact form stay.
    """
    form: Form = "usual"
    lines = _aligned(board, form)
    if width is not None and max(map(len, lines)) > width:
        form = "compact"
        lines = _aligned(board, form)
    below = [plain(note) for note in notes(board, "with **", "with *", columns(form, board.rows))]
    if width is not None:
        below = [line for note in below for line in textwrap.wrap(note, width, subsequent_indent="  ")]
    return "\n".join([plain(board.title), "", *lines, "", *below, ""])


def _aligned(board: Board, form: Form) -> list[str]:
    chosen = columns(form, board.rows)
    header = [c.header for c in chosen]
    body = [[plain(c.cell(row)) + _stars(c.name, row) for c in chosen] for row in board.rows]
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(chosen))]
    return [
        "  ".join(
            t.rjust(w) if c.numeric else t.ljust(w) for t, w, c in zip(line, widths, chosen, strict=True)
        ).rstrip()
        for line in [header, ["─" * w for w in widths], *body]
    ]


def _stars(column: str, row: Row) -> str:
    return {"best": "**", "second": "* "}.get(row.mark, "  ") if column == "top1" else ""


def markdown(board: Board, form: Form = "long", out: Path | None = None) -> str:
    """A GitHub table, best in bold and second best underlined.

    For a table that is to lie in the folder `out`, each row links to its records and to its line in the suite file.
    """
    chosen = columns(form, board.rows)
    lines = [[escape_markdown(c.header) for c in chosen], ["--:" if c.numeric else ":--" for c in chosen]]
    for row in board.rows:
        lines.append([_marked(escape_markdown(c.cell(row)), c.name, row, "**{}**", "<ins>{}</ins>") for c in chosen])
    if out is not None:
        links = [["Records by seed", "Suite line"], [":--", ":--"], *(_links(row, out) for row in board.rows)]
        lines = [line + more for line, more in zip(lines, links, strict=True)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    below = "\n".join(f"- {escape_markdown(note)}" for note in notes(board, columns=chosen))
    return f"## {escape_markdown(board.title)}\n\n{table}\n\n{below}\n"


def _links(row: Row, out: Path) -> list[str]:
    records = [f"[{entry.record.trial.seed}]({relative(entry.path, out)})" for entry in row.entries]
    asked = next((entry.asked for entry in row.entries if entry.asked), None)
    suite = f"[{asked.number}]({relative(asked.path, out)}#L{asked.number})" if asked else ""
    return [" ".join(records), suite]


def relative(path: Path, out: Path) -> str:
    """A link to `path` from a file in the folder `out`."""
    return quote(os.path.relpath(path, out))


def _marked(text: str, column: str, row: Row, best: str, second: str) -> str:
    pattern = {"best": best, "second": second}.get(row.mark) if column == "top1" else None
    return pattern.format(text) if pattern else text


def csv_table(boards: Iterable[Board]) -> str:
    """All rows of all boards; plain numbers, one column per figure, `_std` beside the means."""
    rows = [{name: _safe_cell(value) for name, value in row.items()} for row in flat_rows(boards)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


_STATS = (
    "top1", "top5", "change", "cut_top1", "best_top1", "macs", "macs_cut", "fvcore_total", "params", "params_cut",
    "epochs", "epochs_in_all", "training_macs", "training_macs_in_all", "seconds",
)  # fmt: skip


def flat_rows(boards: Iterable[Board]) -> list[dict[str, object]]:
    """All rows of all boards as plain values, `NAME` and `NAME_std` for each figure."""
    return [_flat_row(board, row) for board in boards for row in board.rows]


def _flat_row(board: Board, row: Row) -> dict[str, object]:
    trial = board.trial
    values: dict[str, object] = {
        "protocol": trial.protocol,
        "smoke": trial.smoke,
        "track": trial.track,
        "dataset": trial.dataset.name,
        "backbone": trial.backbone.name,
        "board": board.title,
        "method": row.label,
        "point": row.point,
        "keep_macs": row.keep_macs,
        "starts_from": row.starts_from,
        "rank": row.rank.best if row.rank else None,
        "rank_worst": row.rank.worst if row.rank else None,
        "mark": row.mark,
        "n": row.n,
        "failed": row.failed,
        "refused": row.refused,
        "missing": row.missing,
        "off_target": row.off_target,
    }
    for name in _STATS:
        stat: Stat | None = getattr(row, name)
        values |= {name: stat.mean if stat else None, f"{name}_std": stat.std if stat else None}
    for name, speed in (("", row.single), ("batch_", row.batched)):
        speedup = speed.speedup if speed else None
        values |= {f"{name}speedup": speedup.mean if speedup else None}
        values |= {f"{name}speedup_std": speedup.std if speedup else None}
        values |= {f"{name}latency_ms": speed.ms.mean if speed else None}
        values |= {f"{name}latency_ms_std": speed.ms.std if speed else None}
    values["printed"] = row.printed.top1 if row.printed else None
    values["batch"] = row.batched.batch if row.batched else None
    values["measured_on"] = board.clock.name if board.clock else None
    values["keys"] = " ".join(entry.record.key for entry in row.entries)
    return values


def _safe_cell(value: object) -> object:
    """A spreadsheet takes a text that begins like a formula for one: put a quote before it."""
    if isinstance(value, str):
        value = plain(value)
        return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
    return value
