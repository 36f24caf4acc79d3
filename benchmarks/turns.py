"""Timing two or more things in turn, so that whatever slows the machine for a while slows them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Figure:
    """A line of the report: median and quartiles of a ratio over the rounds; `detail` says what stands behind it."""

    what: str
    ratio: float
    low: float
    high: float
    target: str = ""
    detail: str = ""

    def line(self) -> str:
        return f"| {self.what} | {self.ratio:.3g} | {self.low:.3g} to {self.high:.3g} | {self.target} | {self.detail} |"


HEAD = "| what | ratio (median) | quartiles | target | |\n|---|---|---|---|---|"


def in_turn(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round; every case has run once before, untimed."""
    for case in cases.values():
        case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            times[name].append(seconds(case))
    return times


def seconds(case: Callable[[], object]) -> float:
    """Of one call, until the GPU, where there is one, is done with it."""
    _wait()
    started = time.perf_counter()
    case()
    _wait()
    return time.perf_counter() - started


def compared(what: str, above: list[float], below: list[float], target: str = "", detail: str = "") -> Figure:
    """The ratio above / below, round by round."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Figure(what, median, low, high, target, detail)


def taken(what: str, times: list[float], target: str = "", detail: str = "") -> Figure:
    """Seconds as they are, where there is nothing to compare them with."""
    return compared(f"{what}: seconds", times, [1.0] * len(times), target, detail)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
