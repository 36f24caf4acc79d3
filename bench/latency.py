"""How fast compact networks are: a pass of its own, dense and compact in turn, with the machine to itself."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench import backbones, machine
from bench.compact import describe, load_compact
from bench.errors import UserError
from bench.record import Machine, Record, beside, read_record, write_json
from bench.spec import DENSE
from bench.timings import Latency, Spread, Timing, place, read_latency

BATCHES = {"cpu": (1, 64), "cuda": (1, 256)}
"""Images in a batch: one at a time, and as many as keep the device busy."""

ROUNDS = 15
"""Each round times one block of forward passes of the dense network, then one of the compact one."""

WARM_UP_S, BLOCK_S = 0.3, 0.1


def measure(
    records: Iterable[Path],
    *,
    name: str | None = None,
    threads: int | None = None,
    batches: Sequence[int] = (),
    loaded: bool = False,
    rounds: int = ROUNDS,
) -> list[Path]:
    """Measure the network beside each record (not of dense trials) that this machine has not measured; files written.

    `name`: of the machine (default: its GPU, or its CPU and threads). `threads`: of the CPU (default: torch's choice).
    `batches`: sizes in place of `BATCHES`. `loaded`: measure although other work is running, and mark the figures so.
    Raises UserError where other work is running, RecordError for a damaged file.
    """
    device = machine.device()
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    machine.prepare()  # else a batch's time is half that of mapping memory anew, by a chance of where it lies
    about = machine.describe({"threads": torch.get_num_threads(), "precision": "fp32"}, device)
    name = name or _name(about)
    written: list[Path] = []
    try:
        for path in records:
            record = read_record(path)
            if record.trial.method.name == DENSE:
                continue
            who, target = f"{record.key}  {record.trial.label}", place(path, name)
            if not beside(path, "model.safetensors").exists():
                print(f"{who}: left out, its network is not beside it")
            elif target.exists() and (loaded or read_latency(target).alone):
                print(f"{who}: {read_latency(target)}, measured before; delete {target} to measure again")
            else:
                load, alone = _load(device, own=about.threads if written else 0)
                if not (alone or loaded):
                    raise UserError(
                        f"other work is running on this machine (load {load:.1f}): wait until it is idle, "
                        "or pass --loaded, and the figures are marked so"
                    )
                dense, timings = _timings(path, record, batches or BATCHES[device.type], device, rounds)
                result = Latency(
                    key=record.key,
                    name=name,
                    machine=about,
                    load=round(load, 2),
                    alone=alone,
                    dense=dense,
                    rounds=rounds,
                    timings=timings,
                    measured=datetime.now(UTC).isoformat(timespec="seconds"),
                )
                write_json(target, result)
                written.append(target)
                print(f"{who}: {result}")
    finally:
        torch.set_num_threads(before)
    return written


def _name(about: Machine) -> str:
    if about.device != "cpu":
        return about.device
    return f"{about.cpu}, {about.threads} thread{'s' if about.threads > 1 else ''}"


def _load(device: torch.device, own: int) -> tuple[float, bool]:
    """The load that is not ours, and whether it is low; a GPU must not compute for anyone else either."""
    load = max(0.0, os.getloadavg()[0] - own)
    idle = load <= min(1.0, 0.25 * (os.cpu_count() or 1))
    if device.type == "cuda" and not own:
        with suppress(Exception):  # it can only be asked through NVIDIA's own package
            idle = idle and torch.cuda.utilization(device) <= 5
    return load, idle


def _timings(
    path: Path, record: Record, batches: Sequence[int], device: torch.device, rounds: int
) -> tuple[Literal["baseline", "fresh"], list[Timing]]:
    file = beside(path, "model.safetensors")
    about = describe(file)
    baseline = beside(path, "model.safetensors", record.trial.baseline) if record.trial.baseline else None
    source: Literal["baseline", "fresh"] = "baseline" if baseline and baseline.exists() else "fresh"
    if baseline and source == "baseline":
        dense = load_compact(baseline)
    else:
        dense = backbones.create(
            record.trial.backbone,
            num_classes=about.num_classes,
            in_chans=about.in_chans,
            image_size=about.image_size,
        )
    compact, timings = load_compact(file), []
    for model in (dense, compact):
        model.eval().to(device).to(memory_format=torch.channels_last)
    for batch in batches:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch, about.in_chans, about.image_size, about.image_size, generator=generator)
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        timings.append(compare(dense, compact, images, rounds))
    return source, timings


@torch.inference_mode()
def compare(dense: nn.Module, compact: nn.Module, images: Tensor, rounds: int = ROUNDS) -> Timing:
    """Time both in turn, so that whatever slows the machine for a while slows both. `images`: (batch, C, H, W)."""
    passes = [_passes(model, images) for model in (dense, compact)]
    times = [(_block(dense, images, passes[0]), _block(compact, images, passes[1])) for _ in range(rounds)]
    return Timing(
        batch=len(images),
        dense_ms=_spread(a for a, _ in times),
        compact_ms=_spread(b for _, b in times),
        speedup=_spread(a / b for a, b in times),
    )


def _passes(model: nn.Module, images: Tensor) -> int:
    """Warm up; how many forward passes fill a block."""
    started, last = time.perf_counter(), _block(model, images, 1)
    while time.perf_counter() - started < WARM_UP_S:
        last = _block(model, images, 1)
    return max(1, math.ceil(1000 * BLOCK_S / last))


def _block(model: nn.Module, images: Tensor, passes: int) -> float:
    """Milliseconds of one forward pass, mean over `passes`; a GPU works on its own and has to be waited for."""
    if images.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(passes):
        model(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started) / passes


def _spread(values: Iterable[float]) -> Spread:
    found = list(values)
    q25, median, q75 = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return Spread(median=median, q25=q25, q75=q75)
