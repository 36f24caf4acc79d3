"""What records say against each other, and against the suite that asked for them: a reviewer should know of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.record import RecordError
from bench.spec import DENSE
from leaderboards.files import PLAN, SUITE, home
from leaderboards.results import Entry, Results
from leaderboards.suitelines import SuiteCopy


def doubts(results: Results) -> Iterator[str]:
    """One line each."""
    yield from _other_baselines(results.records)
    yield from _copies(results.records)
    yield from _left_out(results)


def _other_baselines(entries: list[Entry]) -> Iterator[str]:
    """A dense network that is not what its own record says, or that has none here."""
    found = {entry.record.key: entry for entry in entries}
    unproved: dict[str | None, list[Path]] = defaultdict(list)
    for entry in entries:
        key, dense = entry.record.trial.baseline, entry.record.dense
        baseline = found.get(key or "")
        if dense and not baseline:
            unproved[key].append(entry.path)
        elif baseline and dense not in (None, baseline.record.result):
            yield f"{entry.path} says of its dense network what that one's own record, {baseline.path}, does not"
    for key, paths in unproved.items():
        more = f" (and {len(paths) - 1} more) tell" if len(paths) > 1 else " tells"
        which = f"{key}, whose own record is not here: bring it too" if key else "and not which"
        yield f"{paths[0]}{more} of a dense network, {which}"


def _copies(entries: list[Entry]) -> Iterator[str]:
    """One training under several seeds. The order of the images alone makes losses differ."""
    alike: dict[tuple[bytes, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        record = entry.record
        if entry.curve.loss:
            trial = record.trial.model_dump_json(exclude={"seed", "baseline", "twin"})
            alike[entry.curve.loss.tobytes(), trial + record.result.model_dump_json()].append(entry)
    for same in alike.values():
        if len(same) > 1:
            places = " and ".join(str(entry.path) for entry in same)
            yield f"{places} have the same losses and result under different seeds: they are copies of one training"


def _left_out(results: Results) -> Iterator[str]:
    """A method or target that a suite asks for, and of which its folder does not tell, not even as missing.

    Likewise a seed that others have: which seeds run may be chosen, but not for each method.
    """
    there: dict[Path, set[tuple[str, float | None, int]]] = defaultdict(set)
    told = [(entry.path, entry.record.trial, entry.about) for entry in results.records]
    told += [(item.path, item.trial, item.about) for item in results.unfinished]
    prunes = {trial.method.name for _, trial, about in told if about.get("prunes")}
    for path, trial, _ in told:
        there[home(path)].add((trial.method.name, trial.keep_macs, trial.seed))
    for folder, known in there.items():
        with suppress(RecordError):  # no suite: said where it is read
            suite = SuiteCopy(folder / SUITE)
            if not (folder / PLAN).is_file():
                yield f"{suite.path} has no {PLAN} beside it, which says what was to run: bring it too"
            seeds = sorted({seed for name, _, seed in known if name != DENSE})
            for name, given, line in suite.methods():
                whole = {point for other, point, _ in known if other == name and point is None}
                points = (whole if given or name not in prunes else set()) or suite.points()
                lacks = [
                    f"{'' if point is None else f'at {point:g} '}with seed {', '.join(map(str, without))}"
                    for point in points
                    if (without := [seed for seed in seeds if (name, point, seed) not in known])
                ]
                if lacks or name not in {other for other, _, _ in known}:
                    asked = " ".join([name, " and ".join(lacks)]).rstrip()
                    yield (
                        f"{suite.path}:{line} asks for {asked}, and neither a record nor {PLAN} there tells of it: "
                        "bring both back, or run it"
                    )
