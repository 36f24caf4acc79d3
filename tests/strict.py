"""A device that computes on the CPU and is as strict as a GPU, for machines without one.

What lies on the CPU mixes with its tensors only where it would with a GPU's, so that a tensor left behind is an error;
what a GPU would make the host wait for is noted. torch takes one such device per process, for good, and importing this
gives it: only a program for itself does so (strict_trials.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

torch.inference_mode = torch.no_grad  # before anything is decorated: tensors of a device in Python cannot be in it

NAME = "strict"
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index_put")
COPYING = ("aten::copy_", "aten::_to_copy")
WAITING = ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select", "aten::_unique2")


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class There(Tensor):
    """A tensor on the device; `held`, on the CPU, has its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __tensor_flatten__(self) -> tuple[list[str], None]:  # without these two nn.Module.to would not swap
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> There:
        return There(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of a Strict")


class Strict(TorchDispatchMode):
    """Inside it the device can be used. `waits`: what has made the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name
        given = pytree.arg_tree_leaves(*args, **kwargs)
        there = [x for x in given if isinstance(x, There)]
        here = [x for x in given if isinstance(x, Tensor) and not isinstance(x, There) and x.dim()]
        asked = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
        on_device = asked == NAME or (asked is None and bool(there))
        indexed = name in INDEXING and isinstance(args[0], There)
        if on_device and name not in COPYING:
            mixed = [x for x in here if not indexed or any(x is value for value in args[2:])]
            assert not (there and mixed), f"{name} mixes the device's with the CPU's {[tuple(x.shape) for x in mixed]}"
            assert not any(isinstance(x, torch.Generator) for x in given), f"{name} draws from a generator of the CPU"
        crosses = bool(there and here) or (bool(there) and asked == "cpu") or (bool(here) and asked == NAME)
        masked = indexed and any(x.dtype == torch.bool for x in there[1:])
        if there and name in WAITING or masked or crosses and not kwargs.get("non_blocking"):
            self.waits.append(name)
        if asked == NAME:
            kwargs["device"] = torch.device("cpu")
        held, options = pytree.tree_map_only(There, lambda x: x.held, (args, kwargs))
        out = func(*held, **options)
        if name == "aten::copy_":
            return args[0]
        if not on_device:
            return out
        known = {id(x.held): x for x in there}  # what is changed in place stays the same tensor
        lifted = pytree.tree_map_only(Tensor, lambda x: known[id(x)] if id(x) in known else There(x), out)
        return lifted if asked else return_and_correct_aliasing(func, args, kwargs, lifted)


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
DEVICE = torch.device(NAME, 0)
OPERATORS = torch.library.Library("aten", "IMPL")  # those that torch calls past a mode, as for weight.data[[0, 1]]
swap_tensors = torch.utils.swap_tensors


def empty_strided(size: list[int], stride: list[int], dtype: torch.dtype, **_: Any) -> Tensor:
    return There(torch.empty_strided(size, stride, dtype=dtype))


def copy_from(source: Tensor, to: There, non_blocking: bool = False) -> Tensor:
    to.held.copy_(source.held if isinstance(source, There) else source)
    return to


def swap(one: Tensor, other: Tensor) -> None:
    """nn.Module.to may meet a parameter that is in use: it stays the same tensor, as on a GPU."""
    if isinstance(one, There) and isinstance(other, There):
        one.data, one.held = other, other.held
    else:
        swap_tensors(one, other)


OPERATORS.impl("empty_strided", empty_strided, "PrivateUse1")
OPERATORS.impl("_copy_from", copy_from, "PrivateUse1")
torch.utils.swap_tensors = swap
