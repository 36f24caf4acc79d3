"""Folders of records, read once. What cannot be used is named in one line each, and the rest is kept."""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.record import Failure, Record, RecordError, first_fault
from bench.spec import DENSE, PROTOCOL, Trial
from bench.timings import Latency, read_latency
from leaderboards import briefs
from leaderboards.curves import Curve
from leaderboards.files import FAILED, LATENCY, METHODS, PLAN, RECORD, SUITE, files, home, key_of
from leaderboards.names import CONTROLS
from leaderboards.names import METHODS as KNOWN
from leaderboards.suitelines import SuiteCopy, SuiteLine

Folders = str | Path | Iterable[str | Path]
About = Mapping[str, Any]
"""What a run said of a method, in its methods.json: summary, start, defaults, paper."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and the file it was read from; its history is kept as a curve, which takes 50 times less memory."""

    record: Record
    path: Path
    curve: Curve
    latencies: tuple[Latency, ...] = ()
    """How fast its network is, one measurement per machine, by the machine's name."""
    asked: SuiteLine | None = None
    """The entry of the run's suite file that it comes from, where a copy of the file lies beside."""
    about: About = field(default_factory=dict)
    """What its run said of its method."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A trial without a usable record: why, in one line. `state`: "failed", "missing" or "refused"."""

    trial: Trial
    state: str
    reason: str
    about: About = field(default_factory=dict)
    """What its run said of its method."""
    path: Path = Path()
    """The file that tells of it."""


@dataclass
class Results:
    """All that was read. `problems` is empty when every file was sound."""

    records: list[Entry] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(folders: Folders) -> Results:
    """Read run folders (`trials/<key>/record.json`) and result folders (`<key>.json`), at any depth.

    Never raises on bad files: a damaged record, another protocol version, two different records with one key, a
    folder that is absent or empty are each one line in `problems`. A trial whose record is in doubt is shown as
    refused.
    """
    with without_collector():
        return _read(folders)


