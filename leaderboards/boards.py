"""Records into boards: a board holds what may be compared.

That is one protocol version, track, data set, backbone and dense source; in the matched track also one total of
epochs and, for methods that start from the dense network, one recipe.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import UserError
from bench.spec import DENSE, Trial
from leaderboards.published import own_figure, printed_for
from leaderboards.results import Entry, Folders, Results, Unfinished, read
from leaderboards.row import Printed, Row, label, make_row, mark_and_rank, order
from leaderboards.speed import Clock, add_speed
from leaderboards.stats import axis_floor
from leaderboards.titles import titles


@dataclass
class Board:
    """Rows that may be compared. `trial` is one of theirs, and stands for what they share."""

    trial: Trial
    rows: list[Row]
    title: str
    """No other board of the same report has it."""
    printed: list[Printed]
    """What papers report for this data set and backbone."""
    clock: Clock | None = None
    """Where the speeds of the rows were measured."""

    @property
    def smoke(self) -> bool:
        return self.trial.smoke

    @property
    def entries(self) -> Iterable[Entry]:
        return (entry for row in self.rows for entry in row.entries)

    @property
    def floor(self) -> float | None:
        """Top-1 below which a row stands at the edge of a plot; None where none does."""
        return axis_floor([row.top1.mean for row in self.rows if row.top1])


class _Item:
    """A record, or a trial without one, and its trial's values, dumped once."""

    def __init__(self, result: Entry | Unfinished) -> None:
        self.result = result
        self.trial = result.record.trial if isinstance(result, Entry) else result.trial
        self.key = result.record.key if isinstance(result, Entry) else self.trial.key
        self.is_dense = self.trial.method.name == DENSE
        self.start = result.record.starts_from if isinstance(result, Entry) else result.about.get("start")
        self.values = self.trial.model_dump(mode="json")
        shared = {name: self.values[name] for name in ("smoke", "track", "backbone", "protocol")}
        # Where files lie does not count.
        shared["dataset"] = {name: value for name, value in self.values["dataset"].items() if name != "root"}
        dense = dict(self.values["dense"] or {})
        if dense.get("weights"):
            dense["weights"] = {name: value for name, value in dense["weights"].items() if name != "file"}
        self.scope = json.dumps([shared["smoke"], shared["track"], shared, dense])


class Boards(list[Board]):
    """What `boards` makes, once, for several formats."""


def boards(source: Folders | Results | Boards, keep: Iterable[float] = ()) -> Boards:
    """All boards of folders or results, in a fixed order. Adds to `problems` of results what could not be placed.

    `keep`: only rows at these shares of the dense MACs, to half a percentage point; the dense network and the controls
    that cut nothing stay. Raises UserError where no row is at one of them.
    """
    if isinstance(source, Boards):
        found = source
    else:
        found = Boards(_made(source if isinstance(source, Results) else read(source)))
    shares = [100 * share for share in keep]
    if not shares:
        return found
    pruned = [row for board in found for row in board.rows if _pruned(row) and row.kept is not None]
    for share in shares:
        if pruned and not any(_at(row, [share]) for row in pruned):
            there = ", ".join(dict.fromkeys(f"{kept:.0f}" for kept in sorted(row.kept or 0.0 for row in pruned)))
            raise UserError(f"no row keeps {share:g} % of the MACs; there are {there} %")
    chosen = []
    for board in found:
        rows = [row for row in board.rows if _at(row, shares)]
        if any(map(_pruned, rows)):
            measured = any(row.single or row.batched for row in rows if not row.is_dense)
            chosen.append(replace(board, rows=rows, clock=board.clock if measured else None))
    return Boards(chosen)


def _pruned(row: Row) -> bool:
    return not row.is_dense and row.prunes


def _at(row: Row, shares: list[float]) -> bool:
    kept = row.kept
    if not _pruned(row):
        return True
    return kept is not None and any(abs(kept - share) < 0.5 for share in shares)


