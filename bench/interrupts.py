"""Signals that end a run as Ctrl-C does: workers are stopped, what is finished is on disk, the same command goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""SIGTERM: a batch system, a reboot. SIGUSR1: Slurm's warning before the time limit, see docs/clusters.md."""


@contextmanager
def interruptible() -> Iterator[None]:
    """The first of SIGNALS raises KeyboardInterrupt; those after it are ignored, for the way out must not be cut short.

    Signals can be handled in the main thread only; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
