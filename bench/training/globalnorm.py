"""Batch normalisation whose statistics are those of the whole batch, wherever its images are.

So a network is trained by several processes as by one. Whatever calls torch's batch norm is served: nn.BatchNorm2d,
timm's norms with an activation, norms with parametrised weights. No module is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class GlobalNorm(TorchFunctionMode):
    """While active, batch norm in training mode sees the batches of all processes of the default group as one."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch's function of this name, for `input` (n, channels, ...), this process's share of the batch."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    output, mean, var, n = _Normalise.apply(input, weight, bias, eps)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
        if running_var is not None:
            running_var.mul_(1 - momentum).add_(var * (n / (n - 1)), alpha=momentum)
    normalised: Tensor = output
    return normalised


class _Normalise(torch.autograd.Function):
    """(output, mean, biased variance, values per channel). Gradients of weight and bias are this process's own part."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        own_var, own_mean = torch.var_mean(precise, [0, *range(2, x.dim())], correction=0)
        own = torch.stack([own_mean, own_var, torch.full_like(own_mean, x.numel() // x.shape[1])])
        everyones = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(everyones, own)
        means, variances, counts = torch.stack(everyones).unbind(1)  # (processes, channels) each
        n = counts.sum(0)
        mean = (counts * means).sum(0) / n
        var = (counts * (variances + (means - mean).square())).sum(0) / n
        ctx.save_for_backward(x, weight, mean, var, n)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, n)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var, n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, n = ctx.saved_tensors
        # as if the statistics were constants, and then what reaches the input through them
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([dw, db]).to(mean.dtype)
        dist.all_reduce(sums)
        along, level = sums / n
        inverse = (var + ctx.eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        shape = (1, -1, *[1] * (x.dim() - 2))
        dx -= ((x - mean.view(shape)) * (scale * inverse * along).view(shape) + (scale * level).view(shape)).to(
            dx.dtype
        )
        return dx, dw if ctx.needs_input_grad[1] else None, db if ctx.needs_input_grad[2] else None, None
