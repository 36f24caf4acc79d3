"""Control: filters cut at random. A criterion that does not beat it has found nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench import OneShot, Paper, Run


@dataclass(frozen=True)
class Random(OneShot):
    """Scores drawn uniformly from [0, 1); every layer loses the same share, so that only the choice is random."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "control: cuts random filters, the same share of every layer"
    paper: ClassVar[Paper] = Paper(
        title="Recovering from Random Pruning: On the Plasticity of Deep Convolutional Neural Networks",
        year=2018,
        url="https://arxiv.org/abs/1801.10447",
        bibtex="""@inproceedings{mittal2018recovering,
  title = {Recovering from Random Pruning: On the Plasticity of Deep Convolutional Neural Networks},
  author = {Mittal, Deepak and Bhardwaj, Shweta and Khapra, Mitesh M. and Ravindran, Balaraman},
  booktitle = {IEEE Winter Conference on Applications of Computer Vision},
  year = {2018}
}""",
    )

    scope: Literal["global", "layer"] = field(default="layer", kw_only=True)

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        generator = run.generator("random")
        return {group.name: torch.rand(group.size, generator=generator) for group in run.groups(model)}
