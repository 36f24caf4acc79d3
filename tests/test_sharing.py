"""Several drivers in one folder: each trial runs once, and what a dead driver left is taken over."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

from trials import environment, make, run, tries

from bench.lease import hold
from bench.record import Failure, write_failure, write_json


def test_what_another_driver_runs_is_waited_for(tmp_path):
    mine, theirs = make("mine"), make("theirs")
    after = make("after", baseline=theirs.key)
    folder = tmp_path / "trials" / theirs.key
    seen = []

    def watch(status):
        seen.append({t.trial.method.name: (t.state, t.reason, t.mine) for t in status.trials})
        if "elsewhere" in {state for state, *_ in seen[-1].values()} and seen[-1]["mine"][0] == "done":
            write_json(folder / "record.json", {"key": theirs.key})

    with hold(folder):
        summary = run([theirs, after, mine], tmp_path, watch=watch)
    assert tries(tmp_path) == ["mine", "after"] and len(summary.done) == 3
    assert ("elsewhere", f"left to process {os.getpid()} on {socket.gethostname()}", False) in [
        row["theirs"] for row in seen
    ]


def test_a_trial_is_taken_over_when_its_driver_has_died(tmp_path):
    trial = make("l1")
    code = "import sys, time, pathlib\nfrom bench.lease import hold\nwith hold(pathlib.Path(sys.argv[1])): "
    other = subprocess.Popen(
        [sys.executable, "-c", code + "print(flush=True); time.sleep(60)", tmp_path / "trials" / trial.key], stdout=-1
    )
    other.stdout.readline()
    states = []

    def watch(status):
        states.append(status.trials[0].state)
        if states[-1] == "elsewhere":
            other.kill()
            other.wait()

    assert run([trial], tmp_path, watch=watch).done == (trial.key,)
    assert "elsewhere" in states and tries(tmp_path) == ["l1"]


def test_two_drivers_in_one_folder_run_each_trial_once(tmp_path):
    program = (
        "import sys; from pathlib import Path; import trials as t\n"
        "s = t.run([t.make(f'm{i}', 'lease') for i in range(6)], Path(sys.argv[1]))\n"
        "print('done', len(s.done), 'failed', len(s.failed))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    drivers = [subprocess.Popen(command, stdout=-1, text=True, env=environment()) for _ in range(2)]
    assert [driver.communicate(timeout=60)[0].split()[-4:] for driver in drivers] == [["done", "6", "failed", "0"]] * 2
    assert sorted(tries(tmp_path)) == [f"m{i}" for i in range(6)]


def test_a_methods_failure_elsewhere_is_final_here_too(tmp_path):
    trial = make("l1")
    folder, held = tmp_path / "trials" / trial.key, ExitStack()
    held.enter_context(hold(folder))
    states = []

    def watch(status):
        states.append((status.trials[0].state, status.trials[0].reason))
        if states[-1][0] == "elsewhere":
            failure = Failure(key=trial.key, trial=trial, kind="method", reason="the loss is NaN", when="now")
            write_failure(folder, failure)
            held.close()

    assert run([trial], tmp_path, watch=watch).failed == {trial.key: "the loss is NaN"}
    assert not (tmp_path / "tries.txt").exists()
