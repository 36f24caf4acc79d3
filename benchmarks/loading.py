"""ImageNet-sized images: what the input pipeline delivers against what the decoder alone could."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from bench.data.folder import ImageFolder
from bench.spec import DataSpec
from benchmarks.turns import Figure, compared, in_turn

BATCH = 64


def loading(rounds: int, steps: int) -> Iterator[Figure]:
    """Images/s of a training epoch's batches over those of as many processes that decode and augment, and no more.

    Needs $PRUNEBENCH_IMAGES/imagenet10; without it there is nothing to time.
    """
    real = Path(os.environ.get("PRUNEBENCH_IMAGES", "")).absolute() / "imagenet10"
    if not real.is_dir():
        print(f"(left out: set PRUNEBENCH_IMAGES to a folder with imagenet10/; {real} is not there)")
        return
    cores = os.cpu_count() or 1
    with TemporaryDirectory() as name:
        root = Path(name)
        files = _repeated(real, root, 6 * steps * BATCH)
        spec = DataSpec(name="imagefolder", root=str(root), classes="imagenet-1k")
        ours, raw = (kind(spec, seed=0, device=torch.device("cpu"), workers=cores) for kind in (ImageFolder, _Raw))
        images = len(files)
        shares = [files[start : start + BATCH // 4] for start in range(0, images, BATCH // 4)]
        torch.set_num_threads(1)  # nothing computes but the decoders
        with multiprocessing.get_context("fork").Pool(cores) as pool:
            cases = {
                "ours": lambda: _epoch(ours),
                "raw": lambda: _epoch(raw),
                "limit": lambda: pool.map(_decode, shares, chunksize=1),
            }
            times = in_turn(cases, rounds)
        torch.set_num_threads(cores)
        for case, what in (("raw", "uint8, as a GPU gets them"), ("ours", "normalised on the CPU")):
            detail = f"{images / min(times[case]):.0f} images/s with {cores} processes"
            yield compared(f"batches, {what} / decoding alone", times["limit"], times[case], ">= 0.90", detail)
        mapped = in_turn({"test": lambda: [None for _ in ours.test(BATCH)]}, rounds)["test"]
        detail = f"{ours.test_images / min(mapped):.0f} images/s: decoded once per machine"
        each = [seconds / images for seconds in times["ours"]]
        yield compared("a training image / a test image", each, [t / ours.test_images for t in mapped], "", detail)


class _Raw(ImageFolder):
    """Gives the batches to the device as they come from the decoders."""

    def _normalise(self, batch: Tensor) -> Tensor:
        return batch


def _repeated(real: Path, root: Path, count: int) -> list[Path]:
    """A folder with so many training images, each more than once, shuffled, and these files."""
    for folder in (real / "train").iterdir():
        (root / "train" / folder.name).mkdir(parents=True)
    images = sorted((real / "train").rglob("*.*"))
    random.Random(0).shuffle(images)
    files = []
    for i in range(count):
        image = images[i % len(images)]
        files.append(root / "train" / image.parent.name / f"{i}-{image.name}")
        files[-1].symlink_to(image)
    (root / "val").symlink_to(real / "val")
    return files


def _epoch(loaded: ImageFolder) -> None:
    for _ in loaded.train(BATCH, torch.Generator().manual_seed(0), augment=True):
        pass


def _decode(files: list[Path]) -> None:
    """What timm's training loader makes of a file, kept to itself."""
    transform = create_transform(224, is_training=True, use_prefetcher=True, interpolation="random")
    for file in files:
        transform(Image.open(file).convert("RGB"))
