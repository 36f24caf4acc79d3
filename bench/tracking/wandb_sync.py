"""Sends to W&B what it does not have yet: trials that ran offline, without wandb, or while the network was gone.

Each run is written anew from its record, online, and not copied from the files of its offline run: these may hold only
a part (an interrupted try leaves one), name files by paths of another machine, or be gone. The record is the truth. A
run that the server has in part goes on after the epochs that it has. A trial's `tracked.json` says that it is sent.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.lease import holder
from bench.record import RecordError, read_failures, read_record
from bench.running.status import KEY
from bench.spec import Trial
from bench.tracking import tracked, wandb_run
from bench.tracking.tracked import Mark
from bench.tracking.wandb_run import Place, line

if TYPE_CHECKING:
    from wandb import Run

FINISH_S = 600
"""Seconds that the end of a run may take, with the upload of its compact network."""

AT_ONCE = 4
"""Runs whose end is waited for at the same time."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Sent:
    """How many runs were sent, were there already, were not sent. `lost`: W&B starts no run any more."""

    sent: int = 0
    there: int = 0
    failed: int = 0
    lost: bool = False

    def __add__(self, other: Sent) -> Sent:
        lost = self.lost or other.lost
        return Sent(self.sent + other.sent, self.there + other.there, self.failed + other.failed, lost)


@dataclass(frozen=True)
class _Ended:
    """A trial with an outcome; `reason` where it failed."""

    trial: Trial
    folder: Path
    suite: str
    reason: str = ""


def check() -> None:
    """Raises UserError where W&B cannot be reached with a key."""
    if why := wandb_run.refused():
        raise UserError(f"{why}: nothing was sent, nothing is lost")


def send_trials(out: Path, project: str | None = None, entity: str | None = None, note: Note = print) -> Sent:
    """Send every trial of a run folder that is done, or has failed and runs nowhere, and that W&B does not have.

    Without `project` and `entity` they go where the suite's own would. `note` gets a line for each that could not be
    sent; the next call sends it.
    """
    total, ending = Sent(), set[Future[Sent]]()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, ThreadPoolExecutor(AT_ONCE) as pool:
        place, suite = _place(out, Path(scratch), project, entity)
        for folder in sorted(path for path in (out / "trials").glob("*") if KEY.fullmatch(path.name)):
            try:
                ended = _ended(folder, suite)
            except RecordError as error:
                note(str(error))
                total += Sent(failed=1)
                continue
            if ended is None:
                continue
            mark = Mark(place.project, place.entity, "online", tracked.outcome(folder))
            if tracked.covers(folder, mark):
                total += Sent(there=1)
            elif total.lost:
                total += Sent(failed=1)
            else:
                try:
                    run, logged = wandb_run.start_trial(place, ended.trial, ended.suite)
                except Exception as error:
                    note(f"{folder}: W&B starts no run ({line(error)}): the rest is left for the next time")
                    total += Sent(failed=1, lost=True)
                    continue
                ending.add(pool.submit(_end, run, logged, ended, mark, out, note))
                if len(ending) >= AT_ONCE:
                    done, ending = wait(ending, return_when=FIRST_COMPLETED)
                    total = sum((future.result() for future in done), total)
        return sum((future.result() for future in ending), total)


def send_report(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    page: Path,
    project: str | None = None,
    entity: str | None = None,
    note: Note = print,
) -> Sent:
    """Send the leaderboard of a run folder as the tables and the page of a report run, unless W&B has it so."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        place, suite = _place(out, Path(scratch), project, entity)
        mark = Mark(place.project, place.entity, "online", tracked.digest(rows, page))
        if tracked.covers(out, mark):
            return Sent(there=1)
        try:
            wandb_run.send_report(place, suite, rows, page)
        except Exception as error:
            note(f"{page}: W&B did not take it ({line(error)})")
            return Sent(failed=1)
        tracked.write(out, mark)
        wandb_run.drop_offline(out, f"report-{suite}")
        return Sent(sent=1)


def _ended(folder: Path, suite: str) -> _Ended | None:
    """The trial of a folder, where it has an outcome. Raises RecordError for a damaged record."""
    if (folder / "record.json").exists():
        record = read_record(folder / "record.json")
        return _Ended(record.trial, folder, record.suite)
    failures = [failure for failure in read_failures(folder) if failure.kind != "blocked"]
    if not failures or holder(folder):
        return None
    return _Ended(failures[-1].trial, folder, suite, failures[-1].reason)


def _end(run: Run, logged: int, ended: _Ended, mark: Mark, out: Path, note: Note) -> Sent:
    try:
        wandb_run.log(run, wandb_run.history(ended.folder), logged)
        wandb_run.complete(run, ended.folder, ended.trial.key, ended.suite, ended.reason)
        tracked.write(ended.folder, mark)
    except Exception as error:
        note(f"{ended.folder}: W&B did not take it ({line(error)})")
        return Sent(failed=1)
    wandb_run.drop_offline(out, ended.trial.key)  # sent later, by hand, it would only repeat a part of this
    return Sent(sent=1)


def _place(out: Path, scratch: Path, project: str | None, entity: str | None) -> tuple[Place, str]:
    """Where the runs of a folder go, and its suite. A folder without a plan is one of records only."""
    try:
        plan = json.loads((out / "plan.json").read_bytes())
        suite, tracking = str(plan["suite"]), dict(plan.get("tracking") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        suite, tracking = out.name, {}
    own = str(tracking.get("project") or "prunebench"), tracking.get("entity")
    return Place(project or own[0], scratch, "online", FINISH_S, entity or own[1]), suite
