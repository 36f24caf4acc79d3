"""What the harness knows of a trial's network as it stands: groups and MACs, found out once for each of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench import channels, cost
from bench.channels.budget import Counter
from bench.channels.coupling import trace_with_whole
from bench.method import Cost, Group


@dataclass(frozen=True)
class _Known:
    form: tuple[Any, ...]
    model: nn.Module
    groups: list[Group]
    whole: Mapping[str, str]
    cost: Cost
    counter: Counter


class Anatomy:
    """Remembers groups and MACs of the network that was asked about last; after a cut they are found anew."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        """`example`: one image, (1, C, H, W). Floors are those of `model`, the dense network, for ever."""
        self._example = example
        self._floors: dict[str, int] = {}
        self._last = self._find(model)
        self._floors = {group.name: group.floor for group in self._last.groups}

    def groups(self, model: nn.Module) -> list[Group]:
        return list(self._of(model).groups)

    def whole(self, model: nn.Module) -> Mapping[str, str]:
        """Convolutions in no group -> the reason (bench/channels/coupling.py)."""
        return self._of(model).whole

    def cost(self, model: nn.Module) -> Cost:
        return self._of(model).cost

    def counter(self, model: nn.Module) -> Counter:
        """MACs as a function of the groups' widths."""
        return self._of(model).counter

    def _of(self, model: nn.Module) -> _Known:
        if self._last.form != _form(model):
            self._last = self._find(model)
        return self._last

    def _find(self, model: nn.Module) -> _Known:
        couplings, whole = trace_with_whole(model, self._example)
        groups = channels.grouped(couplings, self._floors, self._example.device)
        counted, layers = cost.counted(model, self._example)
        return _Known(_form(model), model, groups, whole, counted, Counter(layers, groups))


def _form(model: nn.Module) -> tuple[Any, ...]:
    """Equal only for the same layers of the same sizes. Whoever keeps it keeps the model too, or ids come again."""
    modules = ((name, id(module)) for name, module in model.named_modules())
    return *modules, *((name, tuple(value.shape)) for name, value in model.state_dict().items())
