"""Where a trial's first network comes from: fresh, a file of trained weights, timm's own, or the dense baseline's."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from timm.data import DEFAULT_CROP_PCT
from torch import Tensor, nn

from bench import backbones
from bench.compact import CompactError, describe, load_compact
from bench.data import DataError
from bench.method import MethodError
from bench.spec import Trial, WeightsSpec

WRAPPERS = 5
"""A state_dict may lie so many dictionaries deep in its file."""


Normalisation = tuple[tuple[float, ...] | None, tuple[float, ...] | None]
"""Mean and std of the input."""


def fresh(trial: Trial, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """The trial's backbone with the initial weights of its seed."""
    torch.manual_seed(trial.seed)
    return backbones.create(trial.backbone, num_classes=classes, in_chans=channels, image_size=image_size)


def dense(trial: Trial, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """The network that a dense baseline trial begins with: fresh, or trained elsewhere."""
    source = trial.dense
    if source is not None and source.pretrained:
        torch.manual_seed(trial.seed)  # of the classifier, where the data have other classes
        return backbones.create(
            trial.backbone,
            num_classes=classes,
            in_chans=channels,
            image_size=image_size,
            pretrained=source.pretrained,
        )
    model = fresh(trial, classes=classes, channels=channels, image_size=image_size)
    if source is not None and source.weights:
        load_weights(model, source.weights)
    return model


def baseline(trial: Trial, out: Path) -> tuple[nn.Module, Normalisation]:
    """The trained dense network of the trial's baseline. Raises DataError where its file cannot be used."""
    path = out / "trials" / str(trial.baseline) / "model.safetensors"
    try:
        about = describe(path)
        return load_compact(path), (about.mean, about.std)
    except CompactError as error:
        raise DataError(f"the dense network cannot be had: {error}") from error


def normalisation(trial: Trial, model: nn.Module) -> Normalisation:
    """Mean and std that foreign weights were trained with; (None, None) where the data set's own serve."""
    source = trial.dense
    if source is not None and source.weights:
        return source.weights.mean, source.weights.std
    if source is not None and source.pretrained:
        config = getattr(model, "pretrained_cfg", {})
        return config.get("mean"), config.get("std")
    return None, None


def departures(trial: Trial, model: nn.Module, *, classes: int, size: int) -> Iterator[str]:
    """Where a dense trial uses timm's own weights, which `model` has, otherwise than timm tests them, one note each."""
    config = getattr(model, "pretrained_cfg", None) or {}
    if config.get("num_classes", classes) != classes:
        yield f"timm's weights tell {config['num_classes']} classes apart: the dense network's classifier is untrained"
    if trial.dataset.root is None:
        return  # images as they are, at no crop
    pixels = config.get("test_input_size") or config.get("input_size") or (3, size, size)
    timms = config.get("crop_pct", DEFAULT_CROP_PCT), config.get("interpolation", "bicubic"), pixels[1]
    ours = trial.dataset.crop or DEFAULT_CROP_PCT, "bicubic", size
    if timms != ours:
        told = [f"a crop of {share:g}, {how}, {side} pixels" for share, how, side in (timms, ours)]
        yield f"timm tests these weights with {told[0]}; here it is {told[1]}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(model: nn.Module, spec: WeightsSpec) -> None:
    """Load a state_dict file strictly, after renaming its keys.

    Raises MethodError, in one line, where the file is another one than the suite was read with, is no plain
    state_dict, or does not fit the backbone; DataError where this machine does not have it.
    """
    path = spec.path
    if not path.exists():
        raise DataError(f"{path} is not on this machine, {socket.gethostname()}")
    if spec.sha256 and file_digest(path) != spec.sha256:
        raise MethodError(f"{path} has changed since the suite was read: its SHA-256 is another")
    state = _read(path)
    for pattern, replacement in spec.rename:
        try:
            state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
        except (re.error, IndexError) as error:
            raise MethodError(f"dense.weights.rename: '{replacement}' cannot replace '{pattern}': {error}") from error
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    missing = [key for key in missing if not key.endswith((".num_batches_tracked", ".index"))]
    if missing or unknown:
        parts = [f"{name} {keys[0]} and {len(keys) - 1} more" for name, keys in _named(missing, unknown)]
        raise MethodError(
            f"{path} does not fit the backbone: {'; '.join(parts)} (mend the keys with dense.weights.rename)"
        )
    for key, value in state.items():
        if own[key].shape != value.shape:
            shapes = f"{tuple(value.shape)}, the backbone's {tuple(own[key].shape)}"
            raise MethodError(f"{path} does not fit the backbone: {key} is {shapes}")
    model.load_state_dict({**own, **state})


def _named(missing: list[str], unknown: list[str]) -> list[tuple[str, list[str]]]:
    return [(name, keys) for name, keys in (("it lacks", missing), ("it has the unknown", unknown)) if keys]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MethodError(f"{path} cannot be read as weights: {reason}") from error
    for _ in range(WRAPPERS):
        inner = {k: value for k, value in state.items() if isinstance(value, dict)} if isinstance(state, dict) else {}
        named = [inner[name] for name in ("state_dict", "model") if name in inner]  # beside an optimiser's, say
        if named or len(inner) == 1:
            state = [*named, *inner.values()][0]
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise MethodError(f"{path} holds no plain state_dict")
    return dict(state)
