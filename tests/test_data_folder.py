"""bench.data.folder: image folders through timm, ImageNet's classes, decoding in other processes."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_data import CPU, SHARED, equal, generator
from torch import Tensor

from bench import data, run_suite
from bench.data import DataError
from bench.record import read_record
from bench.running.part import Part
from bench.spec import DataSpec


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded images go here."""
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path_factory.mktemp("data")))
    return Path(os.environ["PRUNEBENCH_DATA"]) / "decoded"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes in colours of their own: 6 training and 2 test images of 40 x 30 each."""
    numbers = np.random.RandomState(0)
    for split, count in (("train", 6), ("val", 2)):
        for channel, name in enumerate(("red", "green", "blue")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = numbers.randint(0, 60, (30, 40, 3)).astype(np.uint8)
                pixels[..., channel] += 180
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def folder(root: Path, *, workers: int = 0, **values: object) -> data.Data:
    spec = DataSpec(name="imagefolder", root=str(root), image_size=16, **values)  # type: ignore[arg-type]
    return data.load(spec, seed=0, device=CPU, workers=workers)


def test_image_folder(root: Path) -> None:
    loaded = folder(root, holdout=3)
    assert (loaded.classes, loaded.channels, loaded.image_size) == (3, 3, 16)
    assert (loaded.train_images, loaded.holdout_images, loaded.test_images) == (15, 3, 6)
    assert sorted(torch.cat([labels for _, labels in loaded.holdout(2)]).tolist()) == [0, 1, 2]
    assert [labels.tolist() for _, labels in loaded.test(4)] == [[0, 0, 1, 1], [2, 2]]
    batches = list(loaded.train(4, generator(), augment=True))
    assert [len(labels) for _, labels in batches] == [4, 4, 4] and loaded.steps(4) == 3
    for images, labels in batches:
        assert images.shape == (4, 3, 16, 16) and images.dtype == torch.float32 and labels.dtype == torch.int64
        assert images.is_contiguous(memory_format=torch.channels_last)
    assert [len(labels) for _, labels in loaded.train(100, generator(), augment=True)] == [15]


def test_image_folder_normalises_and_keeps_labels_with_images(root: Path) -> None:
    loaded = folder(root)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (loaded.mean, loaded.std))
    for images, labels in [*loaded.train(6, generator(), augment=False), *loaded.test(6)]:
        channels = (images * std + mean).mean((2, 3)) * 255
        bright = torch.tensor([2, 1, 0])[labels]  # classes are sorted: blue, green, red
        assert torch.equal(channels.argmax(1), bright)
        assert torch.all((channels.max(1).values - 209.5).abs() < 10)  # 180 to 239, even


@pytest.mark.parametrize("workers", [0, 1])
def test_image_folder_repeats_and_leaves_the_caller_s_random_state(root: Path, workers: int) -> None:
    loaded = folder(root, workers=workers)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = []
    for batch in loaded.train(6, generator(1), augment=True):
        first.append(batch)
    assert torch.equal(torch.rand(1), expected)
    second = []
    for batch in loaded.train(6, generator(1), augment=True):
        second.append(batch)
        torch.rand(5), random.random(), np.random.rand()  # a step may draw too, without any effect
    assert equal(first, second)
    assert not equal(first, list(loaded.train(6, generator(2), augment=True)))


def test_batches_do_not_depend_on_who_decodes(root: Path) -> None:
    alone, *others = (list(folder(root, workers=n).train(6, generator(1), augment=True)) for n in (0, 1, 2))
    assert all(equal(alone, other) for other in others)


def test_some_of_imagenet_s_classes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        for name, synset in (("red", "n01440764"), ("green", "n03888257"), ("blue", "n02102040")):
            (root / split / name).rename(root / split / synset)
    monkeypatch.setenv("IMAGES", str(root))
    spec = DataSpec(name="imagefolder", root="$IMAGES", image_size=16, classes="imagenet-1k")
    loaded = data.load(spec, seed=0, device=CPU)
    assert loaded.classes == 1000
    assert loaded.present.tolist() == [0, 217, 701]  # type: ignore[attr-defined]
    assert [labels.tolist() for _, labels in loaded.test(9)] == [[0, 0, 217, 217, 701, 701]]
    assert sorted({int(label) for _, labels in loaded.train(18, generator(), augment=True) for label in labels}) == [
        0, 217, 701,
    ]  # fmt: skip


def test_a_folder_that_is_no_class_of_imagenet_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="blue is no class of imagenet-1k: name the folders by synset"):
        folder(root, classes="imagenet-1k")


def test_crop_says_how_much_of_an_image_is_seen(root: Path) -> None:
    """Images of 160 with a black frame of 20: in 16 pixels two are black, less than one where 0.875 is seen of 18."""
    for path in (root / "val").rglob("*.png"):
        pixels = np.zeros((160, 160, 3), np.uint8)
        pixels[20:-20, 20:-20] = 255
        Image.fromarray(pixels).save(path)
    images = {crop: next(folder(root, crop=crop).test(1))[0][0, 0] > 0 for crop in (None, 1.0, 0.5)}
    assert {crop: int(bright[8].sum()) for crop, bright in images.items()} == {1.0: 12, None: 14, 0.5: 16}


def test_image_folder_in_trouble(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="imagefolder needs `root`"):
        data.load(DataSpec(name="imagefolder"), seed=0, device=CPU)
    with pytest.raises(DataError, match="holds no folder train"):
        folder(root / "train")
    (root / "val" / "red").rename(root / "val" / "purple")
    with pytest.raises(DataError, match="training and test folders differ in 2 classes, such as purple"):
        folder(root)
    (root / "none" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="train holds no images in class folders"):
        folder(root / "none")


def test_the_outer_folders_are_the_classes(root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "red").rename(root / split / "all")
        (root / split / "red").mkdir()
        (root / split / "all").rename(root / split / "red" / "images")  # as Tiny ImageNet has them
    loaded = folder(root)
    assert loaded.classes == 3
    assert [labels.tolist() for _, labels in loaded.test(6)] == [[0, 0, 1, 1, 2, 2]]


def test_names_that_differ_in_case_alone_have_one_order(root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "green").rename(root / split / "RED")
    assert list(folder(root)._train.reader.class_to_idx) == ["blue", "RED", "red"]  # type: ignore[attr-defined]


def test_images_without_a_class_are_refused(root: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("green", "blue"):
            shutil.rmtree(root / split / name)
    with pytest.raises(DataError, match=r"has one class alone, red: put"):
        folder(root)
    (root / "train" / "red" / "0.png").rename(root / "train" / "astray.png")
    with pytest.raises(DataError, match=r"train/astray.png lies in no class folder"):
        folder(root)


def test_another_folder_than_the_suites_is_refused(root: Path) -> None:
    spec = DataSpec(name="imagefolder", root=str(root), fingerprint=data.fingerprint(root))
    data.check(spec)
    (root / "train" / ".DS_Store").write_bytes(b"hidden")
    data.check(spec)
    (root / "train" / "red" / "0.png").unlink()
    with pytest.raises(DataError, match="has changed since the suite was read"):
        data.check(spec)
    (root / "train" / "red" / "0.png").symlink_to("nowhere")
    with pytest.raises(DataError, match="0.png is a link that leads nowhere"):
        data.check(spec)


def test_decoding_for_the_cache_leaves_the_callers_random_state(root: Path) -> None:
    drawn = []
    for _ in range(2):  # decoded, and then read from the cache
        torch.manual_seed(7)
        list(folder(root).test(4))
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1]


def test_an_image_that_cannot_be_read_is_named_and_not_replaced(root: Path) -> None:
    (root / "val" / "green" / "1.png").write_bytes(b"no image")
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"^\S+green/1.png cannot be read as an image"):
            list(folder(root, workers=workers).test(6))


def test_fingerprint(root: Path) -> None:
    first = data.fingerprint(root)
    assert first == data.fingerprint(str(root))
    path = root / "val" / "red" / "0.png"
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    assert data.fingerprint(root) != first
    path.write_bytes(content)
    assert data.fingerprint(root) == first
    path.rename(path.with_name("9.png"))
    assert data.fingerprint(root) != first


def test_a_fingerprint_is_that_of_what_links_lead_to(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    linked = tmp_path_factory.mktemp("linked")
    for split in ("train", "val"):
        (linked / split).symlink_to(root / split)
    before = data.fingerprint(root)
    assert data.fingerprint(linked) == before
    (root / "train" / "red" / "up").symlink_to(root)  # leads back
    assert data.fingerprint(root) == before


def test_fingerprint_by_hand(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"123")
    (tmp_path / "a").write_bytes(b"")
    assert data.fingerprint(tmp_path) == hashlib.sha256(b"a 0\nb/x 3").hexdigest()[:16]


def test_imagenet_subset() -> None:
    images = SHARED / "data" / "imagenet10"
    if not images.is_dir():
        pytest.skip(f"no {images}")
    loaded = data.load(DataSpec(name="imagefolder", root=str(images), subset=20), seed=0, device=CPU)
    assert (loaded.classes, loaded.train_images, loaded.test_images, loaded.image_size) == (10, 20, 500, 224)
    batch, labels = next(loaded.train(20, generator(), augment=True))
    assert batch.shape == (20, 3, 224, 224)
    assert torch.bincount(labels).tolist() == [2] * 10


@pytest.mark.slow
def test_a_trained_imagenet_network_on_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """69.6 % of 500 images among 1,000 classes, as published weights were measured elsewhere: 348 of them."""
    if not (SHARED / "weights" / "imagenet_tf_efficientnet_lite0.pth").is_file():
        pytest.skip(f"no trained ImageNet weights in {SHARED / 'weights'}")
    monkeypatch.setenv("PRUNEBENCH_WEIGHTS", str(SHARED / "weights"))
    monkeypatch.setenv("PRUNEBENCH_IMAGES", str(SHARED / "data"))
    part = Part(only=["dense"])
    (key,) = run_suite("imagenet10_efficientnet_lite0", out=tmp_path, part=part, scheduler="inline").done
    result = read_record(tmp_path / "trials" / key / "record.json").result
    assert result.top1 == pytest.approx(69.6, abs=0.21) and result.test_images == 500  # one image on another processor
    assert result.present_top1 == pytest.approx(97.8, abs=0.21)


def test_shards_of_an_image_folder_decode_their_share_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, opened = folder(root), []
    whole = list(loaded.train(7, generator(), augment=True))
    decode = Image.open
    monkeypatch.setattr(Image, "open", lambda file: (opened.append(file), decode(file))[1])
    shards = [list(loaded.train(7, generator(), augment=True, shard=(k, 2))) for k in range(2)]
    assert len(opened) == 14  # 18 images: two batches of 7
    assert [[len(labels) for _, labels in shard] for shard in shards] == [[3, 3], [4, 4]]
    # the same images in the same augmentation, though in other batches: timm's loader shuffles each share for itself
    assert brightness(shards[0] + shards[1]) == brightness(whole)
    assert [labels.tolist() for k in range(2) for _, labels in loaded.test(4, shard=(k, 2))] == [[0, 0, 1], [1, 2, 2]]


def brightness(batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Of every image, sorted."""
    return sorted(float(image.mean()) for images, _ in batches for image in images)


