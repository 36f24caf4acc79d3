"""The dense network, trained as its recipe says: the baseline that every other method is compared with."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from bench import Method, Run
from bench.spec import DENSE


class Dense(Method):
    """Trains the whole network for the dense recipe's epochs; given weights train no further (0 epochs)."""

    name: ClassVar[str] = DENSE
    summary: ClassVar[str] = "the dense network, trained from scratch: the baseline"
    start: ClassVar[Literal["pretrained", "scratch"]] = "scratch"
    prunes: ClassVar[bool] = False

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        run.train(model, run.epochs_left)
        return model
