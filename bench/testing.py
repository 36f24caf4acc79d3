"""The contract suite: what every method must keep, checked in seconds on `digits` with a small network.

    from bench.testing import check_method
    check_method(MyMethod)
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bench import backbones, compact, data
from bench.data import Data
from bench.method import Budget, Method, MethodError, Run
from bench.session import Session
from bench.spec import BackboneSpec, DataSpec, Recipe
from bench.trial import check_plain, distance_from_target
from bench.weights import file_digest

CPU = torch.device("cpu")  # the one device that repeats its sums bit for bit
RUN = {*Run.__annotations__, *(name for name in vars(Run) if not name.startswith("_"))}


def check_method(
    method: Method | type[Method],
    *,
    backbone: str | BackboneSpec = "cifar_resnet20",
    dataset: str = "digits",
    images: int = 256,
    keep_macs: float = 0.5,
    epochs: int = 4,
    seed: int = 0,
) -> None:
    """Hold a method to the contract that its results in a table rest on.

    The hyper-parameters can be written in a suite; what comes back is plain, unfrozen, near the MACs target, and can
    be saved and loaded; all training is metered and within the epochs; nothing but `Run` is used; the dense network's
    file stands as it was; the same seed gives the same weights bit for bit, whatever the global random generators
    hold; and so does a run that is killed in every epoch and resumed.

    `method`: a class, or an instance with hyper-parameters short enough for `epochs` epochs of `images` training
    images. Raises AssertionError: the method, the rule that it breaks, and how.
    """
    method = method() if isinstance(method, type) else method
    spec = BackboneSpec(name=backbone) if isinstance(backbone, str) else backbone
    recipe = Recipe(epochs=epochs, lr=0.02, batch_size=64)
    chosen = DataSpec(name=dataset, subset=images, holdout=64 if method.selects else 0)
    with _quiet(), tempfile.TemporaryDirectory(prefix="prunebench-check-") as name:
        folder = Path(name)
        case = _Case(method, spec, data.load(chosen, seed=seed, device=CPU), recipe, keep_macs, seed, folder / "dense")
        case.make_dense()
        digest = file_digest(case.dense)
        with _rule(method, "its hyper-parameters can be written in a suite"):
            _check_settings(method)
        with _rule(method, "it compresses a small network"), _counted_steps() as steps:
            model, session = case.compress(folder / "first")
        with _rule(method, "a plain network comes back"):
            _check_network(case, model, folder)
        if method.prunes:
            with _rule(method, "the MACs target is met"):
                distance_from_target(session, model, session.cost(model).macs)
        with _rule(method, "all training goes through run.train"):
            _check_metered(session, len(steps), limited=not method.control)
        with _rule(method, "the same seed gives the same weights"):
            _check_repeats(case, model, folder)
        with _rule(method, "killed and resumed is the same as uninterrupted"):
            _check_resumes(case, model, session, folder / "killed")
        with _rule(method, "the shared dense network is left alone"):
            assert file_digest(case.dense) == digest, "its file has changed"


@dataclass(frozen=True)
class _Case:
    """One small trial, as often as wanted. `dense`: the file of the network that every run of it starts from."""

    method: Method
    backbone: BackboneSpec
    data: Data
    recipe: Recipe
    keep_macs: float
    seed: int
    dense: Path

    def make_dense(self) -> None:
        """Fresh weights for a method that starts from scratch, else a network that was trained for an epoch."""
        torch.manual_seed(self.seed)
        model = backbones.create(
            self.backbone,
            num_classes=self.data.classes,
            in_chans=self.data.channels,
            image_size=self.data.image_size,
        )
        if self.method.start == "pretrained":
            self.session(model, self.dense.with_suffix(".training"), self.data).train(model, 1)
        self.save(model, self.dense)

    def save(self, model: nn.Module, path: Path) -> None:
        compact.save(
            path,
            model,
            self.backbone,
            num_classes=self.data.classes,
            in_chans=self.data.channels,
            image_size=self.data.image_size,
            mean=self.data.mean,
            std=self.data.std,
        )

    def session(self, model: nn.Module, folder: Path, images: Any) -> Session:
        macs = Session.cost.__get__  # placeholder
        raise NotImplementedError(macs)

    def compress(self, folder: Path, *, noise: int = 0, die_in: int = 0) -> tuple[Any, Session]:
        """Run the method on what `folder` holds so far. `noise` seeds the global generators."""
        model = compact.load_compact(self.dense).train()
        session = self.session(model, folder, _Dying(self.data, die_in) if die_in else self.data)
        method = replace(self.method)  # a new process would have a new one
        method.check(model, session.groups(model))
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(noise)
        return method.compress(model, _OnlyRun(session)), session
