"""Optimal brain damage for filters: the second-order change of the loss, with a diagonal Fisher matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import Count, Group, OneShot, Paper, Run


@dataclass(frozen=True)
class Hessian(OneShot):
    """C-OBD, the channel-wise OBD that EigenDamage compares with: 1/2 sum F_ww w^2 over the weights of a filter.

    The Hessian's diagonal is that of the Fisher matrix: squared gradients image by image, with labels drawn
    from the network's own predictions. Scores of coupled layers are summed, since all of them are removed at once, and
    compared over the whole network as they are: all are changes of the same loss. Gradients are taken in eval mode.

    images: training images that the Fisher matrix is summed over; the factor 1 / images changes no order.
    """

    name: ClassVar[str] = "hessian"
    by_mean: ClassVar[bool] = False
    summary: ClassVar[str] = "OBD for filters: cuts the smallest second-order change of the loss (diagonal Fisher)"
    paper: ClassVar[Paper] = Paper(
        title="EigenDamage: Structured Pruning in the Kronecker-Factored Eigenbasis",
        year=2019,
        url="https://arxiv.org/abs/1905.05934",
        bibtex="""@inproceedings{wang2019eigendamage,
  title = {{EigenDamage}: Structured Pruning in the {Kronecker}-Factored Eigenbasis},
  author = {Wang, Chaoqi and Grosse, Roger and Fidler, Sanja and Zhang, Guodong},
  booktitle = {International Conference on Machine Learning},
  year = {2019}
}""",
    )

    images: Count = 512

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        groups, training, labels = run.groups(model), model.training, run.generator("labels")
        filters = [m.module for group in groups for m in group.members if m.role == "filters"]
        fisher = {module: torch.zeros_like(module.weight) for module in filters}
        model.eval()
        for image, _ in run.batches(self.images, batch_size=1):
            model.zero_grad()
            with run.autocast():
                logits = model(image).float()
            label = torch.multinomial(logits.detach().softmax(1).cpu(), 1, generator=labels)[:, 0].to(run.device)
            F.cross_entropy(logits, label).backward()
            for module, total in fisher.items():
                if module.weight.grad is not None:
                    total += module.weight.grad.square()
        model.zero_grad()
        model.train(training)
        return {group.name: _change(group, fisher) for group in groups}


@torch.no_grad()
def _change(group: Group, fisher: dict[nn.Module, Tensor]) -> Tensor:
    """Half the sum of F_ww w^2 over all filters of each unit, (units,)."""
    changes = []
    for member in group.members:
        if member.role == "filters":
            weight = member.module.weight
            change = (fisher[member.module] * weight.square()).flatten(1).sum(1) / 2
            changes.append(change[member.channels].sum(1))
    return torch.stack(changes).sum(0)
