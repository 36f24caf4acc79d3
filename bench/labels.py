"""Short names of trials for people, from their plain values: neither torch nor pydantic is imported."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def labels(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Such as `dcff 50% seed 0`; where several would have one name, with the hyper-parameters that they differ in."""
    alike: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for trial in trials:
        alike[_name(trial), trial["seed"]].append(trial["method"].get("params", {}))
    result = []
    for trial in trials:
        name, seed, own = _name(trial), trial["seed"], trial["method"].get("params", {})
        differing = [
            f" {key}={as_text(value)}"
            for key, value in own.items()
            if any(other.get(key) != value for other in alike[name, seed])
        ]
        result.append(f"{name}{''.join(differing)} seed {seed}")
    return result


def _name(trial: Mapping[str, Any]) -> str:
    keep = trial.get("keep_macs")
    return trial["method"]["name"] + ("" if keep is None else f" {100 * keep:g}%")


def as_text(value: Any) -> str:
    """A hyper-parameter as people write it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
