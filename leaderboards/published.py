"""Figures that papers print: shown as reported, in their own convention, beside ours; they never rank."""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from leaderboards.row import Printed, Row

if TYPE_CHECKING:
    from bench.spec import Trial

NEAR = 3.0
"""Percentage points of MACs within which a printed operating point is taken for ours."""


def printed_for(trial: Trial) -> list[Printed]:
    """What is printed for the data set and backbone of a trial; nothing where only a part of the data set is used."""
    if trial.dataset.subset is not None:
        return []
    return _all().get((_plain_name(trial.dataset.name), _plain_name(trial.backbone.name)), [])


def own_figure(row: Row, printed: list[Printed]) -> Printed | None:
    """The authors' own printed result nearest to the row's operating point, where there is one that is near.

    Points are compared by the share of MACs cut, each by its own counter; by the MACs where no share is known. Of
    several at one point, as from fresh weights and from trained ones, the paper's best is taken.
    """
    names = _names().get(row.method, set())
    near: list[tuple[float, float, int, Printed]] = []
    for i, figure in enumerate(printed):
        if figure.kind == "primary" and not figure.suspect and figure.top1 is not None and figure.method in names:
            distance = _distance(row, figure)
            if distance is not None and distance <= NEAR:
                near.append((round(distance, 6), -figure.top1, i, figure))
    return min(near)[-1] if near else None


def _distance(row: Row, figure: Printed) -> float | None:
    if row.macs_cut and figure.macs_cut is not None:
        return abs(row.macs_cut.mean - figure.macs_cut)
    if row.fvcore_total and figure.macs:
        return 100 * abs(row.fvcore_total.mean / 1e6 / figure.macs - 1)
    return None


def _plain_name(name: str) -> str:
    """`cifar_resnet56`, `ResNet-56` and `ResNet-56 (option B shortcut)` are one backbone, as `VGG-16-BN` is VGG-16."""
    name = re.sub(r"\(.*?\)|^cifar_(?=[a-z])|_100$", "", name.lower())
    name = re.sub(r"[^a-z0-9]", "", name)
    return name.removesuffix("bn") if name.startswith("vgg") else name


@cache
def _all() -> dict[tuple[str, str], list[Printed]]:
    found: dict[tuple[str, str], list[Printed]] = {}
    for line in _lines("published.csv"):
        figure = Printed(
            method=line["method"],
            year=int(line["year"]),
            dense_top1=_number(line["dense_top1"]),
            top1=_number(line["pruned_top1"]),
            drop=_number(line["top1_drop"]),
            macs=_number(line["flops_M"]),
            macs_cut=_number(line["flops_reduction_pct"]),
            params=_number(line["params_M"]),
            kind=line["kind"],
            suspect=line["suspect"] == "yes",
            source=line["source"],
        )
        found.setdefault((_plain_name(line["dataset"]), _plain_name(line["backbone"])), []).append(figure)
    return found


@cache
def _names() -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for line in _lines("names.csv"):
        names.setdefault(line["method"], set()).add(line["printed"])
    return names


def _lines(name: str) -> list[dict[str, str]]:
    text = (files("leaderboards") / "published" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _number(text: str) -> float | None:
    return float(text) if text else None
