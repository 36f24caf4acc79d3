"""Odd widths after a cut: what they cost a training step, and what rounding them would give back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from bench import channels, cost
from benchmarks.training import DEVICE, RECIPE, network
from benchmarks.turns import Figure, compared, in_turn

KEEP = 0.7
"""Share of the filters that stays, as after a cut to half the MACs: 11 of 16, 22 of 32, 44 of 64."""


def widths(rounds: int, steps: int) -> Iterator[Figure]:
    """Time per step of one layer by its width, and of a whole ResNet-56 cut to odd and to rounder widths."""
    for threads in thread_counts():
        yield from _layers(rounds, steps, threads)
        yield from _networks(rounds, steps, threads)


def thread_counts() -> list[int]:
    """One thread, as a trial on Ray has, and where there are more cores, all of them."""
    return sorted({1, torch.get_num_threads()})


def spelled(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def on(threads: int, case: Callable[[], object]) -> Callable[[], object]:
    """The case on so many threads; afterwards there are as many as before."""

    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        case()
        torch.set_num_threads(before)

    return run


def _layers(rounds: int, steps: int, threads: int) -> Iterator[Figure]:
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "3x3 convolution": lambda n: nn.Conv2d(n, n, 3, padding=1, bias=False),
        "batch norm": nn.BatchNorm2d,
    }
    for kind, layer in kinds.items():
        cases = {str(n): on(threads, _layer_steps(layer(n), n, 5 * steps)) for n in (8, 11, 12, 16)}
        times = in_turn(cases, rounds)
        for n in (8, 11, 12):
            share = n * n / 256 if kind != "batch norm" else n / 16
            what = f"{kind}, {n} channels / 16 channels, {spelled(threads)}"
            yield compared(what, times[str(n)], times["16"], "", f"{share:.2f} of the work")


def _networks(rounds: int, steps: int, threads: int) -> Iterator[Figure]:
    dense = network("cifar_resnet56")
    example = torch.zeros(1, 3, 32, 32, device=DEVICE)
    macs = cost.count(dense, example).macs
    nets: dict[str, Callable[[], object]] = {"dense": on(threads, _steps(dense, steps))}
    share = {}
    for widths, multiple in (("11, 22, 44", 1), ("12, 22, 44", 2), ("16, 24, 48", 8)):
        model = network("cifar_resnet56")
        groups = channels.groups(model, example)
        kept = {g.name: torch.arange(min(g.size, -(-int(KEEP * g.size) // multiple) * multiple)) for g in groups}
        model = channels.shrink(model, example, kept)
        share[widths] = cost.count(model, example).macs / macs
        nets[widths] = on(threads, _steps(model, steps))
    times = in_turn(nets, rounds)
    for widths, part in share.items():
        what = f"ResNet-56, widths {widths} / dense, {spelled(threads)}"
        yield compared(what, times[widths], times["dense"], "", f"{part:.2f} of the MACs")


def _layer_steps(layer: nn.Module, width: int, steps: int) -> Callable[[], object]:
    layer = layer.to(DEVICE).to(memory_format=torch.channels_last).train()
    images = torch.randn(RECIPE.batch_size, width, 32, 32, device=DEVICE)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn_like(images)

    def run() -> None:
        for _ in range(steps):
            layer(images).backward(gradient)
            images.grad = None
            layer.zero_grad(set_to_none=True)

    return run


def _steps(model: nn.Module, steps: int) -> Callable[[], object]:
    model = model.to(DEVICE).to(memory_format=torch.channels_last).train()
    images = torch.randn(RECIPE.batch_size, 3, 32, 32, device=DEVICE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(RECIPE.batch_size, device=DEVICE) % 10

    def run() -> None:
        for _ in range(steps):
            F.cross_entropy(model(images), labels).backward()
            model.zero_grad(set_to_none=True)

    return run
