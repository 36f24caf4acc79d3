"""Compact networks on disk: one safetensors file holds the weights, how to build the backbone, and its widths."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from bench import backbones
from bench.channels.layers import widths
from bench.errors import UserError
from bench.spec import BackboneSpec

T = TypeVar("T")

KEY = "prunebench"
"""The metadata entry of a file that is ours."""


class CompactError(UserError, ValueError):
    """A network cannot be saved, or a file cannot be loaded; the message names it and the reason."""


class Description(BaseModel):
    """What a file says of its network. `mean`, `std`: of the input; `widths`: layer -> its attributes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: BackboneSpec
    num_classes: Annotated[int, Field(ge=0, le=10**6)]
    in_chans: Annotated[int, Field(ge=1, le=10**4)]
    image_size: Annotated[int, Field(ge=1, le=10**5)]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    widths: dict[str, dict[str, int | list[int]]]


def save(
    path: Path,
    model: nn.Module,
    backbone: BackboneSpec,
    *,
    num_classes: int,
    in_chans: int,
    image_size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    """Write a network of this backbone, pruned or dense, and replace `path` at once.

    Raises CompactError where a parametrisation is left in the model: it has to be plain.
    """
    for name, module in model.named_modules():
        if is_parametrized(module):
            raise CompactError(f"{name} is still parametrised: remove its parametrisations before saving")
    description = Description(
        backbone=backbone,
        num_classes=num_classes,
        in_chans=in_chans,
        image_size=image_size,
        mean=mean,
        std=std,
        widths={name: found for name, module in model.named_modules() if (found := widths(module))},
    )
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    data = to_bytes(tensors, metadata={KEY: description.model_dump_json()})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def describe(path: Path) -> Description:
    """What the file says of its network, without building it. Raises CompactError where it is not such a file."""
    return _read(Path(path), lambda file: None)[0]


def load_compact(path: Path) -> nn.Module:
    """Build the network that a file holds, on the CPU, in eval mode: plain modules, the same outputs bit for bit.

    Raises CompactError, in one line, for a damaged file, or one that does not fit the backbone it names.
    """
    path = Path(path)
    # Copied: the file's own memory is not aligned, and kernels then sum in another order.
    description, tensors = _read(path, lambda file: {key: file.get_tensor(key).clone() for key in file.keys()})  # noqa: SIM118
    model = backbones.create(
        description.backbone,
        num_classes=description.num_classes,
        in_chans=description.in_chans,
        image_size=description.image_size,
    )
    try:
        resize(model, tensors, description.widths)
        model.load_state_dict(tensors, assign=True)
    except (CompactError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CompactError(f"{path} does not fit the backbone {description.backbone.name}: {reason}") from error
    return model.eval()


def resize(model: nn.Module, tensors: dict[str, Tensor], layers: dict[str, dict[str, Any]]) -> None:
    """Give a fresh network the shapes of `tensors` (a state_dict) and the widths of `layers`, in place.

    Only the sizes change; the values come with `load_state_dict`. Raises CompactError, naming the layer, where the
    network has other layers, or one with another number of dimensions.
    """
    fresh = {name: found for name, module in model.named_modules() if (found := widths(module))}
    for name in sorted(fresh.keys() ^ layers.keys()):
        raise CompactError(f"layer {name} is only in {'the network' if name in fresh else 'the file'}")
    for name, found in layers.items():
        module = model.get_submodule(name)
        if fresh[name].keys() != found.keys():
            raise CompactError(f"layer {name} is of another kind")
        for attribute, value in found.items():
            setattr(module, attribute, tuple(value) if isinstance(value, list) else value)
    for name, module in model.named_modules():
        for store in (module._parameters, module._buffers):
            for key, old in store.items():
                new = tensors.get(f"{name}.{key}" if name else key)
                if old is None or new is None or old.shape == new.shape:
                    continue
                if old.ndim != new.ndim:
                    raise CompactError(f"{name}.{key} has {new.ndim} dimensions, the network's {old.ndim}")
                empty = torch.empty_like(new)
                store[key] = nn.Parameter(empty, old.requires_grad) if isinstance(old, nn.Parameter) else empty


def _read(path: Path, take: Callable[[Any], T]) -> tuple[Description, T]:
    """What a file says of its network, and what `take` takes of it."""
    if path.is_dir():
        raise CompactError(f"{path} is a folder: name the model.safetensors in it")
    try:
        with safe_open(path, framework="pt") as file:
            metadata, taken = file.metadata() or {}, take(file)
    except (OSError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CompactError(f"{path} cannot be read as safetensors: {reason}") from error
    try:
        return Description.model_validate(json.loads(metadata[KEY])), taken
    except KeyError as error:
        raise CompactError(f"{path} is no compact network: its metadata lack '{KEY}'") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise CompactError(f"{path} is no compact network: its metadata are damaged") from error
