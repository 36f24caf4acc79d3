"""A Ray cluster of several nodes on one machine, some of which do not see a folder: for tests of what runs on one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEAD = {
    "num_cpus": 0,
    "include_dashboard": False,
    "object_store_memory": 80 * 2**20,
    # asked each second, a dead node refuses at once, five times; a slow one has ten seconds for each answer
    "_system_config": {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000},
}


@contextmanager
def head() -> Iterator[Any]:
    """A head that runs no trials, and asks for a token; nodes come by `add_node`."""
    from ray._private.authentication import authentication_token_setup as tokens
    from ray.cluster_utils import Cluster

    tokens.enable_token_auth_by_default()  # as a Ray does that `ray.init` starts
    tokens.ensure_token_if_auth_enabled()
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any, hidden: Path | None = None, **variables: str) -> Any:
    """One more node of one core, with variables of its own. It sees an empty folder in place of `hidden`."""
    options = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "env_vars": variables or None}
    if hidden is None:
        return cluster.add_node(**options)

    def add() -> Any:
        _own_mounts()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(hidden)], check=True)
        return cluster.add_node(**options)

    # Ray's handler for SIGTERM can be set in the main thread only; such a node dies with its head.
    cluster._shutdown_at_exit = False
    with ThreadPoolExecutor(1) as thread:
        node = thread.submit(add).result()
    cluster._shutdown_at_exit = True
    return node


def can_hide() -> bool:
    """Only root on Linux can give processes mounts of their own."""
    if sys.platform != "linux" or os.geteuid():
        return False
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_own_mounts).exception() is None


def _own_mounts() -> None:
    """What this thread mounts from now on is seen by the processes that it starts, and by nobody else."""
    libc, new_mounts = ctypes.CDLL(None, use_errno=True), 0x00020000
    if libc.unshare(new_mounts):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
