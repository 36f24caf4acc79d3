"""Signals that end a run as Ctrl-C does: workers are stopped, what is finished is on disk, the same command goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""SIGTERM: a batch system, a reboot. SIGUSR1: Slurm's warning before the time limit, see docs/clusters.md."""


@contextmanager
def interruptible(*, ends: bool = False) -> Iterator[None]:
    """The first of SIGNALS raises KeyboardInterrupt; those after it are ignored, lest they cut the way out short.

    `ends`: the program does, so they stay ignored to its last breath. Signals can be handled in the main thread only;
    elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, _interrupt) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            interrupted = signal.getsignal(one) is _ignore
            if interrupted and ends:
                handler = signal.SIG_IGN  # a function would be taken back before the program's last breath
            elif interrupted and handler is _interrupt:
                handler = _ignore
            signal.signal(one, handler)


def _interrupt(*_: object) -> None:
    for one in SIGNALS:
        signal.signal(one, _ignore)  # where two came at once, SIG_IGN would make Python complain about the second
    raise KeyboardInterrupt


def _ignore(*_: object) -> None:
    pass
