"""One cell of the coverage table: a method's whole course on a backbone, on noise, with every cut checked.

It is ok when the method came through (forward, backward, cut, training), what came back is a plain network whose MACs
are as near to the target as they come, every cut gave the outputs that the same channels set to zero give, and the
saved network loads with equal outputs.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import timm
import torch
from torch import Tensor, nn

from bench import backbones, compact, cost
from bench.channels.exact import TOLERANCE, distance, mixers, outputs, shaken, zeroed
from bench.data import WHOLE, Shard, part
from bench.errors import UserError
from bench.method import Budget, Keep, Method
from bench.onlyrun import only_run
from bench.outcome import check_plain, distance_from_target
from bench.session import Session
from bench.spec import BackboneSpec, Recipe

SIZES = (32, 64, 96, 128)
"""Pixels, tried before a backbone's own image size."""


@dataclass(frozen=True)
class Cell:
    """What became of a method on a backbone. `status`: "ok", "failed", "left out" or "not run".

    `note`: the reason, or what could not be checked. `keep_macs`: the target. `params`: millions, dense. `macs`: share
    of the dense MACs that is left; `off`: its distance from the target in percentage points.
    """

    method: str
    backbone: str
    status: str = "ok"
    note: str = ""
    keep_macs: float = 0.5
    params: float = 0.0
    image_size: int = 0
    macs: float | None = None
    off: float | None = None
    seconds: float = 0.0


class Noise:
    """A `bench.data.Data` of random images: 8 to train on, 4 as hold-out, 4 to test."""

    classes, channels = 10, 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    train_images, holdout_images, test_images = 8, 4, 4

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.images = torch.randn(8, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        self.labels = torch.arange(8)

    def train(
        self, batch_size: int, generator: torch.Generator, *, augment: bool, shard: Shard = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for ids in torch.randperm(8, generator=generator).split(batch_size):
            own = ids[part(len(ids), shard)]
            yield self.images[own], self.labels[own]

    def holdout(self, batch_size: int, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        own = part(4, shard)
        yield self.images[own], self.labels[own]

    test = holdout

    def steps(self, batch_size: int) -> int:
        return -(-8 // batch_size)


class Watched(Session):
    """A session that compares every cut with the same channels set to zero.

    `difference`: the largest so far, relative to the largest output.
    """

    difference = 0.0

    def shrink(self, model: nn.Module, keep: Keep) -> nn.Module:
        images = next(self.data.test(4))[0][:2]
        expected = outputs(zeroed(model, self.example, keep), images)
        model = super().shrink(model, keep)
        self.difference = max(self.difference, distance(expected, outputs(model, images)))
        return model


def check(method: Method, backbone: str, *, keep_macs: float = 0.5, max_params: float | None = None) -> Cell:
    """One cell, in this process. Raises whatever goes wrong; UserError where the message is a reason for the table.

    `keep_macs`: share of the dense MACs to keep. `max_params`: millions; larger networks are left out, and so are those
    with self-attention.
    """
    started = perf_counter()
    with torch.device("meta"):
        empty = timm.create_model(backbone)
    cell = Cell(method.name, backbone, keep_macs=keep_macs, params=sum(p.numel() for p in empty.parameters()) / 1e6)
    if max_params and cell.params > max_params:
        return replace(cell, status="left out", note=f"more than {max_params:g} M parameters")
    if max_params and any(type(module).__name__.endswith("Attention") for module in empty.modules()):
        return replace(cell, status="left out", note="self-attention")
    with tempfile.TemporaryDirectory(prefix="prunebench-coverage-") as folder:
        model, data = network(backbone)
        recipe = Recipe(epochs=2, lr=1e-4, batch_size=4)
        macs = keep_macs * cost.count(model, data.images[:1]).macs
        session = Watched(
            model,
            data,
            budget=Budget(keep_macs, macs, epochs=2, dense_recipe=recipe),
            recipe=recipe,
            seed=0,
            device=torch.device("cpu"),
            folder=Path(folder),
            wanted={"threads": 1, "precision": "fp32"},
            limited=not method.control,
        )
        method.check(model, session.groups(model))
        model = method.compress(model, only_run(session))
        check_plain(model)
        _check_backward(model, session)
        _check_saved(model, backbone, data, Path(folder))
        left = session.cost(model).macs
        off = distance_from_target(session, model, left)
    mixing = mixers(model)
    exact = session.difference <= TOLERANCE
    if not exact and not mixing:
        raise UserError(f"not exact: {session.difference:.0e} from the same channels set to zero")
    notes = [] if exact else [f"cutting cannot be compared with setting to zero across {' and '.join(mixing)}"]
    if session.whole:
        layer, reason = next(iter(session.whole.items()))
        notes.append(f"{len(session.whole)} of its convolutions stay whole, as {layer}: {reason}")
    share = keep_macs * left / macs
    return replace(
        cell, note="; ".join(notes), image_size=data.image_size, macs=share, off=off, seconds=perf_counter() - started
    )


def network(backbone: str) -> tuple[nn.Module, Noise]:
    """A backbone whose norms are not at their initial values, and images of the smallest size that it takes."""
    torch.manual_seed(0)
    configured = timm.get_pretrained_cfg(backbone)
    own = configured.input_size[-1] if configured else 224
    sizes = (own,) if backbone in backbones.OWN or (configured and configured.fixed_input_size) else (*SIZES, own)
    for size in sizes:
        data = Noise(size)
        model = backbones.create(BackboneSpec(name=backbone), num_classes=data.classes, image_size=size)
        try:
            outputs(model, data.images[:1])
            break
        except (RuntimeError, AssertionError):
            if size == sizes[-1]:
                raise
    return shaken(model), data


def isolated(job: Callable[[], Cell], limit: float) -> Cell | str:
    """Run a job in a process of its own: its cell, or in one line why there is none.

    `limit`: seconds of CPU time; on a busy machine it may take ten times as long.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch and timm are imported once, not once a cell
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(job, sender, limit), daemon=True)
    process.start()
    sender.close()
    try:
        if receiver.poll(10 * limit):
            return receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode != -signal.SIGXCPU:
            return f"its process died (exit code {process.exitcode})"
    finally:
        process.kill()
        process.join()
    return f"not finished after {limit:g} s"


def _child(job: Callable[[], Cell], sender: Connection, limit: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        sender.send(job())
    except Exception as error:
        reason = " ".join(str(error).split()) or traceback.format_exc().splitlines()[-2].strip()
        sender.send(reason if isinstance(error, UserError) else f"{type(error).__name__}: {reason}"[:200])


def _check_backward(model: nn.Module, session: Session) -> None:
    model.train()
    images, labels = next(session.batches(1))
    session.loss(model, images, labels).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not gradients or not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise UserError("a gradient of the compact network is not finite")
    model.zero_grad()


def _check_saved(model: nn.Module, backbone: str, data: Noise, folder: Path) -> None:
    path = folder / "model.safetensors"
    shape = {"num_classes": data.classes, "in_chans": data.channels, "image_size": data.image_size}
    compact.save(path, model, BackboneSpec(name=backbone), mean=data.mean, std=data.std, **shape)
    if not distance(outputs(model, data.images[:1]), outputs(compact.load_compact(path), data.images[:1])) <= TOLERANCE:
        raise UserError("saved and loaded it gives other outputs")
