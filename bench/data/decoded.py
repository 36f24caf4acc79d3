"""Images that stay the same, such as a test set, are decoded once per machine: all trials read the same pixels.

They lie beside the fetched data sets, in `decoded/`, as uint8 that processes map into memory and share. A file is named
by what is decoded and how; it may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.fetch import cache_folder
from bench.onlyone import alone

DECODERS = ("pillow", "timm", "torchvision")


def decoded(batches: Iterable[tuple[Tensor, Tensor]], files: Sequence[Path], how: Any) -> np.ndarray | None:
    """All images of `batches` (uint8 (n, S, S, C), labels), in order, as one array that lies on the disk.

    `files`: where each image comes from; `how` (JSON): all that decides its pixels beside the versions of the decoders.
    None where the disk does not take it, or a file is gone: whoever asks decodes for himself. What decoding raises is
    passed on.
    """
    try:
        stamps = [(str(file), stat.st_size, stat.st_mtime_ns) for file in files for stat in [os.stat(file)]]
        told = json.dumps([how, [version(name) for name in DECODERS], stamps])
        path = cache_folder() / "decoded" / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.with_suffix(".lock")):
            if not path.exists():
                _write(path, batches, len(files))
            found: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
            return found
    except OSError:
        return None
    except ValueError:  # cut short: the next one decodes anew
        path.unlink(missing_ok=True)
        return None


def in_batches(images: np.ndarray, labels: Sequence[int], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of `size` and a last, smaller one, as the loader gives them that has decoded the images."""
    for start in range(0, len(labels), size):
        yield torch.from_numpy(images[start : start + size]), torch.tensor(labels[start : start + size])


def _write(path: Path, batches: Iterable[tuple[Tensor, Tensor]], count: int) -> None:
    """Plain writes: into a mapped file a full disk would end the process."""
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for images, _ in batches:
                if not file.tell():
                    shape = (count, *images.shape[1:])
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(images.numpy().data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
