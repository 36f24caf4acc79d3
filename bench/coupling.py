"""Which channels of a network can only be removed together, found by torch-pruning's dependency graph.

Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023. The graph is theirs; grouped convolutions and
shortcut A are added here, and what the graph would get wrong without a word is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    """What a coupling owns of one layer: unit u holds `channels[u]`; (units, k).

    `parameter`, `dim`: where a bare parameter of the module (a layer scale) is meant, and not the module itself.
    """

    layer: str
    module: nn.Module
    side: Side
    channels: Tensor
    parameter: str = ""
    dim: int = 0

    @property
    def total(self) -> int:
        """Channels that the layer has on this side, those of other couplings included."""
        if self.parameter:
            return self.module.get_parameter(self.parameter).shape[self.dim]
        return channel_count(self.module, self.side)

    @property
    def makes(self) -> bool:
        """Whether the layer makes these channels."""
        return self.side != "in" and isinstance(self.module, _ConvNd | nn.Linear)


@dataclass(frozen=True, eq=False)
class Coupling:
    """`size` units, each cut from all parts at once. The parts stand in the order of the forward pass."""

    size: int
    parts: tuple[Part, ...]
    native: Any

    @property
    def first(self) -> Part:
        """The first layer that makes the channels."""
        return next(part for part in self.parts if part.makes)

    @property
    def least(self) -> int:
        """Units that must stay. A grouped convolution with one group left would be another kind of layer."""
        grouped = any(isinstance(p.module, _ConvNd) and p.module.groups > 1 and p.side == "both" for p in self.parts)
        return min(2 if grouped else 1, self.size)


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
        with _traceable(model, calls):
            graph.build_dependency(model, (example,), customized_pruners={PadShortcut: _PadPruner()}, verbose=False)
            found = list(graph.get_all_groups(root_module_types=(_ConvNd, nn.Linear)))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MethodError(f"{type(model).__name__} cannot be pruned: its graph cannot be traced ({reason})") from error
    names = {module: name for name, module in model.named_modules()}
    taken: dict[tuple[str, str, bool], Tensor] = {}
    couplings: list[Coupling] = []
    outputs: set[nn.Module] = set()
    refused: dict[nn.Module, str] = {}
    for native in found:
        makers = [item.dep.target.module for item in native if graph.is_out_channel_pruning_fn(item.dep.handler)]
        if _reaches_output(graph, native):
            outputs.update(makers)
            continue
        try:
            parts = sorted(_parts(graph, native, names), key=lambda part: calls[part.module])
            _take(taken, parts)
            couplings.append(Coupling(len(parts[0].channels), tuple(parts), native))
        except _Refused as reason:
            refused.update(dict.fromkeys(makers, str(reason)))
    covered = outputs.union(part.module for coupling in couplings for part in coupling.parts if part.makes)
    for module, name in names.items():
        if isinstance(module, _ConvNd) and module not in covered:
            reason = refused.get(module, "not in its graph" if module in calls else "no part of the forward pass in eval mode")
            raise MethodError(f"{type(model).__name__} cannot be pruned: the filters of {name} are in no group: {reason}")
    if not couplings:
        raise MethodError(f"{type(model).__name__} cannot be pruned: it has no filters but those of its outputs")
    return sorted(couplings, key=lambda coupling: calls[coupling.first.module])


def _reaches_output(graph: tp.DependencyGraph, native: Any) -> bool:
    """Whether these channels are the network's outputs: nothing reads the node that makes or passes them on."""
    return any(
        not item.dep.target.outputs and graph.is_out_channel_pruning_fn(item.dep.handler) for item in native
    )


