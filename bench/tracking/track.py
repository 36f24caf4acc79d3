"""W&B as a mirror of what lies on disk, kept by the scheduling process.

Trials know nothing of it: they need neither wandb nor a network, and nothing that happens here stops one. The records
are the truth; whatever is missing in W&B is sent from them by `prunebench sync` (see wandb_sync.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.running.board import Status
from bench.spec import Tracked, Trial
from bench.tracking import tracked, wandb_run
from bench.tracking.tracked import Mark
from bench.tracking.wandb_run import Place, line

if TYPE_CHECKING:
    from wandb import Run

FINISH_S = 60
"""Seconds that the end of a run may take in the background; the end of a suite waits so long for the last ones."""

LATER = "send it later with `prunebench sync`"


class Tracker:
    """One W&B run per trial, of the trial's key, in `folder/wandb` where offline.

    "online" becomes "offline", with a note, where there is no API key or no network; without wandb nothing is tracked.
    """

    def __init__(
        self,
        project: str,
        mode: Tracked,
        *,
        group: str,
        folder: Path,
        entity: str | None = None,
        note: Callable[[str], None] = print,
    ) -> None:
        self.group, self.folder, self.note = group, folder, note
        self.mode: Tracked = _possible(mode, note)
        self._place = Place(project, folder, "online" if self.mode == "online" else "offline", FINISH_S, entity)
        self._runs: dict[str, tuple[Run, int]] = {}  # key -> its open run and the epochs logged so far
        self._closed: set[str] = set()
        self._lost: set[str] = set()  # runs that could not be started online: wandb starts none of their id any more
        self._latest, self._looking = Status(()), Future[None]()
        self._looking.set_result(None)
        # One thread starts runs and logs. As many as may end at once wait for the server, so that a lost network costs
        # the time of one of them, and the scheduler none.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")
        self._finishing = ThreadPoolExecutor(max_workers=32, thread_name_prefix="wandb-finish")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, status: Status) -> None:
        """Bring every trial's run up to what its folder holds; for `run_trials(watch=...)`. Returns at once."""
        self._latest = status
        if self._looking.done():  # else the next look, or the last one, sees what this one would
            self._looking = self._thread.submit(self._look, status)

    def _look(self, status: Status) -> None:
        for trial in status.trials:
            if trial.state == "running":
                self._closed.discard(trial.key)
                self.poll(trial.trial, trial.folder)
            elif trial.state in ("done", "failed") and trial.mine and trial.key not in self._closed:
                self._closed.add(trial.key)
                self.finish(trial.trial, trial.folder, trial.reason)

    def poll(self, trial: Trial, folder: Path) -> None:
        """Log the epochs that a running trial has written since the last call."""
        if (folder / "history.jsonl").exists() and trial.key not in self._lost:
            self._safely(partial(self._log, trial, folder))

    def finish(self, trial: Trial, folder: Path, reason: str = "") -> None:
        """Complete the run of a trial that is done, or has failed for `reason`; once per outcome."""
        if trial.key not in self._lost:
            self._safely(partial(self._finish, trial, folder, reason))

    def report(self, rows: Sequence[Mapping[str, Any]], page: Path | None = None) -> None:
        """The leaderboard as tables of a report run, and the page (a file or a folder) as its artifact."""
        self._safely(partial(self._report, rows, page))

    def close(self) -> None:
        """Finish what is open: trials that were interrupted get their run again when they go on."""
        self._thread.submit(self._look, self._latest)
        self._thread.shutdown(wait=True)
        runs, self._runs = self._runs, {}
        for run, _ in runs.values():
            self._finishing.submit(self._safely, partial(run.finish, exit_code=1))
        self._finishing.shutdown(wait=True)

    def _safely(self, action: Callable[[], None]) -> None:
        """A mirror is not worth a trial: without a network it goes on offline; any other failure ends it. Told once."""
        if self.mode == "disabled":
            return
        try:
            action()
        except Exception as error:
            if self.mode != "disabled" and not self._goes_on(error):
                self.mode = "disabled"
                self.note(f"W&B tracking stops ({line(error)}); the records are complete, {LATER}")
                _bury_service(error)

    def _goes_on(self, error: Exception) -> bool:
        from wandb.errors import CommError

        if not isinstance(error, CommError | TimeoutError):
            return False
        if self.mode == "online":  # else it is one more run of those that began online
            self.mode, self._place = "offline", replace(self._place, mode="offline")
            self.note(f"W&B cannot be reached ({line(error)}): tracking goes on offline, {LATER}")
        return True

    def _log(self, trial: Trial, folder: Path) -> Run:
        rows = wandb_run.history(folder)
        if trial.key not in self._runs:
            self._lost.add(trial.key)
            self._runs[trial.key] = wandb_run.start_trial(self._place, trial, self.group)
            self._lost.discard(trial.key)
        run, logged = self._runs[trial.key]
        self._runs[trial.key] = run, wandb_run.log(run, rows, logged)
        return run

    def _finish(self, trial: Trial, folder: Path, reason: str) -> None:
        mark = self._mark(tracked.outcome(folder))
        if tracked.covers(folder, mark):
            return
        run = self._log(trial, folder)
        del self._runs[trial.key]
        mark = replace(mark, mode="offline" if run.offline else "online")

        def complete() -> None:
            wandb_run.complete(run, folder, trial.key, self.group, reason)
            tracked.write(folder, mark)

        # In the background: on a slow network this lasts, and the scheduler has other trials to start.
        self._finishing.submit(self._safely, complete)

    def _report(self, rows: Sequence[Mapping[str, Any]], page: Path | None) -> None:
        wandb_run.send_report(self._place, self.group, rows, page)
        tracked.write(self.folder, self._mark(tracked.digest(rows, page)))

    def _mark(self, outcome: str) -> Mark:
        return Mark(self._place.project, self._place.entity, self._place.mode, outcome)


def _bury_service(error: Exception) -> None:
    """Where W&B's own process is gone, forget it: at its exit Python would wait for it, and print a traceback."""
    import wandb
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    if isinstance(error, ConnectionError | HandleAbandonedError | MailboxClosedError):
        with suppress(Exception):
            wandb.teardown()


def _possible(mode: Tracked, note: Callable[[str], None]) -> Tracked:
    if mode == "disabled":
        return mode
    if why := wandb_run.absent():
        note(f"{why}: tracking is off (pip install wandb)")
        return "disabled"
    if mode == "online" and (why := wandb_run.refused()):
        note(f"{why}: tracking is offline, {LATER}")
        return "offline"
    return mode
