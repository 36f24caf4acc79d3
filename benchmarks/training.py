"""The training loop against a bare forward-backward-step, and against what a user would write with torchvision."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from bench import backbones, machine
from bench.backbones.resnet import PadShortcut
from bench.data.memory import KINDS, InMemory
from bench.spec import BackboneSpec, DataSpec, Recipe
from bench.training import loop
from benchmarks.turns import Figure, compared, in_turn

BACKBONES = ("cifar_resnet20", "cifar_resnet56", "cifar_vgg16")
RECIPE = Recipe(epochs=1, lr=0.01, batch_size=128)
DEVICE = machine.device()


def training(rounds: int, steps: int) -> Iterator[Figure]:
    """Images/s of `bench.training.loop.train_epoch` over those of the others."""
    for name in BACKBONES:
        bf16 = machine.precision("auto", DEVICE) == "bf16"
        ours = _ours(name, steps, bf16=bf16)
        times = in_turn({"ours": ours, "bare": _bare(name, steps, bf16=bf16), "plain": _plain(name, steps)}, rounds)
        speed = {case: RECIPE.batch_size * steps / statistics.median(found) for case, found in times.items()}
        detail = f"{speed['ours']:.0f} images/s, {'bf16' if bf16 else 'fp32'}, {torch.get_num_threads()} threads"
        yield compared(f"{name}: bare steps on one batch / ours", times["bare"], times["ours"], ">= 0.95", detail)
        detail = f"{speed['plain']:.0f} images/s: fp32, torchvision transforms, DataLoader with as many workers"
        yield compared(f"{name}: plain loop / ours", times["plain"], times["ours"], ">= 2", detail)


def settings(rounds: int, steps: int) -> Iterator[Figure]:
    """What each setting of the loop gains here: the time without it over the time with it."""
    for name in BACKBONES:
        cases = {
            "fp32": _bare(name, steps),
            "bf16": _bare(name, steps, bf16=True),
            "contiguous": _bare(name, steps, layout=torch.contiguous_format),
            "compiled": _bare(name, steps, compiled=True),
        }
        times = in_turn(cases, rounds)
        yield compared(f"{name}: bf16 (fp32 / bf16)", times["fp32"], times["bf16"])
        yield compared(f"{name}: channels_last (contiguous / channels_last)", times["contiguous"], times["fp32"])
        yield compared(f"{name}: torch.compile (eager / compiled)", times["fp32"], times["compiled"])


def denormals(rounds: int, steps: int) -> Iterator[Figure]:
    """Vanishing gradients: a classifier so small that all gradients below it are denormal numbers."""
    cases = {"usual": _bare("cifar_resnet20", steps), "vanishing": _bare("cifar_resnet20", steps, vanishing=True)}
    times = in_turn(cases, rounds)
    detail = "torch.set_flush_denormal, set in every worker"
    yield compared("vanishing gradients / usual ones, flushed", times["vanishing"], times["usual"], "about 1", detail)
    torch.set_flush_denormal(False)
    times = in_turn(cases, rounds)
    torch.set_flush_denormal(True)
    yield compared("vanishing gradients / usual ones, not flushed", times["vanishing"], times["usual"])


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return backbones.create(BackboneSpec(name=name), num_classes=10).to(DEVICE).train()


def made_up(images: int) -> InMemory:
    """As many training and test images of CIFAR-10's shape, of noise."""
    pixels, labels = _noise(images), (np.arange(images) % 10).astype(np.uint8)
    arrays = {"train_images": pixels, "test_images": pixels, "train_labels": labels, "test_labels": labels}
    return InMemory(arrays, KINDS["cifar10"], DataSpec(name="cifar10"), seed=0, device=DEVICE)


def _noise(images: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (images, 32, 32, 3)).astype(np.uint8)


def _ours(name: str, steps: int, *, bf16: bool) -> Callable[[], object]:
    data = made_up(RECIPE.batch_size * steps)
    model = network(name).to(memory_format=torch.channels_last)
    optimiser = loop.sgd(model, RECIPE)

    def epoch() -> object:
        batches = data.train(RECIPE.batch_size, torch.Generator().manual_seed(0), augment=True)
        return loop.train_epoch(
            model, model, optimiser, batches, lr=lambda step: RECIPE.lr, autocast=lambda: _autocast(bf16)
        )

    return epoch


def _bare(
    name: str,
    steps: int,
    *,
    bf16: bool = False,
    layout: torch.memory_format = torch.channels_last,
    compiled: bool = False,
    vanishing: bool = False,
) -> Callable[[], object]:
    model = network(name).to(memory_format=layout)
    images = torch.randn(RECIPE.batch_size, 3, 32, 32, device=DEVICE).contiguous(memory_format=layout)
    labels = torch.arange(RECIPE.batch_size, device=DEVICE) % 10
    optimiser = loop.sgd(model, RECIPE)
    forward = torch.compile(model, dynamic=False) if compiled else model
    scale = 1e-40 if vanishing else 1.0

    def run() -> None:
        for _ in range(steps):
            with _autocast(bf16):
                loss = F.cross_entropy(forward(images).float(), labels)
            optimiser.zero_grad(set_to_none=True)
            (loss * scale).backward()
            optimiser.step()

    return run


class _Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: an array, a picture of each image, its transforms."""

    def __init__(self, n: int) -> None:
        self.pixels = _noise(n)
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        kind = KINDS["cifar10"]
        self.transform = transforms.Compose([*steps, transforms.Normalize(kind.mean, kind.std)])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(Image.fromarray(self.pixels[index]))
        return image, index % 10


class _Sliced(PadShortcut):
    """As it is usually written, which is faster in torch's contiguous layout, that of a plain loop."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, 1)).index_select(1, self.index)


def _plain(name: str, steps: int) -> Callable[[], object]:
    loader = torch.utils.data.DataLoader(
        _Pictures(RECIPE.batch_size * steps),
        batch_size=RECIPE.batch_size,
        shuffle=True,
        num_workers=torch.get_num_threads(),
        persistent_workers=True,  # the most favourable setting: processes start once
        pin_memory=DEVICE.type == "cuda",
    )
    model = network(name)
    for module in model.modules():
        if isinstance(module, PadShortcut):
            module.__class__ = _Sliced
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> float:
        total = 0.0
        for images, labels in islice(loader, steps):
            outputs = model(images.to(DEVICE))
            loss = criterion(outputs, labels.to(DEVICE))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
        return total

    return epoch


def _autocast(bf16: bool) -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16)
