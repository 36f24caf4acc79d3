"""How far a suite is, read from its run folder alone: neither torch nor pydantic is imported."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.jsonfile import read_object
from bench.labels import labels, plain
from bench.lease import holder

KEY = re.compile("[0-9a-f]{16}")
"""A trial's key is a folder's name; a plan that has other keys is not ours."""


@dataclass(frozen=True)
class TrialState:
    """`state`: done, damaged, running, failed, blocked, interrupted or waiting.

    `detail`: accuracy, progress or reason.
    """

    key: str
    label: str
    state: str
    detail: str


def read_plan(out: Path) -> dict[str, Any]:
    """What `prunebench run` planned. Raises UserError where nothing has run in this folder."""
    path = out / "plan.json"
    if not path.exists():
        raise UserError(f"nothing has run in {out} yet: start it with `prunebench run`")
    if not (plan := read_object(path)):
        raise UserError(_damaged(out))
    return plan


def _damaged(out: Path) -> str:
    return f"{out / 'plan.json'} is damaged: run the suite again, finished trials are kept"


def states(out: Path) -> list[TrialState]:
    """Every planned trial and where it stands. Raises UserError where the plan is damaged."""
    try:
        plan = read_plan(out)["trials"]
        named = labels([entry["trial"] for entry in plan])
        entries = [(str(entry["key"]), label) for entry, label in zip(plan, named, strict=True)]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(_damaged(out)) from None
    if not all(KEY.fullmatch(key) for key, _ in entries):
        raise UserError(_damaged(out))
    return [_state(out, key, label) for key, label in entries]


def text(out: Path) -> str:
    """A line per trial and a line of counts."""
    rows = states(out)
    width = max((len(row.label) for row in rows), default=0)
    lines = [f"{row.key}  {row.label:<{width}}  {row.state:<11}  {row.detail}".rstrip() for row in rows]
    counts = Counter(row.state for row in rows)
    return "\n".join(
        [*map(plain, lines), ", ".join(f"{n} {state}" for state, n in counts.items()) + f" of {len(rows)} trials"]
    )


def find_trial(key: str, roots: Iterator[Path]) -> Path:
    """The folder of the one trial whose key begins with `key`. Raises UserError for none or several."""
    begins = re.fullmatch("[0-9a-f]{1,16}", key)
    paths = [path for root in roots for path in root.glob(f"trials/{key}*") if path.is_dir()] if begins else []
    # one trial may stand in several run folders: the copy that is finished, or else that has begun; of these the newest
    paths.sort(key=lambda path: ((path / "record.json").exists(), (path / "log.txt").exists(), path.stat().st_mtime))
    found = {path.name: path for path in paths}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise UserError(f"no trial's key begins with '{key}': `prunebench status SUITE` shows the keys")
    raise UserError(f"several keys begin with '{key}': {', '.join(sorted(found))}")


def _state(out: Path, key: str, label: str) -> TrialState:
    folder = out / "trials" / key
    if (folder / "record.json").exists():
        try:
            result = read_object(folder / "record.json")["result"]
            return TrialState(key, label, "done", f"{result['top1']:.2f} % top-1, {result['macs'] / 1e6:.2f} M MACs")
        except (KeyError, TypeError, ValueError, OverflowError):
            return TrialState(key, label, "damaged", f"move {folder / 'record.json'} away to run it again")
    numbered = [path for path in folder.glob("failed-*.json") if path.stem[7:].isdecimal()]
    failures = sorted(numbered, key=lambda path: int(path.stem[7:]))
    progress = folder / "progress.json"
    if progress.exists() and not (failures and failures[-1].stat().st_mtime >= progress.stat().st_mtime):
        now = read_object(progress)
        try:
            detail = f"{now['phase']}, epoch {now['epoch']:.1f}/{now['epochs']:g}, {now['images_per_s']:.0f} images/s"
        except (KeyError, TypeError, ValueError, OverflowError):
            detail = ""
        return TrialState(key, label, "running" if holder(folder) else "interrupted", detail)
    if failures:
        last = read_object(failures[-1])
        state = "blocked" if last.get("kind") == "blocked" else "failed"
        return TrialState(key, label, state, str(last.get("reason", "")))
    return TrialState(key, label, "waiting", "")
