"""Training histories as curves, read without an object per epoch: ten thousand records hold more than a million."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from operator import itemgetter
from typing import Any

from bench.record import Epoch

_NUMBER = {int, float}
_KINDS: dict[str, set[type]] = {
    "phase": {str}, "epoch": {int}, "epochs": _NUMBER, "lr": _NUMBER, "loss": _NUMBER, "train_top1": _NUMBER,
    "macs": {int}, "images_per_s": _NUMBER, "seconds": _NUMBER,
}  # fmt: skip
_values = itemgetter(*_KINDS)
_LARGEST = {"epoch": math.inf, "epochs": 1e30, "macs": 10**18, "images_per_s": math.inf, "seconds": 1e30}
"""Of what cannot be negative, as in `Epoch`."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Training history: finished epochs, training loss, top-1 in percent (test where recorded, else training)."""

    epochs: array[float]
    loss: array[float]
    top1: array[float]
    on_test: bool


def curve(history: Any) -> Curve | None:
    """The curve of a record's history as JSON gives it; None where an epoch is not plainly one.

    Then `Record` must look at it, and say what is wrong, if anything is.
    """
    try:
        columns = dict(zip(_KINDS, zip(*map(_values, history), strict=True), strict=True)) if history != [] else {}
        tops = [row.get("top1", ...) for row in history]
        sizes = {len(_KINDS) + given for given in {top1 is not ... for top1 in tops}}
        if len(sizes) > 1 or set(map(len, history)) != sizes or not all(map(_plain, columns, columns.values())):
            return None
        tested = [top1 is not None and top1 is not ... for top1 in tops]
        tops = list(compress(tops, tested))
        if not (set(map(type, tops)) <= _NUMBER and all(0 <= top1 <= 100 for top1 in tops)):
            return None
    except (TypeError, KeyError, AttributeError, OverflowError):
        return None
    epochs, loss, train = (columns.get(name, ()) for name in ("epochs", "loss", "train_top1"))
    return _of(epochs, loss, train, tops, tested)


def _plain(name: str, column: Sequence[Any]) -> bool:
    """Whether these are finite numbers, or texts, of the right kind."""
    if not set(map(type, column)) <= _KINDS[name]:
        return False
    if name != "phase" and not math.isfinite(sum(column)):
        return False
    return name not in _LARGEST or (min(column) >= 0 and max(column) <= _LARGEST[name])


def curve_of(history: list[Epoch]) -> Curve:
    """The curve of a history that was read in full."""
    tested = [epoch.top1 is not None for epoch in history]
    tops = [epoch.top1 for epoch in history if epoch.top1 is not None]
    return _of([e.epochs for e in history], [e.loss for e in history], [e.train_top1 for e in history], tops, tested)


def _of(
    epochs: Sequence[float], loss: Sequence[float], train: Sequence[float], tops: list[float], tested: list[bool]
) -> Curve:
    done = accumulate(map(float, epochs))
    if tops:
        return Curve(array("f", compress(done, tested)), array("f", compress(loss, tested)), array("f", tops), True)
    return Curve(array("f", done), array("f", loss), array("f", train), False)
