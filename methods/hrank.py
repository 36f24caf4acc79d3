"""Filters whose feature maps have a low rank carry little information and go first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from bench import Count, Group, Member, OneShot, Paper, Run


@dataclass(frozen=True)
class HRank(OneShot):
    """Importance of a filter = the rank of its feature map, averaged over images (equations 4 and 5).

    images, batch_size: how many training images (the paper finds 500 enough), and how many at a time.

    The paper looks at maps behind the activation, after a shortcut's sum: what the next layers read. The score is
    the mean over all readers of a group. The paper sets rates by hand, layer by layer; here all lose the same share.
    The authors cut one layer after the other, with training after each; here it is one cut.
    Maps are computed in fp32, since rounding to bf16 raises their rank.
    """

    name: ClassVar[str] = "hrank"
    summary: ClassVar[str] = "cuts the filters whose feature maps have the lowest mean rank"
    paper: ClassVar[Paper] = Paper(
        title="HRank: Filter Pruning using High-Rank Feature Map",
        year=2020,
        url="https://arxiv.org/abs/2002.10179",
        bibtex="""@inproceedings{lin2020hrank,
  title = {{HRank}: Filter Pruning using High-Rank Feature Map},
  author = {Lin, Mingbao and Ji, Rongrong and Wang, Yan and Zhang, Yichen and Zhang, Baochang and Tian, Yonghong
            and Shao, Ling},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2020}
}""",
    )

    images: Count = 500
    batch_size: Count = 50
    scope: Literal["global", "layer"] = field(default="layer", kw_only=True)

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        groups = run.groups(model)
        ranks = {group.name: torch.zeros(group.size, device=run.device) for group in groups}
        for images, _ in run.batches(-(-self.images // self.batch_size), self.batch_size):
            for name, maps in feature_maps(model, groups, images).items():
                ranks[name] += torch.stack([mean_rank(m) for m in maps]).mean(0)
        return ranks


def mean_rank(maps: Tensor) -> Tensor:
    """Mean rank over images and a unit's channels. maps: (images, units, channels, H, W) -> (units,)"""
    return torch.linalg.matrix_rank(maps.float()).float().mean((0, 2))


@torch.no_grad()
def feature_maps(model: nn.Module, groups: list[Group], images: Tensor) -> dict[str, list[Tensor]]:
    """Group name -> the maps of its units, as each layer that reads them sees them: (images, units, channels, H, W).

    Where only single numbers are read, as by a classifier behind global pooling, the rectified outputs of the group's
    norms (or else of its filters) are taken. In eval mode; hooks and mode are undone.
    """
    read: dict[str, list[Tensor]] = defaultdict(list)
    made: dict[str, list[Tensor]] = defaultdict(list)

    def keep(store: list[Tensor], member: Member, x: Tensor) -> None:
        x = x.movedim(-1, 1) if _channels_last(member.module) else x
        x = x[(...,) + (None,) * (4 - x.dim())]
        store.append(x[:, member.channels])

    def reader(name: str, member: Member) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs[0].dim() == 4 and inputs[0][0, 0].numel() > 1:
                keep(read[name], member, inputs[0])

        return hook

    def maker(name: str, member: Member) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            keep(made[name], member, output.relu())

        return hook

    training = model.training
    with ExitStack() as hooks:
        for group in groups:
            role = "norm" if group.norms() else "filters"
            for member in group.members:
                if member.role == "inputs":
                    hooks.enter_context(member.module.register_forward_pre_hook(reader(group.name, member)))
                if member.role == role:
                    hooks.enter_context(member.module.register_forward_hook(maker(group.name, member)))
        model.eval()
        model(images)
    model.train(training)
    return {group.name: read[group.name] or made[group.name] for group in groups}


def _channels_last(module: nn.Module) -> bool:
    """Linear layers and layer norms have their channels last; timm's LayerNorm2d, by its name, has not."""
    return isinstance(module, nn.Linear | nn.LayerNorm) and not type(module).__name__.endswith("2d")
