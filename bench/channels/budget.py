"""Which units to keep so that a network meets a MACs target.

The MACs of a convolution or linear layer are proportional to its channels in (per group) times its channels out.
So one count of the network as it is gives the exact MACs of every narrower one, without cutting anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from bench import cost
from bench.method import Group, Keep, MethodError


class Counter:
    """Headline MACs of a network as a function of the units that its groups keep."""

    def __init__(self, layers: Iterable[cost.LayerCost], groups: Sequence[Group]) -> None:
        """`layers`: all of the network, from `bench.cost.per_layer`."""
        costs = {layer.layer: layer.macs for layer in layers}
        self._sizes = {group.name: group.size for group in groups}
        self._layers: dict[str, _Layer] = {}
        for group in groups:
            for member in group.members:
                if member.role != "norm" and member.layer in costs:
                    layer = self._layers.setdefault(member.layer, _layer(member.module, costs[member.layer]))
                    (layer.outs if member.role == "filters" else layer.ins)[group.name] = member.channels.shape[1]
        self._rest = sum(macs for name, macs in costs.items() if name not in self._layers)

    def macs(self, widths: Mapping[str, int]) -> int:
        """MACs of one image with `widths[group]` units kept; a group that is not named stays whole."""
        gone = {name: self._sizes[name] - width for name, width in widths.items()}
        return self._rest + sum(layer.macs_without(gone) for layer in self._layers.values())


@dataclass(frozen=True)
class _Layer:
    """A layer of `macs`, `n_in` (per group of a grouped convolution) and `n_out` channels, and their groups' shares."""

    macs: int
    n_in: int
    n_out: int
    ins: dict[str, int]
    outs: dict[str, int]

    def macs_without(self, gone: Mapping[str, int]) -> int:
        n_in = self.n_in - sum(each * gone.get(name, 0) for name, each in self.ins.items())
        n_out = self.n_out - sum(each * gone.get(name, 0) for name, each in self.outs.items())
        return self.macs // (self.n_in * self.n_out) * n_in * n_out


def largest_unit(counter: Counter, groups: Sequence[Group]) -> int:
    """MACs that removing one unit of the most expensive group saves: how finely a target can be met."""
    whole = counter.macs({})
    return max(whole - counter.macs({group.name: group.size - 1}) for group in groups)


def select(
    counter: Counter,
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    *,
    macs: float,
    scope: Literal["global", "layer"] = "global",
) -> Keep:
    """Drop units in the order of their scores, the lowest first, until the MACs are as near to `macs` as they come.

    `counter`: of the network and these groups. `scores`: group name -> (units,); groups without a score stay whole, and
    in each group the `floor` best units stay. "global" ranks all units in one list; "layer" takes the same share from
    every group, to one unit. `macs`: headline MACs of one image to come nearest to, from above or below. Raises
    MethodError for scores that do not fit, and for a target that the floors put out of reach.
    """
    by_name = {group.name: group for group in groups}
    for name, score in scores.items():
        _check(name, score, by_name)
    order = _order([(by_name[name], scores[name]) for name in by_name if name in scores], scope)

    def left(dropped: int) -> dict[str, int]:
        widths = {name: by_name[name].size for name in scores}
        for name, _ in order[:dropped]:
            widths[name] -= 1
        return widths

    low, high = 0, len(order)
    dense, least = counter.macs({}), counter.macs(left(high))
    if macs < least:
        raise MethodError(
            f"{macs / 1e6:.2f} M MACs are out of reach: with the units that always stay, "
            f"{least / 1e6:.2f} M are left at least ({100 * least / dense:.1f} % of this network's {dense / 1e6:.2f} M)"
        )
    while low < high:  # the fewest drops that reach the target
        middle = (low + high) // 2
        low, high = (low, middle) if counter.macs(left(middle)) <= macs else (middle + 1, high)
    if low and counter.macs(left(low - 1)) - macs < macs - counter.macs(left(low)):
        low -= 1
    keep = {name: torch.ones(by_name[name].size, dtype=torch.bool) for name in scores}
    for name, unit in order[:low]:
        keep[name][unit] = False
    return {name: mask.nonzero().flatten() for name, mask in keep.items()}


def _order(scored: Sequence[tuple[Group, Tensor]], scope: str) -> list[tuple[str, int]]:
    """(group, unit) of all units that may go, in the order in which they go. Ties go by group, then by unit."""
    ranked = []
    for place, (group, score) in enumerate(scored):
        values = score.detach().double().cpu()
        units = torch.argsort(values, stable=True).tolist()
        for rank, unit in enumerate(units[: group.size - group.floor]):
            value = float(values[unit]) if scope == "global" else (rank + 0.5) / group.size
            ranked.append((value, place, rank, group.name, unit))
    return [(name, unit) for *_, name, unit in sorted(ranked)]


def _check(name: str, score: Tensor, groups: Mapping[str, Group]) -> None:
    if name not in groups:
        raise MethodError(f"scores for {name}, but the groups are {', '.join(groups)}")
    if score.shape != (groups[name].size,):
        raise MethodError(
            f"scores of {name} have the shape {tuple(score.shape)}, the group has {groups[name].size} units"
        )
    if score.isnan().any():
        raise MethodError(f"scores of {name} are not numbers (NaN)")


def _layer(module: nn.Module, macs: int) -> _Layer:
    if isinstance(module, nn.Linear):
        return _Layer(macs, module.in_features, module.out_features, {}, {})
    assert isinstance(module, _ConvNd)
    return _Layer(macs, module.in_channels // module.groups, module.out_channels, {}, {})
