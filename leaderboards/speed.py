"""Measured speed of the rows of a board: on one machine, in one pass with that machine to itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bench.timings import Latency, Timing
from leaderboards.row import Row, Speed
from leaderboards.stats import Stat, stat


@dataclass(frozen=True)
class Clock:
    """Where a board's speeds were measured: the machine with most measurements, and its one or two batch sizes."""

    name: str
    batches: tuple[int, ...]
    loaded: bool
    others: int
    """Further machines, whose measurements are not shown."""


def add_speed(rows: list[Row]) -> Clock | None:
    """Give the rows `single` (batch 1) and `batched` (the most usual larger batch); None where nothing was measured."""
    found = [latency for row in rows for entry in row.entries for latency in entry.latencies]
    if not found:
        return None
    machines = Counter(latency.name for latency in found)
    name = min(machines, key=lambda n: (-machines[n], n))
    here = [latency for latency in found if latency.name == name]
    sizes = Counter(t.batch for latency in here for t in latency.timings)
    many = max((n for n in sizes if n > 1), key=lambda n: (sizes[n], n), default=None)
    for row in rows:
        own = here if row.is_dense else [x for entry in row.entries for x in entry.latencies if x.name == name]
        row.single, row.batched = _speed(row, own, 1), _speed(row, own, many)
    shown = [speed for row in rows for speed in (row.single, row.batched) if speed]
    batches = tuple(sorted({speed.batch for speed in shown}))
    return Clock(name, batches, any(speed.loaded for speed in shown), len(machines) - 1)


def _speed(row: Row, measured: list[Latency], batch: int | None) -> Speed | None:
    pairs: list[tuple[Latency, Timing]] = [(x, t) for x in measured for t in x.timings if t.batch == batch]
    ms = stat((t.dense_ms if row.is_dense else t.compact_ms).median for _, t in pairs)
    if batch is None or ms is None:
        return None
    speedup = None if row.is_dense else stat(t.speedup.median for _, t in pairs)
    share = stat(100 / t.speedup.median for _, t in pairs) if speedup else None
    return Speed(batch, speedup, share or Stat(100.0, None, ms.n), ms, not all(x.alone for x, _ in pairs))
