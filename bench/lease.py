"""A trial runs in one place at a time, also where several drivers share one folder, on one machine or on many.

The lease is a file `lease-N.json` in the trial's folder, made by linking, so that exactly one process makes it, and
touched every few seconds while its trial runs. A lease whose process is gone, or that nobody has touched for a minute,
is taken over by making number N + 1: again one process alone can, and the earlier holder, should it only have been
asleep, notices before it writes anything. Times are the file system's own, so that clocks may differ.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.errors import UserError
from bench.jsonfile import read_object

RENEW_S = 10.0
"""A held lease is touched this often."""

STALE_S = 60.0
"""A lease that was not touched for so long is free, wherever its process is."""


class LeasedError(UserError):
    """The trial runs elsewhere; the message says where."""


@dataclass(frozen=True)
class Lease:
    """What `hold` gives to its holder."""

    path: Path
    token: str

    def check(self) -> None:
        """Raises LeasedError where another process has taken over, because this one was silent for too long."""
        token = read_object(self.path).get("token", self.token)  # unreadable for a moment, it is not another's
        if _newest(self.path.parent) != self.path or token != self.token:
            raise LeasedError(f"this process was silent for {STALE_S:g} s: another has taken its trial over")


@contextmanager
def hold(folder: Path) -> Iterator[Lease]:
    """Hold the lease of a trial's folder. Raises LeasedError where somebody else does."""
    folder.mkdir(parents=True, exist_ok=True)
    lease = _take(folder)
    released = threading.Event()

    def renew() -> None:
        with suppress(LeasedError):
            while not released.wait(RENEW_S):
                with suppress(OSError):  # a network's file system may fail once
                    lease.check()
                    os.utime(lease.path)

    threading.Thread(target=renew, name="lease", daemon=True).start()
    try:
        yield lease
    finally:
        released.set()
        with suppress(LeasedError, OSError):
            lease.check()
            lease.path.unlink()


def holder(folder: Path) -> str:
    """Where the folder's trial runs now, such as `process 4711 on node3`; empty where it runs nowhere."""
    path = _newest(folder)
    if path is None or not _alive(path):
        return ""
    values = read_object(path)
    return f"process {values.get('pid')} on {values.get('host')}"


def _take(folder: Path) -> Lease:
    from bench.record import write_once  # who asks for a holder need not have pydantic

    token = uuid4().hex
    mine = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "born": _born(os.getpid())}
    while True:
        stale = _newest(folder)
        if stale is not None and _alive(stale):
            raise LeasedError(f"trial {folder.name} is left to {holder(folder)}, which runs it")
        path = folder / f"lease-{_number(stale) + 1 if stale else 1}.json"
        if write_once(path, {**mine, "token": token, "since": time.time()}):
            for earlier in folder.glob("lease-*.json"):
                if _number(earlier) < _number(path):
                    earlier.unlink(missing_ok=True)
            return Lease(path, token)


def _newest(folder: Path) -> Path | None:
    return max(folder.glob("lease-*.json"), key=_number, default=None)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("lease-")
    return int(digits) if digits.isdecimal() else 0


def _alive(path: Path) -> bool:
    """Touched lately, and its process, where this machine can tell, still there."""
    try:
        silence = _now(path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return False
    values = read_object(path)
    here = values.get("machine") == _machine()
    return silence < STALE_S and not (here and values.get("born") != _born(values.get("pid")))


def _now(folder: Path) -> float:
    """The clock of the file system that holds the folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # full, or not ours to write to
        return time.time()


def _machine() -> str:
    """Equal for processes that can see each other's numbers: host, boot, and the container's process namespace."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _born(pid: Any) -> str:
    """A mark of the process that has this number, which no later one shares; empty where there is none."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return ""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]  # state; start time in clock ticks since boot
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        pass
    return "alive"
