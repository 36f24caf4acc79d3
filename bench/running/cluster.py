"""What a driver on a cluster has beside Ray's tasks: a desk for workers that do not see its folder (carry.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.lease import LeasedError
from bench.running.carry import Visit, visit
from bench.running.desk import Desk
from bench.sources import digest
from bench.spec import Trial

AT_ONCE = 8
"""Workers that are served at a time."""

END_S = 60.0


@dataclass(frozen=True)
class _Ask:
    """Calls a desk, from any node, as if it were here."""

    desk: Any

    def __call__(self, what: str, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self.desk, what).remote(*arguments))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise LeasedError("the driver does not answer") from error


class Cluster:
    """Places trials on the nodes of the cluster that `ray` has joined, for the driver of the folder `out`."""

    def __init__(self, ray: Any, out: Path, environment: Mapping[str, str]) -> None:
        """`environment`: of the desk's process."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray, self.out, self.sources = ray, out, digest()
        self.variables = {name: value for name, value in os.environ.items() if name.startswith("PRUNEBENCH_")}
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.desk = ray.remote(
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=AT_ONCE,
            scheduling_strategy=here,
            runtime_env={"env_vars": dict(environment)},
        )(Desk).remote(out)

    def placed(self, trial: Trial, work: Callable[..., str]) -> Callable[..., str]:
        """What a worker calls: `work` in the driver's folder, or in one of its own."""
        folder = self.out / "trials" / trial.key
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".sent-*"):
            left.unlink(missing_ok=True)
        mark = folder / f".sent-{uuid4().hex}"
        mark.touch()
        needs = tuple(need for need in (trial.baseline, trial.twin) if need)
        there = Visit(self.out, mark, trial.key, needs, self.sources, self.variables, _Ask(self.desk))
        return partial(visit, there, work)

    def left(self, key: str) -> None:
        """The trial's worker is gone. What it has brought is on the disk, and its lease is free."""
        for mark in (self.out / "trials" / key).glob(".sent-*"):
            mark.unlink(missing_ok=True)
        with suppress(self.ray.exceptions.RayError):  # a desk that starts anew has no visitors
            self.ray.get(self.desk.end.remote(key), timeout=END_S)

    def close(self) -> None:
        self.ray.kill(self.desk)
