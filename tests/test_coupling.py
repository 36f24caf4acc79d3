"""Couplings that no cut could name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.channels.coupling import trace_with_whole


def normed(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, channels, 1), nn.BatchNorm2d(channels))


class OneGate(nn.Module):
    """One gate for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.gate, self.fc = nn.Conv2d(3, 8, 3), normed(8), nn.Conv2d(8, 1, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x).relu())
        return self.fc((x * self.gate(x).sigmoid()).relu().mean((2, 3)))


class Halves(nn.Module):
    """Each part of the channels goes with another layer's: two groups that begin in one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.body, self.one, self.other = normed(8), normed(5), normed(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.fc((self.body(x) + torch.cat([self.one(x), self.other(x)], 1)).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(OneGate, "its channels can only go all at once"), (Halves, "its channels fall into several groups")],
)
def test_what_no_cut_can_name_stays_whole(kind, reason):
    couplings, whole = trace_with_whole(kind().eval(), torch.zeros(1, 3, 9, 9))
    assert [coupling.first.layer for coupling in couplings] == ["stem"] and whole["body.0"] == reason
