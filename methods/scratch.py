"""Control: a compact network trained from fresh weights, so that no weight is inherited from the dense network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from bench import Group, Method, MethodError, Paper, Run


@dataclass(frozen=True)
class Scratch(Method):
    """Fresh weights in a compact network (Liu et al., section 3: Scratch-E and Scratch-B).

    of: a method of the same suite whose widths are copied (its twin); None takes the same share of every layer.
    epochs: "matched" trains for the trial's own epochs; "E" for as many as the dense recipe; "B" until as many
        MACs are spent as the dense recipe spends; "twin" for as many as the twin trained.

    The weights are those of the middle filters of a freshly initialised dense network, as in `dcff`: zero-padded
    shortcuts go on joining the centres of their stages. Filters are drawn independently of each other, so the middle
    ones are as random as any, and each layer has the distribution of the dense network's initialisation: its variance
    follows the dense layer's size, not the compact one's as in the paper.
    """

    name: ClassVar[str] = "scratch"
    summary: ClassVar[str] = "control: fresh weights in a compact network, trained from scratch"
    paper: ClassVar[Paper] = Paper(
        title="Rethinking the Value of Network Pruning",
        year=2019,
        url="https://arxiv.org/abs/1810.05270",
        bibtex="""@inproceedings{liu2019rethinking,
  title = {Rethinking the Value of Network Pruning},
  author = {Liu, Zhuang and Sun, Mingjie and Zhou, Tinghui and Huang, Gao and Darrell, Trevor},
  booktitle = {International Conference on Learning Representations},
  year = {2019}
}""",
    )
    start: ClassVar[Literal["pretrained", "scratch"]] = "scratch"
    control: ClassVar[bool] = True

    of: str | None = None
    epochs: Literal["matched", "E", "B", "twin"] = "matched"

    def check(self, model: nn.Module, groups: Iterable[Group]) -> None:
        if self.epochs == "twin" and self.of is None:
            raise MethodError("scratch: `epochs: twin` copies a method's epochs: name it with `of: METHOD`")

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        dense_macs, widths, groups = run.cost(model).macs, run.budget.widths, run.groups(model)
        if widths is None:
            chosen = run.select(model, {g.name: torch.zeros(g.size) for g in groups}, scope="layer")
            widths = {name: len(ids) for name, ids in chosen.items()}
        keep = {g.name: torch.arange(widths[g.name]) + (g.size - widths[g.name]) // 2 for g in groups}
        model = run.shrink(model, keep)
        run.train(model, self._length(run, dense_macs / run.cost(model).macs))
        return model

    def _length(self, run: Run, ratio: float) -> float:
        """Epochs to train for; `ratio` is dense MACs / compact MACs."""
        if self.epochs == "matched":
            return run.epochs_left
        if self.epochs == "twin":
            if run.budget.twin_epochs is None:
                raise MethodError(f"scratch: how long '{self.of}' trained is not known: put it in the same suite")
            return run.budget.twin_epochs
        if run.budget.dense_recipe is None:
            raise MethodError(
                f"scratch: `epochs: {self.epochs}` needs a dense recipe; the suite's dense weights are given"
            )
        return run.budget.dense_recipe.epochs * (ratio if self.epochs == "B" else 1.0)
