"""Names and values as people read them: neither torch nor pydantic is imported."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def labels(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Such as `dcff 50% seed 0`; where several would have one name, with the hyper-parameters that they differ in.

    Controls of several variants are told apart by the key of the trial whose widths they copy.
    """
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
    twice = {label for label, n in Counter(result).items() if n > 1}
    return [
        f"{label} (widths of {trial['twin'][:6]})" if label in twice and trial.get("twin") else label
        for label, trial in zip(result, trials, strict=True)
    ]


def _name(trial: Mapping[str, Any]) -> str:
    keep = trial.get("keep_macs")
    return trial["method"]["name"] + ("" if keep is None else f" {100 * keep:g}%")


def as_text(value: Any) -> str:
    """A hyper-parameter as people write it."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def plain(text: str) -> str:
    """Printable characters on one line: no terminal sequences, no text that runs backwards."""
    if text.isprintable():
        return text
    return "".join(" " if c.isspace() else c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)
