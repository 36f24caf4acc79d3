"""One row of a table: a method with its hyper-parameters at one operating point, over its seeds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.labels import as_text, plain
from bench.spec import DENSE, Trial
from leaderboards.results import About, Entry, Unfinished
from leaderboards.stats import Rank, Stat, ranks, stat

OFF_TARGET = 1.0
"""Percentage points of dense MACs beyond which a row is marked."""


@dataclass(frozen=True)
class Printed:
    """One printed result. Accuracies and reductions in percent, sizes in millions; None = not printed."""

    method: str
    year: int
    dense_top1: float | None
    top1: float | None
    drop: float | None
    macs: float | None
    macs_cut: float | None
    params: float | None
    kind: str
    suspect: bool
    source: str


@dataclass(frozen=True)
class Speed:
    """A row at one batch size, over its seeds: dense / compact time, and milliseconds of a pass of the whole batch."""

    batch: int
    speedup: Stat | None
    """None for the dense network."""
    share: Stat
    """Time in percent of the dense network's, 100 / speed-up: what compares, where milliseconds drift."""
    ms: Stat
    loaded: bool
    """Whether other work ran on the machine in some of the measurements."""


@dataclass
class Row:
    """One method at one operating point, over its seeds. Accuracies in percent, reductions in percent of dense."""

    method: str
    label: str
    detail: dict[str, Any]
    """All fields of the trial that the seeds share, flattened: hyper-parameters, recipe, precision and so on."""
    entries: list[Entry]
    unfinished: list[Unfinished]
    is_dense: bool
    starts_from: str = ""
    keep_macs: float | None = None
    prunes: bool = True
    """False for a control that leaves the network whole."""
    point: str = ""
    """The operating point, such as `50 %`; rows are ranked among those that share it."""
    about: About = field(default_factory=dict)
    """What the runs said of the method; where they differ, the first."""
    top1: Stat | None = None
    top5: Stat | None = None
    present_top1: Stat | None = None
    """Top-1 where only the classes that the test set holds compete."""
    change: Stat | None = None
    cut_top1: Stat | None = None
    best_top1: Stat | None = None
    macs: Stat | None = None
    macs_cut: Stat | None = None
    fvcore_total: Stat | None = None
    params: Stat | None = None
    params_cut: Stat | None = None
    epochs: Stat | None = None
    epochs_in_all: Stat | None = None
    training_macs: Stat | None = None
    training_macs_in_all: Stat | None = None
    seconds: Stat | None = None
    single: Speed | None = None
    """Measured speed at batch 1."""
    batched: Speed | None = None
    """Measured speed at a larger batch."""
    off_target: bool = False
    rank: Rank | None = None
    printed: Printed | None = None
    """The figure of the method's own authors nearest to this operating point."""
    mark: str = ""
    """`best` or `second` top-1 of its operating point."""

    @property
    def failed(self) -> int:
        return sum(u.state == "failed" for u in self.unfinished)

    @property
    def refused(self) -> int:
        """Trials whose record cannot be used."""
        return sum(u.state == "refused" for u in self.unfinished)

    @property
    def missing(self) -> int:
        return sum(u.state == "missing" for u in self.unfinished)

    @property
    def over_budget(self) -> bool:
        """Whether it trained for more than the epochs that all have on the matched track, as some controls do."""
        trial = self.trials[0]
        # A batch more is no more.
        return trial.track == "matched" and self.epochs is not None and self.epochs.mean > trial.recipe.epochs + 0.5

    @property
    def comparable(self) -> bool:
        """False for a row of which a seed failed, and those that went well are left, or that trained for longer."""
        return bool(self.top1) and not (self.is_dense or self.failed or self.refused or self.over_budget)

    @property
    def n(self) -> int:
        return len(self.entries)

    @property
    def trials(self) -> list[Trial]:
        """Of all seeds, run or not."""
        return [entry.record.trial for entry in self.entries] + [u.trial for u in self.unfinished]

    @property
    def heading(self) -> str:
        """What a table says above the rows of this operating point."""
        unit = {"%": " of the MACs kept", "M": " MACs"}.get(self.point[-1:], "")
        return self.point + unit

    @property
    def kept(self) -> float | None:
        """Percent of the dense MACs that are kept, or are to be; None where that is not known."""
        if self.is_dense or not self.prunes:
            return 100.0
        if self.keep_macs is not None:
            return 100 * self.keep_macs
        return 100 - self.macs_cut.mean if self.macs_cut else None


