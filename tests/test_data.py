"""bench.data: names, splits, augmentation, in-memory sets."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import data
from bench.data import DataError, memory
from bench.data.fetch import cached
from bench.spec import DataSpec

CPU = torch.device("cpu")
SHARED = Path(os.environ.get("PRUNEBENCH_SHARED") or Path(__file__).parents[2] / "shared")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def equal(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def small(spec: DataSpec | None = None, *, seed: int = 0, mean: tuple[float, ...] | None = None) -> memory.InMemory:
    """A set with CIFAR-10's augmentation and 45 training images."""
    numbers = np.random.RandomState(3)
    arrays = {
        "train_images": numbers.randint(0, 256, (45, 32, 32, 3)).astype(np.uint8),
        "train_labels": np.arange(45, dtype=np.uint8) % 10,
        "test_images": numbers.randint(0, 256, (7, 32, 32, 3)).astype(np.uint8),
        "test_labels": np.arange(7, dtype=np.uint8),
    }
    spec = spec or DataSpec(name="cifar10")
    return memory.InMemory(arrays, memory.KINDS["cifar10"], spec, seed=seed, device=CPU, mean=mean)


# names and plugins


def test_names() -> None:
    assert {"cifar10", "cifar100", "digits", "imagefolder"} <= set(data.names())


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(DataError, match="no data set is named cifar: did you mean cifar10"):
        data.load(DataSpec(name="cifar"), seed=0, device=CPU)


def test_installed_plugin_is_found_and_cannot_replace_a_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [EntryPoint(name, "bench.data.memory:digits", data.GROUP) for name in ("mine", "cifar10")]
    monkeypatch.setattr(data, "entry_points", lambda group: found)
    assert "mine" in data.names()
    assert data.load(DataSpec(name="mine"), seed=0, device=CPU).train_images == 1437
    assert data._plugins()["cifar10"].value == "bench.data.memory:cifar"


def test_shape_without_the_data() -> None:
    assert data.shape("cifar100") == (100, 3, 32)
    assert data.shape("digits") == (10, 1, 8)
    with pytest.raises(DataError, match="imagefolder has no fixed image size"):
        data.shape("imagefolder")


# subset and hold-out

LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(10), 30))


def test_subset_is_balanced_and_the_same_for_all_seeds() -> None:
    spec = DataSpec(name="x", subset=50)
    train, held = data.split(LABELS, spec, seed=0)
    assert np.bincount(LABELS[train]).tolist() == [5] * 10
    assert len(held) == 0
    assert np.array_equal(train, data.split(LABELS, spec, seed=1)[0])
    # frozen: another choice would make old records incomparable
    assert train[:8].tolist() == [7, 8, 12, 15, 22, 34, 52, 55]


def test_holdout_is_balanced_disjoint_and_chosen_by_seed() -> None:
    spec = DataSpec(name="x", subset=100, holdout=23)
    train, held = data.split(LABELS, spec, seed=0)
    assert len(train) == 77 and len(held) == 23
    assert sorted(np.bincount(LABELS[held], minlength=10)) == [2] * 7 + [3] * 3
    subset, _ = data.split(LABELS, DataSpec(name="x", subset=100), seed=5)
    assert sorted([*train, *held]) == subset.tolist()
    assert np.array_equal(held, data.split(LABELS, spec, seed=0)[1])
    assert not np.array_equal(held, data.split(LABELS, spec, seed=1)[1])


def test_a_class_that_runs_out_is_passed() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2, 2])
    assert np.bincount(labels[data.balanced(labels, 7, 0)]).tolist() == [3, 1, 3]
    assert data.balanced(labels, 10, 0).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (DataSpec(name="x", subset=301), "subset: 301 is more than the 300 training images of x"),
        (DataSpec(name="x", holdout=300), "holdout: 300 of 300 training images leaves none to train on"),
        (DataSpec(name="x", subset=20, holdout=21), "holdout: 21 of 20 training images leaves none to train on"),
    ],
)
def test_too_few_images(spec: DataSpec, line: str) -> None:
    with pytest.raises(DataError, match=line):
        data.split(LABELS, spec, seed=0)


# sets in memory


