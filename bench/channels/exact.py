"""Whether a cut network computes what it computed before with the same channels set to zero.

Both run in double precision, so that only a wrong cut makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.backbones.resnet import PadShortcut
from bench.channels.coupling import trace
from bench.method import Keep

TOLERANCE = 1e-9
"""Largest difference, relative to the largest output, that rounding makes."""

MIXERS = {"LayerNorm", "GroupNorm", "StdConv2d", "ScaledStdConv2d", "EcaModule", "GlobalResponseNorm", "RmsNorm"}
"""Kinds of layers whose output for one channel depends on the others: cut is then not the same as set to zero."""


def shaken(model: nn.Module) -> nn.Module:
    """A copy whose biases, norms and layer scales are off the zeros and ones that would hide a wrong cut."""
    model, generator = deepcopy(model), torch.Generator().manual_seed(0)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    for parameter in model.parameters():
        if parameter.dim() <= 1:
            parameter.data += 0.2 * noise(parameter)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean += 0.2 * noise(module.running_mean)
            module.running_var *= 1 + 0.2 * noise(module.running_var).tanh()
    return model


def zeroed(model: nn.Module, example: Tensor, keep: Keep) -> nn.Module:
    """A copy in which every channel that `keep` drops is set to zero where it is made and normalised."""
    masked = deepcopy(model)
    for coupling in trace(model, example):
        gone = torch.ones(coupling.size, dtype=torch.bool)
        gone[keep.get(coupling.first.layer, torch.arange(coupling.size)).cpu()] = False
        for part in coupling.parts:
            if part.makes or isinstance(part.module, _BatchNorm | PadShortcut) and part.side != "in":
                masked.get_submodule(part.layer).register_forward_hook(_zero(part.channels[gone].flatten()))
    return masked


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in double precision and eval mode, (N, classes); the model is left alone."""
    with torch.no_grad():
        return deepcopy(model).double().eval()(images.double())


def distance(one: Tensor, other: Tensor) -> float:
    """Largest difference, relative to the largest value of `one`."""
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-300))


def mixers(model: nn.Module) -> list[str]:
    """Names of the kinds of layers in it that mix channels, sorted."""
    kinds = {type(module) for module in model.modules()}
    return sorted(kind.__name__ for kind in kinds if any(base.__name__ in MIXERS for base in kind.__mro__))


def _zero(channels: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return output.index_fill(-1 if isinstance(module, nn.Linear) else 1, channels.to(output.device), 0)

    return hook
