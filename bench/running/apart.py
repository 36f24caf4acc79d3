"""Work in a process of its own that need not import anything: it is forked from one that has done so.

Importing torch and timm takes seconds. A worker pays them once, in Python's fork server, and each trial begins at once,
with nothing of the one before it. The server runs no thread and computes nothing, so what is forked from it is sound.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection

DIED = "the worker process died: it was killed, ran out of memory or crashed"


def apart(work: Callable[[], str]) -> str:
    """What `work()` says in a new process with this one's environment, or DIED. It ends when this process does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.running.preload"])
    ours, theirs = context.Pipe(duplex=False)
    with _no_program():
        process = context.Process(target=_there, args=(work, theirs, dict(os.environ)))
        process.start()
    theirs.close()
    try:
        said = str(ours.recv())
    except EOFError:
        said = DIED
    process.join()
    return said


def _there(work: Callable[[], str], answer: Connection, environment: Mapping[str, str]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    answer.send(work())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _no_program() -> Iterator[None]:
    """A new process would run the file that this one was started with, which is Ray's."""
    main = sys.modules["__main__"]
    file = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main.__file__ = file
