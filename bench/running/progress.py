"""Live progress: a display that redraws itself on a terminal, plain lines in a pipe and under CI."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

from bench.running.board import Status, TrialStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

HEARTBEAT = 30.0
"""Seconds between two lines about each running trial, where lines are printed."""


class Progress:
    """`with Progress() as progress: run_trials(..., watch=progress.show)`."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream or sys.stdout
        self.clock = clock
        self.states: dict[str, tuple[str, int]] = {}
        self.spoke = clock()
        self.live: Any = None

    def __enter__(self) -> Self:
        if self.stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.live import Live

            self.live = Live(console=Console(file=self.stream), auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, status: Status) -> None:
        """Print what has changed since the last call and, on a terminal, redraw what is running."""
        self._changes(status)
        if self.live:
            self.live.update(_table(status), refresh=True)
        elif self.clock() - self.spoke >= HEARTBEAT:
            self.spoke = self.clock()
            for trial in status.among("running"):
                self._say(f"running  {trial.label}: {doing(trial)}")
            if (left := eta(status)) is not None:
                self._say(f"{counts(status)}; about {duration(left)} left")

    def _changes(self, status: Status) -> None:
        first = not self.states
        for trial in status.trials:
            now = (trial.state, trial.tries)
            if self.states.get(trial.key) == now:
                continue
            known = trial.key in self.states
            self.states[trial.key] = now
            if trial.state == "running" and not self.live:
                self._say(f"started  {trial.label} ({trial.key}){_where(trial)}")
            elif trial.state == "done" and known:
                self._say(f"done     {trial.label}: {_top1(trial)}in {duration(trial.seconds)}; {counts(status)}")
            elif trial.state in ("failed", "blocked", "elsewhere"):
                self._say(f"{trial.state:<8} {trial.label} ({trial.key}): {trial.reason}")
            elif trial.state == "waiting" and trial.tries:
                self._say(f"again    {trial.label} ({trial.key}): {trial.reason}")
        if first:
            self._say(counts(status))

    def _say(self, line: str) -> None:
        if self.live:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.stream, flush=True)


def counts(status: Status) -> str:
    """Such as `3 done, 2 running, 1 waiting of 6 trials`."""
    parts = [
        (len(status.among(state)), state) for state in ("done", "running", "elsewhere", "failed", "blocked", "waiting")
    ]
    return ", ".join(f"{n} {state}" for n, state in parts if n) + f" of {len(status.trials)} trials"


def doing(trial: TrialStatus) -> str:
    """Phase, epoch, speed and ETA of a running trial, as far as it has told."""
    now = trial.progress
    parts = [str(now.get("phase", "starting"))]
    if now.get("epochs"):
        parts.append(f"epoch {now.get('epoch', 0):.1f}/{now['epochs']:g}")
    if now.get("images_per_s"):
        parts.append(f"{now['images_per_s']:.0f} images/s")
        if left := round(now.get("eta_s", 0)):  # what comes after the last epoch, such as a test, is not told of
            parts.append(f"ETA {duration(left)}")
    return ", ".join(parts)


def eta(status: Status) -> float | None:
    """Seconds until all is done: what runs, and as long again on average for what waits. None while unknown."""
    active = status.among("running")
    left = [trial.progress.get("eta_s", 0) for trial in active if trial.progress.get("images_per_s")]
    lengths = [trial.seconds for trial in status.among("done") if trial.seconds]
    lengths += [
        trial.seconds + trial.progress.get("eta_s", 0) for trial in active if trial.progress.get("images_per_s")
    ]
    waiting = len(status.among("waiting"))
    if not active or not lengths or (waiting == 0 and not left):
        return None
    work = sum(left) + waiting * sum(lengths) / len(lengths)
    return max([work / len(active), *left])


def duration(seconds: float) -> str:
    """Such as 0:07, 12:40 or 3:02:10."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def _where(trial: TrialStatus) -> str:
    """What a worker of a cluster says of its place before training begins."""
    phase = str(trial.progress.get("phase", ""))
    return f": {phase}" if phase.startswith("on ") else ""


def _top1(trial: TrialStatus) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return f"{json.loads((trial.folder / 'record.json').read_bytes())['result']['top1']:.2f} % top-1 "
    return ""


def _table(status: Status) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    rows = Table.grid(padding=(0, 2))
    for trial in status.among("running"):
        share = ProgressBar(
            total=trial.progress.get("epochs") or 1.0, completed=trial.progress.get("epoch", 0), width=20
        )
        rows.add_row(trial.label, share, doing(trial))
    left = eta(status)
    foot = f"{counts(status)}; {duration(status.seconds)} so far" + (
        f", about {duration(left)} left" if left is not None else ""
    )
    return Group(rows, foot)
