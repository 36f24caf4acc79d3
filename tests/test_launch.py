"""The leaderboard as a W&B report run: its table and the whole page, read back from the files of the offline run."""

from __future__ import annotations

import json
import math

import pytest
from offline_run import read
from records import make_latency, make_record, make_trial, save, save_latency

import leaderboards
from bench import launch, suite
from bench.lease import hold
from bench.running import plan

pytest.importorskip("wandb")

SUITE = """\
name: tiny
dataset: digits
backbone: cifar_resnet20
dense: {recipe: {epochs: 1, lr: 0.05}}
keep_macs: [0.5]
methods: [l1]
recipe: {epochs: 1, lr: 0.01}
tracking: {mode: offline, project: mine}
"""


@pytest.fixture
def wanted(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return suite.load(tmp_path / "tiny.yaml")


def test_rows_and_page_become_a_report_run(wanted, tmp_path, capfd):
    record = make_record(top1=90.25)
    folder = save(tmp_path / "runs/tiny", make_record(make_trial("dense")), record)
    save_latency(folder, make_latency(record))
    found = leaderboards.read(folder)
    paths = leaderboards.report(found, folder / "report")
    capfd.readouterr()
    for _ in range(2):
        launch.mirror_report(wanted, "offline", leaderboards.rows(found), folder / "report")
    assert capfd.readouterr() == ("", "")

    (file,) = folder.glob("wandb/offline-run-*-report-tiny/run-report-tiny.wandb")
    run = read(file)
    assert (run["run"].project, run["run"].run_group, run["run"].job_type) == ("mine", "tiny", "report")
    assert run["exit"] == 0
    (artifact,) = [a for name, a in run["artifacts"].items() if name == "leaderboard-tiny"]
    sent = {entry.path: entry.local_path for entry in artifact.manifest.contents}
    assert set(sent) == {path.relative_to(folder / "report").as_posix() for path in paths}
    assert "data/cifar10-cifar-resnet20-matched-track.js" in sent and "index.html" in sent

    (file,) = (file.parent / "files").rglob("*.table.json")
    table = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    expected = leaderboards.rows(found)
    assert [row["method"] for row in rows] == [row["method"] for row in expected] == ["dense", "l1"]
    for row, own in zip(rows, expected, strict=True):
        for name, value in own.items():
            assert row[name] == value or math.isclose(row[name], value), name
    assert (rows[1]["top1"], rows[1]["speedup"], rows[1]["keys"]) == (90.25, 1.5, record.key)


def test_a_run_folder_says_what_asked_for_its_trials(wanted, tmp_path):
    plan.write(tmp_path / "run", wanted, tmp_path / "tiny.yaml", suite.trials(wanted))
    assert (tmp_path / "run/suite.yaml").read_text() == SUITE
    about = json.loads((tmp_path / "run/methods.json").read_text())
    assert about["gate_decorator"]["defaults"]["tock_lr"] == [1e-3, 1e-2] and about["l1"]["defaults"] == {
        "scope": "layer"
    }
    assert [name for name in about if not about[name]["prunes"]] == ["dense", "finetune"]


def planned(folder):
    return [entry["key"] for entry in json.loads((folder / "plan.json").read_text())["trials"]]


def test_a_plan_keeps_what_was_done_and_what_another_driver_carries_out(wanted, tmp_path):
    def write(seed: int) -> list[str]:
        trials = suite.trials(wanted.model_copy(update={"seeds": [seed]}))
        plan.write(tmp_path / "run", wanted, tmp_path / "tiny.yaml", trials)
        return [trial.key for trial in trials]

    first = write(0)
    (tmp_path / "run/trials" / first[0]).mkdir(parents=True)
    (tmp_path / "run/trials" / first[0] / "record.json").write_text("{}")
    second = write(1)  # the first run is over: what it did not do is planned no more
    assert planned(tmp_path / "run") == [*second, first[0]]
    with hold(tmp_path / "run/trials" / second[0]):  # another driver is at it
        third = write(2)
        assert planned(tmp_path / "run") == [*third, *second, first[0]]
    (tmp_path / "run/plan.json").write_text("{")
    assert write(2) == third == planned(tmp_path / "run")
