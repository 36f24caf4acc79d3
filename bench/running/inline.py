"""Trials one after the other in this process: for a debugger, a notebook, a machine without Ray."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bench.errors import UserError
from bench.resources import Resources
from bench.spec import Trial

POLL = 0.5
"""Seconds between two looks at the running trials."""


class Inline:
    """One trial at a time in this process; a second thread keeps the display alive."""

    def __init__(self, resources: Resources, out: Path, show: Callable[[], None]) -> None:
        if resources.world > 1:
            raise UserError(f"resources: {resources.world} workers need Ray: leave --scheduler inline out")
        self.threads = max(1, int(resources.cpus or _threads()))
        self.resources, self.out, self.show = resources, out, show
        self.queue: list[tuple[str, Callable[..., str]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, trial: Trial, work: Callable[..., str]) -> None:
        self.queue.append((trial.key, work))

    def stop(self, key: str) -> None:
        pass  # it stops itself: see alarm

    def wait(self) -> list[tuple[str, str]]:
        key, work = self.queue.pop(0)
        stop = threading.Event()

        def tick() -> None:
            while not stop.wait(POLL):
                self.show()

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            with alarm(self.resources):
                return [(key, work(self.out))]
        finally:
            stop.set()
            ticker.join()


def _threads() -> int:
    """As OMP_NUM_THREADS says (of its levels the first), or the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal():
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def alarm(resources: Resources) -> Iterator[None]:
    """Raises UserError in a trial of this process that takes too long. In another thread than the main one: never."""
    if not resources.timeout or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise UserError(resources.late)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, resources.timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
