"""Squared weights relative to all larger ones of the layer: magnitudes that can be compared between layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch_pruning as tp
from torch import Tensor, nn

from bench import Group, MethodError, OneShot, Paper, Run


@dataclass(frozen=True)
class LAMP(OneShot):
    """LAMP score (equation 3) with a filter in the place of a weight: w_u^2 / sum of w_v^2 over all w_v^2 >= w_u^2.

    torch-pruning's criterion computes it. The squared norm of a unit is the mean over the plain convolutions, linear
    layers and norms of its group, those that read it included; depthwise and grouped convolutions do not count. The
    best channel of every layer scores 1, so the scores are compared as they are over the whole network; a unit of
    several channels (grouped convolutions) has their sum, which is a little more.
    """

    name: ClassVar[str] = "lamp"
    by_mean: ClassVar[bool] = False
    summary: ClassVar[str] = "cuts by squared norm relative to the layer's larger filters, over all layers at once"
    paper: ClassVar[Paper] = Paper(
        title="Layer-adaptive Sparsity for the Magnitude-based Pruning",
        year=2021,
        url="https://arxiv.org/abs/2010.07611",
        bibtex="""@inproceedings{lee2021layer,
  title = {Layer-adaptive Sparsity for the Magnitude-based Pruning},
  author = {Lee, Jaeho and Park, Sejun and Mo, Sangwoo and Ahn, Sungsoo and Shin, Jinwoo},
  booktitle = {International Conference on Learning Representations},
  year = {2021}
}""",
    )

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        return {group.name: _lamp(group) for group in run.groups(model)}


def _lamp(group: Group) -> Tensor:
    """torch-pruning scores the channels of its root layer; a unit of several has their sum. (units,)"""
    scores = tp.importance.LAMPImportance()(group.native)
    root = next(m for m in group.members if m.module is group.native[0].dep.target.module and m.role == "filters")
    if scores is None or len(scores) != root.channels.numel():
        raise MethodError(f"lamp: torch-pruning has no magnitudes for the group {group.name}")
    return scores[root.channels].sum(1)
