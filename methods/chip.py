"""Channels whose feature map the other channels can replace go first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench import Count, OneShot, Paper, Run
from methods.hrank import feature_maps


@dataclass(frozen=True)
class CHIP(OneShot):
    """Importance of a filter = its channel independence: by how much the nuclear norm of the layer's feature maps, one
    row per channel, falls when this channel's row is zero (equation 4), averaged over images.

    batches, batch_size: training images to look at (paper: 5 batches of 128). The time grows with the fourth
    power of a layer's channels, or of its positions where those are fewer: use few images on a CPU.

    Feature maps are those that the next layers read, as in `hrank`; the score is the mean over all readers. The paper
    sets rates by hand, layer by layer; here all lose the same share. Maps are computed in fp32, eigenvalues in fp64.
    """

    name: ClassVar[str] = "chip"
    summary: ClassVar[str] = "cuts the channels whose feature maps depend most on those of the others"
    paper: ClassVar[Paper] = Paper(
        title="CHIP: CHannel Independence-based Pruning for Compact Neural Networks",
        year=2021,
        url="https://arxiv.org/abs/2110.13981",
        bibtex="""@inproceedings{sui2021chip,
  title = {{CHIP}: {CHannel} Independence-based Pruning for Compact Neural Networks},
  author = {Sui, Yang and Yin, Miao and Xie, Yi and Phan, Huy and Zonouz, Saman and Yuan, Bo},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2021}
}""",
    )

    batches: Count = 5
    batch_size: Count = 128
    scope: Literal["global", "layer"] = field(default="layer", kw_only=True)

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        groups = run.groups(model)
        scores = {group.name: torch.zeros(group.size, device=run.device) for group in groups}
        for images, _ in run.batches(self.batches, self.batch_size):
            for name, maps in feature_maps(model, groups, images).items():
                scores[name] += torch.stack([independence(m) for m in maps]).mean(0)
        return scores


def independence(maps: Tensor) -> Tensor:
    """Mean fall of the nuclear norm without each unit. maps: (images, units, channels, H, W) -> (units,)"""
    return torch.stack([_falls(image.double().flatten(2)) for image in maps]).mean(0).float()


def _falls(image: Tensor) -> Tensor:
    """One image: (units, channels, positions) -> (units,). The smaller Gram matrix gives the singular values."""
    units, channels, positions = image.shape
    rows = image.flatten(0, 1)
    if positions <= len(rows):
        gram = rows.T @ rows
        without = gram - image.transpose(1, 2) @ image
    else:
        gram = rows @ rows.T
        stays = ~torch.eye(units, dtype=torch.bool, device=image.device).repeat_interleave(channels, 1)
        without = gram * stays[:, :, None] * stays[:, None, :]
    return _nuclear(gram) - _nuclear(without)


def _nuclear(gram: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().sum(-1)
