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
    """Time per step of one convolution by its width, and of a whole ResNet-56 cut to odd and to even widths."""
    layers = {n: _steps(nn.Sequential(nn.Conv2d(n, n, 3, padding=1, bias=False)), n, steps) for n in (8, 11, 12, 16)}
    times = in_turn({str(n): layer for n, layer in layers.items()}, rounds)
    for n in (8, 11, 12):
        detail = f"{n * n / 256:.2f} of its MACs"
        yield compared(f"3x3 convolution, {n} channels / 16 channels", times[str(n)], times["16"], "", detail)
    dense = network("cifar_resnet56")
    example = torch.zeros(1, 3, 32, 32, device=DEVICE)
    macs = cost.count(dense, example).macs
    nets: dict[str, Callable[[], object]] = {"dense": _steps(dense, 3, steps)}
    share = {}
    for name, multiple in (("odd", 1), ("even", 2), ("by 8", 8)):
        model = network("cifar_resnet56")
        groups = channels.groups(model, example)
        kept = {g.name: torch.arange(min(g.size, -(-int(KEEP * g.size) // multiple) * multiple)) for g in groups}
        model = channels.shrink(model, example, kept)
        share[name] = cost.count(model, example).macs / macs
        nets[name] = _steps(model, 3, steps)
    times = in_turn(nets, rounds)
    for name, widths in (("odd", "11, 22, 44"), ("even", "12, 22, 44"), ("by 8", "16, 24, 48")):
        detail = f"{share[name]:.2f} of the MACs"
        yield compared(f"ResNet-56, widths {widths} / dense", times[name], times["dense"], "", detail)


def _steps(model: nn.Module, channels_in: int, steps: int) -> Callable[[], object]:
    model = model.to(DEVICE).to(memory_format=torch.channels_last).train()
    images = torch.randn(RECIPE.batch_size, channels_in, 32, 32, device=DEVICE)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_(channels_in > 3)

    def run() -> None:
        for _ in range(steps):
            out = model(images)
            out = out.mean((2, 3)) if out.dim() == 4 else out
            F.cross_entropy(out, torch.zeros(len(out), dtype=torch.int64, device=DEVICE)).backward()
            model.zero_grad(set_to_none=True)

    return run
