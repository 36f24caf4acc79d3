"""How far a suite is, read from its run folder alone: neither torch nor pydantic is imported."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError

SILENT_S = 30
"""A trial whose progress is older than this is not running any more."""


@dataclass(frozen=True)
class TrialState:
    """`state`: done, running, failed, interrupted or waiting; `detail`: accuracy, progress or reason."""

    key: str
    label: str
    state: str
    detail: str


def read_plan(out: Path) -> dict[str, Any]:
    """What `prunebench run` planned. Raises UserError where nothing has run in this folder."""
    path = out / "plan.json"
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"nothing has run in {out} yet: start it with `prunebench run`") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): run the suite again, finished trials are kept") from None


def states(out: Path) -> list[TrialState]:
    """Every planned trial and where it stands."""
    return [_state(out, entry["key"], _label(entry["trial"])) for entry in read_plan(out)["trials"]]


def text(out: Path) -> str:
    """A line per trial and a line of counts."""
    rows = states(out)
    width = max((len(row.label) for row in rows), default=0)
    lines = [f"{row.key}  {row.label:<{width}}  {row.state:<11}  {row.detail}".rstrip() for row in rows]
    counts = Counter(row.state for row in rows)
    return "\n".join([*lines, ", ".join(f"{n} {state}" for state, n in counts.items()) + f" of {len(rows)} trials"])


def find_trial(key: str, roots: Iterator[Path]) -> Path:
    """The folder of the one trial whose key begins with `key`. Raises UserError for none or several."""
    found = {path.name: path for root in roots for path in root.glob(f"trials/{key}*") if path.is_dir()}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise UserError(f"no trial's key begins with '{key}': `prunebench status SUITE` shows the keys")
    raise UserError(f"several keys begin with '{key}': {', '.join(sorted(found))}")


def _state(out: Path, key: str, label: str) -> TrialState:
    folder = out / "trials" / key
    if (folder / "record.json").exists():
        result = json.loads((folder / "record.json").read_text())["result"]
        return TrialState(key, label, "done", f"{result['top1']:.2f} % top-1, {result['macs'] / 1e6:.2f} M MACs")
    failures = sorted(folder.glob("failed-*.json"), key=lambda path: int(path.stem.split("-")[1]))
    progress = folder / "progress.json"
    if progress.exists() and not (failures and failures[-1].stat().st_mtime >= progress.stat().st_mtime):
        now = json.loads(progress.read_text())
        detail = f"{now['phase']}, epoch {now['epoch']:.1f}/{now['epochs']:g}, {now['images_per_s']:.0f} images/s"
        running = time.time() - now["updated"] < SILENT_S
        return TrialState(key, label, "running" if running else "interrupted", detail)
    if failures:
        return TrialState(key, label, "failed", json.loads(failures[-1].read_text())["reason"])
    return TrialState(key, label, "waiting", "")


def _label(trial: dict[str, Any]) -> str:
    keep = trial.get("keep_macs")
    point = "" if keep is None else f" {100 * keep:g}%"
    return f"{trial['method']['name']}{point} seed {trial['seed']}"
