"""Trials on Ray that several processes run together, through Ray Train. Ray is imported only when it is used."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from bench.errors import UserError
from bench.resources import Resources
from bench.running.apart import DIED
from bench.running.join import first_line
from bench.running.onray import OnRay
from bench.spec import Trial

DAY_S = 86_400
"""How long a process waits for the others: for whole evaluations, and for a file system that sleeps."""

MARKS = 2**20
"""A trial's processes ask for so many bytes of memory, less than a MB: by this number their reservation is known."""

GRACE_S = 4.0
"""What fails in all processes, the first has written down by then."""

SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a lost trial is tried again by our own rule
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "3",
}


class OnTrain(OnRay):
    """`resources.world` fresh processes per trial. As many trials run at a time as the cluster has room for."""

    def __init__(self, resources: Resources, out: Path, address: str | None) -> None:
        super().__init__(resources, out, address)
        self.queue: list[tuple[Trial, Callable[..., str]]] = []
        self.marks: dict[str, int] = {}
        self.over: set[int] = set()

    def __enter__(self) -> Self:
        try:
            import ray.train  # noqa: F401
        except ImportError:
            raise UserError(
                "Ray Train is not installed: pip install 'ray[train]', or set resources.workers (and gpus) to 1"
            ) from None
        super().__enter__()
        self.task = self.task.options(num_cpus=0, num_gpus=0)  # it only waits for its workers
        return self

    def submit(self, trial: Trial, work: Callable[..., str]) -> None:
        self.queue.append((trial, work))
        self._fill()

    def placed(self, trial: Trial, work: Callable[..., str]) -> Callable[..., str]:
        self.marks[trial.key] = mark = random.randrange(1, MARKS)
        return partial(fit, super().placed(trial, work), self.world, self.cpus, self.gpus, mark)

    def wait(self) -> list[tuple[str, str]]:
        ended = super().wait()
        self.over |= {self.marks.pop(key) for key, _ in ended}
        if self.over:
            self._free()
        self._fill()
        return ended

    def _free(self) -> None:
        """Take back what is reserved for trials that are over: where one is killed as it starts, Ray Train forgets."""
        from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

        for name, group in placement_group_table().items():
            if group["state"] != "REMOVED" and group["bundles"][0].get("memory") in self.over:
                remove_placement_group(PlacementGroup(self.ray.PlacementGroupID.from_hex(name)))

    def _fill(self) -> None:
        while self.queue and len(self.running) < self.places() // self.world:
            super().submit(*self.queue.pop(0))


class Said(Exception):
    """What the work of a process returned, where that is no success: it ends the others too."""


class Raised(Exception):
    """What it raised, where it was not only that another process is gone."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


def fit(work: Callable[..., str], world: int, cpus: float, gpus: float, mark: int) -> str:
    """Call `work(ranks=...)` in `world` processes, with so many cores and GPUs each; what it said, or how it failed."""
    os.environ.update(SETTINGS)
    from ray import get_runtime_context
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    each = {"CPU": cpus, "memory": mark, **({"GPU": gpus} if gpus else {})}
    # Ray Train wants a folder for checkpoints, and gets none: a trial has its journal.
    with tempfile.TemporaryDirectory(prefix="prunebench-", dir=get_runtime_context().get_temp_dir()) as folder:
        trainer = TorchTrainer(
            lambda: _rank(work),
            scaling_config=ScalingConfig(num_workers=world, use_gpu=gpus > 0, resources_per_worker=each),
            run_config=RunConfig(storage_path=folder),
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo", timeout_s=DAY_S),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            return _explain(error, work)
    return ""


def _rank(work: Callable[..., str]) -> None:
    import torch

    from bench.training.ranks import Group

    ranks = Group()
    try:
        said = work(ranks=ranks)
    except Exception as error:
        if ranks.lost(error):
            raise
        if not ranks.first:
            time.sleep(GRACE_S)
        raise Raised(MemoryError(str(error)) if isinstance(error, torch.OutOfMemoryError) else error) from error
    if said:
        raise Said(said)


def _explain(error: Any, work: Callable[..., str]) -> str:
    """Why a trial ended: what its first process said; else what another raised; else how one was lost."""
    failures = [failure for _, failure in sorted(getattr(error, "worker_failures", {}).items())]
    for failure in failures:
        if isinstance(failure, Said):
            return str(failure)
    for failure in failures:
        if isinstance(failure, Raised):
            return work(error=failure.cause)
    if failures:
        return DIED
    return f"{type(error).__name__}: {first_line(error)}"
