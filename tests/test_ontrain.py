"""Trials that two processes run together through Ray Train: what runs where, and what happens when one dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_resume import COMMON, DENSE
from test_schedule import gone
from trials import make, run, tries

from bench import run_trial
from bench.data import DataError
from bench.errors import UserError
from bench.record import Record, read_failures, read_record, write_json
from bench.running.ontrain import OnTrain
from bench.running.schedule import Resources, run_trials
from bench.spec import MethodSpec, Recipe, Trial
from bench.training.ranks import Group

TWO = Resources(cpus=1, workers=2)

L1 = Trial(
    method=MethodSpec(name="l1"),
    recipe=Recipe(epochs=6, lr=0.05, batch_size=32),
    keep_macs=0.5,
    baseline=DENSE.key,
    **COMMON,
)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.train", exc_type=ImportError)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    yield ray
    ray.shutdown()


def pair(trial: Trial, out: Path, *, suite: str, threads: int, ranks: Group, kept: Callable[[], None]) -> None:
    """Stands in for bench.trial.run_trial in two processes; `do` says how it ends, and in which of them."""
    folder, do = out / "trials" / trial.key, trial.method.params["do"]
    with (out / "tries.txt").open("a") as file:
        file.write(f"{trial.method.name} {ranks.rank} {os.getpid()} {threads}\n")
    once = ranks.broadcast(lambda: not (folder / "tried").exists() and not (folder / "tried").touch())
    if ranks.rank == 1 and (do == "kill" or (do == "kill once" and once)):
        os.kill(os.getpid(), signal.SIGKILL)
    if ranks.rank == 1 and do == "unreadable":
        raise DataError("an image cannot be read")
    if do == "method":
        ranks.broadcast(lambda: refuse())
    if do == "hang":
        time.sleep(600)
    assert ranks.total(ranks.rank + 1) == [3.0]
    if ranks.first:
        write_json(folder / "record.json", {"key": trial.key})


def refuse() -> Any:
    raise UserError("the target is out of reach")


def two(trials: list[Trial], out: Path, **more: Any) -> Any:
    return run(trials, out, scheduler="ray", run_trial=pair, **{"resources": TWO, **more})


def pids(out: Path) -> list[int]:
    return [int(line.split()[2]) for line in (out / "tries.txt").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_run_a_trial_and_a_killed_one_is_tried_again(tmp_path, cluster):
    dense = make("dense", "kill once")
    after = make("l1", baseline=dense.key)
    summary = two([after, dense], tmp_path)
    assert set(summary.done) == {dense.key, after.key}, summary
    lines = sorted(line.split() for line in (tmp_path / "tries.txt").read_text().splitlines())
    assert [line[:2] for line in lines] == [["dense", "0"]] * 2 + [["dense", "1"]] * 2 + [["l1", "0"], ["l1", "1"]]
    assert len(set(pids(tmp_path))) == 6 and {line[3] for line in lines} == {"1"}
    (failure,) = read_failures(tmp_path / "trials" / dense.key)
    assert failure.kind == "machine" and "worker process died" in failure.reason
    assert all(gone(pid, 20) for pid in pids(tmp_path))


@pytest.mark.parametrize(
    ("do", "reason", "kinds"),
    [
        ("method", "out of reach", ["method"]),
        # with two more tries
        pytest.param("unreadable", "an image cannot be read", ["machine"] * 3, marks=pytest.mark.slow),
    ],
)
def test_what_one_of_them_raises_is_the_trials_failure(tmp_path, cluster, do, reason, kinds):
    trial = make(do, do)
    summary = two([trial], tmp_path)
    assert reason in summary.failed[trial.key]
    assert [failure.kind for failure in read_failures(tmp_path / "trials" / trial.key)] == kinds
    assert len(tries(tmp_path)) == 2 * len(kinds)


def test_no_process_outlives_a_trial_that_takes_too_long(tmp_path, cluster):
    hang = make("hang", "hang")
    summary = two([hang], tmp_path, resources=Resources(cpus=1, workers=2, timeout="3s"))
    assert "took longer than resources.timeout" in summary.failed[hang.key]
    assert len(pids(tmp_path)) == 2 and all(gone(pid, 30) for pid in pids(tmp_path))


def test_what_is_reserved_for_a_trial_that_dies_as_it_starts_is_given_back(tmp_path, cluster):
    def reserved() -> list[str]:
        from ray.util.placement_group import placement_group_table

        return [group["state"] for group in placement_group_table().values() if group["state"] != "REMOVED"]

    def wait_for(true: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 180  # a process imports torch and Ray Train, beside whatever else runs
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    ended: list[Any] = []
    with OnTrain(TWO, tmp_path, None) as pool:
        pool.submit(make("early"), partial(time.sleep, 600))
        wait_for(lambda: reserved() or ended.extend(pool.wait()) or ended)
        assert not ended, "it died before anything was reserved for it"
        pool.stop(make("early").key)
        wait_for(lambda: ended.extend(pool.wait()) or ended)
        wait_for(lambda: (pool._free(), not reserved())[1])


def test_more_workers_than_the_cluster_has_room_for_are_refused(tmp_path, cluster):
    with pytest.raises(UserError, match=r"asks for 1 CPUs and 0 GPUs for each of 3 workers \(there are: 2 CPUs"):
        two([make("l1")], tmp_path, resources=Resources(cpus=1, workers=3))


def test_a_real_trial_loses_a_worker_and_goes_on(tmp_path, cluster):
    assert isinstance(run_trial(DENSE, tmp_path, suite="pair", threads=1), Record)
    folder = tmp_path / "trials" / L1.key
    killed: list[int] = []

    def kill_once(status: Any) -> None:
        if not killed and any(folder.glob("journal/[0-9]*.epoch-*")) and (lease := next(folder.glob("lease-*"), None)):
            killed.append(json.loads(lease.read_bytes())["pid"])
            os.kill(killed[0], signal.SIGKILL)

    summary = run_trials([DENSE, L1], tmp_path, suite="pair", scheduler="ray", resources=TWO, watch=kill_once)
    assert set(summary.done) == {DENSE.key, L1.key} and summary.trained == 1 and killed
    record = read_record(folder / "record.json")
    assert record.machine.workers == 2 and len(record.history) == 6
    assert record.result.top1 > 50  # ten classes
    assert "goes on after epoch" in (folder / "log.txt").read_text()
    assert [failure.kind for failure in read_failures(folder)] == ["machine"]
    assert not any(folder.glob("lease-*"))
