"""bench.data: what several processes that train together get of a batch, of the test set and of the hold-out."""

from __future__ import annotations

import pytest
import torch
from test_data import equal, generator, small

from bench import data
from bench.spec import DataSpec


def test_parts_are_as_equal_as_can_be_and_make_up_the_whole() -> None:
    assert [data.part(10, (k, 3)) for k in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 10)]
    assert [data.part(1, (k, 2)) for k in range(2)] == [slice(0, 0), slice(0, 1)]


@pytest.mark.parametrize("augment", [True, False])
def test_shards_of_a_batch_make_up_the_batch(augment: bool) -> None:
    loaded = small()
    whole = list(loaded.train(20, generator(), augment=augment))
    shards = [list(loaded.train(20, generator(), augment=augment, shard=(k, 3))) for k in range(3)]
    assert [len(x) for x, _ in (shard[0] for shard in shards)] == [6, 7, 7]
    joined = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True)) for batches in zip(*shards, strict=True)]
    assert equal(joined, whole)


def test_shards_of_the_test_set_and_the_holdout_make_them_up() -> None:
    loaded = small(DataSpec(name="cifar10", holdout=5))
    for images in (loaded.test, loaded.holdout):
        (whole,) = images(500)
        parts = [batch for k in range(3) for batch in images(500, shard=(k, 3))]
        assert equal([(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))], [whole])
    assert list(loaded.test(500, shard=(0, 8))) == []  # 7 images
