"""One colour and one marker per row label, the same in every figure of a report; safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable

from leaderboards.boards import Board

# Okabe and Ito's palette. Its yellow is too pale for white paper; its black would vanish on a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")

Style = tuple[str, str]


def styles(boards: Iterable[Board]) -> dict[str, Style]:
    """Label -> (colour, marker). No two of the first 35 labels, in alphabetical order, share both."""
    labels = sorted({row.label for board in boards for row in board.rows if not row.is_dense})
    return {label: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, label in enumerate(labels)}
