"""Which channels of a network can only be removed together, found by torch-pruning's dependency graph.

Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023. The graph is theirs; grouped convolutions and
shortcut A are added here, and what the graph would get wrong without a word is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE

from bench.backbones.resnet import PadShortcut
from bench.layers import NORMS, Side, channel_count
from bench.method import MethodError

LAYERS = (_ConvNd, nn.Linear, *NORMS, nn.PReLU, PadShortcut)


@dataclass(frozen=True, eq=False)
class Part:
    """What a coupling owns of one layer. `channels` (units, k); `dim`: of a bare parameter, None for a layer."""

    layer: str
    module: nn.Module
    side: Side
    channels: Tensor
    dim: int | None = None


@dataclass(frozen=True, eq=False)
class Coupling:
    """`size` units, each cut from all parts at once. The parts stand in the order of the forward pass."""

    size: int
    parts: tuple[Part, ...]
    native: Any


class _Refused(Exception):
    """Why a set of coupled channels cannot be cut."""


def trace(model: nn.Module, example: Tensor) -> list[Coupling]:
    """All couplings, in the order of the forward pass, but those of the network's outputs.

    `example`: (1, C, H, W) on the model's device. Raises MethodError, naming the layer, where a convolution that takes
    part in the forward pass is in no coupling: pruning would silently pass it by.
    """
    calls: dict[nn.Module, int] = {}
    graph = _Graph()
    try:
        with _traceable(model, lambda module: calls.setdefault(module, len(calls))):
            graph.build_dependency(model, (example,), customized_pruners={PadShortcut: _PadPruner()}, verbose=False)
            found = list(graph.get_all_groups(root_module_types=(_ConvNd, nn.Linear)))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MethodError(f"{type(model).__name__} cannot be pruned: its graph cannot be traced ({reason})") from error
    names = {module: name for name, module in model.named_modules()}
    couplings, refused, taken = [], {}, _Taken()
    for native in found:
        if _is_output(graph, native):
            refused.update({item.dep.target.module: "" for item in native if _is_out(graph, item)})
            continue
        try:
            parts = _parts(graph, native, names)
            taken.add(parts)
        except _Refused as reason:
            refused.update({item.dep.target.module: str(reason) for item in native if _is_out(graph, item)})
            continue
        parts.sort(key=lambda part: calls[part.module])
        couplings.append(Coupling(len(parts[0].channels), tuple(parts), native))
    covered = {part.module for coupling in couplings for part in coupling.parts if part.side != "in"}
    for module, name in names.items():
        if isinstance(module, _ConvNd) and module not in covered and refused.get(module) != "":
            reason = refused.get(module) or ("it is not in the graph" if module in calls else "it is used in training only")
            raise MethodError(f"{type(model).__name__} cannot be pruned: filters of {name} belong to no group ({reason})")
    if not couplings:
        raise MethodError(f"{type(model).__name__} cannot be pruned: it has no filters but those of its outputs")
    return sorted(couplings, key=lambda coupling: calls[first_filters(coupling).module])


def first_filters(coupling: Coupling) -> Part:
    """The first layer that makes the coupled channels."""
    return next(part for part in coupling.parts if part.side != "in" and isinstance(part.module, _ConvNd | nn.Linear))


class _Graph(tp.DependencyGraph):
    """Couples the inputs of a grouped convolution with its outputs, as for a depthwise one."""

    def get_pruner_of_module(self, module: nn.Module) -> Any:
        if isinstance(module, _ConvNd) and module.groups > 1:
            return self.REGISTERED_PRUNERS[OPTYPE.DEPTHWISE_CONV]
        return super().get_pruner_of_module(module)


class _PadPruner(tp.pruner.BasePruningFunc):
    """Shortcut A: its inputs and outputs are cut apart, since a source that goes leaves a zero channel.

    The two functions only tell the graph that the sides differ; bench.layers does the cutting.
    """

    def prune_out_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        raise NotImplementedError

    def prune_in_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        raise NotImplementedError

    def get_out_channels(self, layer: PadShortcut) -> int:
        return channel_count(layer, "out")

    def get_in_channels(self, layer: PadShortcut) -> int:
        return channel_count(layer, "in")


class _Taken:
    """The channels that already belong to a unit."""

    def __init__(self) -> None:
        self._masks: dict[tuple[str, bool], Tensor] = {}

    def add(self, parts: list[Part]) -> None:
        """Refuses parts of which a channel belongs to a unit already."""
        for part in parts:
            total = part.module.get_parameter(part.layer).shape[part.dim] if part.dim else _total(part)
            mask = self._masks.setdefault((part.layer, part.side == "in"), torch.zeros(total, dtype=torch.bool))
            if mask[part.channels].any():
                raise _Refused(f"{part.layer} shares channels with another group")
            mask[part.channels] = True


@contextmanager
def _traceable(model: nn.Module, called: Callable[[nn.Module], object]) -> Iterator[None]:
    """Everything trainable and recorded; training flags and frozen parameters are as before afterwards."""
    training = [module for module in model.modules() if module.training]
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    hooks = [m.register_forward_hook(lambda module, *_: called(module) and None) for m in model.modules()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module in training:
            module.training = True
