"""What can be known before anything starts: that the data are here, and given weights too, and fit their backbone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from bench import data, weights
from bench.spec import DENSE, Trial


def check(trials: Iterable[Trial], out: Path | None) -> None:
    """Raises UserError for the first thing that is missing. Trials that have a record in `out` need nothing more."""
    loaded: dict[str, data.Data] = {}
    for trial in trials:
        if out is not None and (out / "trials" / trial.key / "record.json").exists():
            continue
        name = trial.dataset.model_dump_json()
        if name not in loaded:
            loaded[name] = data.load(trial.dataset, seed=trial.seed, device=torch.device("cpu"))
        if trial.method.name == DENSE and trial.dense and (trial.dense.weights or trial.dense.pretrained):
            found = loaded[name]
            weights.dense(trial, classes=found.classes, channels=found.channels, image_size=found.image_size)
