"""Blocks of memory that batches share in turn, and those in huge pages."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import machine
from bench.data.blocks import Stack, empty


class _Numbered(Dataset[tuple[Tensor, int]]):
    """Image i holds i everywhere, as (3, 4, 4)."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((4, 4, 3), index, dtype=torch.uint8).permute(2, 0, 1), index


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_whole_while_they_are_in_use(workers: int) -> None:
    stack = Stack()
    loader = DataLoader(_Numbered(), batch_size=4, num_workers=workers, collate_fn=stack)
    stack.ahead = loader.prefetch_factor or 0
    seen, last = [], None
    for images, labels in loader:
        time.sleep(0.02)  # whoever runs ahead has written by now what he can
        assert images.shape[1:] == (4, 4, 3) and images.is_contiguous() and labels.dtype == torch.int64
        assert torch.equal(images.flatten(1).amin(1).long(), labels)
        assert torch.equal(images.flatten(1).amax(1).long(), labels)
        if last is not None:  # the one before still stands, too
            assert torch.equal(last[0].flatten(1).amin(1).long(), last[1])
        last = images, labels
        seen += labels.tolist()
    assert seen == list(range(50)) and len(images) == 2


def test_a_process_writes_into_the_same_few_blocks_again() -> None:
    stack = Stack()
    loader = DataLoader(_Numbered(), batch_size=4, num_workers=1, collate_fn=stack)
    stack.ahead = loader.prefetch_factor or 0
    held = [images for images, _ in loader]  # of 13
    assert len({images.untyped_storage().data_ptr() for images in held}) == stack.ahead + 2 == 4


@pytest.mark.parametrize("values", [10, machine.KEPT // 4 + 1])
def test_memory_is_ours_alone_and_can_be_written(values: int) -> None:
    first, second = empty(2, values), empty(2, values)
    first.fill_(1)
    second.fill_(2)
    assert first.shape == (2, values) and first.dtype == torch.float32 and first.is_contiguous()
    assert first.amin() == first.amax() == 1
