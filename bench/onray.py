"""Trials on Ray: a fresh process each, on a Ray of our own or on a cluster. Ray is imported only when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import inf
from typing import Any, Self

from bench.errors import UserError
from bench.inline import POLL
from bench.resources import Resources


class OnRay:
    """A fresh process per trial, on a Ray of our own or on the cluster at `address`."""

    def __init__(self, resources: Resources, address: str | None) -> None:
        self.world, self.cpus, self.gpus = resources.world, resources.cpus or 1.0, resources.gpus / resources.world
        self.address = address
        self.threads = max(1, int(self.cpus))
        self.running: dict[Any, str] = {}

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError("Ray is not installed: pip install 'ray[default]', or use --scheduler inline") from None
        self.ray, self.ours = ray, not ray.is_initialized()
        if self.ours:
            self._start()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.places = sum(self._places(node) for node in nodes)
        if self.places < self.world:
            self.__exit__()
            there = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            asks = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
            asks += ", but no machine has them" if self.world == 1 else f" for each of {self.world} workers"
            raise UserError(
                f"a trial asks for {asks} (there are: {there}): lower `resources` in the suite, or join a cluster with "
                "--address"
            )
        # A worker sees what this process sees, wherever `bench` and the methods were imported from.
        env = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        env |= {name: value for name, value in os.environ.items() if name.startswith("PRUNEBENCH_")}
        if not self.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ""
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "runtime_env": {"env_vars": env}}
        self.task = ray.remote(max_calls=1, max_retries=0, **options)(lambda work: work())
        return self

    def _places(self, node: dict[str, float]) -> int:
        """How many workers a node has room for."""
        gpus = node.get("GPU", 0) / self.gpus if self.gpus else inf
        return int(min(node.get("CPU", 0) / self.cpus, gpus) + 1e-9)

    def _start(self) -> None:
        import logging

        logging.getLogger("ray").setLevel(logging.ERROR)
        # "local" also where RAY_ADDRESS is set: a cluster is joined only when asked for. Results go through the
        # disk, so the object store is as small as Ray lets it be.
        own = {"include_dashboard": False, "object_store_memory": 80 * 2**20} if self.address is None else {}
        try:
            self.ray.init(address=self.address or "local", configure_logging=False, log_to_driver=False, **own)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {self.address} cannot be joined" if self.address else "Ray does not start"
            raise UserError(f"{where} ({first_line(error)}); --scheduler inline does without Ray") from error

    def __exit__(self, *error: object) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        if self.ours:
            self.ray.shutdown()

    def submit(self, key: str, work: Callable[[], str]) -> None:
        self.running[self.task.remote(work)] = key

    def stop(self, key: str) -> None:
        for reference in (r for r, name in self.running.items() if name == key):
            self.ray.cancel(reference, force=True)

    def wait(self) -> list[tuple[str, str]]:
        ready, _ = self.ray.wait(list(self.running), timeout=POLL)
        return [(self.running.pop(reference), self._lost(reference)) for reference in ready]

    def _lost(self, reference: Any) -> str:
        try:
            return str(self.ray.get(reference))
        except self.ray.exceptions.RayTaskError as error:
            return f"{type(error.cause).__name__}: {first_line(error.cause)}"
        except self.ray.exceptions.WorkerCrashedError:
            return "the worker process died: it was killed, ran out of memory or crashed"
        except self.ray.exceptions.RayError as error:
            return f"{type(error).__name__}: {first_line(error)}"


def first_line(error: object) -> str:
    return str(error).strip().split("\n")[0]
