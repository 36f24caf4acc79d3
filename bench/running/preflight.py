"""What can be known before anything starts: that data and given weights are here, and what no method can do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from bench import channels, data, registry, weights
from bench.anatomy import Anatomy
from bench.errors import UserError
from bench.method import Group, MethodError
from bench.spec import DENSE, Trial


def check(trials: Iterable[Trial], out: Path | None) -> list[str]:
    """Methods that cannot work on their backbone, one line each: their trials fail before they train.

    Raises UserError for the first thing that is missing, and where nothing is done yet and none of the methods can
    work: dense networks would be trained for nothing. Trials that have a record in `out` need nothing more.
    """
    loaded: dict[str, data.Data] = {}
    networks: dict[str, tuple[nn.Module, list[Group] | None, str]] = {}
    refusals: dict[str, str] = {}
    done = False
    for trial in trials:
        if out is not None and (out / "trials" / trial.key / "record.json").exists():
            done = True
            continue
        name = trial.dataset.model_dump_json()
        if name not in loaded:
            loaded[name] = data.load(trial.dataset, seed=trial.seed, device=torch.device("cpu"))
        found = loaded[name]
        shape = {"classes": found.classes, "channels": found.channels, "image_size": found.image_size}
        if trial.method.name == DENSE:
            if trial.dense and (trial.dense.weights or trial.dense.pretrained):
                weights.dense(trial, **shape)
            continue
        place = name + trial.backbone.model_dump_json()
        what = trial.method.model_dump_json() + place
        if what in refusals:
            continue
        try:
            if place not in networks:
                networks[place] = _looked_at(weights.fresh(trial, **shape), found)
            reason = _refusal(trial, *networks[place])
        except Exception:  # the trial says it, and more of it
            reason = ""
        refusals[what] = reason and f"{trial.method.name} cannot work on {trial.backbone.name}: {reason}"
    told = [reason for reason in refusals.values() if reason]
    if told and len(told) == len(refusals) and not done:
        raise MethodError(told[0])
    return told


def _looked_at(model: nn.Module, loaded: data.Data) -> tuple[nn.Module, list[Group] | None, str]:
    """The network, its groups, and why it cannot be cut; no groups where nothing can be done with it."""
    example = torch.zeros(1, loaded.channels, loaded.image_size, loaded.image_size)
    groups = None
    try:
        groups = Anatomy(model, example).groups(model)
        channels.check(model, example)
    except UserError as error:
        return model, groups, str(error)
    return model, groups, ""


def _refusal(trial: Trial, model: nn.Module, groups: list[Group] | None, uncut: str) -> str:
    method = registry.build(trial.method)
    if groups is None or (uncut and method.prunes):
        return uncut
    try:
        method.check(model, groups)
    except UserError as error:
        return str(error)
    return ""
