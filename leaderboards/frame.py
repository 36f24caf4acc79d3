"""Records as a pandas DataFrame, for tables of one's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import runfolders
from bench.errors import UserError
from bench.spec import Trial
from leaderboards.results import Entry, Folders, read

if TYPE_CHECKING:
    import pandas as pd


def load(folders: Folders) -> pd.DataFrame:
    """One row per record, and one per trial without a record: column `state`, done, failed, missing or refused.

    `folders`: paths, or names of suites that have run here. Accuracies in percent, `keep_macs` from 0 to 1, MACs and
    parameters as counts, times in seconds. Hyper-parameters, recipe and the backbone's arguments are columns
    `params.*`, `recipe.*` and `backbone.*`; speed, of the machine whose name comes first, is `speedup.BATCH` and
    `latency_ms.BATCH`. What could not be read is warned about. Raises UserError where there is nothing.
    """
    import pandas as pd

    names = [folders] if isinstance(folders, str | Path) else folders
    found = runfolders.find_all(map(Path, names))
    results = read(found)
    for problem in results.problems:
        warnings.warn(problem, stacklevel=2)
    if not (results.records or results.unfinished):
        raise UserError(f"there is no record in {', '.join(map(str, found))}")
    unfinished = [{**_asked(u.trial), "state": u.state, "reason": u.reason} for u in results.unfinished]
    return pd.DataFrame([*map(_flat, results.records), *unfinished])


def _asked(trial: Trial) -> dict[str, Any]:
    """What is known of a trial before it has run."""
    values: dict[str, Any] = {
        "key": trial.key, "state": "done", "reason": "", "method": trial.method.name, "version": trial.method.version,
        "dataset": trial.dataset.name, "subset": trial.dataset.subset, "backbone": trial.backbone.name,
        "track": trial.track, "keep_macs": trial.keep_macs, "seed": trial.seed, "smoke": trial.smoke,
        "protocol": trial.protocol, "twin": trial.twin, "baseline": trial.baseline,
    }  # fmt: skip
    values |= {f"params.{name}": value for name, value in trial.method.params.items()}
    values |= {f"backbone.{name}": value for name, value in trial.backbone.kwargs.items()}
    return values | {f"recipe.{name}": value for name, value in trial.recipe.model_dump().items()}


def _flat(entry: Entry) -> dict[str, Any]:
    record = entry.record
    values = _asked(record.trial)
    values |= {
        "suite": record.suite, "starts_from": record.starts_from, "cut_top1": record.cut_top1,
        "best_top1": record.best_top1, "off_target": record.off_target,
        "started": record.started, "finished": record.finished, "path": str(entry.path),
    }  # fmt: skip
    values |= record.result.model_dump()
    if record.dense:
        values |= {f"dense_{name}": value for name, value in record.dense.model_dump().items()}
        values["change"] = record.result.top1 - record.dense.top1
    for name, spent in (("spent", record.spent), ("spent_dense", record.spent_dense)):
        if spent:
            values |= {f"{name}.{field}": value for field, value in spent.model_dump().items()}
    for latency in entry.latencies[:1]:
        values["measured_on"] = latency.name
        for t in latency.timings:
            values |= {f"speedup.{t.batch}": t.speedup.median, f"latency_ms.{t.batch}": t.compact_ms.median}
    machine = record.machine.model_dump()
    machine.pop("versions")
    return values | {f"machine.{name}": value for name, value in machine.items()}
