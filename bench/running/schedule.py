"""Runs trials on Ray, or one after the other in this process.

All state lies on disk (see board.py). Where trials run is a pool's business: inline.py, onray.py.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from bench.faults import of_machine
from bench.lease import LeasedError
from bench.record import Failure, read_failures, write_json
from bench.resources import Resources
from bench.running.board import (
    ELSEWHERE,
    Status,
    Summary,
    TrialStatus,
    conclude,
    elsewhere,
    fail,
    ready,
    running,
    survey,
)
from bench.running.inline import POLL, Inline
from bench.running.interrupts import interruptible
from bench.running.onray import OnRay
from bench.running.ontrain import OnTrain
from bench.spec import Trial


class _Pool(Protocol):
    """Where trials run. `submit` takes what is to be called with a run folder, `_work`.

    `wait` returns (key, what it said or how it was lost) of trials that ended.
    """

    threads: int

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def submit(self, trial: Trial, work: Callable[..., str]) -> None: ...
    def wait(self) -> list[tuple[str, str]]: ...
    def stop(self, key: str) -> None: ...


def run_trials(
    trials: Sequence[Trial],
    out: Path,
    *,
    suite: str,
    scheduler: Literal["ray", "inline"],
    resources: Resources,
    address: str | None = None,
    retry_failed: bool = False,
    watch: Callable[[Status], None] = lambda status: None,
    run_trial: Callable[..., Any] | None = None,
) -> Summary:
    """Run what is not done yet and return when nothing more can run.

    A trial waits for the records of its `baseline` and `twin`; where one of them fails, it is blocked, and tried again
    in the next run. A trial that its method made fail is left alone, unless `retry_failed`. `address` joins a Ray
    cluster, whose nodes may share the folder `out` or not (carry.py); otherwise a Ray of our own is started and
    stopped. Another driver may work in the same folder: what it runs is waited for. `watch` is called about twice a
    second. `run_trial` replaces `bench.trial.run_trial`. Raises UserError, and KeyboardInterrupt on Ctrl-C, SIGTERM or
    SIGUSR1 once the workers are stopped.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    board = {status.key: status for status in survey(trials, out, retry_failed=retry_failed).trials}
    earlier = {key for key, status in board.items() if status.state == "done"}
    pending: set[str] = set()
    late: set[str] = set()
    began = time.monotonic()

    def show() -> None:
        for key in pending:
            board[key] = running(board[key])
        watch(Status(tuple(board.values()), time.monotonic() - began))

    def submit(pool: _Pool) -> None:
        for status in others():
            board[status.key] = elsewhere(status)
        for status in ready(board, pending):
            board[status.key] = status = elsewhere(status)
            if status.state == "waiting":
                (status.folder / "progress.json").unlink(missing_ok=True)
                board[status.key] = replace(status, failures=len(read_failures(status.folder)))
                pending.add(status.key)
                pool.submit(status.trial, partial(_work, status.trial, suite, run_trial, pool.threads))

    def others() -> list[TrialStatus]:
        return [status for status in board.values() if status.state == "elsewhere"]

    def end(key: str, lost: str) -> None:
        pending.discard(key)
        board[key] = conclude(board[key], *((resources.late, "method") if key in late else (lost, "machine")))
        late.discard(key)

    if ready(board, pending):
        on_ray = OnTrain if resources.world > 1 else OnRay
        pool: _Pool = on_ray(resources, out, address) if scheduler == "ray" else Inline(resources, out, show)
        with interruptible(), pool:
            submit(pool)
            while pending or others():
                show()
                for key in pending - late:
                    if resources.timeout and board[key].seconds > resources.timeout:
                        late.add(key)
                        pool.stop(key)
                if pending:
                    for key, lost in pool.wait():
                        end(key, lost)
                else:
                    time.sleep(POLL)
                submit(pool)
    show()
    last = Status(tuple(board.values()), time.monotonic() - began)
    return Summary(
        done=tuple(t.key for t in last.among("done")),
        failed={t.key: t.reason for t in last.among("failed")},
        blocked={t.key: t.reason for t in last.among("blocked")},
        trained=len({t.key for t in last.among("done") if t.mine} - earlier),
        seconds=last.seconds,
    )


def _work(
    trial: Trial,
    suite: str,
    run_trial: Callable[..., Any] | None,
    threads: int,
    out: Path,
    *,
    where: str = "starting",
    kept: Callable[[], None] = lambda: None,
    ranks: Any = None,
    error: Exception | None = None,
) -> str:
    """What a worker does. The result lies on disk; an exception that escapes the trial is written there too.

    `ranks`: this process's place among several that run the trial together (`Ranks`); then what escapes
    from another than the first is raised, and comes back in a last call as `error`. Returns why the trial failed, for a
    disk that takes no more, or ELSEWHERE; else nothing.
    """
    status = TrialStatus(trial, trial.label, trial.key, out / "trials" / trial.key, "running")
    zero = {"epoch": 0.0, "epochs": 0.0, "images_per_s": 0.0, "eta_s": 0.0}
    try:
        if error is not None:
            raise error
        if ranks is None or ranks.first:
            with suppress(OSError):  # a full disk shows in the trial
                write_json(status.folder / "progress.json", {"phase": where, **zero, "updated": time.time()})
        if run_trial is None:
            import bench.trial

            run_trial = bench.trial.run_trial
        together = {} if ranks is None else {"ranks": ranks}
        result = run_trial(trial, out, suite=suite, threads=threads, kept=kept, **together)
        return result.reason if isinstance(result, Failure) else ""
    except LeasedError:
        return ELSEWHERE
    except Exception as cause:
        if ranks is not None and (not ranks.first or ranks.lost(cause)):
            raise
        machines = isinstance(cause, OSError) or of_machine(cause)
        kind: Literal["machine", "method"] = "machine" if machines else "method"
        return fail(status, kind, f"{type(cause).__name__}: {cause}", traceback.format_exc()).reason
