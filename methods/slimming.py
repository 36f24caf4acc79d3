"""Batch norm scales are trained under an L1 penalty; the channels whose scale goes to zero are cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench import Amount, Group, Member, Method, MethodError, Paper, Run, Share


@dataclass(frozen=True)
class Slimming(Method):
    """Sparse training, one cut at a global threshold of |gamma|, fine-tuning (sections 3.2 and 3.3).

    sparsity: lambda in loss + lambda * sum |gamma| (equation 1): 1e-4 for VGG, 1e-5 for ResNet and DenseNet.
    share: of the epochs, for the sparse training; the paper trains as long before the cut as after it.

    The authors train so from scratch, for 160 epochs from lr 0.1 and gamma = 0.5. From a trained network at a small
    rate the penalty moves little: lambda times the sum of all learning rates, over 1 - momentum, about 0.006 for three
    epochs of CIFAR-10 at 0.01.

    |gamma| is compared as it is over all layers. Where several batch norms carry the same channels (shortcuts), their
    mean counts; the paper cuts only the first layers of residual blocks. Channels without a batch norm stay.
    """

    name: ClassVar[str] = "slimming"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "trains with an L1 penalty on batch norm scales, then cuts the smallest scales"
    paper: ClassVar[Paper] = Paper(
        title="Learning Efficient Convolutional Networks through Network Slimming",
        year=2017,
        url="https://arxiv.org/abs/1708.06519",
        bibtex="""@inproceedings{liu2017learning,
  title = {Learning Efficient Convolutional Networks through Network Slimming},
  author = {Liu, Zhuang and Li, Jianguo and Shen, Zhiqiang and Huang, Gao and Yan, Shoumeng and Zhang, Changshui},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2017}
}""",
    )

    sparsity: Amount = 1e-4
    share: Share = 0.5

    def check(self, model: nn.Module, groups: Iterable[Group]) -> None:
        if not any(_scales(group) for group in groups):
            raise MethodError(f"slimming needs batch norms with a scale, and {type(model).__name__} has none: take l1")

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        # A norm behind a concatenation carries channels of several groups, and counts once.
        scales = {member.layer: member.module for group in run.groups(model) for member in _scales(group)}.values()

        def penalty(model: nn.Module) -> Tensor:
            return self.sparsity * torch.stack([scale.weight.abs().sum() for scale in scales]).sum()

        run.train(model, self.share * run.epochs_left, penalty=penalty, name="sparse training")
        model = run.shrink(model, run.select(model, self.score(model, run), scope="global"))
        run.train(model, run.epochs_left, name="fine-tune")
        return model

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        """Mean |gamma| of each unit, for the groups that have a batch norm."""
        scores = {}
        for group in run.groups(model):
            if scales := _scales(group):
                sizes = [m.module.weight[m.channels].abs().mean(1) for m in scales]
                scores[group.name] = torch.stack(sizes).mean(0)
        return scores


def _scales(group: Group) -> list[Member]:
    """The group's batch norms that have a scale."""
    return [m for m in group.norms() if isinstance(m.module, _BatchNorm) and m.module.weight is not None]
