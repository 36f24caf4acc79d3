"""Gate Decorator on a network that shrinks as it goes, against the same schedule on one that stays whole (masks)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import cost
from bench.method import Budget
from bench.session import Session
from bench.spec import Recipe
from benchmarks.training import DEVICE, made_up, network
from benchmarks.turns import Figure, compared
from benchmarks.widths import spelled, thread_counts
from methods.gate_decorator import GateDecorator

TICKS = 10
BATCH = 128


def gates(rounds: int, steps: int) -> Iterator[Figure]:
    """Ticks of ResNet-56 along a schedule to 30 % of the MACs, then the whole of it.

    A tick is `steps` batches; tock and fine-tuning are in the authors' proportions to it (10 and 40 epochs).
    """
    for threads in thread_counts():
        at: dict[str, list[float]] = {"dense": [], "half": [], "whole": [], "masked": []}
        for _ in range(rounds):
            ticks, whole = _schedule(0.3, steps, threads)
            _, masked = _schedule(0.999, steps, threads)
            at["dense"].append(ticks[1.0])
            at["half"].append(ticks[min(ticks, key=lambda kept: abs(kept - 0.5))])
            at["whole"].append(whole)
            at["masked"].append(masked)
        on = spelled(threads)
        yield compared(f"a tick at half the MACs / on the dense network, {on}", at["half"], at["dense"], "<= 0.65")
        detail = "masks: the same schedule on the whole network, the masking itself not counted"
        yield compared(f"schedule to 30 % of the MACs / with masks, {on}", at["whole"], at["masked"], "<= 0.70", detail)


def _schedule(keep: float, steps: int, threads: int) -> tuple[dict[float, float], float]:
    """Seconds a tick took by the share of the MACs it ran at, and seconds of all training."""
    model = network("cifar_resnet56")
    macs = cost.count(model, torch.zeros(1, 3, 32, 32, device=DEVICE)).macs
    epochs = TICKS + 2 * 2 + 8
    with TemporaryDirectory() as folder:
        session = Session(
            model,
            made_up(BATCH * steps),
            budget=Budget(keep, keep * macs, epochs),
            recipe=Recipe(epochs=epochs, lr=0.01, batch_size=BATCH),
            seed=0,
            device=DEVICE,
            folder=Path(folder),
            wanted={"threads": threads, "precision": "fp32"},
        )
        GateDecorator(ticks=TICKS, tick_epochs=1, ticks_per_tock=TICKS, tock_epochs=2).compress(model, session)
    rows = session.meter.history
    ticks = {row.macs / macs: row.seconds for row in rows if row.phase == "tick"}
    return ticks, sum(row.seconds for row in rows)
