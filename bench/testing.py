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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bench import backbones, compact, cost, data
from bench.data import Data
from bench.method import Budget, Method
from bench.onlyrun import only_run
from bench.outcome import check_plain, distance_from_target
from bench.session import Session
from bench.spec import BackboneSpec, DataSpec, Recipe
from bench.weights import file_digest

CPU = torch.device("cpu")  # the one device that repeats its sums bit for bit


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
    be saved and loaded; all training is metered and within the epochs; of the harness nothing but `Run` is used; the
    dense network's file stands as it was; the same seed gives the same weights bit for bit, whatever the global random
    generators hold; and so does a run that is killed in every epoch and resumed.

    `method`: a class, or an instance with hyper-parameters short enough for `epochs` epochs of `images` training
    images. Raises AssertionError, in one line: the method, the rule that it breaks, and how.
    """
    method = method() if isinstance(method, type) else method
    spec = BackboneSpec(name=backbone) if isinstance(backbone, str) else backbone
    chosen = DataSpec(name=dataset, subset=images, holdout=64 if method.selects else 0)
    recipe = Recipe(epochs=epochs, lr=0.02, batch_size=64)
    with _as_it_was(), tempfile.TemporaryDirectory(prefix="prunebench-check-") as name:
        case = _Case(method, spec, data.load(chosen, seed=seed, device=CPU), recipe, keep_macs, seed, Path(name))
        case.make_dense()
        digest = file_digest(case.dense)
        with _rule(method, "its hyper-parameters can be set in a suite"):
            _check_settings(method)
        with _rule(method, "it compresses a small network"), _optimiser_steps() as steps:
            model, session = case.compress("first")
        with _rule(method, "the dense network that others share is left alone"):
            assert file_digest(case.dense) == digest, "its file has changed"
        with _rule(method, "a plain network comes back"):
            _check_network(case, model)
        with _rule(method, "the MACs target is met"):
            if method.prunes:
                distance_from_target(session, model, session.cost(model).macs)
        with _rule(method, "all training goes through run.train, within the epochs"):
            _check_metered(session, len(steps), limited=not method.control)
        with _rule(method, "the same seed gives the same weights"):
            _check_repeats(case, model)
        with _rule(method, "killed and resumed is the same as uninterrupted"):
            _check_resumes(case, model, session)


@dataclass(frozen=True)
class _Case:
    """One small trial, to be run as often as wanted, each time in another folder below `root`."""

    method: Method
    backbone: BackboneSpec
    data: Data
    recipe: Recipe
    keep_macs: float
    seed: int
    root: Path

    @cached_property
    def dense_macs(self) -> int:
        example = torch.zeros(1, self.data.channels, self.data.image_size, self.data.image_size)
        return cost.count(compact.load_compact(self.dense), example).macs

    @property
    def dense(self) -> Path:
        """The file of the network that every run starts from."""
        return self.root / "dense.safetensors"

    def make_dense(self) -> None:
        """Fresh weights for a method that starts from scratch, else a network that was trained for an epoch."""
        torch.manual_seed(self.seed)
        model = backbones.create(self.backbone, **self._shape)
        self.save(model, self.dense)
        if self.method.start == "pretrained":
            self.session(model, "dense", self.data).train(model, 1)
            self.save(model, self.dense)

    def save(self, model: nn.Module, path: Path) -> None:
        compact.save(path, model, self.backbone, mean=self.data.mean, std=self.data.std, **self._shape)

    @property
    def _shape(self) -> dict[str, Any]:
        return {"num_classes": self.data.classes, "in_chans": self.data.channels, "image_size": self.data.image_size}

    def session(self, model: nn.Module, folder: str, images: Any) -> Session:
        keep = self.keep_macs if self.method.prunes else None
        macs = keep * self.dense_macs if keep else None
        (self.root / folder).mkdir(exist_ok=True)
        return Session(
            model,
            images,
            budget=Budget(keep, macs, epochs=self.recipe.epochs, dense_recipe=self.recipe),
            recipe=self.recipe,
            seed=self.seed,
            device=CPU,
            folder=self.root / folder,
            wanted={"threads": 1, "precision": "fp32"},
            limited=not self.method.control,
        )

    def compress(self, folder: str, *, noise: int = 0, die_in: int = 0) -> tuple[Any, Session]:
        """Run the method on from what `folder` holds. `noise` seeds the global random generators."""
        model = compact.load_compact(self.dense)
        session = self.session(model, folder, _Dying(self.data, die_in) if die_in else self.data)
        method = replace(self.method)  # as in a new process: nothing is left on the old one
        method.check(model, session.groups(model))
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(noise)
        return method.compress(model, only_run(session)), session


class _Killed(BaseException):
    """Stands for kill -9: no `except Exception` of a method stops it."""


class _Dying:
    """A data set that dies in the middle of the training epoch with number `die_in`, counted from 1."""

    def __init__(self, images: Data, die_in: int) -> None:
        self._images, self._left = images, die_in

    def __getattr__(self, name: str) -> Any:
        return getattr(self._images, name)

    def train(self, batch_size: int, generator: torch.Generator, *, augment: bool) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self._images.train(batch_size, generator, augment=augment)
        if augment:  # batches for scores are not augmented
            self._left -= 1
            if self._left == 0:
                yield next(batches)
                raise _Killed
        yield from batches


def _check_settings(method: Method) -> None:
    cls = type(method)
    assert cls.name, f"{cls.__name__} has no name"
    known = {field.name for field in fields(method)}
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        plain = "ClassVar" not in str(annotation)
        assert not plain or name in known, f"{name} is not a field: put @dataclass(frozen=True) above the class"
    adapter: TypeAdapter[Method] = TypeAdapter(cls)
    again = adapter.validate_python(adapter.dump_python(method, mode="json"))
    assert again == method, f"{method} becomes {again}"


def _check_network(case: _Case, model: Any) -> None:
    check_plain(model)
    path = case.root / "compact.safetensors"
    case.save(model, path)
    loaded = compact.load_compact(path)
    ours, theirs = ({name: type(m) for name, m in net.named_modules()} for net in (model, loaded))
    for name, kind in ours.items():
        assert theirs.get(name) is kind, (
            f"{name or 'the model'} is a {kind.__name__}, not one of the backbone's modules"
        )
    images, _ = next(case.data.test(64))
    training = model.training
    with torch.no_grad():
        same = torch.allclose(model.eval()(images), loaded(images), atol=1e-4)
    model.train(training)
    assert same, "saved and loaded it gives other outputs"


def _check_metered(session: Session, steps: int, *, limited: bool) -> None:
    per_epoch = session.data.steps(session.recipe.batch_size)
    metered = sum(round(row.epochs * per_epoch) for row in session.meter.history)
    assert steps == metered, f"{steps} optimiser steps were taken, {metered} of them metered"
    spent = session.meter.spent.epochs
    assert not limited or spent <= session.budget.epochs, f"{spent:g} epochs of {session.budget.epochs:g} were spent"


def _check_repeats(case: _Case, model: nn.Module) -> None:
    again, _ = case.compress("again", noise=1)
    if (other := _first_difference(model, again)) is None:
        return
    third, _ = case.compress("third", noise=0)
    cause = "a result depends on the time, on hashes, or on an earlier run"
    if _first_difference(model, third) is None:
        cause = "it draws from a global random generator; take run.generator(purpose)"
    raise AssertionError(f"{other} differs: {cause}")


def _check_resumes(case: _Case, model: nn.Module, session: Session) -> None:
    """Each try gets one epoch further and dies in the middle of the next, until nothing is left to train."""
    for attempt in range(len(session.meter.history) + 1):
        try:
            resumed, its = case.compress("killed", die_in=2 if attempt else 1)
            break
        except _Killed:
            continue
    else:
        raise AssertionError("it does not get further when it is called again")
    for ours, theirs in zip(session.meter.history, its.meter.history, strict=False):
        place = f"epoch {ours.epoch + 1} of '{ours.phase}'"
        assert (ours.phase, ours.epoch) == (theirs.phase, theirs.epoch), f"other phases come after a kill, from {place}"
        assert ours.loss == theirs.loss, (
            f"{place} has another loss; keep what must be remembered in the model's buffers"
        )
    other = _first_difference(model, resumed)
    assert other is None, f"{other} differs; keep what must be remembered in the model's buffers"


def _first_difference(one: nn.Module, other: nn.Module) -> str | None:
    """Name of the first tensor that is not bitwise the same."""
    ours, theirs = one.state_dict(), other.state_dict()
    missing = sorted(ours.keys() ^ theirs.keys())
    return next((key for key in [*missing, *ours] if key in missing or not torch.equal(ours[key], theirs[key])), None)


@contextmanager
def _rule(method: Method, rule: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, AssertionError | ValueError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())
        raise AssertionError(
            f"{method.name or type(method).__name__} breaks the rule '{rule}': {kind}{reason}"
        ) from error


@contextmanager
def _optimiser_steps() -> Iterator[list[None]]:
    """A list that grows by one with every step of any optimiser."""
    steps: list[None] = []
    handle = register_optimizer_step_post_hook(lambda *_: steps.append(None))
    try:
        yield steps
    finally:
        handle.remove()


@contextmanager
def _as_it_was() -> Iterator[None]:
    """One thread, which is fastest for so small a network; threads and random generators are put back."""
    threads, states = torch.get_num_threads(), (random.getstate(), np.random.get_state())
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])