def test_crop_and_flip_by_hand() -> None:
    image = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 2, 2, 1).expand(4, 2, 2, 1)
    top, left, flip = torch.tensor([[1, 0, 2, 1], [1, 2, 1, 0], [0, 0, 1, 1]])
    out = memory.crop_and_flip(image, top, left, flip, padding=1).squeeze(-1).tolist()
    assert out[0] == [[1, 2], [3, 4]]  # the middle: unchanged
    assert out[1] == [[0, 0], [2, 0]]  # one up, one to the right
    assert out[2] == [[4, 3], [0, 0]]  # one down, mirrored
    assert out[3] == [[1, 0], [3, 0]]  # one to the left is [[0, 1], [0, 3]], then mirrored


def test_training_batches_equal_a_slow_rendering() -> None:
    loaded = small()
    images, labels = loaded._train
    draws = generator(5)
    order = torch.randperm(45, generator=draws)
    (top, left), flip = torch.randint(0, 9, (2, 45), generator=draws), torch.randint(0, 2, (45,), generator=draws)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (loaded.mean, loaded.std))
    seen = 0
    for batch, batch_labels in loaded.train(16, generator(5), augment=True):
        for image, label in zip(batch, batch_labels, strict=True):
            wide = F.pad(images[order[seen]].permute(2, 0, 1), (4, 4, 4, 4))
            window = wide[:, top[seen] : top[seen] + 32, left[seen] : left[seen] + 32]
            window = window.flip(2) if flip[seen] else window
            torch.testing.assert_close(image, (window.float() / 255 - mean) / std)
            assert label == labels[order[seen]]
            seen += 1
    assert seen == 32 == loaded.steps(16) * 16  # 13 of 45 make no whole batch
    assert 0 < flip.sum() < 45


def test_form_of_batches() -> None:
    images, labels = next(small().train(16, generator(), augment=True))
    assert images.shape == (16, 3, 32, 32) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.shape == (16,) and labels.dtype == torch.int64


def test_the_only_batch_is_kept_though_partial() -> None:
    loaded = small(DataSpec(name="cifar10", subset=10))
    assert [len(labels) for _, labels in loaded.train(16, generator(), augment=False)] == [10]
    assert loaded.steps(16) == 1


def test_same_seed_same_batches_drawn_at_the_call() -> None:
    loaded = small()
    first = list(loaded.train(16, generator(1), augment=True))
    assert equal(first, list(loaded.train(16, generator(1), augment=True)))
    assert not equal(first, list(loaded.train(16, generator(2), augment=True)))
    one = generator(1)
    batches = loaded.train(16, one, augment=True)
    state = one.get_state()
    assert equal(first, list(batches))
    assert torch.equal(one.get_state(), state)


def test_an_epoch_without_augmentation_shows_each_image_once() -> None:
    batches = list(small().train(15, generator(), augment=False))
    rows = torch.cat([images.flatten(1) for images, _ in batches])
    expected = torch.cat(
        [images.flatten(1) for images, _ in small(DataSpec(name="cifar10")).train(45, generator(9), augment=False)]
    )
    assert torch.equal(torch.unique(rows, dim=0), torch.unique(expected, dim=0))
    assert len(torch.unique(rows, dim=0)) == 45


def test_test_set_is_whole_and_in_order() -> None:
    assert torch.cat([labels for _, labels in small().test(3)]).tolist() == list(range(7))


def test_holdout_of_a_set_in_memory() -> None:
    loaded = small(DataSpec(name="cifar10", holdout=20))
    assert (loaded.train_images, loaded.holdout_images, loaded.test_images) == (25, 20, 7)
    labels = torch.cat([labels for _, labels in loaded.holdout(8)])
    assert torch.bincount(labels).tolist() == [2] * 10
    held = torch.cat([images.flatten(1) for images, _ in loaded.holdout(8)])
    trained = torch.cat([images.flatten(1) for images, _ in loaded.train(25, generator(), augment=False)])
    assert len(torch.unique(torch.cat([held, trained]), dim=0)) == 45
    assert list(small().holdout(8)) == []


