"""ImageNet-sized images: what the input pipeline delivers against what the decoder alone could."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from timm.data import create_transform

from bench import data
from bench.data.folder import ImageFolder
from bench.spec import DataSpec
from benchmarks.turns import Figure, compared, in_turn

BATCH = 64


def loading(rounds: int, steps: int) -> Iterator[Figure]:
    """Images/s of a training epoch's batches over those of as many processes that decode and augment, and no more.

    Needs $PRUNEBENCH_IMAGES/imagenet10; without it there is nothing to time.
    """
    root = Path(os.environ.get("PRUNEBENCH_IMAGES", "")) / "imagenet10"
    if not root.is_dir():
        print(f"(left out: set PRUNEBENCH_IMAGES to a folder with imagenet10/; {root} is not there)")
        return
    cores = os.cpu_count() or 1
    spec = DataSpec(name="imagefolder", root=str(root), classes="imagenet-1k")
    loaded = data.load(spec, seed=0, device=torch.device("cpu"), workers=cores)
    assert isinstance(loaded, ImageFolder)
    images = min(loaded.steps(BATCH), 2 * steps) * BATCH
    files = sorted((root / "train").rglob("*.*"))
    random.Random(0).shuffle(files)
    shares = [files[start : start + BATCH // 4] for start in range(0, images, BATCH // 4)]
    torch.set_num_threads(1)  # nothing computes but the decoders
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        cases = {
            "ours": lambda: _epoch(loaded, images),
            "limit": lambda: pool.map(_decode, shares, chunksize=1),
        }
        times = in_turn(cases, rounds)
    torch.set_num_threads(cores)
    detail = f"{images / min(times['ours']):.0f} images/s with {cores} processes"
    yield compared("input pipeline / decoding alone", times["limit"], times["ours"], ">= 0.90", detail)
    mapped = in_turn({"test": lambda: [None for _ in loaded.test(BATCH)]}, rounds)["test"]
    detail = f"{loaded.test_images / min(mapped):.0f} images/s: decoded once per machine"
    each = [seconds / images for seconds in times["ours"]]
    yield compared("a training image / a test image", each, [t / loaded.test_images for t in mapped], "", detail)


def _epoch(loaded: ImageFolder, images: int) -> None:
    for _ in islice(loaded.train(BATCH, torch.Generator().manual_seed(0), augment=True), images // BATCH):
        pass


def _decode(files: list[Path]) -> None:
    """What timm's training loader makes of a file, kept to itself."""
    transform = create_transform(224, is_training=True, use_prefetcher=True, interpolation="random")
    for file in files:
        transform(Image.open(file).convert("RGB"))
