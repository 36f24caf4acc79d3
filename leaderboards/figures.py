"""Figures for papers, as PDF and SVG: accuracy against MACs and against latency, and filters kept per layer.

The only matplotlib import.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.errors import UserError
from bench.labels import plain
from leaderboards.boards import Board, Boards, boards
from leaderboards.results import Folders, Results
from leaderboards.row import Row
from leaderboards.stats import Stat
from leaderboards.styles import Style, styles
from leaderboards.titles import slugs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "cross": "P"}
SIZE = (5.5, 3.6)
"""Inches: the width of an article's text."""


def draw(source: Folders | Results | Boards, out: str | Path) -> list[Path]:
    """Write the figures of all boards into the folder `out`, each as NAME.pdf and NAME.svg, and return their paths.

    The same records give the same bytes with the same matplotlib. Raises UserError where matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("figures need matplotlib: pip install 'prunebench[figures]'") from None
    found = boards(source)
    style = styles(found)
    paths: list[Path] = []
    # Type 42 fonts: publishers refuse type 3. Text stays text in SVG.
    look = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "prunebench", "font.size": 9}
    with matplotlib.rc_context(cast(Any, look | {"text.parse_math": False})):
        for board, name in zip(found, slugs([board.title for board in found]), strict=True):
            for kind, figure in _figures(board, style):
                paths += _save(figure, Path(out) / f"{name}-{kind}")
    return paths


def _figures(board: Board, style: dict[str, Style]) -> Iterable[tuple[str, Figure]]:
    rows = [row for row in board.rows if row.top1 and row.macs and not row.is_dense]
    if rows:
        yield "accuracy", _accuracy(board, rows, style)
    for batch in board.clock.batches if board.clock else ():
        timed = [(row, s.share) for row in rows for s in (row.single, row.batched) if s and s.batch == batch]
        if timed:
            yield f"latency-{batch}", _latency(board, batch, timed, style)
    for point in dict.fromkeys(row.point for row in rows):
        cut = [row for row in rows if row.point == point and row.entries[0].record.dense_widths]
        if cut:
            slug = "".join(c if c.isalnum() else "-" for c in point.replace(" %", ""))
            yield f"widths-{slug}", _widths(board, cut, style)


def _accuracy(board: Board, rows: list[Row], style: dict[str, Style]) -> Figure:
    """Top-1 against the share of MACs kept (the MACs themselves without a dense network), bars of one deviation."""
    if any(row.macs_cut for row in rows):
        points = [(row, Stat(100 - row.macs_cut.mean, None, row.n)) for row in rows if row.macs_cut]
        return _against(board, "MACs kept (%)", points, style)
    points = [(row, Stat(row.macs.mean / 1e6, None, row.n)) for row in rows if row.macs]
    return _against(board, "MACs (millions)", points, style)


def _latency(board: Board, batch: int, timed: list[tuple[Row, Stat]], style: dict[str, Style]) -> Figure:
    """Top-1 against the time of a pass, in percent of the dense network's; bars of one deviation both ways."""
    what = "Latency" if batch == 1 else f"Latency of a batch of {batch}"
    axis = f"{what} (% of the dense network's), on {board.clock.name if board.clock else ''}"
    return _against(board, axis, timed, style)


def _against(board: Board, axis: str, points: list[tuple[Row, Stat]], style: dict[str, Style]) -> Figure:
    """Top-1 of each row against what it costs, and the front of the rows that no other one beats in both.

    Rows far below all others stand at the edge, with their figure and an arrow.
    """
    figure, axes = _canvas()
    floor = board.floor
    edge = -math.inf if floor is None else floor
    front = pareto([(x.mean, max(row.top1.mean, edge)) for row, x in points if row.top1])
    axes.step(*zip(*front, strict=True), where="post", color="black", linewidth=2.5, alpha=0.15, label="Pareto front")
    for label in dict.fromkeys(row.label for row, _ in points):
        own = sorted(((x, row.top1) for row, x in points if row.label == label and row.top1), key=lambda p: p[0].mean)
        colour, marker = style[label]
        within = [(x, y) for x, y in own if y.mean >= edge]
        axes.errorbar(
            [x.mean for x, _ in within], [y.mean for _, y in within], [y.std or 0.0 for _, y in within],
            [x.std or 0.0 for x, _ in within], label=_text(label), color=colour, marker=MARKERS[marker], **_LINE,
        )  # fmt: skip
        for x, y in own:
            if y.mean < edge:
                axes.plot(x.mean, edge, color=colour, marker=MARKERS[marker], markersize=4.5)
                axes.annotate(f"{y.mean:.2f} \u2193", (x.mean, edge), (5, 0), **_BESIDE, color=colour)
    for row in board.rows:
        if row.is_dense and row.top1:
            axes.axhline(row.top1.mean, color="black", linestyle="--", linewidth=0.9, label=_text(row.label))
    axes.set(xlabel=_text(axis), ylabel="Top-1 (%)")
    low, high = _widened(axes.get_ylim(), 1)
    axes.set_ylim(low if floor is None else floor - 0.04 * (high - floor), high)
    axes.set_xlim(_widened(axes.get_xlim(), 0.1 * max(x.mean for _, x in points)))
    return _finish(figure, axes, board.title)


def _widened(limits: tuple[float, float], least: float) -> tuple[float, float]:
    """Two rows a hair apart must not fill the figure."""
    low, high = limits
    pad = max(0.0, least - (high - low)) / 2
    return low - pad, high + pad


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, accuracy) those that no other point beats in both, from the cheapest on."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


def _widths(board: Board, rows: list[Row], style: dict[str, Style]) -> Figure:
    """Share of each layer's filters that stays, mean over seeds, from the input on."""
    figure, axes = _canvas()
    for row in rows:
        records = [entry.record for entry in row.entries]
        dense = records[0].dense_widths
        shares = [
            100 * sum(r.widths.get(name, 0) for r in records) / len(records) / units for name, units in dense.items()
        ]
        colour, marker = style[row.label]
        axes.plot(
            range(1, len(shares) + 1), shares, label=_text(row.label), color=colour, marker=MARKERS[marker], **_THIN
        )
    axes.set(xlabel="Group of filters, from the input on", ylabel="Filters kept (%)", ylim=(0, 105))
    return _finish(figure, axes, f"{board.title}, {rows[0].heading}")


_LINE: dict[str, Any] = {"markersize": 4.5, "linewidth": 1.0, "capsize": 2, "elinewidth": 0.8}
_BESIDE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "va": "center"}
_THIN: dict[str, Any] = {"markersize": 3, "linewidth": 0.9}


def _canvas() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, heading: str) -> Figure:
    figure.suptitle(textwrap.fill(_text(heading), 80), fontsize=9)  # over the legend too, or it would be cut off
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _text(text: str) -> str:
    """A label that begins with an underscore would be left out of the legend."""
    text = plain(text)
    return f"\u200a{text}" if text.startswith("_") else text


def _save(figure: Figure, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    made = []
    for suffix, dates in ((".pdf", {"CreationDate": None}), (".svg", {"Date": None})):
        path = stem.with_name(stem.name + suffix)
        temporary = path.with_name(f".{path.name}")
        figure.savefig(temporary, format=suffix[1:], metadata=dates)
        temporary.replace(path)
        made.append(path)
    return made
