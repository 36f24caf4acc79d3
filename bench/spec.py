"""What a trial is: frozen, validated values that decide its result, and the key made from them.

Imports neither torch nor timm, so that `status` and `report` start at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bench.labels import labels

PROTOCOL = 1
"""Comparability version of the rules: rows of different versions never share a table."""

DENSE = "dense"
"""Name of the method whose trials are the dense baselines."""


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError("a letter or digit, then letters, digits, dots, _ and - only, at most 100 in all")
    return name


SuiteName = Annotated[str, AfterValidator(_folder_name)]
"""A suite's name: also that of its run folder, so it must not be a path."""

Tracked = Literal["offline", "online", "disabled"]
"""How W&B gets what happens."""

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""A trial's key: also the name of its folder, so it must not be a path."""


class Spec(BaseModel):
    """A frozen value object; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Milestone = Annotated[int | Annotated[float, Field(allow_inf_nan=False)], BeforeValidator(_whole)]
"""An epoch, or a part of one; 30.0 is 30, so that both give one key."""


class Recipe(Spec):
    """An SGD training recipe. `epochs` is the total that a trial may spend with it."""

    epochs: Annotated[int, Field(ge=0)]
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    batch_size: Annotated[int, Field(ge=1)] = 128
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[Milestone, ...] = ()
    gamma: Annotated[float, Field(gt=0)] = 0.1
    warmup: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: bool = True

    @model_validator(mode="before")
    @classmethod
    def _milestones_mean_step(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("milestones") and "schedule" not in data:
            return {**data, "schedule": "step"}
        return data

    @model_validator(mode="after")
    def _step_has_milestones(self) -> Recipe:
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("schedule: step and milestones belong together")
        return self


class DataSpec(Spec):
    """A data set and the part of it that is used.

    `subset`: class-balanced number of training images, a fixed choice for all seeds (None = all).
    `holdout`: training images set aside, by seed, for whatever selects something (0 = none).
    `root`: folder of an image-folder data set; `fingerprint` stands for its content in the key. `classes`: what the
    network tells apart where that is more than the folders' classes. `crop`: share of the resized test image's side
    that is seen (None = the data set's own).
    """

    name: str
    subset: Annotated[int, Field(ge=1)] | None = None
    holdout: Annotated[int, Field(ge=0)] = 0
    image_size: Annotated[int, Field(ge=8)] | None = None
    root: str | None = None
    fingerprint: str = ""
    classes: Literal["imagenet-1k"] | None = None
    crop: Annotated[float, Field(gt=0, le=1)] | None = None


class BackboneSpec(Spec):
    """A timm model name and the keyword arguments of its constructor."""

    name: str
    kwargs: dict[str, Any] = {}


class WeightsSpec(Spec):
    """A file of trained dense weights: a state_dict, loaded without pickle's code.

    `file`: may begin with an environment $VARIABLE, see `path`;
    `rename`: pairs (regular expression, replacement) applied in order to each key of the file;
    `mean`, `std`: the input normalisation that the weights were trained with (None = the data set's).
    """

    file: str
    sha256: str = ""
    rename: tuple[tuple[str, str], ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def path(self) -> Path:
        """Where the file lies on this machine."""
        return Path(os.path.expandvars(self.file))

    @field_validator("rename")
    @classmethod
    def _patterns(cls, rename: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for pattern, _ in rename:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
        return rename


class DenseSpec(Spec):
    """Where the dense network comes from: exactly one of the three."""

    recipe: Recipe | None = None
    weights: WeightsSpec | None = None
    pretrained: bool | str = False

    @model_validator(mode="after")
    def _one_source(self) -> DenseSpec:
        if sum([self.recipe is not None, self.weights is not None, bool(self.pretrained)]) != 1:
            raise ValueError("give exactly one of recipe, weights, pretrained")
        return self


class MethodSpec(Spec):
    """A registered method with all its hyper-parameters resolved, defaults included."""

    name: str
    version: int = 1
    params: dict[str, Any] = {}


class Trial(Spec):
    """Everything that decides one result; `key` is the hash of it."""

    protocol: int = PROTOCOL
    dataset: DataSpec
    backbone: BackboneSpec
    dense: DenseSpec | None = None
    method: MethodSpec
    recipe: Recipe
    keep_macs: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int = 0
    track: Literal["matched", "paper"] = "matched"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    test_each_epoch: bool = False
    twin: Key | None = None
    """Key of the trial whose widths (and epochs) a control copies."""
    baseline: Key | None = None
    """Key of the dense trial that this one starts from or is compared with; None for a dense trial."""
    smoke: bool = False

    @property
    def key(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON; where files lie does not count."""
        values = self.model_dump(mode="json")
        values["dataset"].pop("root")
        for later in ("classes", "crop"):  # keys from before these were there stay the same
            if values["dataset"][later] is None:
                values["dataset"].pop(later)
        if self.dense and self.dense.weights:
            values["dense"]["weights"].pop("file")
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """Short name for people, such as `dcff 50% seed 0`."""
        return labels([self.model_dump()])[0]


def starts_from(trial: Trial, start: Literal["pretrained", "scratch"]) -> Literal["pretrained", "scratch"]:
    """What a trial starts from, `start` being what its method says; a dense network may be trained elsewhere."""
    trained_elsewhere = trial.dense is not None and trial.dense.recipe is None
    return "pretrained" if trial.method.name == DENSE and trained_elsewhere else start
