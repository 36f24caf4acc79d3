"""A model and its optimiser in mid-training as named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The model's state_dict and the momentum buffers, by parameter name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for parameter, values in optimiser.state.items():
        if values.get("momentum_buffer") is not None:
            tensors[f"momentum.{names[id(parameter)]}"] = values["momentum_buffer"]
    return tensors


def restore(model: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put a `state` back into the same model and a new optimiser of the same parameters."""
    load(model, {key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        if key.startswith("momentum."):
            parameter = parameters[key[9:]]
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).detach().copy_(value)


@torch.no_grad()
def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy into the model's own tensors, so that parametrisations and memory formats stay as they are."""
    own = model.state_dict(keep_vars=True)
    for key, value in tensors.items():
        own[key].copy_(value)
