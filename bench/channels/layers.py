"""One layer: how many channels it has, and cutting channels out of it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from bench.backbones.resnet import PadShortcut

Side = Literal["out", "in", "both"]
"""Which channels of a layer: "both" where outputs go with inputs, as in norms and grouped convolutions."""

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
"""Layers with parameters per channel: batch and instance norm (_NormBase), layer norm, group norm."""

WIDTHS: dict[type[nn.Module], tuple[str, ...]] = {
    _ConvNd: ("in_channels", "out_channels", "groups"),
    nn.Linear: ("in_features", "out_features"),
    _NormBase: ("num_features",),
    nn.LayerNorm: ("normalized_shape",),
    nn.GroupNorm: ("num_channels",),
    nn.PReLU: ("num_parameters",),
    PadShortcut: ("n_in",),
}
"""The attributes of each kind of layer that follow its number of channels."""


def widths(module: nn.Module) -> dict[str, int | list[int]]:
    """The attributes of this layer that change with a cut; empty for a layer without channels of its own."""
    names = next((names for kind, names in WIDTHS.items() if isinstance(module, kind)), ())
    return {name: list(v) if isinstance(v := getattr(module, name), tuple) else v for name in names}


def channel_count(module: nn.Module, side: Side) -> int:
    """Channels of a layer on one side."""
    if isinstance(module, _ConvNd):
        return module.in_channels if side == "in" else module.out_channels
    if isinstance(module, nn.Linear):
        return module.in_features if side == "in" else module.out_features
    if isinstance(module, PadShortcut):
        return module.n_in if side == "in" else len(module.index)
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1]
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    if isinstance(module, nn.PReLU):
        return module.num_parameters
    assert isinstance(module, _NormBase)
    return module.num_features


def cut(module: nn.Module, side: Side, kept: Tensor) -> None:
    """Leave only the `kept` channels (sorted ids) of one side of a layer, in place.

    New parameters take the place of the old ones, with their gradients, `requires_grad` and memory format. Of a
    parametrised layer, what lies behind the parametrisation is cut too: whatever tensor has one row per channel.
    """
    before, after = channel_count(module, side), len(kept)
    if isinstance(module, PadShortcut):
        _cut_shortcut(module, side, kept)
        return
    inner = [m for m in module.get_submodule("parametrizations").modules()] if is_parametrized(module) else []
    for holder in [module, *inner]:
        for name, parameter in list(holder._parameters.items()):
            if parameter is not None and _has(parameter, side, before):
                cut_parameter(holder, name, int(side == "in"), kept)
        for name, buffer in list(holder._buffers.items()):
            if buffer is not None and side != "in" and _has(buffer, side, before):
                holder._buffers[name] = _select(buffer, 0, kept)
    if isinstance(module, _ConvNd):
        if side == "both":
            module.groups = module.groups * after // before
        module.in_channels = after if side != "out" else module.in_channels
        module.out_channels = after if side != "in" else module.out_channels
    elif isinstance(module, nn.Linear):
        setattr(module, "in_features" if side == "in" else "out_features", after)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = (after,)
    else:
        setattr(module, next(iter(widths(module))), after)


def cut_parameter(module: nn.Module, name: str, dim: int, kept: Tensor) -> None:
    """Put a new parameter of the kept slices of `dim` in the place of one, with its gradient and `requires_grad`."""
    old = module._parameters[name]
    assert old is not None
    new = nn.Parameter(_select(old.detach(), dim, kept), requires_grad=old.requires_grad)
    if old.grad is not None:
        new.grad = _select(old.grad, dim, kept)
    module._parameters[name] = new


def _has(tensor: Tensor, side: Side, channels: int) -> bool:
    """Whether this tensor of a layer has one row (or, for inputs, one column) per channel."""
    dim = int(side == "in")
    return tensor.ndim > dim and tensor.shape[dim] == channels


def _select(tensor: Tensor, dim: int, kept: Tensor) -> Tensor:
    new = tensor.index_select(dim, kept.to(tensor.device))
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous():
        return new.contiguous(memory_format=torch.channels_last)
    return new


def _cut_shortcut(module: PadShortcut, side: Side, kept: Tensor) -> None:
    """`index[j]` is the source channel of output j, and `n_in` stands for zero: a source that goes becomes zero."""
    if side == "out":
        module.index = _select(module.index, 0, kept)
        return
    renumber = torch.full((module.n_in + 1,), len(kept), dtype=module.index.dtype)
    renumber[kept.cpu()] = torch.arange(len(kept), dtype=module.index.dtype)
    module.index = renumber.to(module.index.device)[module.index]
    module.n_in = len(kept)
