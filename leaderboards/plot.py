"""Accuracy against MACs as inline SVG: a colour and a marker per method, error bars, the dense network as a line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from leaderboards.boards import Board
from leaderboards.columns import number, spread
from leaderboards.rows import Row

# Okabe and Ito's palette, without its yellow, which white paper swallows; black follows the text colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "currentColor")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 62, 16, 14, 46

Style = tuple[str, str]


def styles(boards: Iterable[Board]) -> dict[str, Style]:
    """A colour and a marker for every row label, the same in every figure of a report."""
    labels = sorted({row.label for board in boards for row in board.rows if not row.is_dense})
    return {
        label: (COLOURS[i % len(COLOURS)], MARKERS[(i // len(COLOURS) + i) % len(MARKERS)])
        for i, label in enumerate(labels)
    }


def accuracy_against_macs(board: Board, style: dict[str, Style]) -> str:
    """SVG, or nothing where no row has a result. x: MACs in millions; y: top-1 in percent, bars of one std."""
    rows = [row for row in board.rows if row.top1 and row.macs and not row.is_dense]
    if not rows:
        return ""
    dense = [row for row in board.rows if row.is_dense and row.top1]
    lows = [row.top1.mean - (row.top1.std or 0) for row in rows + dense if row.top1]
    highs = [row.top1.mean + (row.top1.std or 0) for row in rows + dense if row.top1]
    x_ticks = ticks(min(_macs(row) for row in rows), max(_macs(row) for row in rows))
    y_ticks = ticks(min(lows), max(highs))
    parts = [_axes(x_ticks, y_ticks)]
    for row in dense:
        y = _y(row.top1.mean if row.top1 else 0, y_ticks)
        tip = escape(f"{row.label}: {spread(row.top1)}")
        parts.append(
            f'<line class="dense" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"><title>{tip}</title></line>'
        )
        parts.append(
            f'<text class="note" x="{WIDTH - RIGHT - 4}" y="{y - 5}" text-anchor="end">{escape(row.label)}</text>'
        )
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    for label, series in by_label.items():
        parts.append(_series(label, sorted(series, key=_macs), style[label], x_ticks, y_ticks))
    name = escape("Top-1 against MACs")
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def _series(label: str, rows: list[Row], style: Style, x_ticks: list[float], y_ticks: list[float]) -> str:
    colour, marker = style
    points, drawn = [], []
    for row in rows:
        assert row.top1 is not None
        x, y = _x(_macs(row), x_ticks), _y(row.top1.mean, y_ticks)
        points.append(f"{x},{y}")
        if row.top1.std:
            low, high = _y(row.top1.mean - row.top1.std, y_ticks), _y(row.top1.mean + row.top1.std, y_ticks)
            drawn.append(f'<path class="bar" d="M{x} {low}V{high}M{x - 3} {low}h6M{x - 3} {high}h6"/>')
        tip = escape(f"{label}: {spread(row.top1)} % at {number(_macs(row))} M MACs, n = {row.n}")
        drawn.append(f"<g>{shape(marker, x, y)}<title>{tip}</title></g>")
    line = f'<polyline points="{" ".join(points)}"/>' if len(points) > 1 else ""
    return f'<g class="series" data-label="{escape(label)}" style="color:{colour}">{line}{"".join(drawn)}</g>'


def shape(marker: str, x: float, y: float, r: float = 4.5) -> str:
    """One marker, filled with the series' colour."""
    if marker == "circle":
        return f'<circle cx="{x}" cy="{y}" r="{r}"/>'
    paths = {
        "square": f"M{x - r} {y - r}h{2 * r}v{2 * r}h{-2 * r}z",
        "triangle": f"M{x} {y - r * 1.2:.1f}L{x + r * 1.1:.1f} {y + r * 0.9:.1f}H{x - r * 1.1:.1f}z",
        "diamond": f"M{x} {y - r * 1.3:.1f}L{x + r * 1.3:.1f} {y}L{x} {y + r * 1.3:.1f}L{x - r * 1.3:.1f} {y}z",
        "cross": (
            f"M{x - r} {y - 1.5}h{r - 1.5}v{1.5 - r}h3v{r - 1.5}h{r - 1.5}"
            f"v3h{1.5 - r}v{r - 1.5}h-3v{1.5 - r}h{1.5 - r}z"
        ),
    }
    return f'<path d="{paths[marker]}"/>'


def _axes(x_ticks: list[float], y_ticks: list[float]) -> str:
    parts = []
    for value in y_ticks:
        y = _y(value, y_ticks)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for value in x_ticks:
        x = _x(value, x_ticks)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">MACs (millions)</text>')
    parts.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">Top-1 (%)</text>')
    return f'<g class="axes">{"".join(parts)}</g>'


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers in even steps that hold [low, high] between the first and the last."""
    span = max(high - low, 1e-3 * max(abs(high), 1.0))
    raw = span / wanted
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        first, last = first - 1, last + 1
    return [round(i * step, 10) for i in range(first, last + 1)]


def _macs(row: Row) -> float:
    return row.macs.mean / 1e6 if row.macs else 0.0


def _x(value: float, at: list[float]) -> float:
    return round(LEFT + (value - at[0]) / (at[-1] - at[0]) * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, at: list[float]) -> float:
    return round(HEIGHT - BOTTOM - (value - at[0]) / (at[-1] - at[0]) * (HEIGHT - TOP - BOTTOM), 1)
