"""Group norms after sparse training: whole groups of coupled parameters are driven to zero together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import Amount, Run, Share
from methods.group_norm import GroupNorm, squared_norm


@dataclass(frozen=True)
class GroupSL(GroupNorm):
    """DepGraph with sparse learning (section 3.3): the loss gains a penalty on the squared norm of each unit.

    Penalty = reg / 2 * sum_k gamma_k I_k with gamma_k = 2^(alpha (I_max - I_k) / (I_max - I_min)), where I_k is the
    squared norm; gamma is computed from its root, as in the authors' code, and taken as a constant: the weakest unit of
    a group is pulled 2^alpha times as hard as the strongest. Afterwards units are cut as by `group_norm`, and the
    rest is fine-tuned.

    reg, alpha: strength of the penalty, and its range. share: of the epochs, for the sparse training.
    """

    name: ClassVar[str] = "group_sl"
    summary: ClassVar[str] = "trains coupled layers to be sparse together, then cuts by their common norm"

    reg: Amount = 5e-4
    alpha: Amount = 4.0
    share: Share = 0.5

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        groups = run.groups(model)

        def penalty(model: nn.Module) -> Tensor:
            return self.reg / 2 * torch.stack([self._pull(squared_norm(group)) for group in groups]).sum()

        run.train(model, self.share * run.epochs_left, penalty=penalty, name="sparse training")
        return super().compress(model, run)

    def _pull(self, squared: Tensor) -> Tensor:
        """Weighted sum of the squared norms of one group's units."""
        norm = squared.detach().sqrt()
        low, high = norm.min(), norm.max()
        return (torch.exp2(self.alpha * (high - norm) / (high - low).clamp_min(1e-12)) * squared).sum()
