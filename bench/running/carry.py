"""The worker's half of carrying: where its node does not see the run folder, a trial runs in a folder of the node.

It begins with what the driver has of it (its journal, the records and networks it depends on), and brings back what it
makes: each event of the journal before the trial goes on, the rest once a second. So a node that dies takes at most
the running epoch along. What answers at the driver is a bench.running.desk.Desk, through `ask`; Ray is not needed here.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.lease import LeasedError
from bench.running.board import ELSEWHERE
from bench.running.desk import KEPT, PIECE, SHOWN
from bench.sources import digest

EVERY_S = 1.0
"""What is only shown is carried this often."""

PREFIX = "prunebench-carried-"

LEFT_S = 3600.0
"""A folder of this node that nobody has touched for so long was left by a worker that was killed."""


@dataclass(frozen=True)
class Visit:
    """What a driver gives a worker to take along. `mark`: a file that it has just put into its folder `out`.

    `needs`: keys whose records the trial reads. `sources`: the driver's program (bench/sources.py). `environment`: its
    variables, where the node does not set them itself. `ask(name, *arguments)` calls the driver's desk.
    """

    out: Path
    mark: Path
    key: str
    needs: tuple[str, ...]
    sources: str
    environment: Mapping[str, str]
    ask: Callable[..., Any]


def visit(there: Visit, work: Callable[..., str], **more: Any) -> str:
    """Call `work(out, where=..., kept=...)` with the driver's folder where this node sees it, else with one of its own.

    Returns what `work` does, or why its results cannot be carried. Raises UserError where this node has another
    program than the driver.
    """
    host = socket.gethostname()
    if (mine := digest()) != there.sources:
        raise UserError(
            f"the prunebench on {host} ({mine}) is not the driver's ({there.sources}): install the same on every node, "
            "and do not edit it during a run"
        )
    for name, value in there.environment.items():
        os.environ.setdefault(name, value)
    ranks = more.get("ranks")
    if ranks is not None and not ranks.first:  # it touches no files
        return work(there.out, **more)
    if os.path.exists(there.mark):
        return work(there.out, where=f"on {host}, in the shared folder", **more)
    try:
        if "error" in more:  # what its workers could not write themselves: they are gone
            there.ask("end", there.key)
        with carried(there) as (out, carry):
            said = work(out, where=f"on {host}, carried to the driver", kept=carry, **more)
            carry()
            return said
    except LeasedError:
        return ELSEWHERE
    except OSError as error:
        return f"{error.strerror or error}: {error.filename or there.out}"


@contextmanager
def carried(there: Visit) -> Iterator[tuple[Path, Callable[[], None]]]:
    """(a run folder of this node, carry): `carry()` returns when all that is new there has come to the driver.

    Its place is $PRUNEBENCH_SCRATCH, or else where temporary files lie. Raises LeasedError where the trial runs
    elsewhere, OSError where the driver's disk takes no more.
    """
    place = Path(os.environ.get("PRUNEBENCH_SCRATCH") or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    token, names = there.ask("begin", there.key, there.needs)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True) as local:
        out = Path(local)
        folder = out / "trials" / there.key
        folder.mkdir(parents=True)
        for name in names:
            _fetch(out / "trials" / name, partial(there.ask, "read", token, name))
        carrier = _Carrier(folder, lambda what, *arguments: there.ask(what, token, *arguments))
        over = threading.Event()

        def tick() -> None:
            while not over.wait(EVERY_S):
                os.utime(out)  # see _sweep
                with suppress(Exception):  # told by the trial's own call
                    carrier.carry()

        ticker = threading.Thread(target=tick, name="carry", daemon=True)
        ticker.start()
        try:
            yield out, carrier.carry
        finally:
            over.set()
            ticker.join()


class _Carrier:
    """Knows what of a trial's folder the driver has, by time and size, and sends the rest, the record last."""

    def __init__(self, folder: Path, tell: Callable[..., Any]) -> None:
        self._folder, self._tell = folder, tell
        self._lock = threading.Lock()
        self._sent = self._there()

    def carry(self) -> None:
        with self._lock:
            there = self._there()
            for name, stamp in there.items():
                if self._sent.get(name) != stamp and self._send(name):
                    self._sent[name] = stamp
            for name in self._sent.keys() - there.keys():
                if ".epoch-" in name:
                    self._tell("drop", name)
                del self._sent[name]

    def _there(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in (*sorted(self._folder.glob("journal/*")), *sorted(self._folder.iterdir(), key=_order)):
            name = path.relative_to(self._folder).as_posix()
            if KEPT.fullmatch(name) or name in SHOWN:
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    found[name] = (stat.st_mtime_ns, stat.st_size)
        return found

    def _send(self, name: str) -> bool:
        try:
            file = (self._folder / name).open("rb")
        except FileNotFoundError:  # a checkpoint that was replaced meanwhile
            return False
        with file:
            last = False
            while not last:
                offset, data = file.tell(), file.read(PIECE)
                last = len(data) < PIECE
                self._tell("write", name, offset, data, last)
        return True


def _order(path: Path) -> tuple[bool, bool]:
    return path.name == "record.json", path.name == "model.safetensors"


def _fetch(path: Path, read: Callable[[int], bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while len(data := read(file.tell())) == PIECE:
            file.write(data)
        file.write(data)


def _sweep(place: Path) -> None:
    """Remove what killed workers left: a living one touches its folder every second."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's
            if time.time() - folder.stat().st_mtime > LEFT_S:
                shutil.rmtree(folder)
