"""What can be known before anything starts: that the data are here, and that given weights fit their backbone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from bench import data, weights
from bench.spec import DENSE, Trial


def check(trials: Iterable[Trial], out: Path | None) -> None:
    """Raises UserError for the first thing that is missing. Trials that have a record in `out` need nothing more."""
    seen = set()
    for trial in trials:
        if out is not None and (out / "trials" / trial.key / "record.json").exists():
            continue
        if trial.dataset.model_dump_json() not in seen:
            seen.add(trial.dataset.model_dump_json())
            data.load(trial.dataset, seed=trial.seed, device=torch.device("cpu"))
        if trial.method.name == DENSE and trial.dense and trial.dense.weights:
            loaded = data.load(trial.dataset, seed=trial.seed, device=torch.device("cpu"))
            weights.dense(trial, classes=loaded.classes, channels=loaded.channels, image_size=loaded.image_size)
