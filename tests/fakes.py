"""A tiny network whose groups are written by hand, and a `Run` that only counts: for hand-computed tests of methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Budget, Cost, Group, Keep, Member, MethodError
from bench.spec import Recipe


class Tiny(nn.Module):
    """Convolutions a (1 to 4 filters) and b (4 to 3), each with a batch norm and ReLU, and a classifier (3 to 2)."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1), nn.Linear(3, 2)
        self.norm_a = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.norm_b = nn.BatchNorm2d(3) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_a(self.a(x)))
        x = F.relu(self.norm_b(self.b(x)))
        return self.fc(x.mean((2, 3)))


def tiny_groups(model: Tiny) -> list[Group]:
    """Group a: filters of a, its norm, inputs of b. Group b: filters of b, its norm, inputs of fc."""
    groups = []
    for name, norm, reader in (("a", "norm_a", "b"), ("b", "norm_b", "fc")):
        size = model.get_submodule(name).weight.shape[0]
        parts = [(name, "filters"), (norm, "norm"), (reader, "inputs")]
        members = tuple(
            Member(layer, module, role, torch.arange(size)[:, None])
            for layer, role in parts
            if not isinstance(module := model.get_submodule(layer), nn.Identity)
        )
        groups.append(Group(name, size, 1, members))
    return groups


class FakeRun:
    """Implements `Run` for `Tiny`: `select` keeps a share of the units, an epoch is one step, `phases` lists them."""

    def __init__(
        self, *, epochs: float = 4, keep: float = 0.5, budget: Mapping[str, Any] | None = None, images: int = 8
    ) -> None:
        self.keep, self.seed, self.device = keep, 0, torch.device("cpu")
        self.budget = Budget(**{"keep_macs": keep, "macs": None, "epochs": epochs, **(budget or {})})
        self.recipe = Recipe(epochs=int(epochs), lr=0.05)
        self.images = torch.rand(images, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        self.labels = torch.arange(images) % 2
        self.phases: list[tuple[str, float]] = []
        self.evaluations: list[float] = []
        self.recalibrated: list[int] = []

    @property
    def epochs_left(self) -> float:
        return self.budget.epochs - sum(epochs for _, epochs in self.phases)

    def groups(self, model: Tiny) -> list[Group]:
        return tiny_groups(model)

    def cost(self, model: Tiny) -> Cost:
        macs = 36 * (model.a.weight.numel() + model.b.weight.numel()) + model.fc.weight.numel()
        return Cost(macs, macs, sum(p.numel() for p in model.parameters()))

    def scores(self, model: nn.Module, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return compute()

    def select(
        self, model: Tiny, scores: Mapping[str, Tensor], *, scope: str = "global", keep_macs: float | None = None
    ) -> Keep:
        share = self.keep if keep_macs is None else keep_macs
        if scope == "layer":
            return {n: s.topk(max(1, round(share * len(s)))).indices.sort().values for n, s in scores.items()}
        flat = torch.cat(list(scores.values()))
        threshold = flat.sort().values[round((1 - share) * len(flat))]
        kept = {n: (s >= threshold) | (s == s.max()) for n, s in scores.items()}
        return {n: mask.nonzero().flatten() for n, mask in kept.items()}

    def shrink(self, model: Tiny, keep: Keep) -> Tiny:
        for group in tiny_groups(model):
            ids = keep.get(group.name, torch.arange(group.size))
            for member in group.members:
                dim = 1 if member.role == "inputs" else 0
                for store in (member.module._parameters, member.module._buffers):
                    for name, value in store.items():
                        if value is not None and value.dim() and not (dim and name == "bias"):
                            cut = value.detach().index_select(dim, ids)
                            store[name] = nn.Parameter(cut) if store is member.module._parameters else cut
        return model

    def train(
        self,
        model: Tiny,
        epochs: float,
        *,
        lr: float | Callable[[float], float] | None = None,
        momentum: float | None = None,
        weight_decay: float | None = None,
        penalty: Callable[[nn.Module], Tensor] | None = None,
        frozen: Callable[[str, nn.Parameter], bool] | None = None,
        each_epoch: Callable[[int, nn.Module], None] | None = None,
        each_step: Callable[[nn.Module], None] | None = None,
        name: str = "train",
    ) -> None:
        self.phases.append((name, epochs))
        rate = self.recipe.lr if lr is None else lr
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9 if momentum is None else momentum)
        total = math.ceil(epochs)
        for epoch in range(total):
            optimiser.param_groups[0]["lr"] = rate(epoch / total) if callable(rate) else rate
            if each_epoch is not None:
                each_epoch(epoch, model)
            model.train()
            loss = self.loss(model, self.images, self.labels)
            optimiser.zero_grad()
            (loss if penalty is None else loss + penalty(model)).backward()
            if each_step is not None:
                each_step(model)
            optimiser.step()

    def batches(self, n: int, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        size = batch_size or 4
        for i in range(min(n, len(self.images) // size)):
            yield self.images[i * size : (i + 1) * size], self.labels[i * size : (i + 1) * size]

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model(images), labels)

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def evaluate(self, model: nn.Module) -> float:
        if not self.evaluations:
            raise MethodError("no accuracies were given")
        return self.evaluations.pop(0)

    def recalibrate(self, model: nn.Module, n: int) -> None:
        self.recalibrated.append(n)

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(purpose.encode()))

    def log(self, message: str) -> None:
        pass
