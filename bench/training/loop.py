"""One epoch of training, as fast as the device allows: no host synchronisation between steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec import Recipe
from bench.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class EpochResult:
    """Means over the epoch's images; `lr` is that of the last step."""

    loss: float
    top1: float
    images: int
    lr: float
    seconds: float


def learning_rate(recipe: Recipe, share: float) -> float:
    """The recipe's learning rate when `share` (0 to 1) of its epochs is done: warm-up, then its schedule."""
    epoch = share * recipe.epochs + 1e-9
    if epoch < recipe.warmup:
        return recipe.lr * (epoch + 1e-3) / recipe.warmup
    if recipe.schedule == "cosine":
        rest = max(recipe.epochs - recipe.warmup, 1e-9)
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (epoch - recipe.warmup) / rest)))
    passed = sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.lr * recipe.gamma**passed


def schedule(recipe: Recipe, lr: float | Callable[[float], float] | None) -> Callable[[float], float]:
    """A phase's learning rate as a function of its finished share: the recipe's, a constant, or the method's own."""
    if lr is None:
        return lambda share: learning_rate(recipe, share)
    return lr if callable(lr) else lambda share: lr


def sgd(
    model: nn.Module, recipe: Recipe, momentum: float | None = None, weight_decay: float | None = None
) -> torch.optim.SGD:
    """The recipe's optimiser of all parameters that are not frozen; a momentum of its own is a plain one."""
    return torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=recipe.lr,
        momentum=recipe.momentum if momentum is None else momentum,
        weight_decay=recipe.weight_decay if weight_decay is None else weight_decay,
        nesterov=recipe.nesterov and momentum is None,
    )


@contextmanager
def still(model: nn.Module, frozen: Callable[[str, nn.Parameter], bool] | None) -> Iterator[None]:
    """What `frozen` names takes no gradient meanwhile."""
    stopped = [p for name, p in model.named_parameters() if p.requires_grad and frozen and frozen(name, p)]
    for parameter in stopped:
        parameter.requires_grad_(False)
    yield
    for parameter in stopped:
        parameter.requires_grad_(True)


def train_epoch(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    lr: Callable[[int], float],
    autocast: Callable[[], AbstractContextManager[None]],
    label_smoothing: float = 0.0,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    each_step: Callable[[nn.Module], None] | None = None,
    after_step: Callable[[int], None] | None = None,
    ranks: Ranks = ALONE,
    weight: float = 1.0,
) -> EpochResult:
    """One pass over `batches`. `lr(step)` is set before each step; `after_step(images so far)` reports progress.

    Where several `ranks` train together, `batches` are this one's shares, its loss counts by `weight`, and the result
    is that of all.
    """
    started, images, rate = time.perf_counter(), 0, 0.0
    loss_sum: Tensor | float = 0.0
    correct: Tensor | float = 0.0
    for step, (x, y) in enumerate(batches):
        rate = lr(step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with autocast():
            logits = forward(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=label_smoothing)
        total = loss if penalty is None else loss + penalty(model)
        optimiser.zero_grad(set_to_none=True)
        (total if weight == 1 else total + (weight - 1) * loss).backward()
        if each_step is not None:
            each_step(model)
        optimiser.step()
        images += len(y)
        loss_sum = loss_sum + total.detach() * len(y)
        correct = correct + (logits.detach().argmax(1) == y).sum()
        if after_step is not None:
            after_step(images * ranks.size)
    lost, right, seen = ranks.total(loss_sum, correct, images)
    return EpochResult(
        loss=lost / max(seen, 1),
        top1=100 * right / max(seen, 1),
        images=int(seen),
        lr=rate,
        seconds=time.perf_counter() - started,
    )


def evaluation_batch(image_size: int) -> int:
    """Images of so many pixels a side that are evaluated at a time: 500 small ones, 99 of 224."""
    return max(1, min(500, 5_000_000 // image_size**2))


class Accuracy(NamedTuple):
    """Correct / all in percent. `present_top1`: where only the classes that the data hold compete; None if all do."""

    top1: float
    top5: float
    images: int
    present_top1: float | None = None


@torch.inference_mode()
def accuracy(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    present: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> Accuracy:
    """In fp32 and eval mode; the training flag is restored. `present`: ids of the classes that the data hold, (n,).

    Where several `ranks` measure together, `batches` are this one's share, and the result is that of all.
    """
    training = model.training
    model.eval()
    top1: Tensor | int = 0
    top5: Tensor | int = 0
    among: Tensor | int = 0
    images = 0
    for x, y in batches:
        logits = model(x)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
        top1, top5, images = top1 + best[:, 0].sum(), top5 + best.any(1).sum(), images + len(y)
        if present is not None:
            among = among + (present[logits[:, present].argmax(1)] == y).sum()
    model.train(training)
    right, near, inside, seen = ranks.total(top1, top5, among, images)
    return Accuracy(100 * right / seen, 100 * near / seen, int(seen), None if present is None else 100 * inside / seen)


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the norms' running statistics to a plain mean over the batches. Without batches they stay as they are."""
    batches = iter(batches)
    if (first := next(batches, None)) is None:
        return
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta, training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # makes it a mean
    model.train()
    for images, _ in chain([first], batches):
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)