def make_row(detail: dict[str, Any], items: Iterable[Entry | Unfinished], problems: list[str]) -> Row:
    """The figures of one row. Names in `problems` two records that would be the same seed of it."""
    items = list(items)
    by_seed: dict[int, Entry] = {}
    for item in items:
        if isinstance(item, Entry):
            seed = item.record.trial.seed
            if seed in by_seed:
                problems.append(f"{item.path} and {by_seed[seed].path} are one row and one seed: the second is used")
            else:
                by_seed[seed] = item
    entries = [by_seed[seed] for seed in sorted(by_seed)]
    unfinished = sorted((i for i in items if isinstance(i, Unfinished)), key=lambda u: u.trial.seed)
    unfinished = [u for u in unfinished if u.trial.seed not in by_seed]
    row = Row(detail["method"], detail["method"], detail, entries, unfinished, detail["method"] == DENSE)
    told: list[Entry | Unfinished] = [*entries, *unfinished]
    row.about = next((item.about for item in told if item.about), {})
    row.keep_macs, row.prunes = detail["keep_macs"], bool(row.about.get("prunes", True))
    records = [entry.record for entry in entries]
    dense = [record.result if row.is_dense else record.dense for record in records]
    before = [r.spent_dense if r.starts_from == "pretrained" and not row.is_dense else None for r in records]
    # What weights from elsewhere have cost is not known, so nothing is said of the whole.
    trained_here = [r.trial.dense is None or r.trial.dense.recipe is not None for r in records]
    known = [
        (here and (b is not None or row.is_dense)) or (r.starts_from == "scratch" and not row.is_dense)
        for r, b, here in zip(records, before, trained_here, strict=True)
    ]
    row.starts_from = "/".join(sorted({r.starts_from for r in records}))
    if not records and not row.is_dense:
        row.starts_from = str(row.about.get("start", ""))
    row.top1 = stat(r.result.top1 for r in records)
    row.top5 = stat(r.result.top5 for r in records)
    row.present_top1 = stat(r.result.present_top1 for r in records)
    row.cut_top1 = stat(r.cut_top1 for r in records)
    row.best_top1 = stat(r.best_top1 for r in records)
    row.macs = stat(r.result.macs for r in records)
    row.fvcore_total = stat(r.result.fvcore_total for r in records)
    row.params = stat(r.result.params for r in records)
    pairs = [(r.result, d) for r, d in zip(records, dense, strict=True) if d is not None]
    row.macs_cut = stat(100 * (1 - a.macs / d.macs) for a, d in pairs if d.macs)
    row.params_cut = stat(100 * (1 - a.params / d.params) for a, d in pairs if d.params)
    row.change = None if row.is_dense else stat(a.top1 - d.top1 for a, d in pairs)
    row.epochs = stat(r.spent.epochs for r in records)
    row.training_macs = stat(r.spent.macs for r in records)
    row.seconds = stat(r.spent.seconds for r in records)
    if known and all(known):
        row.epochs_in_all = stat(r.spent.epochs + (b.epochs if b else 0) for r, b in zip(records, before, strict=True))
        row.training_macs_in_all = stat(
            r.spent.macs + (b.macs if b else 0) for r, b in zip(records, before, strict=True)
        )
    row.off_target = any(r.off_target is not None and abs(r.off_target) > OFF_TARGET + 1e-9 for r in records)
    row.point = _point(row)
    return row


def _point(row: Row) -> str:
    if row.is_dense:
        return "dense"
    if row.keep_macs is not None:
        return f"{100 * row.keep_macs:g} %"
    if row.macs_cut is not None:
        return f"{100 - row.macs_cut.mean:.0f} %"
    if row.macs:
        return f"{row.macs.mean / 1e6:.1f} M"
    return "own widths" if row.prunes else "100 %"


def label(rows: list[Row]) -> None:
    """A method's name, and of its values those that tell its rows apart."""
    by_method: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_method[row.method].append(row)
    for group in by_method.values():
        if len(group) == 1 and "twin" not in group[0].detail:
            group[0].label = plain(group[0].method)
            continue
        details = [_with_twin(row.detail) for row in group]
        twins: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for detail in details:
            twins[detail.get("of")].append(detail)
        own = [n for n in _varying(details) if not n.startswith("of.")]
        of = {name: [n for n in _varying(alike) if n.startswith("of.")] for name, alike in twins.items()}
        for row, detail in zip(group, details, strict=True):
            shown = [n for n in ("of", *own, *of[detail.get("of")]) if n in detail]
            values = [f"{n.replace('params.', '')}={as_text(detail[n])}" for n in shown]
            row.label = plain(f"{row.method} ({', '.join(values)})" if values else row.method)


def _varying(details: list[dict[str, Any]]) -> list[str]:
    """The names whose values not all of these share, but for those that are said otherwise."""
    names = {name for detail in details for name in detail} - {"keep_macs", "method", "of", "of.keep_macs"}
    return [n for n in sorted(names) if len({json.dumps(detail.get(n)) for detail in details}) > 1]


def _with_twin(detail: dict[str, Any]) -> dict[str, Any]:
    """The twin's method as `of`, and its values as `of.NAME`; what the suite writes for that is one of the two."""
    twin = detail.get("twin")
    if not twin:
        return detail
    own = {name: value for name, value in detail.items() if name not in ("twin", "params.of")}
    if not isinstance(twin, dict):
        return own | {"of": twin}
    values = {f"of.{name}": value for name, value in _with_twin(twin).items() if name != "method"}
    return own | {"of": twin["method"]} | values


def mark_and_rank(rows: list[Row]) -> None:
    """Best, second best and rank among the rows of each operating point that can be compared."""
    points: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.comparable:
            points[row.point].append(row)
    for group in points.values():
        scores = [{e.record.trial.seed: e.record.result.top1 for e in row.entries} for row in group]
        image = 100 / max(e.record.result.test_images for row in group for e in row.entries)
        for row, rank in zip(group, ranks(scores, step=image), strict=True):
            row.rank = rank
        # Fewer seeds may be the luckier ones. Marked as printed, so that equal numbers carry the same mark.
        most = max(row.n for row in group)
        whole = [row for row in group if row.n == most]
        means = sorted({round(row.top1.mean, 2) for row in whole if row.top1}, reverse=True)
        for row in whole if len(whole) > 1 else ():
            place = means.index(round(row.top1.mean, 2)) if row.top1 else 2
            row.mark = ("best", "second", "")[min(place, 2)]


def order(row: Row) -> tuple[Any, ...]:
    """Sorts rows: the dense network first, then by operating point and top-1."""
    kept = -1.0 if row.kept is None else row.kept if row.keep_macs else round(row.kept)
    return (not row.is_dense, -kept, row.point, row.top1 is None, -row.top1.mean if row.top1 else 0.0, row.label)
