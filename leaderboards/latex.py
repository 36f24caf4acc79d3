"""A board as LaTeX: booktabs tables for a page or for one column of two, and the BibTeX of the methods shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from leaderboards.boards import Board
from leaderboards.columns import Column, columns
from leaderboards.escape import escape_latex, name_glyphs
from leaderboards.notes import notes, title
from leaderboards.row import Row

HEAD = r"""% Needs \usepackage{booktabs}. Made from records by `prunebench report`: do not edit.
% BibTeX entries of the methods shown are in methods.bib. Behind each row stand the keys of its records:
% `prunebench show KEY` tells where they come from.
"""

ROWS = 40
"""Rows of one float; more would not fit on a page together with the notes."""

PARTS = {
    "": ("method", "top1", "top5", "seeds", "change", "rank"),
    "cost": ("method", "macs", "params", "starts_from", "epochs", "epochs_in_all"),
    "further measurements": ("method", "fvcore_total", "training_macs", "training_macs_in_all", "cut_top1"),
    "measured speed": ("method", "speedup", "latency", "batch_speedup", "batch_latency"),
    "against what is printed": (
        "method", "top1", "best_top1", "printed", "less_printed", "best_less_printed",
    ),
}  # fmt: skip


def latex(board: Board) -> str:
    """Tables as wide as the text of an article, or of both columns: results, cost and what else was measured.

    Operating points are headings, here and in the compact form.
    """
    shown = {column.name: column for column in columns("long", board.rows)}
    tables = []
    for part, names in PARTS.items():
        chosen = [shown[name] for name in names if name in shown]
        own = {column.name for column in chosen} - {"method", "top1"}
        if own or not part:
            caption = f"{title(board)}: {part}" if part else title(board)
            tables.append(_table(board, chosen, "table*", caption, [] if part else notes(board)))
    return "\n".join(tables)


def latex_compact(board: Board) -> str:
    """One table that fits a column of a two-column paper."""
    chosen = columns("brief", board.rows)
    return _table(board, chosen, "table", title(board), notes(board, columns=chosen))


def bibtex(boards: Iterable[Board]) -> str:
    """The entries of the papers whose methods have a row, each once."""
    shown = {row.method: board.methods.get(row.method, {}) for board in boards for row in board.rows}
    papers = [shown[name].get("paper") for name in sorted(shown)]
    entries = [str(paper["bibtex"]).strip() for paper in papers if isinstance(paper, dict) and paper.get("bibtex")]
    return "".join(f"{entry}\n\n" for entry in dict.fromkeys(entries)).rstrip("\n") + "\n" if entries else ""


def _table(board: Board, chosen: Sequence[Column], environment: str, caption: str, below: list[str]) -> str:
    # What has not run is seen once, not again in every further table.
    floats = list(_floats([row for row in board.rows if below or row.entries]))
    wide = environment == "table*"
    foot = [r"\par\smallskip\raggedright", *(escape_latex(_sentence(note)) for note in below)] if below else []
    made = []
    for i, rows in enumerate(floats):
        counted = f"{caption} ({i + 1} of {len(floats)})" if len(floats) > 1 else caption
        made += [
            rf"\begin{{{environment}}}",
            rf"\centering\scriptsize\setlength{{\tabcolsep}}{{{2.5 if wide else 1}pt}}",
            r"\renewcommand{\arraystretch}{1.08}",
            rf"\caption{{{escape_latex(_sentence(counted))}}}",
            rf"\begin{{tabular*}}{{\linewidth}}{{@{{}}{_alignment(chosen)}@{{}}}}",
            r"\toprule",
            " & ".join(_stacked(_words(column.header, 10 if wide else 6), "b", column) for column in chosen) + r" \\",
            r"\midrule",
            *_lines(rows, chosen, with_keys=bool(below)),
            r"\bottomrule",
            r"\end{tabular*}",
            *(foot if i == len(floats) - 1 else []),
            rf"\end{{{environment}}}",
            "",
        ]
    return "\n".join(made)


def _floats(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows for one float each; an operating point stays together where it can."""
    points: list[list[Row]] = []
    for row in rows:
        if not points or points[-1][-1].point != row.point or len(points[-1]) == ROWS:
            points.append([])
        points[-1].append(row)
    gathered: list[Row] = []
    for point in points:
        if gathered and len(gathered) + len(point) > ROWS:
            yield gathered
            gathered = []
        gathered += point
    yield gathered


def _alignment(chosen: Sequence[Column]) -> str:
    first, *others = ["r" if column.numeric else "l" for column in chosen]
    return rf"{first}@{{\extracolsep{{\fill}}}}{''.join(others)}"


def _lines(rows: Sequence[Row], chosen: Sequence[Column], with_keys: bool) -> Iterator[str]:
    previous = None
    for row in rows:
        if previous is not None and previous != row.point:
            yield r"\midrule"
        if previous != row.point and not row.is_dense:
            kept = f"{row.point} of the MACs kept" if row.point.endswith("%") else f"{row.point} MACs"
            yield rf"\multicolumn{{{len(chosen)}}}{{@{{}}l@{{}}}}{{\emph{{{escape_latex(kept)}}}}} \\"
        previous = row.point
        keys = " ".join(["", "%", *(entry.record.key for entry in row.entries)]) if with_keys and row.entries else ""
        yield " & ".join(_cell(column, row) for column in chosen) + r" \\" + keys


def _cell(column: Column, row: Row) -> str:
    text = column.cell(row)
    if column.name == "method":
        return _stacked(_broken(text, 17), "t", column)
    if column.name == "top1" and row.mark:
        return rf"\textbf{{{escape_latex(text)}}}" if row.mark == "best" else rf"\underline{{{escape_latex(text)}}}"
    return escape_latex(text)


def _words(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, or of one longer word."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _broken(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters: a long name must not push the figures off the page."""
    lines = _words(name_glyphs(text), width)
    return [line[i : i + width] for line in lines for i in range(0, len(line) or 1, width)]


def _stacked(lines: list[str], place: str, column: Column) -> str:
    if len(lines) == 1:
        return escape_latex(lines[0])
    align = "r" if column.numeric else "l"
    body = r" \\ ".join(map(escape_latex, lines))
    return rf"\begin{{tabular}}[{place}]{{@{{}}{align}@{{}}}}{body}\end{{tabular}}"


def _sentence(note: str) -> str:
    return note if note.endswith((".", "!", "?")) else f"{note}."
