"""W&B's server, its network or its own process goes away while trials run: no trial stops, and none waits for long.

W&B's own client, and a server on loopback that stops listening, or listens and answers nothing (see wandb_server.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from records import make_record, make_trial, save
from test_track import environment, status

from bench.record import write_json
from bench.running.board import Status
from bench.tracking import track, wandb_run, wandb_sync
from bench.tracking.track import Tracker

wandb = pytest.importorskip("wandb")

from offline_run import read  # noqa: E402
from wandb_server import Server, use  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # wandb's own threads

FIRST, SECOND, THIRD = (make_record(make_trial("l1", seed=seed)) for seed in range(3))


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Server()
    use(monkeypatch, tmp_path, server.url)
    yield server
    wandb.teardown()
    server.stop()


@pytest.fixture
def short(monkeypatch):
    """Waits of 2 s in place of those of a real network."""
    monkeypatch.setattr(track, "FINISH_S", 2)
    monkeypatch.setattr(wandb_run, "NETWORK_S", 2)
    monkeypatch.setattr("wandb.apis.public.api.Api._HTTP_TIMEOUT", 2)


def of(record, folder: Path, state: str) -> Status:
    (one,) = status(folder, state).trials
    return Status((replace(one, trial=record.trial, key=record.key, folder=folder, state=state),))


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_server_that_goes_away(server, short, tmp_path, monkeypatch, how):
    out, notes = tmp_path / "out", []
    first, second, third = (out / "trials" / record.key for record in (FIRST, SECOND, THIRD))
    line = FIRST.history[0].model_dump_json() + "\n"
    first.mkdir(parents=True)
    began = time.monotonic()
    with Tracker("p", "online", group="tiny", folder=out, note=notes.append) as tracker:
        (first / "history.jsonl").write_text(line)
        tracker.update(of(FIRST, first, "running"))
        server.stop() if how == "dies" else server.awake.clear()
        lost = time.monotonic()
        for n in range(2, 40):
            (first / "history.jsonl").write_text(n * line)
            tracker.update(of(FIRST, first, "running"))
        save(out, FIRST)
        tracker.update(of(FIRST, first, "done"))
        assert time.monotonic() - lost < 5  # what the scheduler waits for
        for record, folder in ((SECOND, second), (THIRD, third)):
            folder.mkdir()
            (folder / "history.jsonl").write_text(line)
            tracker.update(of(record, folder, "running"))
            tracker.update(of(record, folder, "running"))
            save(out, record)
            tracker.update(of(record, folder, "done"))
        assert time.monotonic() - lost < 30
    assert time.monotonic() - began < 60
    assert len(notes) == 1 and "tracking goes on offline" in notes[0] and "prunebench sync" in notes[0]
    # The first may have arrived in part; wandb does not start the second again, once that has failed.
    assert [path.parent for path in out.glob("trials/*/tracked.json")] == [third]
    assert json.loads((third / "tracked.json").read_text())["mode"] == "offline"
    (file,) = out.glob("wandb/offline-run-*/run-*.wandb")
    assert [row["epoch"] for row in read(file)["history"]] == [0, 1] and THIRD.key in file.name

    again = Server()
    use(monkeypatch, tmp_path, again.url)
    assert wandb_sync.send_trials(out, "p") == wandb_sync.Sent(sent=3)
    for record in (FIRST, SECOND, THIRD):
        assert [row["_step"] for row in again.runs[record.key].rows] == [0, 1] and again.runs[record.key].exit == 0
    assert not list(out.glob("wandb/offline-run-*"))
    wandb.teardown()
    again.stop()


def test_a_server_that_never_answers(short, tmp_path, monkeypatch):
    use(monkeypatch, tmp_path, "http://127.0.0.1:9")  # nobody listens there
    save(tmp_path, FIRST)
    notes = []
    began = time.monotonic()
    with Tracker("p", "online", group="tiny", folder=tmp_path, note=notes.append) as tracker:
        tracker.update(of(FIRST, tmp_path / "trials" / FIRST.key, "done"))
    assert time.monotonic() - began < 40
    assert len(notes) == 1 and "W&B does not answer" in notes[0]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


KILLED = """
import os, signal, sys, time
from pathlib import Path
import test_wandb_network as t
out = Path(sys.argv[1])
folder = out / "trials" / t.FIRST.key
with t.Tracker("p", sys.argv[2], group="tiny", folder=out) as tracker:
    tracker.poll(t.FIRST.trial, folder)
    t.kill_service()
    for _ in range(3):
        tracker.update(t.of(t.FIRST, folder, "running"))
        time.sleep(0.2)
    t.save(out, t.FIRST)
    tracker.update(t.of(t.FIRST, folder, "done"))
