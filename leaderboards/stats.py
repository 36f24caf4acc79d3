"""Mean and standard deviation over seeds, ranks that only a significant difference can move, and outliers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
MIN_SEEDS = 3
LEAST_SPAN = 20.0
"""Points of top-1 below the best that a plot shows in any case."""


@dataclass(frozen=True, slots=True)
class Stat:
    """Mean over seeds, sample standard deviation (n - 1; None where n = 1), and n."""

    mean: float
    std: float | None
    n: int


class Rank(NamedTuple):
    """The places that a row may hold: 1 + the rows shown to be better, and the ranked rows less those shown worse."""

    best: int
    worst: int


def stat(values: Iterable[float | None]) -> Stat | None:
    """None where no value is there."""
    present = [value for value in values if value is not None]
    n = len(present)
    if n == 0:
        return None
    mean = math.fsum(present) / n
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in present) / (n - 1)) if n > 1 else None
    return Stat(mean, std, n)


def axis_floor(values: Sequence[float]) -> float | None:
    """Where a plot's axis ends below, so that a ruined network does not flatten the others: Tukey's outer fence.

    Q1 - 3 (Q3 - Q1), and at least 20 points below the best; None where no value lies below that.
    """
    if not values:
        return None
    q1, q3 = np.quantile(values, (0.25, 0.75))
    floor = min(float(q1 - 3 * (q3 - q1)), max(values) - LEAST_SPAN)
    return floor if min(values) < floor else None


def two_sided_p(t: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """P(|T| >= |t|) of Student's t with integer `df` (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    theta = np.arctan(np.abs(t) / math.sqrt(df))
    cosine, sine = np.cos(theta), np.sin(theta)
    term = cosine.copy() if df % 2 else np.ones_like(theta)
    total = np.zeros_like(theta)
    for k in range(df % 2, df - 1, 2):
        total += term
        term = term * cosine**2 * (k + 1) / (k + 2)
    inside = (theta + sine * total) * 2 / math.pi if df % 2 else sine * total
    return np.clip(1 - inside, 0.0, 1.0)


def ranks(scores: Sequence[Mapping[int, float]], step: float = 0.0) -> list[Rank | None]:
    """The places that are left to each row by what is significant; one mapping seed -> score per row.

    Two-sided paired t-test by seed on every pair with three shared seeds or more, Holm's correction over all those
    pairs, alpha 0.05. None where a row has fewer than three seeds, and where nothing can be compared with it.
    `step`: of the scores, one test image; the differences' spread counts as no less than that of rounding to it, or
    a lead of one image in each of three seeds would be beyond all doubt.
    """
    result: list[Rank | None] = [None] * len(scores)
    rows = [i for i, by_seed in enumerate(scores) if len(by_seed) >= MIN_SEEDS]
    if len(rows) < 2:
        return result
    seeds = sorted({seed for i in rows for seed in scores[i]})
    table = np.array([[scores[i].get(seed, math.nan) for seed in seeds] for i in rows], dtype=np.float64)
    first, second, lead, p = _pairs(table, least=step / math.sqrt(6))
    above, below = np.zeros(len(rows), dtype=int), np.zeros(len(rows), dtype=int)
    for pair in _holm(p):
        winner, loser = (first, second) if lead[pair] > 0 else (second, first)
        above[loser[pair]] += 1
        below[winner[pair]] += 1
    compared = set(first.tolist()) | set(second.tolist())
    for position in compared:
        result[rows[position]] = Rank(1 + int(above[position]), len(compared) - int(below[position]))
    return result


def _pairs(table: NDArray[np.float64], least: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray, NDArray]:
    """Row, other row, mean lead of the first, p-value: one entry per pair that can be tested.

    `least`: standard deviation that the differences have in any case.
    """
    firsts, seconds, leads, ps = [], [], [], []
    for i in range(len(table) - 1):
        difference = table[i] - table[i + 1 :]
        shared = np.isfinite(difference)
        n = shared.sum(axis=1)
        safe = np.where(shared, difference, 0.0)
        mean = safe.sum(axis=1) / np.maximum(n, 1)
        spread = np.where(shared, difference - mean[:, None], 0.0)
        deviation = np.maximum(np.sqrt((spread**2).sum(axis=1) / np.maximum(n - 1, 1)), least)
        error = deviation / np.sqrt(np.maximum(n, 1))
        # Percentages carry rounding noise of about 1e-14: a spread below that is none.
        exact = error < 1e-12
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(exact, np.where(np.abs(mean) < 1e-12, 0.0, np.inf), mean / error)
        p = np.ones_like(t)
        for df in set((n - 1)[n >= MIN_SEEDS].tolist()):
            p[n - 1 == df] = two_sided_p(t[n - 1 == df], df)
        tested = np.flatnonzero(n >= MIN_SEEDS)
        firsts.append(np.full(len(tested), i))
        seconds.append(tested + i + 1)
        leads.append(mean[tested])
        ps.append(p[tested])
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(leads), np.concatenate(ps)


def _holm(p: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the hypotheses that Holm's step-down procedure rejects."""
    order = np.argsort(p, kind="stable")
    limits = ALPHA / (len(p) - np.arange(len(p)))
    kept = np.flatnonzero(p[order] > limits)
    return order[: kept[0]] if len(kept) else order
