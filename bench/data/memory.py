"""Small data sets, whole in memory as uint8 on the training device; crop and flip are done there, a batch at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data import WHOLE, DataError, Shard, balanced, part, split
from bench.data.fetch import cached
from bench.spec import DataSpec


@dataclass(frozen=True)
class Kind:
    """What is known of one data set: normalisation for pixels from 0 to 1, and how it is augmented."""

    classes: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool


KINDS = {
    "cifar10": Kind(10, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), padding=4, flip=True),
    "cifar100": Kind(100, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), padding=4, flip=True),
    # a mirrored digit is no digit
    "digits": Kind(10, 8, (0.3059,), (0.3762,), padding=1, flip=False),
}
DIGITS_TEST_IMAGES = 360


class InMemory:
    """`Data` (see bench.data) over uint8 arrays: images (N, S, S, C), labels (N,)."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        kind: Kind,
        spec: DataSpec,
        *,
        seed: int,
        device: torch.device,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        self.classes, self.channels, self.image_size = kind.classes, len(kind.mean), kind.image_size
        if spec.root is not None or spec.image_size not in (None, self.image_size):
            size = f"{self.image_size} x {self.image_size}"
            raise DataError(f"{spec.name} has a place of its own and images of {size}: leave root and image_size out")
        if spec.crop is not None or spec.classes is not None:
            raise DataError(f"{spec.name} is tested on whole images of its own classes: leave crop and classes out")
        self.padding, self.flip = kind.padding, kind.flip
        self.mean, self.std = mean or kind.mean, std or kind.std
        if not len(self.mean) == len(self.std) == self.channels:
            raise DataError(f"mean and std: {spec.name} needs {self.channels} numbers each")
        self.device = device
        train, holdout = split(arrays["train_labels"], spec, seed)
        test = np.arange(len(arrays["test_labels"]))
        self.train_images, self.holdout_images, self.test_images = len(train), len(holdout), len(test)
        self._train, self._test = (
            (torch.from_numpy(arrays[f"{part}_images"]).to(device), _int64(arrays[f"{part}_labels"], device))
            for part in ("train", "test")
        )
        self._train_ids, self._holdout_ids, self._test_ids = (_int64(ids, device) for ids in (train, holdout, test))
        # one number per value of an image: a row-wise multiply-add is faster than broadcasting over channels
        pixels = self.image_size**2
        self._scale = (1 / (255 * torch.tensor(self.std))).repeat(pixels).to(device)
        self._shift = (-torch.tensor(self.mean) / torch.tensor(self.std)).repeat(pixels).to(device)

    def steps(self, batch_size: int) -> int:
        return max(1, self.train_images // batch_size)

    def train(
        self, batch_size: int, generator: torch.Generator, *, augment: bool, shard: Shard = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        # everything random is drawn on the CPU and copied once an epoch, so no step waits for the device
        n = self.train_images
        drawn = [torch.randperm(n, generator=generator)]
        if augment:
            drawn += torch.randint(0, 2 * self.padding + 1, (2, n), generator=generator)
            drawn += [torch.randint(0, 1 + self.flip, (n,), generator=generator)]
        return self._epoch(torch.stack(drawn).to(self.device, non_blocking=True), batch_size, shard)

    def holdout(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        return self._in_order(*self._train, self._holdout_ids[part(self.holdout_images, shard)], batch_size)

    def test(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        return self._in_order(*self._test, self._test_ids[part(self.test_images, shard)], batch_size)

    def _epoch(self, drawn: Tensor, batch_size: int, shard: Shard) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self._train
        for step in range(self.steps(batch_size)):
            batch = drawn[:, step * batch_size : (step + 1) * batch_size]
            order, *augmentation = batch[:, part(batch.shape[1], shard)]
            ids = self._train_ids[order]
            pixels = images.index_select(0, ids)
            if augmentation:
                pixels = crop_and_flip(pixels, *augmentation, padding=self.padding)
            yield self._normalise(pixels), labels[ids]

    def _in_order(self, images: Tensor, labels: Tensor, ids: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in ids.split(size) if len(ids) else ():
            yield self._normalise(images.index_select(0, batch)), labels[batch]

    def _normalise(self, batch: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> float32 (N, C, S, S), channels_last."""
        return batch.flatten(1).float().mul_(self._scale).add_(self._shift).view(batch.shape).permute(0, 3, 1, 2)


def crop_and_flip(images: Tensor, top: Tensor, left: Tensor, flip: Tensor, *, padding: int) -> Tensor:
    """Pad with black, cut a window of the old size out of each image, mirror it where `flip` is 1: one gather.

    `images` (N, S, S, C) uint8; `top`, `left` (N,) from 0 to 2 * padding; `flip` (N,) 0 or 1.
    """
    n, size, _, channels = images.shape
    wide = size + 2 * padding
    padded = images.new_zeros(n, wide, wide, channels)
    padded[:, padding : padding + size, padding : padding + size] = images
    at = torch.arange(size, device=images.device)
    columns = left[:, None] + at + flip[:, None] * (size - 1 - 2 * at)
    rows = (torch.arange(n, device=images.device) * wide + top)[:, None] + at
    pixels = rows[:, :, None] * wide + columns[:, None, :]
    return padded.view(-1, channels).index_select(0, pixels.flatten()).view(images.shape)


def cifar(
    spec: DataSpec,
    *,
    seed: int,
    device: torch.device,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    workers: int = 0,
) -> InMemory:
    """CIFAR-10 or CIFAR-100 (fine labels) from the cache; see `bench.data.load`."""
    return InMemory(cached(spec.name), KINDS[spec.name], spec, seed=seed, device=device, mean=mean, std=std)


def digits(
    spec: DataSpec,
    *,
    seed: int,
    device: torch.device,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    workers: int = 0,
) -> InMemory:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 and grey, 36 of each class as the test set; no download."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # grey levels are 0 to 16
    test = balanced(bunch.target, DIGITS_TEST_IMAGES, 0)
    train = np.setdiff1d(np.arange(len(images)), test)
    arrays = {
        "train_images": images[train],
        "train_labels": bunch.target[train],
        "test_images": images[test],
        "test_labels": bunch.target[test],
    }
    return InMemory(arrays, KINDS["digits"], spec, seed=seed, device=device, mean=mean, std=std)


def _int64(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)
