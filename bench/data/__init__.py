"""Data sets as plugins: `load` by name. torch is imported only when a data set is loaded.

A plugin is an entry point of the group "prunebench.datasets": a callable with the signature of `load` that returns a
`Data`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from bench.spec import DataSpec

GROUP = "prunebench.datasets"

_BUILT_IN = {
    "cifar10": "bench.data.memory:cifar",
    "cifar100": "bench.data.memory:cifar",
    "digits": "bench.data.memory:digits",
    "imagefolder": "bench.data.folder:imagefolder",
}

_SUBSET_SEED = 0


Shard = tuple[int, int]
"""(k, n): part k, from 0, of n. Only several processes that run one trial together ask for other than `WHOLE`."""

WHOLE: Shard = (0, 1)


class DataError(UserError):
    """A data set cannot be used as asked; the message is one line that says how to mend it."""

    of_machine = True


class Data(Protocol):
    """A data set that is ready on a device.

    Images are normalised float32 (N, channels, image_size, image_size) in channels_last layout, labels int64 (N,),
    both on the device. `mean` and `std`, per channel for pixels from 0 to 1, are those of the normalisation.
    """

    classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    holdout_images: int
    test_images: int

    def train(
        self, batch_size: int, generator: torch.Generator, *, augment: bool, shard: Shard = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One shuffled epoch; all randomness comes from `generator` (a CPU one), drawn at the call.

        The last partial batch is dropped, unless it is the only one. `shard`: only this part of each batch, see `part`.
        """

    def holdout(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """The images set aside from the training set, in order and complete, or the shard's part of them."""

    def test(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """The test set, in order and complete, or the shard's part of it."""

    def steps(self, batch_size: int) -> int:
        """Batches in one epoch of `train`."""


def names() -> list[str]:
    """Every data set that is built in or installed, sorted."""
    return sorted(_plugins())


def load(
    spec: DataSpec,
    *,
    seed: int,
    device: torch.device,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    workers: int = 0,
) -> Data:
    """Load a data set onto a device.

    `seed` chooses the hold-out alone. `mean` and `std` replace the data set's own. `workers`: processes that decode
    images, where there is something to decode. Raises DataError for an unknown name, for one that is not on this
    machine and for one that cannot be cut as the spec asks.
    """
    plugins = _plugins()
    if spec.name not in plugins:
        near = difflib.get_close_matches(spec.name, plugins, n=1, cutoff=0)
        raise DataError(f"no data set is named {spec.name}: did you mean {near[0]}? (all: {', '.join(names())})")
    return plugins[spec.name].load()(spec, seed=seed, device=device, mean=mean, std=std, workers=workers)


def shape(name: str) -> tuple[int, int, int]:
    """Classes, channels and image size of a data set that is built in, on this machine or not; else DataError."""
    from bench.data.memory import KINDS

    if name not in KINDS:
        raise DataError(f"{name} has no fixed image size and classes; these have: {', '.join(KINDS)}")
    kind = KINDS[name]
    return kind.classes, len(kind.mean), kind.image_size


def fingerprint(root: str | Path) -> str:
    """What stands for an image folder's content in a trial's key: a hash of all relative file names and sizes.

    Those that a desktop leaves behind do not count. Raises DataError for a link that leads nowhere.
    """
    sizes = {}
    way = {os.fspath(root): {os.path.realpath(root)}}  # a link that leads back to it is not followed
    for folder, folders, files in os.walk(root, followlinks=True):  # as timm's reader follows them
        above = way.pop(folder)
        inside = {name: os.path.realpath(os.path.join(folder, name)) for name in folders}
        folders[:] = [name for name in folders if inside[name] not in above]
        way |= {os.path.join(folder, name): above | {inside[name]} for name in folders}
        for path in (os.path.join(folder, file) for file in files if file not in LITTER):
            try:
                sizes[os.path.relpath(path, root).replace(os.sep, "/")] = os.path.getsize(path)
            except FileNotFoundError as error:
                raise DataError(f"{path} is a link that leads nowhere: mend it, or take it away") from error
    text = "\n".join(f"{name} {size}" for name, size in sorted(sizes.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


def check(spec: DataSpec) -> None:
    """Raise DataError where an image folder is another than the one that the spec was made from."""
    if spec.root and spec.fingerprint:
        content = fingerprint(os.path.expandvars(spec.root))
        if content != spec.fingerprint:
            raise DataError(
                f"{spec.root} has changed since the suite was read, or is another one on this machine: its fingerprint "
                f"is {content}, not {spec.fingerprint}"
            )


def split(labels: np.ndarray, spec: DataSpec, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted ids of the training images and of the hold-out, disjoint, of a training set with these `labels` (N,).

    The subset is the same for every seed, the hold-out is cut from it by seed; both are balanced over the classes as
    far as their sizes allow. Raises DataError where there are too few images.
    """
    import numpy as np

    ids = np.arange(len(labels))
    if spec.subset is not None:
        if spec.subset > len(ids):
            raise DataError(f"subset: {spec.subset} is more than the {len(ids)} training images of {spec.name}")
        ids = balanced(labels, spec.subset, _SUBSET_SEED)
    if spec.holdout >= len(ids):
        raise DataError(f"holdout: {spec.holdout} of {len(ids)} training images leaves none to train on")
    held = ids[balanced(labels[ids], spec.holdout, seed)]
    return np.setdiff1d(ids, held), held


def balanced(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Sorted ids of `n` images, dealt class by class in turn until `n` are there; a class that runs out is passed."""
    import numpy as np

    random = np.random.RandomState(seed % 2**32)  # its stream is frozen: the same choice under every numpy
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels, minlength=1)
    turn = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    order_of_classes = random.permutation(len(counts))
    return np.sort(by_class[np.lexsort((order_of_classes[labels[by_class]], turn))[:n]])


def part(images: int, shard: Shard) -> slice:
    """A shard's places among so many images: as equal as can be, in order."""
    k, n = shard
    return slice(images * k // n, images * (k + 1) // n)


def _plugins() -> dict[str, EntryPoint]:
    installed = {plugin.name: plugin for plugin in entry_points(group=GROUP)}
    return installed | {name: EntryPoint(name, value, GROUP) for name, value in _BUILT_IN.items()}
