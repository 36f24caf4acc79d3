"""Filters with small weights go first: the criterion that every paper is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench import OneShot, Paper, Run


@dataclass(frozen=True)
class L1(OneShot):
    """Importance of a filter = the sum of its absolute weights (section 3.1).

    The paper chooses a rate per stage by hand, from a sensitivity analysis; here all layers lose the same share unless
    `scope: global` is set. It lets the shortcut's filters decide for the layers added to them; here a group's
    score is the mean over all of its layers, so that no layer is special.
    """

    name: ClassVar[str] = "l1"
    summary: ClassVar[str] = "cuts the filters with the smallest sum of absolute weights"
    paper: ClassVar[Paper] = Paper(
        title="Pruning Filters for Efficient ConvNets",
        year=2017,
        url="https://arxiv.org/abs/1608.08710",
        bibtex="""@inproceedings{li2017pruning,
  title = {Pruning Filters for Efficient ConvNets},
  author = {Li, Hao and Kadav, Asim and Durdanovic, Igor and Samet, Hanan and Graf, Hans Peter},
  booktitle = {International Conference on Learning Representations},
  year = {2017}
}""",
    )

    scope: Literal["global", "layer"] = field(default="layer", kw_only=True)

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        return {
            group.name: torch.stack([rows.abs().sum(1) for rows in group.filters()]).mean(0)
            for group in run.groups(model)
        }
