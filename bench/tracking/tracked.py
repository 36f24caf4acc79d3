"""What W&B has of a trial, or of a report: the file `tracked.json` beside it. Never a reason to lose anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.jsonfile import read_object
from bench.record import failure_files, write_json

NAME = "tracked.json"


@dataclass(frozen=True)
class Mark:
    """Where it went. `entity`: None is the account's own; `outcome`: of the trial, or a digest of the report."""

    project: str
    entity: str | None
    mode: str
    outcome: str


def outcome(folder: Path) -> str:
    """`done`, or `failed 2` after two tries."""
    return "done" if (folder / "record.json").exists() else f"failed {len(failure_files(folder))}"


def digest(rows: Sequence[Mapping[str, Any]], page: Path | None) -> str:
    """Of a leaderboard and its page: what has it is not sent again."""
    found = hashlib.sha256(json.dumps(list(rows), default=str).encode())
    for path in sorted(page.rglob("*")) if page is not None and page.is_dir() else [page] if page else []:
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def covers(folder: Path, mark: Mark) -> bool:
    """Whether W&B already has this: in that project, of that entity where one is named.

    What is online, wherever, need not be written offline.
    """
    found = read_object(folder / NAME)
    if found.get("outcome") != mark.outcome:
        return False
    if mark.mode == "offline" and found.get("mode") == "online":
        return True
    same = (found.get("project"), found.get("mode")) == (mark.project, mark.mode)
    return same and mark.entity in (None, found.get("entity"))


def write(folder: Path, mark: Mark) -> None:
    """Note it, unless what is noted says as much, or more."""
    if not covers(folder, mark):
        write_json(folder / NAME, asdict(mark))
