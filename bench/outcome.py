"""What a method's compact network must be: plain, and as near its target as filters allow."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.channels import exact
from bench.compact import load_compact
from bench.method import MethodError
from bench.session import Session

ALIKE = 1e-3
"""Largest difference, relative to the largest output, that fp32 and another order of sums make."""


def distance_from_target(session: Session, model: nn.Module, macs: int) -> float:
    """Percentage points of dense MACs above (+) or below (-) the target. Further than one unit of a group fails."""
    target, dense = float(session.budget.macs or 0), session.dense_cost.macs
    off = macs - target
    unit = session.finest(model)
    if abs(off) > farthest(unit, dense):
        raise MethodError(
            f"the compact network has {macs / 1e6:.2f} M MACs, the target is {target / 1e6:.2f} M: "
            f"further off than one filter group ({unit / 1e6:.2f} M)"
        )
    return 100 * off / dense


def farthest(unit: int, dense: int) -> float:
    """How many MACs a network may be off its target: one unit of a group, or one percent of the dense network's."""
    return max(unit, 0.01 * dense)


def check_saved(path: Path, model: nn.Module, example: Tensor) -> None:
    """MethodError, and no file, where the network saved at `path` is another than the method's: a layer's kind, say.

    `model`: in eval mode and fp32. What gives no finite outputs is not compared.
    """
    images = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example.device)
    with torch.no_grad():
        own, loaded = model(images), load_compact(path).to(example.device)(images)
    if own.isfinite().all() and not exact.distance(own, loaded) <= ALIKE:
        path.unlink()
        raise MethodError("the network, saved and loaded again, computes something else: the method replaced a layer")


def check_plain(model: object) -> None:
    """What comes back must be a plain dense network: MethodError, in one line, where it is not."""
    if not isinstance(model, nn.Module):
        raise MethodError(f"compress returned {type(model).__name__}: it must return the compact model")
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise MethodError(f"the method left a parametrisation on {name}")
        if any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)):
            raise MethodError(f"the method left a hook on {name or 'the model'}")
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            raise MethodError(f"the method left {name} frozen")
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise MethodError(f"the method left a hook on {name}")
        if not torch.isfinite(parameter).all():
            raise MethodError(f"the method left values in {name} that are not finite")
