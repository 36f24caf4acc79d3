"""A board as LaTeX: booktabs tables for a page or for one column of two, and the BibTeX of the methods shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from bench.labels import plain
from leaderboards.boards import Board
from leaderboards.columns import Column, columns
from leaderboards.escape import escape_latex, name_glyphs
from leaderboards.notes import notes
from leaderboards.results import About
from leaderboards.row import Row

HEAD = r"""% Needs \usepackage{booktabs}. Made from records by `prunebench report`: do not edit.
% BibTeX entries of the methods shown are in methods.bib. To cite each beside its name, write in the preamble
% \newcommand{\methodcite}[1]{~\cite{#1}}
% Behind each row stand the keys of its records: `prunebench show KEY` tells where they come from.
\providecommand{\methodcite}[1]{}
"""

ROOM = 520.0
"""Points of height in one float: what fits on a page of an article (550 pt), less the spaces around it."""

CHARACTERS = {"table*": (100, 64), "table": (62, 40)}
"""In a line of notes and in one of a caption: of an article's text, and of a column of two."""

T = TypeVar("T")

LABEL = 17
"""Characters of a method's name in one line."""

PARTS = {
    "": ("method", "top1", "top5", "seeds", "change", "rank"),
    "cost": ("method", "macs", "params", "starts_from", "epochs", "epochs_in_all"),
    "further measurements": ("method", "fvcore_total", "training_macs", "training_macs_in_all", "cut_top1"),
    "measured speed": ("method", "speedup", "batch_speedup"),
    "against what is printed": (
        "method", "top1", "best_top1", "printed", "less_printed", "best_less_printed",
    ),
}  # fmt: skip


def latex(board: Board, name: str = "board") -> str:
    """Tables as wide as the text of an article, or of both columns: results, cost and what else was measured.

    Operating points are headings, here and in the compact form. `name`: of the board, for `\\ref{tab:NAME}`.
    """
    shown = {column.name: column for column in columns("long", board.rows)}
    tables = []
    for part, names in PARTS.items():
        chosen = [shown[name] for name in names if name in shown]
        own = {column.name for column in chosen} - {"method", "top1"}
        if own or not part:
            caption = f"{board.title}: {part}" if part else board.title
            tables.append(_table(board, chosen, "table*", caption, [] if part else notes(board), _label(name, part)))
    return "\n".join(tables)


def latex_compact(board: Board, name: str = "board") -> str:
    """One table that fits a column of a two-column paper."""
    chosen = columns("brief", board.rows)
    return _table(board, chosen, "table", board.title, notes(board, columns=chosen), _label(name, "compact"))


def bibtex(boards: Iterable[Board]) -> str:
    """The entries of the papers whose methods have a row, each once."""
    shown = {row.method: row.about for board in boards for row in board.rows if row.about}
    entries = filter(None, (_entry(shown[name]) for name in sorted(shown)))
    return "\n".join(f"{entry}\n" for entry in dict.fromkeys(entries))


def _table(board: Board, chosen: Sequence[Column], environment: str, caption: str, below: list[str], label: str) -> str:
    wide = environment == "table*"
    header = [_words(column.header, 10 if wide else 6) for column in chosen]
    per_line, in_caption = CHARACTERS[environment]
    head = 40 + 12 * math.ceil(len(caption) / in_caption) + 8.7 * max(map(len, header))

    def height(rows: Sequence[Row]) -> float:
        points = len({row.point for row in rows})
        return head + 16 * points + 8.7 * sum(len(_broken(row.label, LABEL)) for row in rows)

    def notes_height(some: Sequence[str]) -> float:
        return 8.1 * math.ceil(1.05 * sum(len(sentence) + 1 for sentence in some) / per_line)

    # What has not run is seen once, not again in every further table.
    floats = list(_floats([row for row in board.rows if below or row.entries], height))
    sentences = [_sentence(note) for note in below]
    together = height(floats[-1]) + notes_height(sentences) <= ROOM
    made = []
    for i, rows in enumerate(floats):
        counted = f"{caption} ({i + 1} of {len(floats)})" if len(floats) > 1 else caption
        tabular = [
            rf"\begin{{tabular*}}{{\linewidth}}{{@{{}}{_alignment(chosen)}@{{}}}}",
            r"\toprule",
            " & ".join(_stacked(lines, "b", column) for lines, column in zip(header, chosen, strict=True)) + r" \\",
            r"\midrule",
            *_lines(rows, chosen, with_keys=bool(below)),
            r"\bottomrule",
            r"\end{tabular*}",
        ]
        last = i == len(floats) - 1
        foot = _foot(sentences) if together and last else []
        if last and not together:
            foot = [rf"\par\smallskip\raggedright Notes: Table~\ref{{{label}-notes}}."]
        made += _float(environment, counted, [*tabular, *foot], f"{label}-part{i + 1}" if i else label)
    if not together:
        for i, some in enumerate(_filled(sentences, lambda some: 40 + notes_height(some))):
            name = f"{label}-notes{f'-part{i + 1}' if i else ''}"
            made += _float(environment, f"{caption}: notes", _foot(some), name)
    return "\n".join(made)


def _float(environment: str, caption: str, content: Sequence[str], label: str) -> list[str]:
    return [
        rf"\begin{{{environment}}}",
        rf"\centering\scriptsize\setlength{{\tabcolsep}}{{{2.5 if environment == 'table*' else 1}pt}}",
        r"\renewcommand{\arraystretch}{1.08}\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{escape_latex(_sentence(caption))}}}",
        rf"\label{{{label}}}",
        *content,
        rf"\end{{{environment}}}",
        "",
    ]


def _label(name: str, part: str) -> str:
    return "-".join(["tab:" + name, *part.split()])


def _foot(sentences: Sequence[str]) -> list[str]:
    return [r"\par\smallskip\raggedright", *map(escape_latex, sentences)] if sentences else []


def _floats(rows: Sequence[Row], height: Callable[[Sequence[Row]], float]) -> Iterator[list[Row]]:
    """Rows for one float each; an operating point stays together where it can."""
    points = [list(group) for _, group in groupby(rows, key=lambda row: row.point)]
    whole = [part for point in points for part in _filled(point, height)]
    for gathered in _filled(whole, lambda parts: height([row for part in parts for row in part])):
        yield [row for part in gathered for row in part]


def _filled(items: Sequence[T], height: Callable[[list[T]], float]) -> list[list[T]]:
    """The items in order, as many together as there is room for."""
    filled: list[list[T]] = [[]]
    for item in items:
        if filled[-1] and height([*filled[-1], item]) > ROOM:
            filled.append([])
        filled[-1].append(item)
    return filled


def _alignment(chosen: Sequence[Column]) -> str:
    first, *others = ["r" if column.numeric else "l" for column in chosen]
    return rf"{first}@{{\extracolsep{{\fill}}}}{''.join(others)}"


def _lines(rows: Sequence[Row], chosen: Sequence[Column], with_keys: bool) -> Iterator[str]:
    previous = None
    for row in rows:
        if previous is not None and previous != row.point:
            yield r"\midrule"
        if previous != row.point and not row.is_dense:
            yield rf"\multicolumn{{{len(chosen)}}}{{@{{}}l@{{}}}}{{\emph{{{escape_latex(row.heading)}}}}} \\"
        previous = row.point
        keys = " ".join(["", "%", *(entry.record.key for entry in row.entries)]) if with_keys and row.entries else ""
        yield " & ".join(_cell(column, row) for column in chosen) + r" \\" + keys


def _cell(column: Column, row: Row) -> str:
    text = column.cell(row)
    if column.name == "method":
        return _stacked(_broken(text, LABEL), "t", column, after=_citation(row))
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
    """Lines of at most `width` characters: a long name must not push the figures off the page.

    Words stay whole; one that is too long ends its lines after `=`, `_`, `,` or `/`, where it has them.
    """
    lines = [""]
    for word in name_glyphs(text).split(" "):
        pieces = [word] if len(word) <= width else re.findall(r".*?[=_,/]|.+", word)
        short = [piece[i : i + width] for piece in pieces for i in range(0, len(piece) or 1, width)]
        for i, piece in enumerate(short):
            gap = " " if i == 0 and lines[-1] else ""
            if lines[-1] and len(lines[-1] + gap + piece) > width:
                lines.append(piece)
            else:
                lines[-1] += gap + piece
    return lines


def _entry(about: About) -> str:
    """The BibTeX of a method's paper, or nothing."""
    paper = about.get("paper")
    text = str(paper.get("bibtex") or "").strip() if isinstance(paper, dict) else ""
    return "\n".join(map(plain, text.splitlines()))


def _citation(row: Row) -> str:
    key = re.match(r"@\w+\s*{\s*([\w.:+/-]+)\s*,", _entry(row.about), re.ASCII)
    return rf"\methodcite{{{key[1]}}}" if key else ""


def _stacked(lines: list[str], place: str, column: Column, after: str = "") -> str:
    if len(lines) == 1:
        return escape_latex(lines[0]) + after
    align = "r" if column.numeric else "l"
    body = r" \\ ".join(map(escape_latex, lines)) + after
    return rf"\begin{{tabular}}[{place}]{{@{{}}{align}@{{}}}}{body}\end{{tabular}}"


def _sentence(note: str) -> str:
    return note if note.endswith((".", "!", "?")) else f"{note}."
