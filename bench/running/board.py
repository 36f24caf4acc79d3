"""Where each trial stands, read from its folder: what is done, what can start, what has to wait.

A trial is done when its record.json exists, and was tried as often as there are failed-N.json. So a killed run goes on
when it is started again. A trial that another process holds (see bench/lease.py) is left to it and looked at again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from bench.labels import labels
from bench.lease import holder
from bench.record import Failure, read_failures, write_failure
from bench.spec import Tracked, Trial

RETRIES = 2
"""How often, within one run, a trial is tried again that the machine made fail (killed, out of memory, lost node)."""

ELSEWHERE = "elsewhere"
"""A trial's state, and what a worker says that found its trial held by another process."""

State = Literal["waiting", "running", "elsewhere", "done", "failed", "blocked"]


@dataclass(frozen=True)
class TrialStatus:
    """One trial as it stands. `reason`: why it failed, is blocked or is tried again. `seconds`: running time so far."""

    trial: Trial
    label: str
    key: str
    folder: Path
    state: State
    reason: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 0
    started: float | None = None
    seconds: float = 0.0
    failures: int = 0
    """Failed tries on disk before this one."""
    mine: bool = True
    """False once another process runs it, which then mirrors it too."""


@dataclass(frozen=True)
class Status:
    """All trials of a run, in the order of the suite. `seconds`: since the run began."""

    trials: tuple[TrialStatus, ...]
    seconds: float = 0.0

    def among(self, state: State) -> list[TrialStatus]:
        """Those in one state."""
        return [t for t in self.trials if t.state == state]


@dataclass(frozen=True)
class Summary:
    """How a run ended. `failed` and `blocked`: key -> reason. `trained`: trials that this run itself finished.

    `tracking`: the mode that W&B was left in, which may be less than was asked for.
    """

    done: tuple[str, ...]
    failed: dict[str, str]
    blocked: dict[str, str]
    trained: int
    seconds: float
    tracking: Tracked = "disabled"


def survey(trials: Sequence[Trial], out: Path, *, retry_failed: bool = False) -> Status:
    """What the disk says: done, failed for good, or waiting (a failure of the machine or a block is tried again)."""

    def look(trial: Trial, label: str) -> TrialStatus:
        status = TrialStatus(trial, label, key := trial.key, folder := out / "trials" / key, "waiting")
        if (folder / "record.json").exists():
            return replace(status, state="done")
        failures = read_failures(folder)
        if failures and failures[-1].kind == "method" and not retry_failed:
            return replace(status, state="failed", reason=failures[-1].reason)
        return status

    return Status(tuple(map(look, trials, labels([trial.model_dump() for trial in trials]))))


def ready(board: dict[str, TrialStatus], pending: Collection[str]) -> list[TrialStatus]:
    """The trials that can start now. Marks those as blocked that no longer can, and what depends on them."""
    while True:
        startable, blocked = [], False
        for key, status in board.items():
            if status.state != "waiting" or key in pending:
                continue
            needs = [need for need in (status.trial.baseline, status.trial.twin) if need]
            missing = [need for need in needs if not (status.folder.parent / need / "record.json").exists()]
            hopeless = [
                need
                for need in missing
                if need not in board or board[need].state not in ("waiting", "running", "elsewhere")
            ]
            if hopeless:
                board[key], blocked = _block(status, hopeless[0], board.get(hopeless[0])), True
            elif not missing:
                startable.append(status)
        if not blocked:
            return startable


def _block(status: TrialStatus, need: str, cause: TrialStatus | None) -> TrialStatus:
    found = f"{cause.label} ({need}), {cause.state}" if cause else f"{need}, not part of this run"
    reason = f"it needs the record of {found}"
    earlier = read_failures(status.folder)
    if not earlier or earlier[-1].reason != reason:
        fail(status, "blocked", reason)
    return replace(status, state="blocked", reason=reason)


def running(status: TrialStatus) -> TrialStatus:
    """A submitted trial runs as soon as its worker has written progress.json."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        told = json.loads((status.folder / "progress.json").read_bytes()).items()
        progress = {key: value for key, value in told if _sane(key, value)}
        started = status.started or time.monotonic()
        return replace(status, state="running", progress=progress, started=started, seconds=time.monotonic() - started)
    return status


def _sane(key: str, value: Any) -> bool:
    """What can be shown: a short name of the phase, and numbers as epochs and times are."""
    if key == "phase":
        return isinstance(value, str) and len(value) < 100
    return isinstance(value, int | float) and abs(value) < 1e12


def elsewhere(status: TrialStatus) -> TrialStatus:
    """A trial that waits here, as it stands where another process holds or held it."""
    known = status.state == "elsewhere"
    if (status.folder / "record.json").exists():
        return replace(status, state="done", reason="", mine=False)
    if place := holder(status.folder):
        before = status.failures if known else len(read_failures(status.folder))
        return replace(status, state="elsewhere", reason=f"left to {place}", failures=before, mine=False)
    if not known:
        return status
    failures = read_failures(status.folder)
    if len(failures) > status.failures and failures[-1].kind == "method":
        return replace(status, state="failed", reason=failures[-1].reason)
    return replace(status, state="waiting", reason="", mine=True)


def conclude(status: TrialStatus, lost: str, kind: Literal["method", "machine"] = "machine") -> TrialStatus:
    """A submitted trial has ended. `lost`: how, where its worker left nothing on disk; `kind`: of that failure."""
    status = running(status)
    if (status.folder / "record.json").exists():
        return replace(status, state="done", reason="")
    if lost == ELSEWHERE:
        return replace(status, state="elsewhere", mine=False)
    failures = read_failures(status.folder)
    if len(failures) > status.failures:
        last = failures[-1]
    else:
        last = fail(status, kind, lost or "the trial ended and left no record")
    if last.kind == "machine" and status.tries < RETRIES:
        waiting = replace(status, state="waiting", reason=last.reason, tries=status.tries + 1)
        return replace(waiting, started=None, seconds=0.0, progress={})
    return replace(status, state="failed", reason=last.reason)


def fail(status: TrialStatus, kind: Literal["method", "machine", "blocked"], reason: str, trace: str = "") -> Failure:
    """Write a failed try down, where the disk takes it."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    failure = Failure(key=status.key, trial=status.trial, kind=kind, reason=reason, when=when, traceback=trace)
    with suppress(OSError):
        write_failure(status.folder, failure)
    return failure
