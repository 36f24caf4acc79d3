"""Many random widths, each judged on a hold-out after its batch norms were adapted; the best is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench import Count, Group, Method, MethodError, Paper, Run, Share
from methods.l1 import L1


@dataclass(frozen=True)
class EagleEye(Method):
    """Random pruning strategies, judged by adaptive batch normalisation (sections 3.2 to 3.4).

    candidates: strategies to try. The paper's search on ImageNet tries about 1,000; each costs `batches` forward
        passes and one evaluation of the hold-out, which no table counts: with the defaults on CIFAR-10 as much work as
        twelve epochs of training.
    max_rate: largest share of a layer's filters that goes (0.7, as for half of the MACs in the paper).
    batches: training batches that the running statistics are computed from (100).

    Inside a layer the filters with the smallest L1 norm go. The paper draws each layer's rate from [0, max_rate] until
    the MACs fit; here the rates are drawn and then scaled by one factor, so that every candidate meets the target.
    """

    name: ClassVar[str] = "eagleeye"
    summary: ClassVar[str] = "tries random widths, adapts batch norm statistics, keeps the best on a hold-out"
    paper: ClassVar[Paper] = Paper(
        title="EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning",
        year=2020,
        url="https://arxiv.org/abs/2007.02491",
        bibtex="""@inproceedings{li2020eagleeye,
  title = {{EagleEye}: Fast Sub-net Evaluation for Efficient Neural Network Pruning},
  author = {Li, Bailin and Wu, Bowen and Su, Jiang and Wang, Guangrun and Lin, Liang},
  booktitle = {European Conference on Computer Vision},
  year = {2020}
}""",
    )
    selects: ClassVar[bool] = True

    candidates: Count = 100
    max_rate: Share = 0.7
    batches: Count = 100

    def check(self, model: nn.Module, groups: Iterable[Group]) -> None:
        if not any(isinstance(module, _BatchNorm) for module in model.modules()):
            raise MethodError(f"eagleeye adapts batch norm statistics, and {type(model).__name__} has none: take l1")

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        norms, generator = L1().score(model, run), run.generator("widths")
        best, best_top1 = {}, -1.0
        for candidate in range(self.candidates):
            keep = run.select(model, self.strategy(norms, generator), scope="global")
            compact = run.shrink(deepcopy(model), keep)
            run.recalibrate(compact, self.batches)
            top1 = run.evaluate(compact)
            if top1 > best_top1:
                best, best_top1 = dict(keep), top1
                run.log(f"candidate {candidate}: {top1:.2f} % on the hold-out, the best so far")
        model = run.shrink(model, best)
        run.recalibrate(model, self.batches)
        run.train(model, run.epochs_left, name="fine-tune")
        return model

    def strategy(self, norms: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Scores of which the lowest leave each layer a share of filters in proportion to a random rate.

        A unit of rank r (0 to 1 by its norm) in a layer of rate u gets r / u: under a threshold t lies the share t * u.
        """
        scores = {}
        for name, norm in norms.items():
            rate = torch.rand((), generator=generator).clamp_min(1e-3).item()
            rank = norm.argsort(stable=True).argsort() / len(norm)
            scores[name] = rank / rate + 1e6 * (rank >= self.max_rate)
        return scores
