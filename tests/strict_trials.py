"""`python tests/strict_trials.py FOLDER METHOD...`: a trial of each method on the strict device.

Prints as JSON how each ended, and what its epochs of training waited for. Some are killed in every epoch and go on.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent.parent))

import strict  # isort: skip  # first, because it changes what the others find in torch
import torch
from test_contract import EPOCHS, SHORT
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from bench import cost, machine, registry
from bench.method import Method, Run
from bench.record import Failure
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial
from bench.training import loop
from bench.trial import run_trial

RECIPE = Recipe(epochs=1, lr=0.02, batch_size=64)
DENSE = Trial(
    dataset=DataSpec(name="digits", subset=192, holdout=64),
    backbone=BackboneSpec(name="cifar_resnet20"),
    dense=DenseSpec(recipe=RECIPE),
    method=MethodSpec(name="dense"),
    recipe=RECIPE,
    precision="fp32",
    smoke=True,
)


KILLED = ("dense", "dcff", "gate_decorator", "growing_reg")
"""Their checkpoints hold more than weights: momentum, latent filters, gates and scores, counters."""


class Killed(BaseException):
    """Stands for kill -9."""


@dataclass(frozen=True)
class Mixes(Method):
    name: ClassVar[str] = "mixes"
    prunes: ClassVar[bool] = False

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        left = torch.ones(16)
        run.train(model, 1, penalty=lambda net: (net.bn1.weight * left).sum())
        return model


@dataclass(frozen=True)
class Waits(Method):
    name: ClassVar[str] = "waits"
    prunes: ClassVar[bool] = False

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        run.train(model, 1, penalty=lambda net: net.bn1.weight[torch.arange(4)].sum())
        return model


METHODS = {**registry.methods(), "mixes": Mixes, "waits": Waits}


def trial_of(name: str) -> Trial:
    if name == "dense":
        return DENSE
    changes = {
        "method": MethodSpec(name=name, version=METHODS[name].version, params=SHORT.get(name, {})),
        "recipe": RECIPE.model_copy(update={"epochs": EPOCHS.get(name, 3)}),
        "keep_macs": 0.5 if METHODS[name].prunes else None,
        "baseline": DENSE.key,
    }
    return DENSE.model_copy(update=changes)


def main(out: Path, names: list[str]) -> None:
    device, waits = strict.Strict(), []
    counted, train_epoch = cost.counted, loop.train_epoch

    def counted_on_cpu(model: nn.Module, example: Tensor) -> Any:  # fvcore's tracer does not see such a device
        model, example = copy.deepcopy(model).cpu(), example.cpu()
        with _disable_current_modes():
            return counted(model, example)

    def noted(*args: Any, **more: Any) -> loop.EpochResult:
        before = len(device.waits)
        result = train_epoch(*args, **more)
        waits.append(device.waits[before:])
        return result

    def run(trial: Trial) -> str:
        def die() -> None:
            if trial.method.name in KILLED:
                raise Killed

        while True:
            try:
                with device:
                    end = run_trial(trial, out, suite="strict", threads=1, kept=die)
            except Killed:
                continue
            return end.reason if isinstance(end, Failure) else "done"

    cost.counted, loop.train_epoch, machine.device = counted_on_cpu, noted, lambda: strict.DEVICE
    registry.methods = lambda: METHODS
    found = {}
    for name in names:
        waits.clear()
        found[name] = {"end": run(trial_of(name)), "waits": waits.copy()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
