"""Trials on Ray: a fresh process each, on a Ray of our own or on a cluster. Ray is imported only when it is used."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Self

from bench.errors import UserError
from bench.resources import Resources
from bench.running.apart import DIED, apart
from bench.running.cluster import Cluster
from bench.running.inline import POLL
from bench.running.join import first_line, start, stop
from bench.spec import Trial

JOINING_S = 60.0
"""So long a cluster may take until it has room for a trial: its machines join one after the other."""

UNKNOWN = ("No module named", "Can't get attribute", "has no attribute")
"""Where a node lacks what a trial is made of. The trial's own errors are not raised, but written down."""


def call(work: Callable[[], str]) -> str:
    return work()


class OnRay:
    """A fresh process per trial, on a Ray of our own or on the cluster at `address`."""

    def __init__(self, resources: Resources, out: Path, address: str | None) -> None:
        self.world, self.cpus, self.gpus = resources.world, resources.cpus or 1.0, resources.gpus / resources.world
        self.out, self.address = out, address
        self.threads = max(1, int(self.cpus))
        self.running: dict[Any, str] = {}
        self.cluster: Cluster | None = None

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError(
                f"Ray cannot be imported ({first_line(error)}): pip install 'ray[default]', or use --scheduler inline"
            ) from error
        self.ray, self.ours = ray, not ray.is_initialized()
        if self.ours:
            start(ray, self.address)
        deadline = time.monotonic() + (JOINING_S if self.address else 0)  # the machines of a cluster come one by one
        while self.places() < self.world:
            if time.monotonic() > deadline:
                refusal = self._too_small()
                self.__exit__()
                raise refusal
            time.sleep(POLL)
        # A worker sees what this process sees, wherever `bench` and the methods were imported from, and nothing else:
        # not the folder where it starts.
        env = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), "PYTHONSAFEPATH": "1"}
        if self.address:
            self.cluster = Cluster(ray, self.out, {**env, "CUDA_VISIBLE_DEVICES": ""})
        else:
            env |= {name: value for name, value in os.environ.items() if name.startswith("PRUNEBENCH_")}
        if not self.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ""
        elif self.gpus < 1:
            env["PRUNEBENCH_GPU_SHARE"] = f"{self.gpus:g}"  # see bench.machine.device
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "runtime_env": {"env_vars": env}, "max_retries": 0}
        # A worker that talks to Ray itself is fresh for each trial; others stay, and let fresh processes do the work.
        talks = bool(self.address) or self.world > 1
        self.task = ray.remote(max_calls=1, **options)(call) if talks else ray.remote(max_calls=0, **options)(apart)
        return self

    def places(self) -> int:
        """How many workers the nodes that are there now have room for."""
        return sum(self._room(node) for node in self._nodes())

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _room(self, node: dict[str, float]) -> int:
        gpus = node.get("GPU", 0) / self.gpus if self.gpus else inf
        return int(min(node.get("CPU", 0) / self.cpus, gpus) + 1e-9)

    def _too_small(self) -> UserError:
        there = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in self._nodes())
        asks = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
        asks += ", but no machine has them" if self.world == 1 else f" for each of {self.world} workers"
        remedy = f"add machines (waited {JOINING_S:g} s)" if self.address else "join a cluster with --address"
        return UserError(f"a trial asks for {asks} (there are: {there}): lower `resources` in the suite, or {remedy}")

    def __exit__(self, *error: object) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        if self.cluster:
            for key in self.running.values():
                self.cluster.left(key)
            self.cluster.close()
        if self.ours:
            stop(self.ray)

    def submit(self, trial: Trial, work: Callable[..., str]) -> None:
        self.running[self.task.remote(self.placed(trial, work))] = trial.key

    def placed(self, trial: Trial, work: Callable[..., str]) -> Callable[..., str]:
        """`work` in the run folder, or wherever else its node can."""
        return self.cluster.placed(trial, work) if self.cluster else partial(work, self.out)

    def stop(self, key: str) -> None:
        for reference in (r for r, name in self.running.items() if name == key):
            self.ray.cancel(reference, force=True)

    def wait(self) -> list[tuple[str, str]]:
        if not self.running:  # all wait for a node that has room
            time.sleep(POLL)
            return []
        ready, _ = self.ray.wait(list(self.running), timeout=POLL)
        ended = [(self.running.pop(reference), self._lost(reference)) for reference in ready]
        if self.cluster:
            for key, _ in ended:
                self.cluster.left(key)
        return ended

    def _lost(self, reference: Any) -> str:
        try:
            return str(self.ray.get(reference))
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                return str(error.cause)
            said = first_line(error.cause)
            hint = ": is the same installed on every node?" if any(sign in said for sign in UNKNOWN) else ""
            return f"{type(error.cause).__name__}: {said}{hint}"
        except self.ray.exceptions.WorkerCrashedError:
            return DIED
        except self.ray.exceptions.NodeDiedError:
            return "its node died or was taken away"
        except self.ray.exceptions.RayError as error:
            return f"{type(error).__name__}: {first_line(error)}"
