"""The W&B mirror, read back from the files of offline runs."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from offline_run import read

from bench.record import Epoch, Failure, Machine, Measured, Record, Spent, write_failure, write_json
from bench.running.board import Status, TrialStatus
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial
from bench.tracking.track import Tracker

wandb = pytest.importorskip("wandb")

RECIPE = Recipe(epochs=3, lr=0.1)
TRIAL = Trial(
    dataset=DataSpec(name="digits"),
    backbone=BackboneSpec(name="cifar_resnet20", kwargs={"shortcut": "B"}),
    dense=DenseSpec(recipe=RECIPE),
    method=MethodSpec(name="dcff", params={"t_start": 1.0}),
    recipe=RECIPE,
    keep_macs=0.5,
    seed=2,
)


def epoch(n: int, loss: float = 0.5) -> Epoch:
    return Epoch(
        phase="train",
        epoch=n,
        epochs=1.0,
        lr=0.1,
        loss=loss,
        train_top1=90.0 + n,
        macs=100,
        images_per_s=5.0,
        seconds=1.0,
    )


def record(history: list[Epoch]) -> Record:
    measured = Measured(top1=91.5, top5=99.0, test_images=10, macs=50, fvcore_total=55, params=7)
    machine = Machine(
        device="cpu", cpu="x", threads=1, precision="fp32", memory_format="x", platform="x", versions={}, commit=""
    )
    return Record(
        key=TRIAL.key,
        suite="s",
        trial=TRIAL,
        starts_from="scratch",
        result=measured,
        dense=measured.model_copy(update={"top1": 92.0, "macs": 100}),
        widths={},
        dense_widths={},
        off_target=-0.25,
        spent=Spent(epochs=3.0),
        spent_dense=None,
        history=history,
        machine=machine,
        started="then",
        finished="now",
    )


def status(folder: Path, state: str, reason: str = "") -> Status:
    return Status((TrialStatus(TRIAL, TRIAL.label, TRIAL.key, folder, state, reason),))


def write_history(folder: Path, rows: list[Epoch], tail: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows) + tail)


def runs(out: Path, id: str = TRIAL.key) -> list[Path]:
    return sorted(out.glob(f"wandb/offline-run-*-{id}/run-{id}.wandb"))


@pytest.fixture
def notes():
    return []


@pytest.fixture
def track(tmp_path, notes):
    """A function that makes trackers, as the runs of one suite one after the other do."""
    return lambda mode="offline": Tracker("p", mode, group="s", folder=tmp_path, note=notes.append)


def test_a_trial_becomes_one_run_with_everything(tmp_path, track, notes):
    folder = tmp_path / "trials" / TRIAL.key
    rows = [epoch(1), epoch(2, 2.5), epoch(3)]
    with track() as tracker:
        tracker.update(status(folder, "waiting"))
        tracker.update(status(folder, "running"))
        write_history(folder, rows[:1], tail='{"phase": "tra')
        tracker.update(status(folder, "running"))
        write_history(folder, rows[:2])
        tracker.update(status(folder, "running"))
        write_json(folder / "record.json", record(rows))
        (folder / "model.safetensors").write_bytes(b"weights")
        tracker.update(status(folder, "done"))
        tracker.update(status(folder, "done"))
    (path,) = runs(tmp_path)
    run = read(path)
    assert (run["run"].run_group, run["run"].job_type, run["run"].project) == ("s", "dcff", "p")
    assert run["run"].run_id == TRIAL.key and run["run"].display_name == "dcff 50% seed 2"
    assert set(run["run"].tags) == {"cifar_resnet20", "digits", "matched", "keep 50%"}
    for name, value in TRIAL.model_dump(mode="json").items():
        assert run["config"][name] == value
    assert run["config"]["key"] == TRIAL.key
    assert [row["epoch"] for row in run["history"]] == [1, 2, 3]
    assert [row["_step"] for row in run["history"]] == [0, 1, 2]
    assert run["history"][0]["loss"] == 0.5 and "top1" not in run["history"][0]
    assert run["history"][2]["train_top1"] == 93.0
    summary = run["summary"]
    assert (summary["result/top1"], summary["dense/top1"], summary["result/macs"]) == (91.5, 92.0, 50)
    assert (summary["off_target"], summary["spent/epochs"]) == (-0.25, 3.0)
    assert run["exit"] == 0
    paths = {name: [entry.path for entry in art.manifest.contents] for name, art in run["artifacts"].items()}
    assert paths == {f"record-{TRIAL.key}": ["record.json"], f"model-{TRIAL.key}": ["model.safetensors"]}
    assert notes == []


def test_what_is_mirrored_is_not_mirrored_again(tmp_path, track):
    folder = tmp_path / "trials" / TRIAL.key
    write_json(folder / "record.json", record([epoch(1)]))
    for _ in range(2):
        with track() as tracker:
            tracker.update(status(folder, "done"))
    (path,) = runs(tmp_path)
    before = path.stat().st_mtime_ns
    with track() as tracker:
        tracker.update(status(folder, "done"))
    assert [p.stat().st_mtime_ns for p in runs(tmp_path)] == [before]


KILLED = """
import os, signal, sys
from pathlib import Path
import test_track as t
tracker = t.Tracker("p", "offline", group="s", folder=Path(sys.argv[1]))
tracker.poll(t.TRIAL, Path(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def environment() -> dict[str, str]:
    tests = Path(__file__).parent
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # wandb's process of its own
    return {**own, "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}


def test_a_trial_that_goes_on_after_a_kill_is_one_whole_run(tmp_path, track):
    folder = tmp_path / "trials" / TRIAL.key
    write_history(folder, [epoch(1)])
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(folder)], env=environment(), check=False)
    assert len(runs(tmp_path)) == 1
    (tmp_path / "wandb" / "offline-run-20200101_000000-other").mkdir(parents=True)
    write_history(folder, [epoch(1), epoch(2)])
    with track() as tracker:
        tracker.update(status(folder, "running"))
        write_json(folder / "record.json", record([epoch(1), epoch(2), epoch(3)]))
        tracker.update(status(folder, "done"))
    (path,) = runs(tmp_path)
    assert [row["epoch"] for row in read(path)["history"]] == [1, 2, 3]
    assert (tmp_path / "wandb" / "offline-run-20200101_000000-other").exists()


def test_a_failed_trial_is_a_failed_run_until_it_succeeds(tmp_path, track):
    folder = tmp_path / "trials" / TRIAL.key
    write_history(folder, [epoch(1, 2.5)])
    write_failure(folder, Failure(key=TRIAL.key, trial=TRIAL, kind="method", reason="NaN", when="now"))
    with track() as tracker:
        tracker.update(status(folder, "failed", "the loss is NaN"))
    (path,) = runs(tmp_path)
    run = read(path)
    assert run["exit"] == 1 and run["summary"]["failure"] == "the loss is NaN" and len(run["history"]) == 1
    write_json(folder / "record.json", record([epoch(1)]))
    with track() as tracker:
        tracker.update(status(folder, "done"))
    (path,) = runs(tmp_path)
    assert read(path)["exit"] == 0


def test_an_interrupted_trial_is_finished_as_failed_and_leaves_no_marker(tmp_path, track):
    folder = tmp_path / "trials" / TRIAL.key
    write_history(folder, [epoch(1)])
    with track() as tracker:
        tracker.update(status(folder, "running"))
    (path,) = runs(tmp_path)
    assert read(path)["exit"] == 1
    assert not (folder / "tracked.json").exists()


def test_the_leaderboard_is_a_table_of_a_report_run(tmp_path, track, notes, capfd):
    page = tmp_path / "report" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<html>")
    rows = [{"method": "l1", "top-1": 91.5, "n": 3}, {"method": "dcff", "top-1": math.nan, "macs": None}]
    with track() as tracker:
        tracker.report(rows, page)
    (path,) = runs(tmp_path, "report-s")
    run = read(path)
    assert run["run"].job_type == "report" and run["exit"] == 0
    assert run["artifacts"]["leaderboard-s"].manifest.contents[0].path == "index.html"
    (file,) = (path.parent / "files").rglob("*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["method", "top-1", "n", "macs"]
    assert table["data"] == [["l1", 91.5, 3, None], ["dcff", "nan", None, None]]
    with track() as tracker:
        tracker.report(rows, page.parent)
    (path,) = runs(tmp_path, "report-s")
    assert read(path)["artifacts"]["leaderboard-s"].manifest.contents[0].path == "index.html"
    assert notes == [] and capfd.readouterr() == ("", "")


def test_online_without_a_key_or_a_network_is_offline(tmp_path, track, notes, monkeypatch):
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    assert track("online").mode == "offline"
    assert len(notes) == 1 and "no API key" in notes[0]

    def no_network(prompt: bool) -> bool:
        raise wandb.errors.AuthenticationError("no such host")

    monkeypatch.setattr(wandb, "login", no_network)
    assert track("online").mode == "offline"
    assert len(notes) == 2 and "no such host" in notes[1]


def test_a_mirror_that_breaks_is_told_once_and_stops_nothing(tmp_path, track, notes, monkeypatch):
    def broken(**options):
        raise OSError("no space left on device")

    monkeypatch.setattr(wandb, "init", broken)
    folder = tmp_path / "trials" / TRIAL.key
    write_history(folder, [epoch(1)])
    with track() as tracker:
        tracker.update(status(folder, "running"))
        tracker.update(status(folder, "running"))
    assert len(notes) == 1 and "no space left on device" in notes[0]


def test_disabled_writes_nothing(tmp_path, track):
    folder = tmp_path / "trials" / TRIAL.key
    write_json(folder / "record.json", record([epoch(1)]))
    with track("disabled") as tracker:
        tracker.update(status(folder, "done"))
        tracker.report([{"a": 1}])
    assert not (tmp_path / "wandb").exists()


def test_without_wandb_tracking_is_off_with_a_note(track, notes, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert track().mode == "disabled"
    assert notes == ["wandb is not installed: tracking is off (pip install wandb)"]


def test_what_another_driver_ran_is_left_to_its_tracker(tmp_path, track):
    folder = tmp_path / "trials" / TRIAL.key
    write_json(folder / "record.json", record([epoch(0)]))
    theirs = TrialStatus(TRIAL, TRIAL.label, TRIAL.key, folder, "done", mine=False)
    with track() as tracker:
        tracker.update(Status((theirs,)))
    assert runs(tmp_path) == []


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_wandb_that_cannot_be_imported_turns_tracking_off(track, notes, tmp_path, monkeypatch, mode):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text("raise TypeError('Descriptors cannot be created directly.')")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert track(mode).mode == "disabled"
    (note,) = notes
    assert note.startswith("wandb cannot be imported (TypeError: Descriptors cannot be created directly.)")


def test_a_mode_that_the_environment_sets_is_named(track, notes, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert track("online").mode == "offline"
    assert notes[0].startswith("the environment variable WANDB_MODE is offline (unset it): tracking is offline")
