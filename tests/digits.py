"""A small residual network and a real session on 200 digits: for tests of whole methods, in about a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import cost, data
from bench.method import Budget
from bench.session import Session
from bench.spec import DataSpec, Recipe
from bench.training.ranks import ALONE, Ranks


class Net(nn.Module):
    """Two groups: `stem`, made by two convolutions whose outputs are added (8), and `first` (12)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.first, self.norm1 = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.second, self.norm2 = nn.Conv2d(12, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.norm2(self.second(self.norm1(self.first(x)).relu()))).relu()
        return self.fc(x.mean((2, 3)))


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def session(
    folder: Path,
    model: nn.Module,
    *,
    epochs: float = 2,
    say: Callable[[str], None] = lambda line: None,
    ranks: Ranks = ALONE,
    **budget: Any,
) -> Session:
    """One epoch is four steps of 50 images. `keep_macs` or `widths` go into the budget."""
    digits = data.load(DataSpec(name="digits", subset=200), seed=0, device=torch.device("cpu"))
    if "keep_macs" in budget:
        budget["macs"] = budget["keep_macs"] * macs(model)
    return Session(
        model,
        digits,
        budget=Budget(**{"keep_macs": None, "macs": None, "epochs": epochs, **budget}),
        recipe=Recipe(epochs=2, lr=0.05, batch_size=50),
        seed=0,
        device=torch.device("cpu"),
        folder=folder,
        wanted={"threads": 1, "precision": "fp32"},
        say=say,
        ranks=ranks,
    )


def macs(model: nn.Module) -> int:
    """Headline MACs on one 8 x 8 digit."""
    return cost.count(model, torch.zeros(1, 1, 8, 8)).macs
