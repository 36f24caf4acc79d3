"""Layers that a shortcut joins lose their channels together: each method says how their scores become one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fakes import FakeRun
from torch import Tensor, nn

from bench import Group, Member, OneShot
from methods.chip import CHIP
from methods.fpgm import FPGM
from methods.hessian import Hessian
from methods.hrank import HRank
from methods.l1 import L1
from methods.sfp import SFP
from methods.slimming import Slimming
from methods.taylor import Taylor


class Joined(nn.Module):
    """Two convolutions with their norms, whose sum is read by a classifier. One channel of the second is dead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.fc = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 3, 3), nn.Linear(3, 2)
        self.norm_one, self.norm_two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        with torch.no_grad():
            self.norm_two.weight.copy_(torch.tensor([2.0, 0.5, 3.0]))
            self.norm_two.bias.copy_(torch.tensor([-9.0, 0.5, 0.1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.norm_one(self.one(x)).relu() + self.norm_two(self.two(x)).relu()).mean((2, 3)))


def score(method: OneShot, model: Joined, *layers: str) -> Tensor:
    """Of the group that these convolutions, their norms and the classifier make."""
    run, ids = FakeRun(), torch.arange(3)[:, None]
    names = [(name, role) for layer in layers for name, role in ((layer, "filters"), (f"norm_{layer}", "norm"))]
    members = tuple(Member(n, model.get_submodule(n), role, ids) for n, role in [*names, ("fc", "inputs")])
    run.groups = lambda model: [Group("sum", 3, 1, members)]  # type: ignore[method-assign]
    return method.score(model, run)["sum"].detach().double()


def mean(one: Tensor, two: Tensor) -> Tensor:
    return (one + two) / 2


@pytest.mark.parametrize(
    ("method", "joined"),
    [
        (L1(), mean),
        (FPGM(), mean),
        (SFP(), mean),
        (Slimming(), mean),
        (HRank(images=8, batch_size=4), mean),
        (CHIP(batches=2, batch_size=4), mean),
        (Taylor(batches=2), torch.add),
        (Taylor(form="weight", batches=2), torch.add),
        (Hessian(images=4), torch.add),
    ],
)
def test_the_scores_of_joined_layers_become_one(method: OneShot, joined: Callable[[Tensor, Tensor], Tensor]) -> None:
    model = Joined()
    one, two, both = (score(method, model, *layers) for layers in (("one",), ("two",), ("one", "two")))
    torch.testing.assert_close(both, joined(one, two), rtol=1e-5, atol=1e-8)
    assert not torch.allclose(one, two) and not torch.allclose(both, one) and not torch.allclose(both, two)
