"""ImageNet and any other image folder, through timm's loaders and transforms."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageNetInfo, create_dataset, create_loader
from timm.utils import natural_key
from torch import Tensor

from bench.data import WHOLE, DataError, Shard, part, split
from bench.data.blocks import Stack, empty
from bench.data.decoded import decoded, in_batches
from bench.spec import DataSpec

IMAGE_SIZE = 224


class ImageFolder:
    """`Data` (see bench.data) over ROOT/train/CLASS/* and ROOT/val/CLASS/* (or validation, or test).

    Training takes timm's usual augmentation: random resized crop of 8 to 100 % of the area, flip, colour jitter 0.4.
    Testing resizes the shorter side to image_size / 0.875 (or `crop`) and takes the middle, bicubic. The same generator
    gives the same batches for any number of `workers`.

    What is tested on, and a hold-out, is decoded once per machine (bench/data/decoded.py).

    With `classes: imagenet-1k` the folders are named by synset and hold all or some of ImageNet's classes; labels are
    those of the 1,000, and `present` (ids, (n,)) says which are there.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        seed: int,
        device: torch.device,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        workers: int = 0,
    ) -> None:
        if spec.root is None:
            raise DataError(f"{spec.name} needs `root`: a folder with train/CLASS/images and val/CLASS/images")
        root = Path(os.path.expandvars(spec.root))
        self._train, self._test = _open(root, "train"), _open(root, "val", "validation", "test")
        names = list(self._train.reader.class_to_idx)
        if names != list(self._test.reader.class_to_idx):
            only = sorted({*names} ^ {*self._test.reader.class_to_idx})
            raise DataError(f"{root}: training and test folders differ in {len(only)} classes, such as {only[0]}")
        self.classes, present = _classes(names, spec, root)
        self._labels = torch.tensor(present)
        self.present = self._labels.to(device) if len(present) < self.classes else None
        self.mean, self.std = mean or IMAGENET_DEFAULT_MEAN, std or IMAGENET_DEFAULT_STD
        if not len(self.mean) == len(self.std) == 3:
            raise DataError(f"mean and std: {spec.name} needs 3 numbers each")
        self.channels, self.image_size, self.crop = 3, spec.image_size or IMAGE_SIZE, spec.crop
        self.device, self.workers = device, workers
        self._shift, self._scale = (
            torch.tensor([255 * value for value in values], device=device).repeat(self.image_size**2)
            for values in (self.mean, self.std)
        )
        labels = np.array([label for _, label in self._train.reader.samples])
        self._train_ids, self._holdout_ids = split(labels, spec, seed)
        self.train_images, self.holdout_images = len(self._train_ids), len(self._holdout_ids)
        self.test_images = len(self._test)

    def steps(self, batch_size: int) -> int:
        return max(1, self.train_images // batch_size)

    def train(
        self, batch_size: int, generator: torch.Generator, *, augment: bool, shard: Shard = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(self.train_images, generator=generator)[: self.steps(batch_size) * batch_size]
        seed = int(torch.randint(2**62, (), generator=generator))
        batches = order.view(self.steps(batch_size), -1)
        own = batches[:, part(batches.shape[1], shard)]
        return self._batches(self._train, self._train_ids[own.flatten().numpy()], own.shape[1], seed, augment=augment)

    def holdout(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        ids = self._holdout_ids[part(self.holdout_images, shard)]
        return self._batches(self._train, ids, batch_size, 0, augment=False, keep=True)

    def test(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        ids = np.arange(self.test_images)[part(self.test_images, shard)]
        return self._batches(self._test, ids, batch_size, 0, augment=False, keep=True)

    def _batches(
        self, dataset: Any, ids: np.ndarray, batch_size: int, seed: int, *, augment: bool, keep: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if not len(ids):
            return
        dataset, stack = _Part(dataset, ids, seed, self._labels), Stack()
        loader = create_loader(
            dataset,
            input_size=(3, self.image_size, self.image_size),
            batch_size=min(batch_size, len(ids)),
            is_training=augment,
            interpolation="random" if augment else "bicubic",
            crop_pct=self.crop,
            num_workers=self.workers,
            persistent_workers=False,  # workers that live on keep random state that a resumed run would not have
            collate_fn=stack,
            pin_memory=self.device.type == "cuda",
            device=self.device,
        )
        batches = loader.loader  # without timm's own normalisation, which takes three times as long on a CPU
        stack.ahead = batches.prefetch_factor or 0
        try:
            if keep:
                images = decoded(_isolated(batches, seed), dataset.files(), [self.image_size, self.crop])
                if images is not None:
                    batches = in_batches(images, dataset.all_labels(), batches.batch_size)
            for pixels, labels in _isolated(batches, seed):
                ready = self._normalise(pixels.to(self.device, non_blocking=True))
                yield ready, labels.to(self.device, non_blocking=True)
        except DataError as error:  # of a process that decodes, it holds that one's traceback
            raise DataError(str(error).rstrip().rpartition("DataError: ")[2]) from error

    def _normalise(self, batch: Tensor) -> Tensor:
        """uint8 (N, S, S, 3) -> float32 (N, 3, S, S), channels_last; row by row, see bench/data/memory.py."""
        out = empty(*batch.shape, device=batch.device)
        out.copy_(batch).flatten(1).sub_(self._shift).div_(self._scale)
        return out.permute(0, 3, 1, 2)


class _Part(torch.utils.data.Dataset[tuple[Any, int]]):
    """Some images of a timm dataset. Unlike it, never puts another image in the place of one that cannot be read.

    What is random in an image's transform depends on `seed` and the image alone, not on the process that decodes it.
    `labels`: folder number -> label, (folders,).
    """

    transform: Any = None  # set by timm's create_loader

    def __init__(self, dataset: Any, ids: np.ndarray, seed: int, labels: Tensor) -> None:
        self.reader, self.ids, self.seed, self.labels = dataset.reader, ids, seed, labels.tolist()

    def __len__(self) -> int:
        return len(self.ids)

    def files(self) -> list[Path]:
        return [Path(self.reader.filename(int(number), absolute=True)) for number in self.ids]

    def all_labels(self) -> list[int]:
        return [self.labels[self.reader.samples[number][1]] for number in self.ids]

    def __getitem__(self, index: int) -> tuple[Any, int]:
        number = int(self.ids[index])
        try:
            file, label = self.reader[number]
            with file:
                image = Image.open(file).convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            name = self.reader.filename(number, absolute=True)
            raise DataError(f"{name} cannot be read as an image ({error}): replace or remove it") from error
        _seed(hash((self.seed, number)))
        return self.transform(image), self.labels[label]


def imagefolder(
    spec: DataSpec,
    *,
    seed: int,
    device: torch.device,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    workers: int = 0,
) -> ImageFolder:
    """Image folders below `spec.root`, normalised as ImageNet unless told otherwise; see `bench.data.load`."""
    return ImageFolder(spec, seed=seed, device=device, mean=mean, std=std, workers=workers)


def _open(root: Path, *splits: str) -> Any:
    folder = next((root / split for split in splits if (root / split).is_dir()), None)
    if folder is None:
        raise DataError(f"{root} holds no folder {' or '.join(splits)}: put the images into {splits[0]}/CLASS/")
    try:
        dataset = create_dataset("", root=str(folder), search_split=False)
    except RuntimeError as error:
        raise DataError(f"{folder} holds no images in class folders") from error
    _label_by_class_folder(dataset.reader, folder)
    return dataset


def _label_by_class_folder(reader: Any, folder: Path) -> None:
    """The folders in ROOT/train are the classes, however deep their images lie; timm takes the innermost ones.

    In timm's order, 2 before 10, and the same wherever names differ in their case alone.
    """
    places = [os.path.relpath(file, folder).split(os.sep, 1) for file, _ in reader.samples]
    if astray := next((place[0] for place in places if len(place) == 1), None):
        raise DataError(f"{folder / astray} lies in no class folder: move it into one, or take it away")
    names = sorted({place[0] for place in places}, key=lambda name: (natural_key(name), name))
    reader.class_to_idx = {name: i for i, name in enumerate(names)}
    reader.samples = [
        (file, reader.class_to_idx[place[0]]) for (file, _), place in zip(reader.samples, places, strict=True)
    ]


def _classes(names: list[str], spec: DataSpec, root: Path) -> tuple[int, list[int]]:
    """How many classes the network tells apart, and the label of each folder."""
    if spec.classes is None and len(names) < 2:
        raise DataError(f"{root} has one class alone, {names[0]}: put the images of each into a folder of its own")
    if spec.classes is None:
        return len(names), list(range(len(names)))
    known = {name: i for i, name in enumerate(ImageNetInfo(spec.classes).label_names())}
    if strange := [name for name in names if name not in known]:
        raise DataError(f"{root}: {strange[0]} is no class of {spec.classes}: name the folders by synset (n01440764)")
    return len(known), [known[name] for name in names]


def _isolated(batches: Iterable[Any], seed: int) -> Iterator[Any]:
    """Iterate with global random states of its own, which timm's transforms draw from; the caller's stay untouched."""
    outer = _states()
    _seed(seed)
    iterator: Iterator[Any] | None = None
    while True:
        try:
            iterator = iterator or iter(batches)
            item = next(iterator, None)
        finally:
            inner = _states()
            _restore(outer)
        if item is None:
            return
        yield item
        outer = _states()
        _restore(inner)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed % 2**63)


def _states() -> tuple[Any, Any, Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _restore(states: tuple[Any, Any, Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
