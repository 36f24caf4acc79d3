"""torch-pruning's dependency graph of a network: which channel stands for the same thing in which layers.

Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023. Added here: grouped convolutions, shortcut A, and
frozen parameters, without which the graph would lose nodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE

from bench.backbones.resnet import PadShortcut

Reached = dict[tuple[Any, Any], dict[int, int]]
"""(node of the graph, pruning function) -> channel -> the root's channel that it goes with."""


def build(model: nn.Module, example: Tensor) -> tuple[tp.DependencyGraph, list[Any], dict[nn.Module, int]]:
    """The graph, its groups (one root layer each, with all of its channels), and the order of the modules' calls.

    `example`: (1, C, H, W) on the model's device. The model is afterwards as it was, training flags included.
    """
    calls: dict[nn.Module, int] = {}
    graph = _Graph()
    with _traceable(model, calls):
        graph.build_dependency(model, (example,), customized_pruners={PadShortcut: _PadPruner()}, verbose=False)
        # Nothing is cut through this graph, so its index mappings stand. With the operators left in,
        # torch-pruning would make all mappings anew for every group: minutes on DenseNet-121.
        roots = (_ConvNd, nn.Linear)
        graph.module2node = {m: node for m, node in graph.module2node.items() if isinstance(m, roots)}
        groups = list(graph.get_all_groups(root_module_types=roots))
    return graph, groups, calls


def spread(native: Any) -> tuple[Reached, list[tuple[int, int]]]:
    """Follow the root's channels through the graph, to every layer that they are coupled with.

    Also pairs of the root's channels that meet in one channel, which torch-pruning's own groups pass over: they can
    only go together (GhostNet adds a channel to another and to what was computed from it).
    """
    start = native[0]
    reached = {(start.dep.target, start.dep.handler): {i: i for i in start.idxs}}
    links = []
    stack = [(start.dep.target, start.dep.handler, [_Index(i, i) for i in start.idxs])]
    while stack:
        node, function, indices = stack.pop()
        for edge in node.dependencies:
            if not edge.is_triggered_by(function):
                continue
            arriving = indices
            for mapping in edge.index_mapping:
                arriving = mapping(arriving) if mapping is not None else arriving
            roots = reached.setdefault((edge.target, edge.handler), {})
            links += [(roots[i.idx], i.root_idx) for i in arriving if roots.get(i.idx, i.root_idx) != i.root_idx]
            if fresh := [i for i in arriving if i.idx not in roots]:
                roots.update((i.idx, i.root_idx) for i in fresh)
                stack.append((edge.target, edge.handler, fresh))
    return {key: roots for key, roots in reached.items() if roots}, links


class _Index(NamedTuple):
    """A channel of some layer and the root's channel that it goes with; what torch-pruning's mappings read."""

    idx: int
    root_idx: int


class _Graph(tp.DependencyGraph):
    """Couples the inputs of a grouped convolution with its outputs, as for a depthwise one."""

    def get_pruner_of_module(self, module: nn.Module) -> Any:
        if isinstance(module, _ConvNd) and module.groups > 1:
            return self.REGISTERED_PRUNERS[OPTYPE.DEPTHWISE_CONV]
        return super().get_pruner_of_module(module)


class _PadPruner(tp.pruner.BasePruningFunc):
    """Shortcut A: its inputs and outputs are cut apart, since a source that goes leaves a zero channel.

    The two functions only tell the graph that the sides differ; bench/channels/layers.py does the cutting.
    """

    def prune_out_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        raise NotImplementedError

    def prune_in_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        raise NotImplementedError

    def get_out_channels(self, layer: PadShortcut) -> int:
        return len(layer.index)

    def get_in_channels(self, layer: PadShortcut) -> int:
        return layer.n_in


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
