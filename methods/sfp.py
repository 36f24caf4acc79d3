"""The weakest filters are set to zero after each epoch but may grow again; only the last epoch's are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import Count, Method, Paper, Run, Share


@dataclass(frozen=True)
class SFP(Method):
    """Soft filter pruning (algorithm 1): after each epoch the filters with the smallest L2 norm become zero, the same
    share of every layer; the next epoch trains them on. What is smallest at the end is cut.

    share: of the epochs, for soft pruning; 1 as in the paper, which does not fine-tune.
    batches: training batches for the norms' running statistics after the cut. A zero filter still leaves its norm's
        bias behind, and the next norm's mean holds it: without it the mean must be computed afresh.

    The authors mask each block's second convolution by its own norms, and leave the width of the sum as it is; here the
    layers that a shortcut joins share one choice, by their mean norm, and the sum's channels go with it.
    """

    name: ClassVar[str] = "sfp"
    summary: ClassVar[str] = (
        "zeroes the filters with the smallest L2 norm each epoch, lets them grow again, cuts at the end"
    )
    paper: ClassVar[Paper] = Paper(
        title="Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks",
        year=2018,
        url="https://arxiv.org/abs/1808.06866",
        bibtex="""@inproceedings{he2018soft,
  title = {Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks},
  author = {He, Yang and Kang, Guoliang and Dong, Xuanyi and Fu, Yanwei and Yang, Yi},
  booktitle = {International Joint Conference on Artificial Intelligence},
  year = {2018}
}""",
    )

    share: Share = 1.0
    batches: Count = 100

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        groups = run.groups(model)
        keep = run.select(model, self.score(model, run), scope="layer")  # how many stay does not depend on the scores
        gone = {group.name: group.size - len(keep.get(group.name, range(group.size))) for group in groups}

        @torch.no_grad()
        def soften(epoch: int, model: nn.Module) -> None:
            if epoch == 0:
                return  # the first filters go after the first epoch
            scores = self.score(model, run)
            for group in groups:
                weakest = scores[group.name].argsort(stable=True)[: gone[group.name]]
                for member in group.members:
                    if member.role == "filters":
                        member.module.weight[member.channels[weakest].flatten()] = 0

        run.train(model, self.share * run.epochs_left, each_epoch=soften, name="soft pruning")
        model = run.shrink(model, run.select(model, self.score(model, run), scope="layer"))
        run.recalibrate(model, self.batches)
        run.train(model, run.epochs_left, name="fine-tune")
        return model

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        """L2 norm of each filter, the mean over the layers of a group."""
        return {
            group.name: torch.stack([rows.norm(dim=1) for rows in group.filters()]).mean(0)
            for group in run.groups(model)
        }