print("the end")
"""


def kill_service() -> None:
    """kill -9 the process that wandb started for this one."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        if name.startswith("wandb-core") and int(rest.split()[1]) == os.getpid():
            os.kill(int(path.parent.name), signal.SIGKILL)
            time.sleep(0.5)
            return
    raise AssertionError("wandb has no process here")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the process in /proc")
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_w_and_b_s_own_process_dies(server, tmp_path, mode):
    folder = tmp_path / "trials" / FIRST.key
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_text(FIRST.history[0].model_dump_json() + "\n")
    command = [sys.executable, "-c", KILLED, str(tmp_path), mode]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("W&B tracking stops") == 1 and done.stdout.endswith("the end\n")
    assert not (folder / "tracked.json").exists()
    assert wandb_sync.send_trials(tmp_path, "p") == wandb_sync.Sent(sent=1)
    assert [row["_step"] for row in server.runs[FIRST.key].rows] == [0, 1]


SUITE = """\
name: tiny
smoke: true
dataset: {name: digits, subset: 300}
backbone: cifar_resnet20
dense: {recipe: {epochs: 2, lr: 0.05}}
keep_macs: [0.5]
methods: [l1]
recipe: {epochs: 3, lr: 0.01}
tracking: {mode: MODE, project: p}
"""

RUN = """
import sys
from bench import cli
from bench.tracking import track
track.FINISH_S = 2
sys.exit(cli.main(["run", "tiny.yaml", "--scheduler", "inline"]))
"""


def start(folder: Path, **more: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, env={**environment(), **more})


def epochs(out: Path) -> int:
    """How many epochs the trials have written so far."""
    return sum(path.read_text().count("\n") for path in out.glob("trials/*/history.jsonl"))


def wait_for(condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_whose_server_dies_ends_as_any_other(server, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(SUITE.replace("MODE", "online"))
    run = start(tmp_path, WANDB_HTTP_TIMEOUT="2")
    wait_for(lambda: server.runs)  # the dense network's has begun
    server.stop()
    assert run.wait(200) == 0
    out = tmp_path / "runs/tiny"
    records = {path.parent.name: json.loads(path.read_text()) for path in out.glob("trials/*/record.json")}
    assert sorted(len(record["history"]) for record in records.values()) == [2, 3]
    again = Server()
    use(monkeypatch, tmp_path, again.url)
    assert wandb_sync.send_trials(out).sent == 2
    for key, record in records.items():
        assert [row["loss"] for row in again.runs[key].rows] == pytest.approx([r["loss"] for r in record["history"]])
    wandb.teardown()
    again.stop()


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_one_offline_run_a_trial(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SUITE.replace("MODE", "offline").replace("epochs: 3", "epochs: 20"))
    out = tmp_path / "runs/tiny"
    for n in (1, 3):  # within the dense network's two epochs, and within the twenty of l1
        run = start(tmp_path)
        wait_for(lambda n=n: epochs(out) >= n and list(out.glob("wandb/offline-run-*")))
        time.sleep(0.5)
        run.kill()
        run.wait()
    assert len(list(out.glob("trials/*/record.json"))) < 2
    assert start(tmp_path).wait(200) == 0
    for path in out.glob("trials/*/record.json"):
        (file,) = out.glob(f"wandb/offline-run-*-{path.parent.name}/run-*.wandb")
        rows, record = read(file)["history"], json.loads(path.read_text())
        assert [row["_step"] for row in rows] == list(range(len(record["history"])))
        assert [row["loss"] for row in rows] == [epoch["loss"] for epoch in record["history"]]
    assert len(list(out.glob("trials/*/record.json"))) == 2


def test_the_truth_lies_on_disk(tmp_path):
    """A marker that is damaged, or was written by an earlier version, only makes a run be sent again."""
    save(tmp_path, FIRST)
    folder = tmp_path / "trials" / FIRST.key
    for text in ("{", "[1]", '{"project": "p", "mode": "offline"}'):
        (folder / "tracked.json").write_text(text)
        with Tracker("p", "offline", group="tiny", folder=tmp_path) as tracker:
            tracker.finish(FIRST.trial, folder)
        assert json.loads((folder / "tracked.json").read_text())["outcome"] == "done"
    write_json(folder / "tracked.json", {"project": "p", "mode": "offline", "outcome": "done"})
    with Tracker("p", "offline", group="tiny", folder=tmp_path) as tracker:
        tracker.finish(FIRST.trial, folder)
    assert "entity" not in json.loads((folder / "tracked.json").read_text())
