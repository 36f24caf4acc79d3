"""Several processes that run one trial together hold the same network at every step, and train it as one would."""

from __future__ import annotations

import json
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import digits
import pytest
import torch
from ranks import digest, start, together
from test_resume import COMMON, DENSE, GATE_DECORATOR, timeless
from torch import nn

from bench import run_trial
from bench.backbones import create
from bench.data import part
from bench.record import Record
from bench.registry import build
from bench.spec import BackboneSpec, MethodSpec, Recipe, Trial
from bench.training.loop import train_epoch
from bench.training.ranks import ALONE, Ranks

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "l1": ({}, 2),
    "taylor": ({"batches": 2}, 2),
    "dcff": ({"steepness": 0.1, "t_end": 20}, 2),
    "gate_decorator": ({"ticks": 2, "tick_epochs": 0.5, "tock_epochs": 0.5, "ticks_per_tock": 1}, 4),
    "growing_reg": ({"share": 0.5}, 2),
}

TICK_TOCK = Trial(
    method=MethodSpec(name="gate_decorator", params=GATE_DECORATOR),
    recipe=Recipe(epochs=12, lr=0.05, batch_size=32),
    keep_macs=0.5,
    baseline=DENSE.key,
    **COMMON,
)


def course(ranks: Ranks, out: Path) -> dict[str, Any]:
    """Each method on the small network: digests after every cut and at the end, losses, test accuracy."""
    answer = {}
    for name, (params, epochs) in METHODS.items():
        folder = out / f"{name}-{ranks.size}"
        folder.mkdir(exist_ok=True)
        model = digits.net()
        run = digits.session(folder, model, epochs=epochs, keep_macs=0.5, ranks=ranks)
        digests: list[str] = []
        shrink = run.shrink

        def noted(model, keep, shrink=shrink, digests=digests):
            model = shrink(model, keep)
            digests.append(digest(model))
            return model

        run.shrink = noted  # type: ignore[method-assign]
        model = build(MethodSpec(name=name, params=params)).compress(model, run)
        answer[name] = {
            "digests": [*digests, digest(model)],
            "losses": [row.loss for row in run.meter.history],
            "widths": {group.name: group.size for group in run.groups(model)},
            "test": run.test(model),
        }
    (out / f"answer-{ranks.rank}.json").write_text(json.dumps(answer))
    return json.loads(json.dumps(answer))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return course(ALONE, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("size", [2, 3])  # 3 do not share a batch of 50 out evenly
def test_all_hold_the_same_network_and_train_as_one(tmp_path, alone, size):
    answers = together("test_ranks:course", tmp_path, size)
    for name in METHODS:
        first, *others = (answer[name] for answer in answers)
        assert all(other == first for other in others)
        assert len(first["digests"]) == (1 + 2 if name == "gate_decorator" else 1 + 1)
        assert first["widths"] == alone[name]["widths"]
        assert first["losses"] == pytest.approx(alone[name]["losses"], rel=1e-5)
        assert first["test"] == pytest.approx(alone[name]["test"], abs=0.3)  # one of 360 images


def trial(ranks: Ranks, out: Path) -> None:
    """A whole trial, its baseline before it where there is none yet."""
    for each in (DENSE, TICK_TOCK):
        record = run_trial(each, out, suite="ranks", threads=1, ranks=ranks)
        assert isinstance(record, Record)
    (out / f"answer-{ranks.rank}.json").write_text(record.model_dump_json())


def test_killed_in_mid_phase_they_go_on_and_end_with_the_same_bits(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    expected, other = (Record.model_validate(answer) for answer in together("test_ranks:trial", whole))
    assert expected == other and expected.machine.workers == 2
    folder = broken / "trials" / TICK_TOCK.key
    workers = start("test_ranks:trial", broken)
    deadline = time.monotonic() + 200
    while not any(folder.glob("journal/*.epoch-00001-*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for worker in workers:
        worker.kill()
    assert [worker.wait() for worker in workers] == [-signal.SIGKILL] * 2, "they ended before they could be killed"
    record, _ = (Record.model_validate(answer) for answer in together("test_ranks:trial", broken))
    assert "goes on after epoch" in (folder / "log.txt").read_text()
    assert timeless(record) == timeless(expected)
    model = Path("trials") / TICK_TOCK.key / "model.safetensors"
    assert (broken / model).read_bytes() == (whole / model).read_bytes()
    assert not list((broken / "trials").glob("*/failed-*.json"))


def steps(ranks: Ranks, out: Path) -> list[float]:
    """Losses of ten epochs of three steps of a ResNet-20 in double precision, with a penalty and a frozen stem."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 10, 3, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (3, 10), generator=generator)
    torch.manual_seed(0)
    model = create(BackboneSpec(name="cifar_resnet20"), num_classes=10).double()
    model.conv1.weight.requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    model.register_parameter("only_penalised", nn.Parameter(torch.ones(2)))
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    forward = ranks.parallel(model)
    mine = part(10, ranks.shard.get("shard", (0, 1)))
    losses = [
        train_epoch(
            model,
            forward,
            optimiser,
            [(x[mine], y[mine]) for x, y in zip(images, labels, strict=True)],
            lr=lambda _: 0.1,
            autocast=nullcontext,
            penalty=lambda model: 0.1 * model.only_penalised.square().sum() + 1e-3 * model.fc.weight.abs().sum(),
            ranks=ranks,
            weight=ranks.weight(10),
        ).loss
        for _ in range(10)
    ]
    assert model.unused.grad is None and model.only_penalised[0] < 0.9
    (out / f"answer-{ranks.rank}.json").write_text(json.dumps([losses, digest(model)]))
    return losses


def test_but_for_rounding_they_train_as_one(tmp_path):
    (losses, one), (_, other), (_, third) = together("test_ranks:steps", tmp_path, 3)
    assert one == other == third
    # the loss is computed in fp32 and the rest in double precision, so that rounding does not grow as it usually does
    assert losses == pytest.approx(steps(ALONE, tmp_path), rel=1e-5)
