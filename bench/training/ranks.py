"""The processes that run one trial together, data-parallel; usually there is one, alone.

Every process runs the whole trial on its share of each batch. Gradients, counts and batch statistics are summed over
all, files and decisions are the first's, so that all of them hold the same network at every step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.data import Shard, part
from bench.errors import UserError
from bench.training.globalnorm import GlobalNorm

T = TypeVar("T")


class LostError(RuntimeError):
    """Another process of the trial failed or is gone; what happened is told there."""


class Ranks:
    """One process alone: there is nothing to share, and nobody to agree with."""

    rank, size = 0, 1

    @property
    def first(self) -> bool:
        """Whether this is the process that reads and writes files, and decides."""
        return self.rank == 0

    @property
    def shard(self) -> dict[str, Shard]:
        """What `bench.data.Data` needs to know to give this process its share alone."""
        return {}

    def weight(self, images: int) -> float:
        """By how much the mean loss of this process's share of `images` counts in the mean over the processes."""
        return 1.0

    def check(self, data: Any, batch: int) -> None:
        """Raise UserError where batches of `batch` images of this data set cannot be shared out."""

    def broadcast(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in all of them; a UserError that it raises is raised in all."""
        return compute()

    def total(self, *values: Tensor | float) -> list[float]:
        """Each value, summed over the processes."""
        return [float(value) for value in values]

    def same(self, model: nn.Module) -> None:
        """Copy the first process's parameters and buffers to all."""

    def parallel(self, model: Any) -> Callable[[Tensor], Tensor]:
        """A model's forward pass in training, compiled or not; after a backward, gradients are means over all."""
        forward: Callable[[Tensor], Tensor] = model
        return forward

    def lost(self, error: Exception) -> bool:
        """Whether the error only says that another process is gone."""
        return False


ALONE = Ranks()


class Group(Ranks):
    """The processes of torch's default process group: all must make the same calls in the same order."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    @property
    def shard(self) -> dict[str, Shard]:
        return {"shard": (self.rank, self.size)}

    def weight(self, images: int) -> float:
        share = part(images, (self.rank, self.size))
        return self.size * (share.stop - share.start) / images

    def check(self, data: Any, batch: int) -> None:
        if not all("shard" in inspect.signature(f).parameters for f in (data.train, data.holdout, data.test)):
            raise UserError(
                f"{type(data).__name__} does not share its images out (train, holdout and test take no `shard`): "
                "set resources.workers (and gpus) to 1"
            )
        if batch < self.size:
            raise UserError(f"a batch of {batch} images is too small for {self.size} workers: lower resources.workers")

    def broadcast(self, compute: Callable[[], T]) -> T:
        said: list[Any] = [None, None]
        raised: Exception | None = None
        if self.first:
            try:
                said[0] = compute()
            except Exception as error:
                raised = error
                said[1] = error if isinstance(error, UserError) else LostError(f"the first: {type(error).__name__}")
        dist.broadcast_object_list(said)
        if raised or said[1]:
            raise raised or said[1]
        value: T = said[0]
        return value

    def total(self, *values: Tensor | float) -> list[float]:
        sums = torch.tensor([float(value) for value in values], dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    @torch.no_grad()
    def same(self, model: nn.Module) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in alike])
            dist.broadcast(flat, src=0)
            if not self.first:
                for tensor, values in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                    tensor.copy_(values.view(tensor.shape))

    def parallel(self, model: Any) -> Callable[[Tensor], Tensor]:
        # A static graph also allows for parameters that only a penalty reaches, or nothing. Buffers are the same as
        # all statistics are.
        shared = DistributedDataParallel(model, broadcast_buffers=False, static_graph=True)

        def forward(images: Tensor) -> Tensor:
            with GlobalNorm():
                logits: Tensor = shared(images)
                return logits

        return forward

    def lost(self, error: Exception) -> bool:
        return lost(error)


def lost(error: Exception) -> bool:
    """Whether an error in a call to other processes says that one of them is gone."""
    return isinstance(error, LostError | dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
