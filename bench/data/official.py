"""The official files of CIFAR-10 and CIFAR-100, binary or Python version, packed or not -> arrays."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import DataError

FILES = {
    "cifar10": ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]),
    "cifar100": (["train"], ["test"]),
}
"""Training and test files; the binary version adds .bin to each name."""

_LABEL_BYTES = {"cifar10": 1, "cifar100": 2}
_OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open}


def arrays(name: str, source: Path) -> dict[str, np.ndarray]:
    """The official binary or Python version, as single files, .xz, .gz or .tar.gz, up to one folder below `source`."""
    if not source.exists():
        raise DataError(f"{source} is not there")
    paths = [source] if source.is_file() else sorted([*source.glob("*"), *source.glob("*/*")])
    train, test = FILES[name]
    wanted = {part + ending for part in train + test for ending in (".bin", "")}
    files: dict[str, bytes] = {}
    for path in filter(Path.is_file, paths):
        files |= read(path, wanted - files.keys())
    for ending, decode in ((".bin", _decode_binary), ("", _decode_python)):
        if all(part + ending in files for part in train + test):
            found: dict[str, np.ndarray] = {}
            for split, parts in (("train", train), ("test", test)):
                rows, labels = zip(*(decode(files[part + ending], _LABEL_BYTES[name]) for part in parts), strict=True)
                planes = np.concatenate(rows).reshape(-1, 3, 32, 32)
                found[f"{split}_images"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
                found[f"{split}_labels"] = np.concatenate(labels)
            return found
    raise DataError(f"found no {', '.join(part + '.bin' for part in train + test)} and no Python version of them")


def read(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """File name -> content for the wanted files that `path` is or holds, in one pass."""
    try:
        if path.name.endswith((".tar.gz", ".tgz", ".tar")):
            with tarfile.open(path) as archive:
                return {
                    Path(member.name).name: file.read()
                    for member in archive
                    if Path(member.name).name in wanted and (file := archive.extractfile(member)) is not None
                }
        name, opener = (path.stem, _OPENERS[path.suffix]) if path.suffix in _OPENERS else (path.name, open)
        if name not in wanted:
            return {}
        with opener(path, "rb") as file:
            return {name: file.read()}
    except (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"refused, {path.name} is truncated or damaged ({error})") from error


def _decode_binary(raw: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    if len(raw) % (label_bytes + 3072):
        raise DataError(f"refused, a file of {len(raw)} bytes is truncated")
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(-1, label_bytes + 3072)
    return rows[:, label_bytes:], rows[:, label_bytes - 1]  # CIFAR-100 has the fine label last


def _decode_python(raw: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    batch = _ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    return batch["data"], np.array(batch["labels" if label_bytes == 1 else "fine_labels"], dtype=np.uint8)


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays and refuses everything else that a pickle could run."""

    allowed = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
        "encode": codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if name not in self.allowed:
            raise DataError(f"refused, a pickle asks for {module}.{name}")
        return self.allowed[name]
