"""One colour and one marker per method, the same in every figure of every report; safe for colour-blind readers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import product

from leaderboards.boards import Board
from leaderboards.names import CONTROLS, METHODS

# Okabe and Ito's palette. Its yellow is too pale for white paper; its black would vanish on a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#888888"
"""For controls."""
MARKERS = ("circle", "square", "triangle", "diamond", "cross")

# Five and six have no common factor: the first thirty differ in colour or in marker.
SLOTS = tuple((COLOURS[i % 6], MARKERS[i % 5]) for i in range(30))

Style = tuple[str, str]


def styles(boards: Iterable[Board]) -> dict[str, Style]:
    """Label -> (colour, marker). The methods that come along always have theirs, whichever others are shown.

    Variants of a method share its colour, as long as there are markers. No two of 35 labels share both.
    """
    methods = {row.label: row.method for board in boards for row in board.rows if not row.is_dense}
    found: dict[str, Style] = {}
    # Those with a place of their own first, then by name: what is shown beside a method does not move it.
    for label in sorted(methods, key=lambda label: (methods[label] not in METHODS + CONTROLS, label)):
        taken = set(found.values())
        found[label] = next((style for style in _wanted(methods[label]) if style not in taken), _home(methods[label]))
    return found


def _home(method: str) -> Style:
    if method in CONTROLS:
        return GREY, MARKERS[CONTROLS.index(method)]
    if method in METHODS:
        return SLOTS[METHODS.index(method)]
    others = SLOTS[len(METHODS) :]
    return others[zlib.crc32(method.encode()) % len(others)]


def _wanted(method: str) -> Iterator[Style]:
    """Styles in the order in which a method would take them."""
    colour, marker = _home(method)
    start = MARKERS.index(marker)
    yield from ((colour, other) for other in MARKERS[start:] + MARKERS[:start])
    yield from SLOTS[len(METHODS) :]
    yield from product((*COLOURS, GREY), MARKERS)
