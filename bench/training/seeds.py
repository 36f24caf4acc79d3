"""Random numbers from a trial's seed and the place in its course, so that no generator need be saved to resume."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def mix(*parts: Any) -> int:
    """A seed of 48 bits from numbers and words, the same on each machine and in each process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


def begin(seed: int, *place: Any) -> torch.Generator:
    """Seed torch's own generators; returns a further one, on the CPU, for the data's order and augmentation."""
    torch.manual_seed(mix(seed, *place))
    return torch.Generator().manual_seed(mix(seed, "data", *place))
