"""Filters that are to go are weakened by a growing penalty first, so that the cut hurts less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import Amount, Count, Method, Paper, Run, Share
from methods.l1 import L1


@dataclass(frozen=True)
class GrowingReg(Method):
    """GReg-1 (section 3.2): the filters with the smallest L1 norm are chosen at the start, driven to zero by an L2
    penalty that grows step by step, then cut.

    delta, every: the penalty's factor grows by `delta` each `every` steps (paper: 1e-4 and, on CIFAR, 10), up to
    ceiling (1). A short training never reaches it: 10,000 steps end at 0.1, and the 1,200 steps of three epochs of
    CIFAR-10 shrink the doomed filters by less than a tenth. lr: constant learning rate
    of this phase (0.001; None takes the recipe's schedule). share: of the epochs, for this phase.

    The authors hold the penalty for some thousand steps before the cut; here the cut follows at once.
    The penalty is on the filters, not on norms, as in the paper. The choice is `l1`'s: the same share of every layer.
    """

    name: ClassVar[str] = "growing_reg"
    summary: ClassVar[str] = "drives the filters with the smallest L1 norm to zero by a growing penalty, then cuts them"
    paper: ClassVar[Paper] = Paper(
        title="Neural Pruning via Growing Regularization",
        year=2021,
        url="https://arxiv.org/abs/2012.09243",
        bibtex="""@inproceedings{wang2021neural,
  title = {Neural Pruning via Growing Regularization},
  author = {Wang, Huan and Qin, Can and Zhang, Yulun and Fu, Yun},
  booktitle = {International Conference on Learning Representations},
  year = {2021}
}""",
    )

    delta: Amount = 1e-4
    every: Count = 10
    ceiling: Amount = 1.0
    lr: float | None = 1e-3
    share: Share = 0.5

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        keep = run.select(model, L1().score(model, run), scope="layer")
        groups = [group for group in run.groups(model) if group.name in keep]
        doomed = [(group, _others(keep[group.name], group.size).to(run.device)) for group in groups]
        model.register_buffer("growing_reg_steps", torch.zeros((), dtype=torch.int64, device=run.device))

        def penalty(model: nn.Module) -> Tensor:
            factor = (self.delta * (model.get_buffer("growing_reg_steps") // self.every)).clamp_max(self.ceiling)
            squares = [rows[units].square().sum() for group, units in doomed for rows in group.filters()]
            return factor / 2 * torch.stack(squares).sum()

        def count(model: nn.Module) -> None:
            model.get_buffer("growing_reg_steps").add_(1)

        run.train(
            model, self.share * run.epochs_left, lr=self.lr, penalty=penalty, each_step=count, name="growing penalty"
        )
        del model.growing_reg_steps
        model = run.shrink(model, keep)
        run.train(model, run.epochs_left, name="fine-tune")
        return model


def _others(kept: Tensor, size: int) -> Tensor:
    """The units that are not kept."""
    gone = torch.ones(size, dtype=torch.bool, device=kept.device)
    gone[kept] = False
    return gone.nonzero()[:, 0]
