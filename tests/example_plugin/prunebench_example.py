"""A method in a package of its own: filters whose weights vary little go first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import OneShot, Run


@dataclass(frozen=True)
class Spread(OneShot):
    """Importance of a filter = the standard deviation of its weights, to some power."""

    name: ClassVar[str] = "spread"
    summary: ClassVar[str] = "cuts the filters whose weights vary least"

    power: float = 1.0

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        return {
            group.name: torch.stack([rows.std(1) for rows in group.filters()]).mean(0) ** self.power
            for group in run.groups(model)
        }
