"""Which channels of a network can only be removed together: from torch-pruning's graph to units that can be cut.

What the graph would get wrong without a word is refused here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE

from bench.backbones.resnet import PadShortcut
from bench.channels.graph import build, spread
from bench.channels.layers import NORMS, Side, channel_count
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
    """All couplings that can be cut, in the order of the forward pass; the network's outputs are in none.

    `example`: (1, C, H, W) on the model's device. Raises MethodError as `trace_with_whole` does.
    """
    return trace_with_whole(model, example)[0]


def trace_with_whole(model: nn.Module, example: Tensor) -> tuple[list[Coupling], dict[str, str]]:
    """All couplings, and the convolutions whose filters cannot be cut, each with the reason: they stay whole.

    Raises MethodError where nothing can be cut, and, naming the layer, where a convolution is unknown to the graph:
    pruning would silently pass it by.
    """
    try:
        graph, found, calls = build(model, example)
    except torch.OutOfMemoryError:
        raise  # the machine's fault, not the network's
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
            parts = sorted(_parts(graph, native, names), key=lambda part: calls.get(part.module, len(calls)))
            if len(parts[0].channels) == 1 and parts[0].total > 1:
                raise _Refused("its channels can only go all at once")
            _take(taken, parts)
            couplings.append(Coupling(len(parts[0].channels), tuple(parts), native))
        except _Refused as refusal:
            refused.update(dict.fromkeys(makers, str(refusal)))
    firsts = Counter(coupling.first.layer for coupling in couplings)  # groups go by the name of their first layer
    for shared in [coupling for coupling in couplings if firsts[coupling.first.layer] > 1]:
        couplings.remove(shared)
        refused.update({part.module: "its channels fall into several groups" for part in shared.parts if part.makes})
    covered = outputs.union(part.module for coupling in couplings for part in coupling.parts if part.makes)
    whole = {}
    for module, name in names.items():
        if isinstance(module, _ConvNd) and module not in covered:
            if module not in refused:
                why = "not in its graph" if module in calls else "it is not used in eval mode"
                raise MethodError(f"{type(model).__name__} cannot be pruned: filters of {name} are in no group: {why}")
            whole[name] = refused[module]
    if not couplings:
        why = next(
            (f"filters of {name}: {why}" for name, why in whole.items()), "it has no filters but those of its outputs"
        )
        raise MethodError(f"{type(model).__name__} cannot be pruned: {why}")
    return sorted(couplings, key=lambda coupling: calls[coupling.first.module]), whole


def _reaches_output(graph: Any, native: Any) -> bool:
    """Whether these channels are the network's outputs: nothing reads the node that makes or passes them on."""
    return any(not item.dep.target.outputs and graph.is_out_channel_pruning_fn(item.dep.handler) for item in native)


def _parts(graph: Any, native: Any, names: dict[nn.Module, str]) -> list[Part]:
    """The parts of one of torch-pruning's groups, its channels gathered to units. Raises _Refused."""
    reached, links = spread(native)
    for node, _ in reached:
        if not isinstance(node.module, (nn.Parameter, *LAYERS)):
            _check_operator(node)
    claims = []  # each part, and the group's own channel that each of its channels goes with
    for (node, handler), roots in reached.items():
        module, channels = node.module, torch.tensor(list(roots))
        if isinstance(module, nn.Parameter):
            layer, _, parameter = graph._param_to_name[module].rpartition(".")
            part = Part(layer, graph.model.get_submodule(layer), "both", channels, parameter, node.pruning_dim)
        elif isinstance(module, LAYERS):
            part = Part(names[module], module, _side(graph, handler), channels)
        else:
            continue
        _check_part(part)
        claims.append((part, torch.tensor(list(roots.values()))))
        links += _grouped_links(part, roots)
    unit, size = _units(len(native[0].idxs), links)
    return [_by_unit(part, unit[roots], size) for part, roots in claims]


def _side(graph: Any, handler: Any) -> Side:
    if graph.is_out_channel_pruning_fn(handler):
        return "both" if graph.is_in_channel_pruning_fn(handler) else "out"
    return "in"


def _check_operator(node: Any) -> None:
    """Refuse what has the number of channels written into the network's code, or an input that the graph lacks."""
    saved = node.grad_fn
    if any(True for _ in node.module.parameters()):
        raise _Refused(f"it is coupled with a layer of an unsupported kind, {type(node.module).__name__}")
    if node.type in (OPTYPE.SPLIT, OPTYPE.UNBIND, OPTYPE.EXPAND):
        raise _Refused("its channels are split by fixed sizes")
    if node.type == OPTYPE.SLICE and saved._saved_dim == 1:
        raise _Refused("its channels are sliced by fixed sizes")
    if node.type == OPTYPE.CONCAT and any(source is None for source, _ in saved.next_functions):
        raise _Refused("its channels are concatenated with the network's input")


def _check_part(part: Part) -> None:
    """Refuse layers that cannot lose single channels."""
    module = part.module
    if part.channels.max() >= part.total:
        raise _Refused(f"it is coupled with {part.layer}, which has other channels")
    if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
        raise _Refused(f"{part.layer} normalises channels in groups")
    if isinstance(module, _ConvNd) and module.transposed:
        raise _Refused(f"{part.layer} is a transposed convolution")
    if isinstance(module, _ConvNd) and module.groups > 1 and module.in_channels != module.out_channels:
        raise _Refused(f"{part.layer} is a grouped convolution with other outputs than inputs")


def _grouped_links(part: Part, roots: dict[int, int]) -> list[tuple[int, int]]:
    """Channels of one group of a convolution go together."""
    if part.parameter or not isinstance(part.module, _ConvNd) or part.side != "both":
        return []
    width = part.total // part.module.groups
    firsts = {channel: channel // width * width for channel in roots}
    if any(first not in roots for first in firsts.values()):
        raise _Refused(f"{part.layer} has groups of channels that only belong to it in part")
    return [(roots[first], roots[channel]) for channel, first in firsts.items()]


def _units(size: int, links: list[tuple[int, int]]) -> tuple[Tensor, int]:
    """Unit of each of the root's channels, (size,), and how many units there are. Linked channels share one."""
    lowest = list(range(size))

    def find(channel: int) -> int:
        while lowest[channel] != channel:
            channel = lowest[channel]
        return channel

    for one, other in links:
        low, high = sorted((find(one), find(other)))
        lowest[high] = low
    found, unit = torch.tensor([find(channel) for channel in range(size)]).unique(return_inverse=True)
    return unit, len(found)


def _by_unit(part: Part, unit: Tensor, size: int) -> Part:
    """The part with its channels as one row per unit. `unit`: unit of each channel."""
    per_unit = len(unit) // size
    if not (torch.bincount(unit, minlength=size) == per_unit).all():
        raise _Refused(f"{part.layer} does not hold the same number of channels of each unit")
    order = torch.argsort(unit * part.total + part.channels)
    rows = part.channels[order].view(size, per_unit)
    return replace(part, channels=rows)


def _take(taken: dict[tuple[str, str, bool], Tensor], parts: list[Part]) -> None:
    """Note whose the channels are; refuse parts of which a channel belongs to another coupling already."""
    for part in parts:
        key = part.layer, part.parameter, part.side == "in"
        mask = taken.setdefault(key, torch.zeros(part.total, dtype=torch.bool))
        if mask[part.channels].any():
            raise _Refused(f"{part.layer} shares channels with another group")
        mask[part.channels] = True
