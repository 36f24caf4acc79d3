"""Scheduling with trials that take milliseconds: what runs, in which order, and what happens when one dies."""

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from trials import environment, make, run, tries

from bench.data import DataError
from bench.errors import UserError
from bench.record import read_failures, write_json
from bench.running import schedule
from bench.running.board import RETRIES
from bench.running.schedule import Resources


def test_a_trial_waits_for_its_baseline_and_its_twin(tmp_path):
    dense = make("dense")
    dcff = make("dcff", baseline=dense.key)
    scratch = make("scratch", baseline=dense.key, twin=dcff.key)
    summary = run([scratch, dcff, dense], tmp_path)
    assert tries(tmp_path) == ["dense", "dcff", "scratch"]
    assert set(summary.done) == {dense.key, dcff.key, scratch.key}
    assert (summary.trained, summary.failed, summary.blocked) == (3, {}, {})


def test_what_is_done_never_runs_again(tmp_path):
    trials = [make("dense"), make("l1")]
    run(trials[:1], tmp_path)
    summary = run(trials, tmp_path)
    assert tries(tmp_path) == ["dense", "l1"]
    assert len(summary.done) == 2 and summary.trained == 1


def test_a_failure_blocks_what_depends_on_it_and_nothing_else(tmp_path):
    dcff = make("dcff", "method once")
    scratch = make("scratch", twin=dcff.key)
    after = make("after", twin=scratch.key)
    trials = [after, scratch, dcff, make("l1")]
    summary = run(trials, tmp_path)
    assert tries(tmp_path) == ["dcff", "l1"]
    assert summary.failed == {dcff.key: "the loss is NaN"}
    assert summary.blocked == {
        scratch.key: f"it needs the record of dcff seed 0 ({dcff.key}), failed",
        after.key: f"it needs the record of scratch seed 0 ({scratch.key}), blocked",
    }
    assert [f.kind for f in read_failures(tmp_path / "trials" / scratch.key)] == ["blocked"]

    summary = run(trials, tmp_path)  # nothing changed: nothing runs, and no second note of the same block
    assert tries(tmp_path) == ["dcff", "l1"] and len(summary.blocked) == 2
    assert len(read_failures(tmp_path / "trials" / scratch.key)) == 1

    summary = run(trials, tmp_path, retry_failed=True)
    assert tries(tmp_path) == ["dcff", "l1", "dcff", "scratch", "after"]
    assert len(summary.done) == 4 and not summary.blocked


def test_a_need_that_is_not_part_of_the_run_blocks(tmp_path):
    l1 = make("l1", baseline="0123456789abcdef")
    assert run([l1], tmp_path).blocked == {
        l1.key: "it needs the record of 0123456789abcdef, not part of this run",
    }


def test_a_failure_of_the_machine_is_tried_again_and_a_bug_is_not(tmp_path):
    disk, once, bug = make("disk", "disk"), make("once", "disk once"), make("bug", "bug")
    summary = run([disk, once, bug], tmp_path)
    assert sorted(tries(tmp_path)) == ["bug"] + ["disk"] * (1 + RETRIES) + ["once"] * 2
    assert summary.done == (once.key,)
    assert summary.failed == {disk.key: "OSError: no space left on device", bug.key: "ValueError: a bug"}
    (failure,) = read_failures(tmp_path / "trials" / bug.key)
    assert failure.kind == "method" and "in fake_trial" in failure.traceback
    run([disk, bug], tmp_path)  # the next run tries the machine's failure again, by itself
    assert tries(tmp_path).count("bug") == 1 and tries(tmp_path).count("disk") == 2 * (1 + RETRIES)


def test_watch_sees_progress_while_a_trial_runs(tmp_path):
    seen = []
    run([make("slow", "sleep"), make("next")], tmp_path, watch=seen.append)
    midway = [status for status in seen if status.among("running")]
    assert midway and [t.state for t in midway[0].trials] == ["running", "waiting"]
    assert midway[-1].among("running")[0].progress["phase"] in ("train", "starting")
    assert [t.state for t in seen[-1].trials] == ["done", "done"]
    assert seen[-1].seconds > 1


