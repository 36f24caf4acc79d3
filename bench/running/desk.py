"""The driver's half of carrying: a worker gets here what its trial needs, and brings back what it makes.

A worker whose node does not see the run folder works in a folder of its own (carry.py). A desk stands on the
driver's machine, holds the trial's lease there meanwhile, and writes as the trial itself would: what is kept is written
aside, flushed and renamed; record.json is linked, so that the first one wins.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.lease import Lease, LeasedError, hold

PIECE = 8 * 2**20
"""Bytes that travel at a time, so that no checkpoint stands in memory as a whole."""

JOURNAL = re.compile(r"journal/(settings|[0-9]{5}-[a-z-]{1,40}(\.epoch-[0-9]{5})?)-([0-9a-f]{16})\.safetensors")
SHOWN = ("history.jsonl", "log.txt", "progress.json")
KEPT = re.compile(JOURNAL.pattern + r"|model\.safetensors|record\.json|failed-[0-9]{1,9}\.json")
"""What a trial's folder may hold, and so all that a worker may write: JOURNAL and KEPT are flushed, SHOWN is not."""

KEY = re.compile("[0-9a-f]{16}")


@dataclass
class _Visit:
    """A worker that is here. `reads`: the names, below trials/, that it may ask for."""

    key: str
    folder: Path
    lease: Lease
    held: ExitStack
    reads: tuple[str, ...]
    sums: dict[str, Any] = field(default_factory=dict)


class Desk:
    """Reads and writes in `out` for workers elsewhere; each has a token from `begin`. Used from several threads."""

    def __init__(self, out: Path) -> None:
        self._trials = out / "trials"
        self._visits: dict[str, _Visit] = {}
        self._lock = threading.Lock()

    def begin(self, key: str, needs: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Take the trial's lease: (token, names of what it goes on from). Raises LeasedError where somebody has it."""
        if not all(KEY.fullmatch(name) for name in (key, *needs)):
            raise ValueError("that is no trial's key")
        held, folder = ExitStack(), self._trials / key
        lease = held.enter_context(hold(folder))
        for left in folder.rglob(".*." + "[0-9a-f]" * 32):  # by a desk that was killed
            left.unlink(missing_ok=True)
        own = [path.relative_to(folder).as_posix() for path in (*folder.glob("journal/*"), *folder.iterdir())]
        own = [name for name in own if (KEPT.fullmatch(name) and name != "model.safetensors") or name == "log.txt"]
        theirs = [f"{need}/{name}" for need in needs for name in ("record.json", "model.safetensors")]
        reads = (*(name for name in theirs if (self._trials / name).exists()), *(f"{key}/{name}" for name in own))
        with self._lock:
            self._visits[lease.token] = _Visit(key, folder, lease, held, reads)
        return lease.token, reads

    def read(self, token: str, name: str, offset: int) -> bytes:
        """At most PIECE bytes of one of the names that `begin` gave."""
        if name not in self._visit(token).reads:
            raise ValueError(f"a worker may not read {name!r}")
        with (self._trials / name).open("rb") as file:
            file.seek(offset)
            return file.read(PIECE)

    def write(self, token: str, name: str, offset: int, data: bytes, last: bool) -> None:
        """A piece of a file of the trial's folder; with the last one the file is there.

        Raises LeasedError where the trial has gone to another process, OSError where the disk takes no more.
        """
        visit, folder = self._visit(token), self._visit(token).folder
        if not (KEPT.fullmatch(name) or name in SHOWN):
            raise ValueError(f"a worker may not write {name!r}")
        visit.lease.check()
        if name != "log.txt" and (folder / "record.json").exists():
            return  # finished: nothing of it changes any more
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{token}")
        try:
            with temporary.open("ab" if offset else "wb") as file:
                total = visit.sums[name] if offset else hashlib.sha256()
                if file.tell() != offset:
                    raise ValueError(f"a piece of {name} is missing")
                file.write(data)
                total.update(data)
                visit.sums[name] = total
                if not last:
                    return
                file.flush()
                if name not in SHOWN:
                    os.fsync(file.fileno())
            _give_name(temporary, path, visit.sums.pop(name).hexdigest(), JOURNAL.fullmatch(name))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def drop(self, token: str, name: str) -> None:
        """Delete a checkpoint that a later one has replaced."""
        visit, match = self._visit(token), JOURNAL.fullmatch(name)
        if match is None or not match[2]:
            raise ValueError(f"a worker may not delete {name!r}")
        visit.lease.check()
        (visit.folder / name).unlink(missing_ok=True)

    def end(self, key: str) -> None:
        """The trial's worker is gone: its lease is free, and whatever may still come of it is refused."""
        with self._lock:
            gone = [token for token, visit in self._visits.items() if visit.key == key]
            visits = [self._visits.pop(token) for token in gone]
        for visit in visits:
            for path in visit.folder.rglob(f".*.{visit.lease.token}"):
                path.unlink(missing_ok=True)
            visit.held.close()

    def _visit(self, token: str) -> _Visit:
        with self._lock:
            if token not in self._visits:
                raise LeasedError("the driver does not wait for this trial here any more")
            return self._visits[token]


def _give_name(temporary: Path, path: Path, digest: str, journal: re.Match[str] | None) -> None:
    if journal and not digest.startswith(journal[3]):
        raise ValueError(f"{path.name} arrived damaged")
    if path.suffix == ".json" and path.name not in SHOWN:  # a record, a failure: the first one wins
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    else:
        os.replace(temporary, path)
