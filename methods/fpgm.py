"""Filters near the geometric median of their layer go first: the others can stand in for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench import OneShot, Paper, Run


@dataclass(frozen=True)
class FPGM(OneShot):
    """Importance of a filter = the sum of its Euclidean distances to all filters of its layer (equations 4 to 6).

    The filter with the smallest sum is the one nearest to the geometric median. As in the paper, every layer loses the
    same share. The authors mask each block's second convolution by its own scores, and leave the width of the sum as it
    is; here the layers that a shortcut joins share one choice, by their mean score, and the sum's channels go with it.
    The paper's other variants (mixed with the norm, repeated each epoch) are not here.
    """

    name: ClassVar[str] = "fpgm"
    summary: ClassVar[str] = "cuts the filters nearest to the geometric median of their layer"
    paper: ClassVar[Paper] = Paper(
        title="Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
        year=2019,
        url="https://arxiv.org/abs/1811.00250",
        bibtex="""@inproceedings{he2019filter,
  title = {Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration},
  author = {He, Yang and Liu, Ping and Wang, Ziwei and Hu, Zhilan and Yang, Yi},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2019}
}""",
    )

    scope: Literal["global", "layer"] = field(default="layer", kw_only=True)

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        return {
            group.name: torch.stack([_distances(rows) for rows in group.filters()]).mean(0)
            for group in run.groups(model)
        }


def _distances(rows: Tensor) -> Tensor:
    """Sum of the distances of each row to all rows. rows: (units, weights) -> (units,)"""
    # the fast way through a matrix product loses the small distances, which are the ones that decide
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