def test_what_is_tested_on_is_decoded_once_per_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_image = Image.open
    monkeypatch.setattr(Image, "open", lambda file: opened.append(file.name) or open_image(file))  # type: ignore
    first = [*folder(root, holdout=3).holdout(2), *folder(root).test(4)]
    assert len(opened) == 3 + 6
    again = [*folder(root, holdout=3).holdout(2), *folder(root).test(4)]
    assert len(opened) == 9 and equal(first, again)
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in again)
    assert [len(labels) for _, labels in folder(root).test(5)] == [5, 1] and len(opened) == 9  # any batch size
    list(folder(root).train(6, generator(), augment=False))
    assert len(opened) == 9 + 18  # what is trained on is decoded each time
    list(folder(root, crop=0.5).test(6))
    assert len(opened) == 27 + 6
    Image.new("RGB", (40, 30)).save(root / "val" / "blue" / "0.png")
    (images, _) = next(iter(folder(root).test(1)))
    assert len(opened) == 33 + 6 and images.unique().numel() == 3  # black


def test_decoded_images_cut_short_or_on_a_full_disk_do_no_harm(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(folder(root).test(4))
    (file,) = cache.glob("*.npy")
    file.write_bytes(file.read_bytes()[:-1])
    assert equal(list(folder(root).test(4)), expected)
    assert equal(list(folder(root).test(4)), expected) and len(file.read_bytes()) > 6 * 3 * 16 * 16
    file.unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert equal(list(folder(root).test(4)), expected)
    assert {path.suffix for path in cache.iterdir()} == {".lock"}
