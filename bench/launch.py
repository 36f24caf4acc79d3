"""A suite from its file to its records: what the command `run` does, as a function."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from bench import suite
from bench.errors import UserError
from bench.labels import labels
from bench.publish import warn
from bench.running import plan, preflight
from bench.running.board import Status, Summary
from bench.running.part import WHOLE, Part
from bench.running.schedule import run_trials
from bench.spec import Tracked, Trial


def run_suite(
    name: str | Path,
    *,
    out: Path | None = None,
    part: Part = WHOLE,
    scheduler: Literal["ray", "inline"] = "ray",
    address: str | None = None,
    retry_failed: bool = False,
) -> Summary:
    """Run the trials of a suite that have no record yet, in `out` (default: runs/NAME).

    Raises UserError for what cannot be run as asked, before anything starts; a failed trial does not raise, it is in
    the summary.
    """
    path = suite.find(str(name))
    return run(
        path,
        suite.load(path),
        out=out,
        part=part,
        scheduler=scheduler,
        address=address,
        retry_failed=retry_failed,
    )


def run(
    path: Path,
    wanted: suite.Suite,
    *,
    out: Path | None,
    part: Part,
    scheduler: Literal["ray", "inline"],
    address: str | None,
    retry_failed: bool,
) -> Summary:
    """`run_suite` for a suite that is read already, from `path`."""
    from bench.running.progress import Progress
    from bench.tracking.track import Tracker

    trials, chosen = part.trials(wanted)
    out = out or Path("runs") / wanted.name
    if scheduler == "inline" and wanted.resources.gpus and not torch.cuda.is_available():
        raise UserError("resources.gpus: this machine has no GPU that torch can use: take it out, or set it to 0")
    if scheduler == "inline" and address is not None:
        raise UserError("--address is of a Ray cluster, and --scheduler inline uses no Ray: leave one of them out")
    if address is None:  # the nodes of a cluster have their own disks
        for line in preflight.check(chosen, out):
            warn(line)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the run folder {out} cannot be made ({error.strerror}): name another with --out") from error
    plan.write(out, wanted, path, trials)
    tracking = wanted.tracking
    with (
        Progress() as progress,
        Tracker(tracking.project, tracking.mode, group=wanted.name, folder=out, entity=tracking.entity) as tracker,
    ):

        def watch(status: Status) -> None:
            progress.show(status)
            tracker.update(status)

        summary = run_trials(
            chosen,
            out,
            suite=wanted.name,
            scheduler=scheduler,
            resources=wanted.resources,
            address=address,
            retry_failed=retry_failed,
            watch=watch,
        )
    return replace(summary, tracking=tracker.mode)


def estimate(wanted: suite.Suite, part: Part = WHOLE) -> str:
    """The trials and what they cost: training MACs, and hours on this machine, by a few steps of each backbone."""
    _, trials = part.trials(wanted)
    doubtful = preflight.check(trials, None)
    cost = {(t.dataset.model_dump_json(), t.backbone.model_dump_json()): t for t in trials}
    measured = {place: _measure(trial) for place, trial in cost.items()}
    lines, seconds, total = [], 0.0, 0.0
    for trial, label in zip(trials, labels([trial.model_dump() for trial in trials]), strict=True):
        images, macs, speed = measured[trial.dataset.model_dump_json(), trial.backbone.model_dump_json()]
        spent = 3.0 * macs * images * trial.recipe.epochs
        own = images * trial.recipe.epochs / speed
        total, seconds = total + spent, seconds + own
        lines.append(
            f"{trial.key}  {label:<36} {trial.recipe.epochs:>4} epoch{'s' if trial.recipe.epochs != 1 else ' '}  "
            f"{spent / 1e12:9.3f} TMACs  {own / 60:7.1f} min"
        )
    work = f"{total / 1e15:.2f} PMACs" if total >= 1e14 else f"{total / 1e12:.3f} TMACs"
    needed = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    load = os.getloadavg()[0]
    busy = f"; other work slows it now, its load is {load:.1f}" if load > 1 else ""
    lines.append(
        f"{len(trials)} trials, {work} of training, about {needed} one after the other on this machine "
        f"(as if nothing were pruned, each for its recipe's epochs; without evaluation{busy})"
    )
    return "\n".join([*lines, *doubtful])


def mirror_report(wanted: suite.Suite, mode: Tracked, rows: Iterable[dict[str, Any]], page: Path) -> None:
    """The leaderboard as a table of a W&B report run. `mode`: what the trials' tracking ended as."""
    from bench.tracking.track import Tracker

    tracking = wanted.tracking
    with Tracker(tracking.project, mode, group=wanted.name, folder=page.parent, entity=tracking.entity) as tracker:
        tracker.report(list(rows), page)


def _measure(trial: Trial) -> tuple[int, float, float]:
    """(images an epoch, MACs of one image, images/s) of the dense network on this machine."""
    from bench import cost, data, machine, weights
    from bench.training import loop

    machine.prepare()
    device = machine.device()
    loaded = data.load(trial.dataset, seed=trial.seed, device=device)
    model = weights.fresh(trial, classes=loaded.classes, channels=loaded.channels, image_size=loaded.image_size)
    model.to(device).to(memory_format=torch.channels_last)
    example = torch.zeros(1, loaded.channels, loaded.image_size, loaded.image_size, device=device)
    macs = cost.count(model, example).macs
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6)
    bf16 = machine.precision(trial.precision, device) == "bf16"
    batch = next(iter(loaded.train(trial.recipe.batch_size, torch.Generator(), augment=False)))

    def step() -> float:
        started = time.perf_counter()
        result = loop.train_epoch(
            model,
            model,
            optimiser,
            [batch],
            lr=lambda _: 1e-6,
            autocast=lambda: torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        )
        return result.images / (time.perf_counter() - started)

    step()
    began, speeds = time.perf_counter(), [step()]
    while len(speeds) < 9 and time.perf_counter() - began < 3:
        speeds.append(step())
    return loaded.train_images, macs, max(speeds)  # other work only ever slows a step
