"""MACs and parameters of a network, counted by fvcore. One multiply-accumulate counts as 1.

The headline counts convolutions, linear layers and matrix products; fvcore's own total (with normalisation and
pooling) stands beside it. Both in eval mode for one image: in train mode fvcore counts batch norm differently.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from bench.method import Cost, MethodError

with warnings.catch_warnings():  # fvcore compiles losses that nobody here calls, in a way that torch gives up
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import get_shape

HEADLINE = ("conv", "linear", "matmul", "addmm", "mm", "bmm", "einsum")
"""fvcore's names of the operators that the headline counts."""


class LayerCost(NamedTuple):
    """One module: MACs and parameters of its own (not of its children's), shape of its output without the batch."""

    layer: str
    macs: int
    params: int
    shape: tuple[int, ...]


def count(model: nn.Module, example: Tensor) -> Cost:
    """MACs of one image, from `example` of shape (1, C, H, W) on the model's device, and parameters.

    What a parametrisation computes to make a weight is spent once a step, not per image, and is left out.
    """
    return counted(model, example)[0]


def per_layer(model: nn.Module, example: Tensor) -> list[LayerCost]:
    """Every module with MACs or parameters of its own, in the order of the forward pass.

    The MACs add up to the headline of `count`. `example`: (1, C, H, W) on the model's device.
    """
    return counted(model, example)[1]


def counted(model: nn.Module, example: Tensor) -> tuple[Cost, list[LayerCost]]:
    """`count` and `per_layer` from one forward pass."""
    names = {module: name for name, module in model.named_modules()}
    shapes: dict[str, tuple[int, ...]] = {}

    def note_shape(module: nn.Module, _: object, output: object) -> None:
        name = names[module]
        if isinstance(output, tuple | list) and output:
            output = output[0]  # attention gives its weights too
        if name not in shapes and isinstance(output, Tensor) and "parametrizations" not in name.split("."):
            shapes[name] = tuple(map(int, output.shape[1:]))

    with _counting(model):
        hooks = [module.register_forward_hook(note_shape) for module in names]
        try:
            operators = _operators(model, example)
        finally:
            for hook in hooks:
                hook.remove()
    return _whole(model, operators), list(_layers(model, operators, shapes))


def _whole(model: nn.Module, operators: dict[str, Counter[str]]) -> Cost:
    total = Counter(operators[""])
    for name in operators:
        if _is_parametrization(name):
            total.subtract(operators[name])
    macs = sum(total[name] for name in HEADLINE)
    return Cost(int(macs), int(sum(total.values())), sum(p.numel() for p in model.parameters()))


def _layers(
    model: nn.Module, operators: dict[str, Counter[str]], shapes: dict[str, tuple[int, ...]]
) -> Iterator[LayerCost]:
    for name, shape in shapes.items():
        module = model.get_submodule(name)
        own = Counter(operators[name])
        for child, _ in module.named_children():
            own.subtract(operators.get(f"{name}.{child}" if name else child, {}))
        macs = int(sum(own[operator] for operator in HEADLINE))
        params = sum(p.numel() for p in module.parameters(recurse=False))
        if is_parametrized(module):
            params += sum(p.numel() for p in module.get_submodule("parametrizations").parameters())
        if macs or params:
            yield LayerCost(name, macs, params, shape)


def _is_parametrization(name: str) -> bool:
    """Whether this is the module that makes one parametrised tensor, such as `conv.parametrizations.weight`."""
    return name.split(".")[-2:-1] == ["parametrizations"]


def _operators(model: nn.Module, example: Tensor) -> dict[str, Counter[str]]:
    """Module name -> operator -> count, children included; "" is the whole network."""
    analysis = FlopCountAnalysis(model, example)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    analysis.set_op_handle(**HANDLES)
    try:
        found: dict[str, Counter[str]] = analysis.by_module_and_operator()
        passed_by = [operator for operator in analysis.unsupported_ops() if UNCOUNTED.search(operator)]
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # its handles assert shapes
        size = "x".join(map(str, example.shape[1:]))
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MethodError(f"{type(model).__name__} does not run on {size} images: {reason}") from error
    if passed_by:
        raise MethodError(f"the MACs of {type(model).__name__} cannot be counted: it uses {', '.join(passed_by)}")
    return found


def _same_padding(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """A convolution with `padding="same"` or "valid"."""
    return Counter(conv=math.prod(get_shape(outputs[0])) * math.prod(get_shape(inputs[1])[1:]))


def _attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Fused attention: queries (..., L, E) by keys (..., S, E), and their weights by values (..., S, V)."""
    queries, keys, values = (get_shape(x) for x in inputs[:3])
    return Counter(matmul=math.prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1]))


def _batched_product(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """`baddbmm`: (B, N, K) by (B, K, M)."""
    return Counter(bmm=math.prod(get_shape(inputs[1])) * get_shape(inputs[2])[-1])


HANDLES = {
    "aten::_convolution_mode": _same_padding,
    "aten::scaled_dot_product_attention": _attention,
    "aten::baddbmm": _batched_product,
}
"""Operators that fvcore passes by, and what they cost."""

UNCOUNTED = re.compile(r"conv|attention|encoder_layer|::bilinear|addbmm|addmv|::mv$|::dot$|lstm|gru|rnn")
"""Of those left, the ones that a headline without them would be wrong of."""


@contextmanager
def _counting(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients and without fused attention, whose matrix products fvcore does not see."""
    training = [module for module in model.modules() if module.training]
    fused = [module for module in model.modules() if getattr(module, "fused_attn", False)]
    model.eval()
    for module in fused:
        module.fused_attn = False  # type: ignore[assignment]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that hides all of nn.MultiheadAttention
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module in training:
            module.training = True
        for module in fused:
            module.fused_attn = True  # type: ignore[assignment]