@contextmanager
def without_collector() -> Iterator[None]:
    """Thousands of new objects that hold no cycle: looking for cycles among them takes twice as long as reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(folders: Folders) -> Results:
    found: dict[str, Entry] = {}
    without: dict[str, dict[str, Unfinished]] = {"missing": {}, "failed": {}, "refused": {}}
    broken: list[str] = []
    latencies: dict[str, dict[str, Latency]] = defaultdict(dict)
    suites: dict[Path, SuiteCopy] = {}
    methods: dict[Path, dict[str, About]] = defaultdict(dict)
    problems: list[str] = []
    for folder in _as_paths(folders):
        if not folder.is_dir():
            problems.append(f"{folder} is not a folder of records: name the folder that holds it")
            continue
        paths = list(files(folder))
        read_brief = briefs.reader([path for path in paths if RECORD.fullmatch(path.name)])
        for path in paths:
            try:
                if path.name == PLAN:
                    trials = _plan(path)
                    without["missing"] |= {
                        t.key: _unfinished(t, "missing", "not run yet", path, methods) for t in trials
                    }
                elif path.name == SUITE:
                    suites[path.parent] = SuiteCopy(path)
                elif path.name == METHODS:
                    methods[path.parent] = _methods(path)
                elif FAILED.fullmatch(path.name):
                    failure = _failure(path)
                    if failure.trial.protocol == PROTOCOL:
                        failed = _unfinished(failure.trial, "failed", failure.reason, path, methods)
                        without["failed"][failure.key] = failed
                elif LATENCY.fullmatch(path.name):
                    latency = read_latency(path)
                    earlier = latencies[latency.key].setdefault(latency.name, latency)
                    latencies[latency.key][latency.name] = max(earlier, latency, key=lambda x: x.measured)
                else:
                    _take(path, read_brief, found, without["refused"], suites, methods)
            except RecordError as error:
                problems.append(str(error))
                broken += [key_of(path)] if RECORD.fullmatch(path.name) else []
        if all(path.name in (SUITE, METHODS) for path in paths):
            problems.append(f"{folder} holds no records")
    known = {*KNOWN, *CONTROLS, DENSE}.union(*methods.values())
    for key in [key for key, entry in found.items() if entry.record.trial.method.name not in known]:
        entry = found.pop(key)
        broken.append(key)
        problems.append(
            f"{entry.path} is of an unknown method, {entry.record.trial.method.name!r}: it is left out, "
            "for want of a methods.json from its run that describes it"
        )
    for key in found.keys() & latencies.keys():
        found[key] = replace(found[key], latencies=tuple(latencies[key][name] for name in sorted(latencies[key])))
    unfinished = without["missing"] | without["failed"]
    unfinished |= {
        key: replace(unfinished[key], state="refused", reason="its record cannot be used")
        for key in unfinished.keys() & set(broken)
    }
    unfinished |= without["refused"]
    return Results(
        records=[found[key] for key in sorted(found)],
        unfinished=[unfinished[key] for key in sorted(unfinished) if key not in found],
        problems=problems,
    )


def check_publishable(record: Record) -> None:
    """Raise RecordError where a record may not enter a leaderboard."""
    if record.trial.smoke:
        raise RecordError(
            f"{record.key} is a smoke record: it shows that the harness works, not what a method is worth"
        )
    if record.trial.protocol != PROTOCOL:
        raise RecordError(f"{record.key} follows protocol {record.trial.protocol}, this board protocol {PROTOCOL}")


def _take(
    path: Path,
    read_brief: Callable[[Path], tuple[Record, Curve]],
    found: dict[str, Entry],
    refused: dict[str, Unfinished],
    suites: dict[Path, SuiteCopy],
    methods: dict[Path, dict[str, About]],
) -> None:
    record, curve = read_brief(path)
    key = record.key
    if record.trial.protocol != PROTOCOL:
        raise RecordError(
            f"{path} follows protocol {record.trial.protocol}; these tables hold protocol {PROTOCOL}: "
            "run its trial again with this version"
        )
    if path.name != "record.json" and path.stem != key:
        raise RecordError(f"{path} holds the record {key}: the file should be called {key}.json")
    if key in refused:
        raise RecordError(f"{path} is one more record with the key {key}")
    if key in found:
        other = found[key]
        if not _agree(record, other.record):
            del found[key]
            refused[key] = _unfinished(record.trial, "refused", "two records disagree", path, methods)
            raise RecordError(
                f"{path} and {other.path} have one key, {key}, and different content: neither is used, "
                "until one of them is left out"
            )
        if record.finished >= other.record.finished:
            return
    suite = suites.get(home(path))
    asked = suite.line(record.suite, record.trial.method) if suite else None
    found[key] = Entry(record, path, curve, asked=asked, about=methods[home(path)].get(record.trial.method.name, {}))


def _agree(one: Record, other: Record) -> bool:
    """Whether two runs of one trial, in two suites say, came to the same: all but when, where and how fast."""
    same = ("result", "dense", "cut_top1", "widths", "dense_widths", "off_target", "starts_from")
    return all(getattr(one, name) == getattr(other, name) for name in same) and all(
        getattr(one.spent, name) == getattr(other.spent, name) for name in ("epochs", "images", "macs")
    )


def _unfinished(trial: Trial, state: str, reason: str, path: Path, methods: dict[Path, dict[str, About]]) -> Unfinished:
    return Unfinished(trial, state, reason, methods[home(path)].get(trial.method.name, {}), path)


def _plan(path: Path) -> list[Trial]:
    try:
        trials = [Trial.model_validate(item["trial"]) for item in json.loads(path.read_bytes())["trials"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{path} is not a plan of trials: {first_fault(error)} (the next run of its suite mends it)"
        ) from error
    return [trial for trial in trials if trial.protocol == PROTOCOL]


def _methods(path: Path) -> dict[str, About]:
    try:
        methods = json.loads(path.read_bytes())
        return {str(name): dict(about) for name, about in methods.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{path} does not describe methods: {first_fault(error)} (the next run of its suite mends it)"
        ) from error


def _failure(path: Path) -> Failure:
    try:
        failure = Failure.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{path} is not the record of a failure: {first_fault(error)} (take it away)") from error
    if failure.key != failure.trial.key:
        raise RecordError(
            f"{path} was altered: its key is {failure.key}, its trial's is {failure.trial.key} (take it away)"
        )
    return failure


def _as_paths(folders: Folders) -> list[Path]:
    return [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
