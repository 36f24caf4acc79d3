"""What a board is called: a title that no other board of a report has, and a name for its anchor and files."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bench.labels import as_text
from bench.spec import Trial


def titles(trials: Sequence[Trial]) -> list[str]:
    """Of the boards for which these trials stand: data set, backbone, track; where these are the same, what differs."""
    named = [(_title(trial), _values(trial)) for trial in trials]
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for title, values in named:
        alike[title].append(values)
    differing = {title: _differing(all_values) for title, all_values in alike.items()}
    found = []
    for title, values in named:
        apart = ", ".join(f"{name}={as_text(values[name])}" for name in differing[title])
        found.append(f"{title} ({apart})" if apart else title)
    return _numbered(found, "{} ({})")


def slugs(titles: Sequence[str]) -> list[str]:
    """A name for each board's anchor and file, made of its title; a number after those that would be the same."""
    return _numbered([re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] for title in titles], "{}-{}")


def _numbered(names: Sequence[str], form: str) -> list[str]:
    """The names, with the first free number from 2 on, in this form, after each that was there before."""
    found: list[str] = []
    for name in names:
        own, number = name, 1
        while own in found:
            number += 1
            own = form.format(name, number)
        found.append(own)
    return found


def _title(trial: Trial) -> str:
    kwargs = ", ".join(f"{name}={value}" for name, value in trial.backbone.kwargs.items())
    backbone = f"{trial.backbone.name} ({kwargs})" if kwargs else trial.backbone.name
    data = trial.dataset.name
    if trial.dataset.subset:
        data += f" ({trial.dataset.subset:,} training images)"
    if trial.dataset.image_size:
        data += f" at {trial.dataset.image_size} px"
    text = f"{data}, {backbone}, {trial.track} track"
    return f"SMOKE RUN: {text}" if trial.smoke else text


def _differing(alike: Sequence[dict[str, Any]]) -> list[str]:
    """The names that all of these have, with values that not all share."""
    common = [name for name in alike[0] if all(name in values for values in alike)]
    return [name for name in common if len({json.dumps(values[name]) for values in alike}) > 1]


def _values(trial: Trial) -> dict[str, Any]:
    """What may tell two boards of one title apart: see `boards`."""
    values = trial.dataset.model_dump(mode="json", exclude={"root"})
    if trial.track == "matched":
        values |= trial.recipe.model_dump(mode="json")
    if trial.dense is None:
        return values | {"dense": "none"}
    source = trial.dense.recipe or trial.dense.weights
    details = source.model_dump(mode="json", exclude={"file", "sha256"}) if source else {}
    weights = trial.dense.weights.sha256[:16] if trial.dense.weights else str(trial.dense.pretrained)
    values["dense"] = "trained" if trial.dense.recipe else weights
    return values | {f"dense.{name}": value for name, value in details.items()}
