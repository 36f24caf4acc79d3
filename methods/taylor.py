"""Filters whose removal changes the loss least, to first order, go first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench import Count, Group, OneShot, Paper, Run


@dataclass(frozen=True)
class Taylor(OneShot):
    """Squared first-order change of the loss when a filter is set to zero, summed over batches.

    form: "gate" puts an imaginary gate z = 1 behind each norm; its gradient is the sum of g * w over the norm's scale
        and bias, and the importance its square (equation 12: Taylor-FO-BN). Where channels have no
        norm the gate stands behind the filter, and the sum runs over its weights and bias.
        "weight" sums (g * w)^2 over the filter's weights (equation 8 summed over the set).
    batches: mini-batches summed over.

    Scores are summed over coupled layers and compared as they are over the whole network: the paper needs no
    normalisation by layer. In residual networks the authors' code puts one gate behind the sums of a stage instead: it
    adds up the gate's gradients over the blocks, squares that and divides by their number. The two rank the channels of
    a sum unlike (rank correlation 0.4 to 0.7 on a trained ResNet-20, 256 images), and here they are cut more readily.
    Gradients are taken in eval mode. The paper cuts a few filters at a time while it fine-tunes; here they are cut in
    one step.
    """

    name: ClassVar[str] = "taylor"
    by_mean: ClassVar[bool] = False
    summary: ClassVar[str] = "cuts the filters with the smallest squared first-order change of the loss"
    paper: ClassVar[Paper] = Paper(
        title="Importance Estimation for Neural Network Pruning",
        year=2019,
        url="https://arxiv.org/abs/1906.10771",
        bibtex="""@inproceedings{molchanov2019importance,
  title = {Importance Estimation for Neural Network Pruning},
  author = {Molchanov, Pavlo and Mallya, Arun and Tyree, Stephen and Frosio, Iuri and Kautz, Jan},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2019}
}""",
    )

    form: Literal["gate", "weight"] = "gate"
    batches: Count = 30

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        groups, training = run.groups(model), model.training
        scores = {group.name: torch.zeros(group.size, device=run.device) for group in groups}
        model.eval()
        for images, labels in run.batches(self.batches):
            model.zero_grad()
            run.loss(model, images, labels).backward()
            for group in groups:
                scores[group.name] += self._change(group)
        model.zero_grad()
        model.train(training)
        return scores

    @torch.no_grad()
    def _change(self, group: Group) -> Tensor:
        """Squared change of this batch's loss for each unit, (units,)."""
        gated = [m for m in group.norms() if m.module.weight is not None] if self.form == "gate" else []
        changes = []
        for member in gated or [m for m in group.members if m.role == "filters"]:
            given = [p for p in (member.module.weight, member.module.bias) if p is not None]
            products = [_product(p)[member.channels].flatten(1) for p in given]
            if self.form == "gate":
                changes.append(torch.cat(products, 1).sum(1).square())
            else:
                changes.append(products[0].square().sum(1))
        return torch.stack(changes).sum(0)


def _product(parameter: nn.Parameter) -> Tensor:
    """Gradient times value, one row per channel; zero where the loss does not reach the parameter."""
    product = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad * parameter
    return product.flatten(1) if product.dim() > 1 else product[:, None]