def _made(results: Results) -> list[Board]:
    items = [*map(_Item, results.records), *map(_Item, results.unfinished)]
    by_key = {item.key: item for item in items}
    starts = {item.trial.method.name: item.start for item in items if item.start}
    groups: dict[tuple[str, int], dict[str, list[_Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if not item.is_dense:
            matched = item.trial.track == "matched"
            # From scratch, a method needs another recipe than one that fine-tunes: it stands beside each of those.
            fine_tunes = matched and (item.start or starts.get(item.trial.method.name)) != "scratch"
            recipe = json.dumps(item.values["recipe"]) if fine_tunes else ""
            groups[item.scope, item.trial.recipe.epochs if matched else 0][recipe].append(item)
    found: list[list[_Item]] = []
    for scope in sorted(groups):
        scratch = groups[scope].pop("", [])
        found += [groups[scope][recipe] + scratch for recipe in sorted(groups[scope])] or [scratch]
    groups_with_dense = _with_dense(found, [item for item in items if item.is_dense])
    stands_for = [
        next((item.trial for item in group if not item.is_dense), group[0].trial) for group in groups_with_dense
    ]
    return [
        _board(group, trial, title, by_key, results)
        for group, trial, title in zip(groups_with_dense, stands_for, titles(stands_for), strict=True)
    ]


def _with_dense(found: list[list[_Item]], dense: list[_Item]) -> list[list[_Item]]:
    """Each baseline stands on the boards that refer to it, or on those it could serve, or on one of its own."""
    referring: dict[str | None, set[int]] = defaultdict(set)
    fitting: dict[str, set[int]] = defaultdict(set)
    alone: dict[str, list[_Item]] = defaultdict(list)
    for i, group in enumerate(found):
        for item in group:
            referring[item.trial.baseline].add(i)
            fitting[item.scope].add(i)
    for item in dense:
        homes = referring[item.key] or fitting[item.scope]
        for i in sorted(homes):
            found[i].insert(0, item)
        if not homes:
            alone[item.scope].append(item)
    return found + [alone[scope] for scope in sorted(alone)]


def _board(items: list[_Item], trial: Trial, title: str, by_key: dict[str, _Item], results: Results) -> Board:
    grouped: dict[str, list[_Item]] = defaultdict(list)
    details: dict[str, dict[str, Any]] = {}
    lost: dict[Any, set[str]] = defaultdict(set)
    for item in items:
        if item.trial.twin and item.trial.twin not in by_key:
            lost[item.trial.method.params.get("of"), item.trial.keep_macs, item.trial.seed].add(item.trial.twin)
    unclear = {of for (of, *_), twins in lost.items() if len(twins) > 1}
    for item in items:
        detail = _detail(item, by_key, unclear)
        identity = json.dumps(detail)
        details[identity] = detail
        grouped[identity].append(item)
    rows = [
        make_row(details[name], (item.result for item in group), results.problems) for name, group in grouped.items()
    ]
    label(rows)
    mark_and_rank(rows)
    rows.sort(key=order)
    printed = printed_for(trial)
    for row in rows:
        row.printed = own_figure(row, printed)
    return Board(trial, rows, title, printed, add_speed(rows))


def _detail(item: _Item, by_key: dict[str, _Item], unclear: set[str | None]) -> dict[str, Any]:
    """What the seeds of one row share, flattened; where its widths come from is the twin's method, not its key.

    `unclear`: methods several of whose variants are copied, and are not here to say which is which.
    """
    values, method = item.values, item.values["method"]
    flat = {"method": method["name"], "version": method["version"], **values["recipe"]}
    flat |= {name: values[name] for name in ("keep_macs", "precision", "compile", "test_each_epoch")}
    flat |= {f"params.{name}": value for name, value in sorted(method["params"].items())}
    if values["twin"]:
        twin, of = by_key.get(values["twin"]), method["params"].get("of")
        name = values["twin"] if of is None or of in unclear else of
        flat["twin"] = _detail(twin, by_key, unclear) if twin else name
    return flat