def test_other_normalisation() -> None:
    images, _ = next(small(mean=(0.5, 0.5, 0.5)).test(1))
    raw = small()._test[0][0, 0, 0].float() / 255
    torch.testing.assert_close(images[0, :, 0, 0], (raw - 0.5) / torch.tensor([0.2470, 0.2435, 0.2616]))
    with pytest.raises(DataError, match="mean and std: cifar10 needs 3 numbers each"):
        small(mean=(0.5,))


def test_root_and_image_size_are_refused() -> None:
    for wrong in ({"root": "/somewhere"}, {"image_size": 64}):
        with pytest.raises(DataError, match="images of 32 x 32: leave root and image_size out"):
            small(DataSpec(name="cifar10", **wrong))  # type: ignore[arg-type]


def test_digits() -> None:
    loaded = data.load(DataSpec(name="digits"), seed=0, device=CPU)
    assert (loaded.classes, loaded.channels, loaded.image_size) == (10, 1, 8)
    assert (loaded.train_images, loaded.test_images) == (1437, 360)
    images, labels = next(loaded.test(360))
    assert images.shape == (360, 1, 8, 8)
    assert torch.bincount(labels).tolist() == [36] * 10
    pixels = (images * loaded.std[0] + loaded.mean[0]) * 16
    torch.testing.assert_close(pixels, pixels.round(), atol=0.05, rtol=0)  # 16 grey levels, rounded to 255ths
    everything = torch.cat([images for images, _ in loaded.train(1437, generator(), augment=False)])
    assert abs(everything.mean()) < 1e-3 and abs(everything.std() - 1) < 1e-3


def test_digits_move_by_one_pixel_and_are_never_mirrored() -> None:
    loaded = data.load(DataSpec(name="digits", subset=10), seed=0, device=CPU)
    plain = next(loaded.train(10, generator(4), augment=False))[0]
    black = -loaded.mean[0] / loaded.std[0]
    places = {
        (top, left): F.pad(plain, (1,) * 4, value=black)[:, :, top : top + 8, left : left + 8]
        for top in range(3)
        for left in range(3)
    }
    seen = set()
    for seed in range(20):
        for image in next(loaded.train(10, generator(seed), augment=True))[0]:
            at = [
                place for place, moved in places.items() if any(torch.allclose(image, one, atol=1e-5) for one in moved)
            ]
            assert at
            seen.add(at[0])
    assert len(seen) == 9


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_real_cifar(name: str) -> None:
    try:
        cached(name)
    except DataError as error:
        pytest.skip(str(error))
    loaded = data.load(DataSpec(name=name, subset=500, holdout=100), seed=0, device=CPU)
    assert (loaded.train_images, loaded.holdout_images, loaded.test_images) == (400, 100, 10_000)
    images, labels = next(loaded.test(5))
    assert labels.tolist() == ([3, 8, 8, 0, 6] if name == "cifar10" else [49, 33, 72, 51, 71])
    whole, _ = next(loaded.test(10_000))
    assert abs(whole.mean()) < 0.03 and abs(whole.std() - 1) < 0.02


def test_cifar_that_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cifar10 is not on this machine: run `prunebench fetch cifar10`"):
        data.load(DataSpec(name="cifar10"), seed=0, device=CPU)


@pytest.mark.parametrize("more", [{"crop": 0.5}, {"classes": "imagenet-1k"}])
def test_what_only_image_folders_have_is_refused(more):
    with pytest.raises(DataError, match="digits is tested on whole images of its own classes: leave crop and classes"):
        data.load(DataSpec(name="digits", **more), seed=0, device=CPU)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_same_batches_on_a_gpu_without_waiting() -> None:
    there = data.load(DataSpec(name="digits"), seed=0, device=torch.device("cuda"))
    here = data.load(DataSpec(name="digits"), seed=0, device=CPU)
    batches = there.train(128, generator(), augment=True)
    torch.cuda.set_sync_debug_mode("error")
    found = list(batches)
    torch.cuda.set_sync_debug_mode("default")
    for (images, labels), (expected, expected_labels) in zip(
        found, here.train(128, generator(), augment=True), strict=True
    ):
        torch.testing.assert_close(images.cpu(), expected)
        assert torch.equal(labels.cpu(), expected_labels)