def test_interrupting_an_inline_run_keeps_what_is_finished(tmp_path):
    done, broken = make("first"), make("second", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        run([done, broken], tmp_path)
    assert (tmp_path / "trials" / done.key / "record.json").exists()
    assert not read_failures(tmp_path / "trials" / broken.key)


def test_inline_needs_neither_ray_nor_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; import trials as t\n"
        f"t.run([t.make('l1')], Path({str(tmp_path)!r}))\n"
        "assert not {'ray', 'torch'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent, env=environment())


@pytest.mark.parametrize(
    ("cpus", "environment", "threads"),
    [(None, None, len(os.sched_getaffinity(0))), (None, "3", 3), (0.5, "3", 1), (2.9, None, 2)],
)
def test_threads_inline(tmp_path, monkeypatch, cpus, environment, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    run([make("l1")], tmp_path, resources=Resources(cpus=cpus))
    assert (tmp_path / "tries.txt").read_text().split()[2:] == [str(threads), "s"]


def test_a_share_of_several_gpus_is_refused():
    with pytest.raises(ValueError, match="whole number"):
        Resources(gpus=1.5)


# On Ray ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """One Ray for the tests of this file: run_trials uses the one that is there, and leaves it running."""
    ray = pytest.importorskip("ray")
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 80 * 2**20}
    ray.init(address="local", num_cpus=2, num_gpus=1, **options)  # Ray takes our word for the GPU
    yield ray
    ray.shutdown()


def test_ray_runs_each_trial_in_a_fresh_process_and_retries_a_killed_worker(tmp_path, cluster):
    dense = make("dense", "kill once")
    l1, bad = make("l1", baseline=dense.key), make("bad", "method", baseline=dense.key)
    summary = run([l1, bad, dense], tmp_path, scheduler="ray")
    lines = [line.split() for line in (tmp_path / "tries.txt").read_text().splitlines()]
    assert [line[0] for line in lines[:2]] == ["dense", "dense"] and {line[0] for line in lines[2:]} == {"l1", "bad"}
    assert len({line[1] for line in lines} | {str(os.getpid())}) == 5
    assert {line[2] for line in lines} == {"1"}
    assert set(summary.done) == {dense.key, l1.key} and summary.failed == {bad.key: "the loss is NaN"}
    (failure,) = read_failures(tmp_path / "trials" / dense.key)
    assert failure.kind == "machine" and "worker process died" in failure.reason
    assert cluster.is_initialized()


def test_ray_gives_up_on_a_trial_that_keeps_dying(tmp_path, cluster):
    dying = make("dying", "kill")
    summary = run([dying], tmp_path, scheduler="ray")
    assert tries(tmp_path) == ["dying"] * (1 + RETRIES)
    assert "worker process died" in summary.failed[dying.key]


def test_ray_kills_a_trial_that_takes_too_long(tmp_path, cluster):
    hang = make("hang", "hang")
    summary = run([hang], tmp_path, scheduler="ray", resources=Resources(cpus=1, timeout="1s"))
    assert "took longer than resources.timeout" in summary.failed[hang.key]
    (line,) = (tmp_path / "tries.txt").read_text().splitlines()
    assert gone(int(line.split()[1]), 15)


def test_four_trials_share_a_gpu_and_one_that_runs_out_of_memory_hurts_no_other(tmp_path, cluster):
    trials = [make(name, "four") for name in ("greedy", "b", "c", "d")]
    summary = run(trials, tmp_path, scheduler="ray", resources=Resources(cpus=0.5, gpus=0.25))
    assert len(summary.done) == 4
    assert sorted(tries(tmp_path)) == ["b", "c", "d", "greedy", "greedy"]  # it alone is tried again
    assert {path.read_text() for path in tmp_path.glob("*.gpu")} == {"0 0.25"} and len(
        list(tmp_path.glob("*.gpu"))
    ) == 4
    (failure,) = read_failures(tmp_path / "trials" / trials[0].key)
    assert failure.kind == "machine" and "out of memory" in failure.reason


def test_ray_refuses_what_no_machine_has(tmp_path, cluster):
    with pytest.raises(UserError, match=r"asks for 64 CPUs and 0 GPUs.*there are: 2 CPUs and 1 GPUs.*resources"):
        run([make("l1")], tmp_path, scheduler="ray", resources=Resources(cpus=64))
    assert not (tmp_path / "tries.txt").exists()


def test_ray_says_what_a_worker_cannot_load(tmp_path, cluster, monkeypatch):
    module = types.ModuleType("only_here")  # a method's package that the nodes lack
    exec("def run_trial(*_, **__): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    trial = make("l1")
    summary = run([trial], tmp_path, scheduler="ray", run_trial=module.run_trial)
    assert summary.failed == {
        trial.key: "RaySystemError: System error: No module named 'only_here': is the same installed on every node?"
    }


# A whole program, interrupted -----------------------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
import trials as t
summary = t.run([t.make("quick"), t.make("slow", "hang")], Path(sys.argv[1]), scheduler=sys.argv[2])
print("done", len(summary.done))
"""


def start(out: Path, scheduler: str = "ray") -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    program = [sys.executable, "-c", PROGRAM, str(out), scheduler]
    return subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, env=environment())


def worker_of(name: str, out: Path) -> int:
    """Process id of the last try of a trial, once there is one and the quick trial is done."""
    quick = out / "trials" / make("quick").key / "record.json"
    for _ in range(1200):
        if (out / "tries.txt").exists() and quick.exists():
            lines = [line.split() for line in (out / "tries.txt").read_text().splitlines()]
            if pids := [int(line[1]) for line in lines if line[0] == name and line[1] != "gone"]:
                return pids[-1]
        time.sleep(0.1)
    raise AssertionError("the program did not start its trials")


def gone(pid: int, seconds: float) -> bool:
    for _ in range(int(seconds * 10)):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="watches processes through /proc")
def test_a_program_that_is_killed_leaves_no_worker_and_goes_on(tmp_path):
    pytest.importorskip("ray")
    for kill in (signal.SIGKILL, signal.SIGTERM):
        program = start(tmp_path)
        worker = worker_of("slow", tmp_path)
        program.send_signal(kill)
        _, errors = program.communicate(timeout=20)
        assert gone(worker, 15), "the worker outlives its program"
        assert ("KeyboardInterrupt" in errors) == (kill == signal.SIGTERM)
        (tmp_path / "tries.txt").write_text((tmp_path / "tries.txt").read_text().replace(f" {worker} ", " gone "))
    output, _ = start(tmp_path, "inline").communicate(timeout=60)
    assert "done 2" in output
    assert sorted(tries(tmp_path)) == ["quick", "slow", "slow", "slow"]


def test_progress_of_an_earlier_try_is_not_shown_as_running(tmp_path):
    trial = make("l1")
    folder = tmp_path / "trials" / trial.key
    write_json(folder / "progress.json", {"phase": "old"})
    seen = []
    run([trial], tmp_path, watch=seen.append)
    assert [t.state for t in seen[0].trials] == ["waiting"]
    assert json.loads((folder / "progress.json").read_text())["phase"] == "train"


def test_what_another_process_of_a_trial_lacks_is_the_machines_fault(tmp_path):
    for trial, error, kind in (
        (make("a"), DataError("cifar10 is not on this machine"), "machine"),
        (make("b"), RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "machine"),
        (make("c"), ValueError("a bug"), "method"),
    ):
        schedule._work(trial, "s", None, 1, tmp_path, error=error)
        assert read_failures(tmp_path / "trials" / trial.key)[0].kind == kind
