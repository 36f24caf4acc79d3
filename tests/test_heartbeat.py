"""Progress as a file: what it says, and that it cannot hurt."""

import json

from bench.training import heartbeat
from bench.training.heartbeat import Heartbeat


def test_it_says_how_far_and_how_long(tmp_path, monkeypatch):
    times = iter([100.0, 104.0, 104.5, 105.0])
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: next(times))
    clock = iter([1004.0, 500.0])  # set back meanwhile
    monkeypatch.setattr(heartbeat.time, "time", lambda: next(clock))
    tell = Heartbeat(tmp_path, epochs=4, images=1000).teller("tick", epochs_before=1.0)
    tell(500)  # after 4 s
    state = json.loads((tmp_path / "progress.json").read_text())
    assert state == {
        "phase": "tick",
        "epoch": 1.5,
        "epochs": 4,
        "images_per_s": 125.0,
        "eta_s": 2.5 * 1000 / 125.0,
        "updated": 1004.0,
    }
    tell(600)  # half a second later: not again
    assert json.loads((tmp_path / "progress.json").read_text()) == state
    tell(700)
    assert json.loads((tmp_path / "progress.json").read_text())["updated"] == 500.0


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path):
    Heartbeat(tmp_path / "gone", epochs=1, images=10).teller("train", 0.0)(5)
