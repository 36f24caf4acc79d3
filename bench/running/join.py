"""Ray, started or joined: what goes wrong is one line."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.errors import UserError

WAIT_S = 60.0
"""A cluster's address may take so long to answer: its head may be starting."""


def start(ray: Any, address: str | None) -> None:
    """Join the cluster at `address`; where that is None, start a Ray of our own. Raises UserError."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address:
        _reach(address)
        # Ray would try 20 times, for 35 s each where nothing answers.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    # "local" also where RAY_ADDRESS is set: a cluster is joined only when asked for. Results go through the disk, so
    # the object store is as small as Ray lets it be.
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 * 2**20} if address is None else {}
    # Else Ray puts the folder where this command was typed in front of what workers import from: a folder there that
    # is called `bench`, or as a plugin, would hide the installed one.
    own["job_config"] = ray.job_config.JobConfig()
    own["job_config"]._client_job = True
    try:
        with _as_before(), _hushed(address is not None):
            ray.init(address=address or "local", configure_logging=False, log_to_driver=False, **own)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(_explain(error, address)) from error


def stop(ray: Any) -> None:
    """Shut Ray down, with SIGTERM kept to its meaning.

    About a second before it is through, Ray's core hands SIGTERM back to the system, and the next one would end the
    program without a word: Slurm's at the time limit, say. So it is taken back within a millisecond or two, while
    another thread waits for Ray.
    """
    if threading.current_thread() is not threading.main_thread():
        ray.shutdown()
        return
    meaning = signal.getsignal(signal.SIGTERM)
    shutdown = threading.Thread(target=ray.shutdown)
    shutdown.start()
    try:
        while shutdown.is_alive():
            shutdown.join(timeout=0.001)
            signal.signal(signal.SIGTERM, meaning)
    finally:
        shutdown.join()


def _reach(address: str) -> None:
    """Wait until somebody listens there. Raises UserError where nobody does, and for what is no address."""
    if "://" in address:
        raise UserError(
            f"--address {address}: run this command on a node of the cluster, with --address auto; from elsewhere "
            "results could not come back"
        )
    place = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    host, _, port = place.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 2**16):
        if place in ("auto", "local"):
            return
        raise UserError(f"--address {place}: give HOST:PORT, such as node1:6379, or auto")
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=max(0.1, WAIT_S / 6)).close()
            return
        except OSError as error:
            if isinstance(error, socket.gaierror) or time.monotonic() > deadline:
                reason = error.strerror or str(error)
                raise UserError(f"no Ray cluster answers at {place} ({reason}): is its head running?") from None
        time.sleep(min(1.0, WAIT_S / 4))


def _explain(error: Exception, address: str | None) -> str:
    whole = f"{error} {error.__cause__ or ''}"
    if "Version mismatch" in whole:
        versions = " ".join(str(error).split()).removeprefix("Version mismatch: ")
        return f"Ray or Python differ from the cluster's: {versions} (install the same on every node)"
    if "AuthToken" in whole or isinstance(error, _authentication_error()):
        mode = os.environ.get("RAY_AUTH_MODE", "not set")
        return (
            f"the Ray cluster at {address} refuses this token (RAY_AUTH_MODE is {mode} here): all nodes and this "
            "command need one RAY_AUTH_MODE, and with `token` one RAY_AUTH_TOKEN or ~/.ray/auth_token"
        )
    where = f"the Ray cluster at {address} cannot be joined" if address else "Ray does not start"
    return f"{where} ({first_line(error)}); --scheduler inline does without Ray"


def _authentication_error() -> type[Exception] | tuple[()]:
    import ray.exceptions

    return getattr(ray.exceptions, "AuthenticationError", ())


def first_line(error: object) -> str:
    """The first line of what an exception says."""
    return str(error).strip().split("\n")[0]


@contextmanager
def _as_before() -> Iterator[None]:
    """SIGTERM keeps its meaning: Ray's own handler would end the program without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _hushed(joining: bool) -> Iterator[None]:
    """Ray's core writes its warnings to the terminal, whatever its settings say; a failure to join has its own line."""
    if not joining:
        yield
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
