"""Folders of records, read once. What cannot be used is named in one line each, and the rest is kept."""

from __future__ import annotations

import gc
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.record import Failure, Record, RecordError, read_record
from bench.spec import DENSE, PROTOCOL, Trial
from bench.timings import Latency, read_latency
from leaderboards import briefs, suitelines
from leaderboards.curves import Curve
from leaderboards.names import CONTROLS, METHODS
from leaderboards.suitelines import SuiteCopy, SuiteLine

Folders = str | Path | Iterable[str | Path]


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


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A trial without a usable record: why, in one line. `state`: "failed", "missing" or "refused"."""

    trial: Trial
    state: str
    reason: str


@dataclass
class Results:
    """All that was read. `problems` is empty when every file was sound; `methods` is what runs said of methods."""

    records: list[Entry] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failures(self) -> list[Unfinished]:
        """The trials whose last try failed."""
        return [u for u in self.unfinished if u.state == "failed"]


def read(folders: Folders) -> Results:
    """Read run folders (`trials/<key>/record.json`) and result folders (`<key>.json`), at any depth.

    Never raises on bad files: a damaged record, another protocol version, two different records with one key, a
    folder that is absent or empty are each one line in `problems`. A trial that is in doubt has no row of its own
    making: it is shown as refused.
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
    results = Results()
    found: dict[str, Entry] = {}
    refused: dict[str, Unfinished] = {}
    failed: dict[str, Unfinished] = {}
    planned: dict[str, Trial] = {}
    latencies: dict[str, dict[str, Latency]] = defaultdict(dict)
    suites: dict[Path, SuiteCopy] = {}
    for folder in _as_paths(folders):
        if not folder.is_dir():
            results.problems.append(f"{folder} is not a folder of records")
            continue
        paths = list(_files(folder))
        read_brief = briefs.reader([path for path in paths if _RECORD.fullmatch(path.name)])
        for path in paths:
            try:
                if path.name == "plan.json":
                    planned |= _plan(path)
                elif path.name == suitelines.NAME:
                    suites[path.parent] = SuiteCopy(path)
                elif path.name == "methods.json":
                    results.methods |= _methods(path)
                elif path.name.startswith("failed-"):
                    failure = _failure(path)
                    failed[failure.trial.key] = failure
                elif _LATENCY.fullmatch(path.name):
                    latency = read_latency(path)
                    earlier = latencies[latency.key].setdefault(latency.name, latency)
                    latencies[latency.key][latency.name] = max(earlier, latency, key=lambda x: x.measured)
                else:
                    _take(path, read_brief, found, refused, suites)
            except RecordError as error:
                results.problems.append(str(error))
        if not paths:
            results.problems.append(f"{folder} holds no records")
    known = {*METHODS, *CONTROLS, DENSE, *results.methods}
    for key in [key for key, entry in found.items() if _method(entry) not in known]:
        entry = found.pop(key)
        results.problems.append(
            f"{entry.path} is of an unknown method, {_method(entry)!r}: it is left out, "
            "for want of a methods.json from its run that describes it"
        )
    for key in found.keys() & latencies.keys():
        found[key] = replace(found[key], latencies=tuple(latencies[key][name] for name in sorted(latencies[key])))
    results.records = [found[key] for key in sorted(found)]
    unfinished = {key: Unfinished(trial, "missing", "not run yet") for key, trial in planned.items()} | failed | refused
    results.unfinished = [unfinished[key] for key in sorted(unfinished) if key not in found]
    return results


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
) -> None:
    record, curve = read_brief(path)
    key = record.key
    if record.trial.protocol != PROTOCOL:
        raise RecordError(f"{path} follows protocol {record.trial.protocol}; these tables hold protocol {PROTOCOL}")
    if path.name != "record.json" and path.stem != key:
        raise RecordError(f"{path} holds the record {key}: the file should be called {key}.json")
    if key in refused:
        raise RecordError(f"{path} is one more record with the key {key}")
    if key in found:
        other = found[key]
        if path.read_bytes() == other.path.read_bytes() or read_record(path) == read_record(other.path):
            return
        del found[key]
        refused[key] = Unfinished(record.trial, "refused", "two records disagree")
        raise RecordError(f"{path} and {other.path} have one key, {key}, and different content: neither is used")
    # The folder of a run holds it three levels up, a flat folder beside the records.
    suite = suites.get(path.parents[2] if path.name == "record.json" and len(path.parents) > 2 else path.parent)
    asked = suite.line(record.suite, record.trial.method) if suite else None
    found[key] = Entry(record, path, curve, asked=asked)


def _method(entry: Entry) -> str:
    return entry.record.trial.method.name


def _plan(path: Path) -> dict[str, Trial]:
    try:
        trials = [Trial.model_validate(item["trial"]) for item in json.loads(path.read_bytes())["trials"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{path} is not a plan of trials: {_first_line(error)}") from error
    return {trial.key: trial for trial in trials if trial.protocol == PROTOCOL}


def _methods(path: Path) -> dict[str, dict[str, Any]]:
    try:
        methods = json.loads(path.read_bytes())
        return {str(name): dict(about) for name, about in methods.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RecordError(f"{path} does not describe methods: {_first_line(error)}") from error


def _failure(path: Path) -> Unfinished:
    try:
        failure = Failure.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{path} is not the record of a failure: {_first_line(error)}") from error
    if failure.key != failure.trial.key:
        raise RecordError(f"{path} was altered: its key is {failure.key}, its trial's is {failure.trial.key}")
    return Unfinished(failure.trial, "failed", failure.reason)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _as_paths(folders: Folders) -> list[Path]:
    return [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]


_RECORD = re.compile(r"record\.json|[0-9a-f]{16}\.json")
_ABOUT = {"plan.json", "methods.json", suitelines.NAME}
_LATENCY = re.compile(r"([0-9a-f]{16}\.)?latency(-[a-z0-9-]*)?\.json")
_FAILED = re.compile(r"failed-([0-9]+)\.json")


def _files(folder: Path) -> Iterator[Path]:
    """Every file that matters, in a fixed order; of the failed tries of a trial, the last one."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "journal" and not name.startswith("."))
        names.sort(key=lambda name: (name != suitelines.NAME, name))  # what records are looked up in comes first
        wanted = (n for n in names if n in _ABOUT or _RECORD.fullmatch(n) or _LATENCY.fullmatch(n))
        yield from (Path(where, name) for name in wanted)
        tries = [(int(match[1]), name) for name in names if (match := _FAILED.fullmatch(name))]
        if tries:
            yield Path(where, max(tries)[1])
