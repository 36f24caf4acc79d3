"""Groups of filters that can only be removed together, and removing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from bench.channels import exact
from bench.channels.coupling import Coupling, Part, trace
from bench.channels.layers import NORMS, cut, cut_parameter
from bench.method import Group, Keep, Member, MethodError


def groups(model: nn.Module, example: Tensor) -> list[Group]:
    """All groups of a dense network, in the order of the forward pass. The outputs of the network are in none.

    `example`: one image, (1, C, H, W), on the model's device. Raises MethodError for a network that cannot be traced,
    or of which a convolution would be passed by.
    """
    return grouped(trace(model, example), {}, example.device)


def grouped(couplings: Iterable[Coupling], floors: Mapping[str, int], device: torch.device) -> list[Group]:
    """Couplings as methods see them.

    `floors`: group name -> units that always stay, 10 % of the dense network's; a group not named keeps 10 % of its
    present size, rounded down, at least 1 (2 where a grouped or depthwise convolution has to stay one). `device`: the
    model's, where the members' channels lie too, or each look at a weight would wait for it.
    """
    found = []
    for coupling in couplings:
        name, size = coupling.first.layer, coupling.size
        members = tuple(
            Member(p.layer, p.module, role, p.channels.to(device)) for p in coupling.parts if (role := _role(p))
        )
        floor = floors.get(name, max(1, size // 10))
        found.append(Group(name, size, min(max(floor, coupling.least), size), members, coupling.native))
    return found


def shrink(model: nn.Module, example: Tensor, keep: Keep) -> nn.Module:
    """Cut every unit that `keep` does not name out of the model, in place, and return it.

    `keep`: group name -> sorted ids of the units that stay. Parameters that lose channels are new objects afterwards
    (with their gradients), so that an optimiser has to be made anew. Raises MethodError for an unknown group, ids that
    do not fit, a layer that would be emptied, and where the network does not run any more.
    """
    couplings = {coupling.first.layer: coupling for coupling in trace(model, example)}
    if unknown := sorted(keep.keys() - couplings.keys()):
        raise MethodError(f"there is no group {unknown[0]}: the groups are {', '.join(couplings)}")
    gone: dict[tuple[str, str, str], tuple[Part, Tensor]] = {}
    for name, kept in keep.items():
        coupling = couplings[name]
        _check_ids(name, kept, coupling)
        dropped = torch.ones(coupling.size, dtype=torch.bool)
        dropped[kept.cpu()] = False
        for part in coupling.parts:
            key = part.layer, part.parameter, part.side
            _, mask = gone.setdefault(key, (part, torch.zeros(part.total, dtype=torch.bool)))
            mask[part.channels[dropped]] = True
    for part, mask in gone.values():
        if mask.any():
            _cut(part, (~mask).nonzero().flatten())
    _check_runs(model, example)
    return model


def check(model: nn.Module, example: Tensor) -> None:
    """Cut every other unit of a copy of a plain network, to learn before any training whether it can be pruned.

    Raises MethodError where `groups` or `shrink` do, and where the cut network computes something else than the whole
    one with the same channels set to zero: then its graph is wrong. A layer that mixes channels excuses a difference.
    """
    copied = exact.shaken(model)
    halves = {group.name: torch.arange(group.size)[:: 2 if group.size > 2 else 1] for group in groups(copied, example)}
    images = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example.device)
    expected = exact.outputs(exact.zeroed(copied, example, halves), images)
    off = exact.distance(expected, exact.outputs(shrink(copied, example, halves), images))
    if not (off <= exact.TOLERANCE or exact.mixers(model)):
        raise MethodError(
            f"{type(model).__name__} cannot be pruned: cut, its outputs are not those with the same channels at zero "
            f"({off:.0e} off), so which of its channels belong together was not found out rightly"
        )


def _role(part: Part) -> Literal["filters", "inputs", "norm"] | None:
    if part.makes:
        return "filters"
    if part.side == "in" and isinstance(part.module, nn.Conv2d | nn.Linear):
        return "inputs"
    return "norm" if isinstance(part.module, NORMS) and not part.parameter else None


def _cut(part: Part, kept: Tensor) -> None:
    if part.parameter:
        cut_parameter(part.module, part.parameter, part.dim, kept)
    else:
        cut(part.module, part.side, kept)


def _check_ids(name: str, kept: Tensor, coupling: Coupling) -> None:
    least, size = coupling.least, coupling.size
    if (
        kept.dim() != 1
        or kept.dtype != torch.int64
        or not ((kept >= 0) & (kept < size)).all()
        or (kept.diff() <= 0).any()
    ):
        raise MethodError(f"the units to keep of group {name} must be sorted ids (int64) from 0 to {size - 1}")
    if len(kept) < least:
        raise MethodError(f"group {name} would keep {len(kept)} of its {size} units: at least {least} must stay")


def _check_runs(model: nn.Module, example: Tensor) -> None:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            model(example)
    except torch.OutOfMemoryError:
        raise  # the machine's fault, not the network's
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MethodError(f"{type(model).__name__} does not run any more after the cut: {reason}") from error
    finally:
        for module in training:
            module.training = True
