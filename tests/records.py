"""Hand-made records for the tests of the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.record import Epoch, Failure, Machine, Measured, Record, Spent, write_json
from bench.spec import DENSE, BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial
from bench.timings import Latency, Spread, Timing

DENSE_TOP1 = {0: 91.0, 1: 92.0, 2: 93.0}
DENSE_MACS, DENSE_PARAMS = 40_000_000, 270_000


def make_trial(method: str = "l1", seed: int = 0, keep: float | None = 0.5, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "dataset": DataSpec(name="cifar10"),
        "backbone": BackboneSpec(name="cifar_resnet20"),
        "dense": DenseSpec(recipe=Recipe(epochs=160, lr=0.1)),
        "method": MethodSpec(name=method, params=changes.pop("params", {})),
        "recipe": Recipe(epochs=6, lr=0.01),
        "keep_macs": None if method == DENSE else keep,
        "seed": seed,
    }
    return Trial(**(values | changes))


def make_record(trial: Trial | None = None, top1: float = 90.0, macs: int = 20_000_000, **changes: Any) -> Record:
    trial = trial or make_trial()
    is_dense = trial.method.name == DENSE
    dense = measured(DENSE_TOP1.get(trial.seed, 92.0), DENSE_MACS, DENSE_PARAMS)
    values: dict[str, Any] = {
        "key": trial.key,
        "suite": "tiny",
        "trial": trial,
        "starts_from": "scratch" if is_dense else "pretrained",
        "result": dense if is_dense else measured(top1, macs, 108_000),
        "dense": None if is_dense else dense,
        "widths": {"layer1.0.conv1": 8},
        "dense_widths": {"layer1.0.conv1": 16},
        "off_target": None if is_dense or trial.keep_macs is None else 100 * (macs / DENSE_MACS - trial.keep_macs),
        "spent": Spent(epochs=160 if is_dense else 6, images=1, macs=6e15 if is_dense else 1e14, seconds=60),
        "spent_dense": None if is_dense else Spent(epochs=160, images=1, macs=6e15, seconds=600),
        "history": make_history(2, top1),
        "machine": machine(),
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z",
    }
    return Record(**(values | changes))


def make_history(epochs: int, top1: float) -> list[Epoch]:
    return [
        Epoch(
            phase="fine-tune", epoch=i, epochs=1, lr=0.01, loss=2.0 / (i + 1), train_top1=top1 - 1, top1=None,
            macs=20_000_000, images_per_s=1000.0, seconds=1.0,
        )
        for i in range(epochs)
    ]  # fmt: skip


def measured(top1: float, macs: int, params: int) -> Measured:
    return Measured(top1=top1, top5=99.0, test_images=10_000, macs=macs, fvcore_total=macs + macs // 100, params=params)


def machine(**changes: Any) -> Machine:
    values: dict[str, Any] = {
        "device": "cpu", "cpu": "Some CPU", "threads": 1, "precision": "fp32", "memory_format": "channels_last",
        "platform": "Linux", "versions": {"torch": "2.14"}, "commit": "abc",
    }  # fmt: skip
    return Machine(**(values | changes))


def make_latency(record: Record, ms: float = 2.0, dense_ms: float = 3.0, **changes: Any) -> Latency:
    """At batch 1 as given, at batch 64 fifty times as long."""

    def spread(value: float) -> Spread:
        return Spread(median=value, q25=value, q75=value)

    timings = [
        Timing(
            batch=batch, dense_ms=spread(n * dense_ms), compact_ms=spread(n * ms), speedup=spread(dense_ms / ms)
        )
        for batch, n in ((1, 1), (64, 50))
    ]  # fmt: skip
    values: dict[str, Any] = {
        "key": record.key, "name": "Some CPU, 1 thread", "machine": machine(), "load": 0.0, "alone": True,
        "dense": "baseline", "rounds": 3, "timings": timings, "measured": "2026-01-02T00:00:00Z",
    }  # fmt: skip
    return Latency(**(values | changes))


def save_latency(folder: Path, latency: Latency, name: str = "latency.json") -> None:
    write_json(folder / "trials" / latency.key / name, latency)


def save(folder: Path, *records: Record) -> Path:
    """As a run leaves them: `folder/trials/<key>/record.json`, and methods.json with the names of their methods."""
    for record in records:
        write_json(folder / "trials" / record.key / "record.json", record)
    about = folder / "methods.json"
    known = json.loads(about.read_text()) if about.exists() else {}
    write_json(about, {record.trial.method.name: {} for record in records} | known)
    return folder


def save_failure(folder: Path, trial: Trial, reason: str, number: int = 1) -> None:
    failure = Failure(key=trial.key, trial=trial, kind="method", reason=reason, when="2026-01-01T00:00:00Z")
    write_json(folder / "trials" / trial.key / f"failed-{number}.json", failure)


def save_plan(folder: Path, *trials: Trial, smoke: bool = False) -> None:
    items = [{"key": trial.key, "trial": trial.model_dump(mode="json")} for trial in trials]
    write_json(folder / "plan.json", {"suite": "tiny", "smoke": smoke, "trials": items})
