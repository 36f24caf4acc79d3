"""The norm of everything that goes with a filter: its own weights, its norm's scale, and the weights that read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import Group, OneShot, Paper, Run


@dataclass(frozen=True)
class GroupNorm(OneShot):
    """Importance = squared L2 norm over all parameters of the group that unit k owns (section 3.3, I(g)_k).

    Scores are divided by their group's mean, so that they can be compared over the whole network; the paper divides by
    the mean of the group's best.
    """

    name: ClassVar[str] = "group_norm"
    summary: ClassVar[str] = "cuts by the norm over all coupled layers, readers and norms included"
    paper: ClassVar[Paper] = Paper(
        title="DepGraph: Towards Any Structural Pruning",
        year=2023,
        url="https://arxiv.org/abs/2301.12900",
        bibtex="""@inproceedings{fang2023depgraph,
  title = {{DepGraph}: Towards Any Structural Pruning},
  author = {Fang, Gongfan and Ma, Xinyin and Song, Mingli and Mi, Michael Bi and Wang, Xinchao},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2023}
}""",
    )

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        return {group.name: squared_norm(group) for group in run.groups(model)}


def squared_norm(group: Group) -> Tensor:
    """Sum of the squares of all weights of each unit, in all layers of its group; differentiable, (units,)."""
    weights = group.filters() + group.inputs()
    for member in group.norms():
        if member.module.weight is not None:
            weights.append(member.module.weight[member.channels])
    return torch.stack([rows.square().sum(1) for rows in weights]).sum(0)