def _parts(graph: tp.DependencyGraph, native: Any, names: dict[nn.Module, str]) -> list[Part]:
    """The parts of one of torch-pruning's groups, its channels gathered to units. Raises _Refused."""
    claims = []  # layer, module, side, channels and the group's own channel that each of them goes with
    for item in native:
        node, module = item.dep.target, item.dep.target.module
        channels, roots = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
        if isinstance(module, nn.Parameter):
            layer, _, parameter = graph._param_to_name[module].rpartition(".")
            part = Part(layer, graph.model.get_submodule(layer), "both", channels, parameter, node.pruning_dim)
        elif isinstance(module, LAYERS):
            part = Part(names[module], module, _side(graph, item), channels)
        else:
            _check_operator(node)
            continue
        if channels.max() >= part.total:
            raise _Refused(f"it is coupled with {part.layer}, which has other channels")
        claims.append((part, roots))
    units = _units(claims, len(native[0].idxs))
    return [_by_unit(part, units[roots], int(units.max()) + 1) for part, roots in claims]


def _side(graph: tp.DependencyGraph, item: Any) -> Side:
    if graph.is_out_channel_pruning_fn(item.dep.handler):
        return "both" if graph.is_in_channel_pruning_fn(item.dep.handler) else "out"
    return "in"


def _check_operator(node: Any) -> None:
    """Refuse what has the number of channels written into the network's code, or an input that the graph lacks."""
    saved = node.grad_fn
    if node.type in (OPTYPE.SPLIT, OPTYPE.UNBIND, OPTYPE.EXPAND):
        raise _Refused("its channels are split by fixed sizes")
    if node.type == OPTYPE.SLICE and saved._saved_dim == 1:
        raise _Refused("its channels are sliced by fixed sizes")
    if node.type == OPTYPE.CONCAT and any(source is None for source, _ in saved.next_functions):
        raise _Refused("its channels are concatenated with the network's input")


def _units(claims: list[tuple[Part, Tensor]], size: int) -> Tensor:
    """Unit of each of the group's own channels: channels of one group of a convolution go together. (size,)"""
    label = torch.arange(size)
    for part, _ in claims:
        if isinstance(part.module, nn.GroupNorm) and part.module.num_groups > 1:
            raise _Refused(f"{part.layer} normalises channels in groups")
        if isinstance(part.module, nn.modules.conv._ConvTransposeNd):
            raise _Refused(f"{part.layer} is a transposed convolution")
    grouped = [(p, roots) for p, roots in claims if isinstance(p.module, _ConvNd) and p.module.groups > 1]
    for part, _ in grouped:
        if part.module.in_channels != part.module.out_channels:
            raise _Refused(f"{part.layer} is a grouped convolution with other outputs than inputs")
    before = None
    while before is None or not torch.equal(label, before):
        before = label.clone()
        for part, roots in grouped:
            block = part.channels // (part.module.out_channels // part.module.groups)
            lowest = torch.full((part.module.groups,), size).scatter_reduce(0, block, label[roots], "amin")
            label[roots] = lowest[block]
    return label.unique(return_inverse=True)[1]


def _by_unit(part: Part, unit: Tensor, size: int) -> Part:
    """The part with its channels as one row per unit. `unit`: unit of each channel."""
    per_unit = len(unit) // size
    if not (torch.bincount(unit, minlength=size) == per_unit).all():
        raise _Refused(f"{part.layer} does not hold the same number of channels of each unit")
    order = torch.argsort(unit * part.total + part.channels)
    rows = part.channels[order].view(size, per_unit)
    if part.side == "both" and isinstance(part.module, _ConvNd) and per_unit % (part.total // part.module.groups):
        raise _Refused(f"{part.layer} has groups of channels that only belong to it in part")
    return replace(part, channels=rows)


def _take(taken: dict[tuple[str, str, bool], Tensor], parts: list[Part]) -> None:
    """Note whose the channels are; refuse parts of which a channel belongs to another coupling already."""
    for part in parts:
        key = part.layer, part.parameter, part.side == "in"
        mask = taken.setdefault(key, torch.zeros(part.total, dtype=torch.bool))
        if mask[part.channels].any():
            raise _Refused(f"{part.layer} shares channels with another group")
        mask[part.channels] = True


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


@contextmanager
def _traceable(model: nn.Module, calls: dict[nn.Module, int]) -> Iterator[None]:
    """Everything trainable and gradients on; `calls` gets the order of the forward pass. Undone afterwards."""
    training = [module for module in model.modules() if module.training]
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]

    def note(module: nn.Module, *_: object) -> None:
        calls.setdefault(module, len(calls))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
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
