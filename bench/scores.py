"""Scores of one dense network, shared by the trials that would all compute the same: those of several targets."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import machine
from bench.method import Method
from bench.onlyone import alone
from bench.sources import digest
from bench.spec import Trial
from bench.training.journal import Journal
from bench.weights import file_digest

Scores = dict[str, Tensor]


class Shared:
    """A run folder's `scores/`: a file for each dense network, seed, method, recipe, program and machine.

    The machine counts because another one adds in another order: a trial's bits do not depend on who scored first.
    """

    def __init__(
        self, out: Path, trial: Trial, method: Method, settings: Mapping[str, Any], device: torch.device
    ) -> None:
        self._journal = Journal(out / "scores")
        same = trial.model_dump(mode="json", exclude={"keep_macs"})
        where = machine.describe(settings, device).model_dump(mode="json", exclude={"commit"})
        program = [digest(), inspect.getsource(inspect.getmodule(type(method)) or type(method))]
        dense = out / "trials" / str(trial.baseline) / "model.safetensors"  # it may be trained anew, or brought here
        network = file_digest(dense) if dense.exists() else None
        text = json.dumps([same, where, program, network], sort_keys=True)
        self._name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._lock = out / "scores" / f"{self._name}.lock"

    def of(self, model: nn.Module, compute: Callable[[], Scores], general: Callable[[], bool]) -> Scores:
        """`compute()`, or what it gave for another target. Who comes second waits for the first.

        Nothing is kept where `compute` changed the model, or where its result, as `general()` tells, is of this
        trial alone, or took events of its journal, which then must come again when it is resumed.
        """
        with alone(self._lock):
            if (kept := self._journal.finished(self._name)) is not None:
                device = next(model.parameters()).device
                return {name: score.to(device) for name, score in kept[0].items()}
            before = {name: value.clone() for name, value in model.state_dict().items()}
            scores = compute()
            if general() and all(torch.equal(value, before[name]) for name, value in model.state_dict().items()):
                with suppress(OSError):  # a full disk shows in the trial's own files
                    self._journal.finish(self._name, scores, None)
            return scores
