"""bench.running.status: where a trial stands, from its folder alone."""

import json
import os
import subprocess
import sys
import time

import pytest

from bench.errors import UserError
from bench.running import status

KEY = "0123456789abcdef"


@pytest.fixture
def trial(tmp_path):
    plan = {"trials": [{"key": KEY, "trial": {"method": {"name": "l1"}, "keep_macs": 0.5, "seed": 2}}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    folder = tmp_path / "trials" / KEY
    folder.mkdir(parents=True)
    return folder


def tell(folder, age):
    now = {"phase": "train", "epoch": 1.5, "epochs": 3, "images_per_s": 99.6, "updated": time.time() - age}
    (folder / "progress.json").write_text(json.dumps(now))


def state(folder):
    (found,) = status.states(folder.parents[1])
    assert found.label == "l1 50% seed 2"
    return found.state


def test_the_course_of_a_trial(trial):
    assert state(trial) == "waiting"
    (trial / "lease-1.json").write_text("{}")
    tell(trial, age=1)
    assert state(trial) == "running"
    assert "running      train, epoch 1.5/3, 100 images/s\n1 running of 1 trials" in status.text(trial.parents[1])
    tell(trial, age=600)  # scoring, or a long evaluation
    assert state(trial) == "running"
    os.utime(trial / "lease-1.json", (0, 0))
    assert state(trial) == "interrupted"
    (trial / "record.json").write_text(json.dumps({"result": {"top1": 91.234, "macs": 20_500_000}}))
    assert state(trial) == "done"
    assert "91.23 % top-1, 20.50 M MACs\n1 done of 1 trials" in status.text(trial.parents[1])


def test_a_trial_that_nobody_holds_does_not_run(trial):
    tell(trial, age=1)
    assert state(trial) == "interrupted"


def test_a_trial_whose_process_was_killed_does_not_run(trial):
    tell(trial, age=1)
    code = (
        "from bench import lease; from pathlib import Path; import os, sys; lease._take(Path(sys.argv[1])); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(trial)], check=False)
    assert (trial / "lease-1.json").exists() and state(trial) == "interrupted"


def test_the_last_failure(trial):
    tell(trial, age=1)
    for number, reason in ((9, "the earlier one"), (10, "the later one")):
        (trial / f"failed-{number}.json").write_text(json.dumps({"reason": reason}))
    assert state(trial) == "failed"
    assert "the later one" in status.text(trial.parents[1])
    (trial / "failed-11.json").write_text(json.dumps({"reason": "its dense trial failed", "kind": "blocked"}))
    assert state(trial) == "blocked"


def test_a_damaged_record_is_not_done(trial):
    (trial / "record.json").write_text('{"result": {"top1":')
    assert state(trial) == "damaged"
    assert status.text(trial.parents[1]).endswith("1 damaged of 1 trials")


def test_a_plan_that_is_none(trial):
    (trial.parents[1] / "plan.json").write_text("[1]")
    with pytest.raises(UserError, match="plan.json is damaged"):
        status.states(trial.parents[1])
