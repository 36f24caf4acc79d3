"""Large batches of images without fresh memory for each, whose pages the kernel would have to clear first."""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from bench import machine

CPU = torch.device("cpu")
HUGE_PAGE = 2**21


class Stack:
    """Collates to uint8 (N, S, S, 3), as images lie in memory: timm's transforms only turn the view to (3, S, S).

    A decoding process writes into its own few blocks of shared memory in turn. `ahead`: how many batches it may be
    before the one in use, a DataLoader's `prefetch_factor`; a batch stays valid until so many more of its process are
    taken.
    """

    def __init__(self) -> None:
        self.ahead = 0
        self.blocks = deque[Tensor]()

    def __call__(self, samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        images = [image.permute(1, 2, 0) for image, _ in samples]
        block = self._next(images[0], len(images)) if get_worker_info() else None
        return torch.stack(images, out=block), torch.tensor([label for _, label in samples])

    def _next(self, image: Tensor, count: int) -> Tensor:
        if len(self.blocks) < self.ahead + 2:  # and one in use, one that is being written
            self.blocks.append(torch.empty(count, *image.shape, dtype=image.dtype).share_memory_())
        else:
            self.blocks.rotate(-1)
        return self.blocks[-1][:count]


def empty(*shape: int, device: torch.device = CPU) -> Tensor:
    """Float32 values, not set to anything.

    On the CPU, where they are more than a process keeps (`machine.prepare`), in huge pages if Linux has them: few to
    be cleared.
    """
    size = 4 * math.prod(shape)
    if device.type != "cpu" or size < machine.KEPT or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, device=device)
    whole = -(-size // HUGE_PAGE) * HUGE_PAGE  # Linux puts only whole huge pages where such pages can be
    memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32, count=size // 4).view(shape)
