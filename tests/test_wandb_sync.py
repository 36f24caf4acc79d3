"""`prunebench sync`: W&B's own client, and a server on loopback that stands in for W&B's (see wandb_server.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from records import make_record, make_trial, save, save_failure, save_plan

from bench import cli
from bench.lease import hold
from bench.record import Failure, write_failure
from bench.tracking import wandb_run, wandb_sync
from bench.tracking.track import Tracker

wandb = pytest.importorskip("wandb")

from wandb_server import Server, use  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # wandb's own threads

DONE, DENSE = make_record(), make_record(make_trial("dense"))
FAILED = make_trial("l1", seed=5)


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Server()
    use(monkeypatch, tmp_path, server.url)
    yield server
    wandb.teardown()
    server.stop()


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """runs/tiny: two trials done, one failed, one blocked, one that runs elsewhere, one that waits."""
    monkeypatch.chdir(tmp_path)
    out = save(Path("runs/tiny"), DENSE, DONE)
    save_failure(out, FAILED, "the loss is NaN")
    blocked = make_trial("l1", seed=6)
    write_failure(
        out / "trials" / blocked.key,
        Failure(key=blocked.key, trial=blocked, kind="blocked", reason="it needs another", when="now"),
    )
    tried_again = make_trial("l1", seed=7)
    save_failure(out, tried_again, "killed")
    waits = make_trial("l1", seed=8)
    save_plan(out, DENSE.trial, DONE.trial, FAILED, blocked, tried_again, waits)
    with hold(out / "trials" / tried_again.key):
        yield out


def marker(out: Path, key: str) -> dict:
    return json.loads((out / "trials" / key / "tracked.json").read_text())


def stored(server: Server, name: str) -> bytes:
    """What lies on the server under an artifact's name, through its manifest."""
    (version,) = [v for v in server.versions if v.name == name]
    assert version.state == "COMMITTED"
    manifest = json.loads(server.files[f"/manifest/{version.id}"])
    ((_, entry),) = manifest["contents"].items()
    return server.files[f"/stored/{wandb.sdk.lib.hashutil.b64_to_hex_id(entry['digest'])}"]


def test_what_has_an_outcome_is_sent_once(server, runs, capsys):
    (runs / "trials" / DONE.key / "model.safetensors").write_bytes(b"weights")
    stale = runs / f"wandb/offline-run-20260101_000000-{DONE.key}"
    stale.mkdir(parents=True)
    assert cli.main(["sync", "tiny"]) == 0
    assert "4 sent, 0 there already, 0 failed" in capsys.readouterr().out
    assert set(server.runs) == {DENSE.key, DONE.key, FAILED.key, "report-tiny"}

    run = server.runs[DONE.key]
    assert [(row["_step"], row["epoch"], row["loss"]) for row in run.rows] == [(0, 0, 2.0), (1, 1, 1.0)]
    assert (run.summary["result/top1"], run.exit) == (90.0, 0)
    first = run.starts[0]
    assert (first["project"], first["groupName"], first["jobType"]) == ("prunebench", "tiny", "l1")
    assert first["displayName"] == "l1 50% seed 0" and "keep 50%" in first["tags"]
    folder = runs / "trials" / DONE.key
    assert stored(server, f"record-{DONE.key}") == (folder / "record.json").read_bytes()
    assert stored(server, f"model-{DONE.key}") == b"weights"
    failed = server.runs[FAILED.key]
    assert (failed.summary["failure"], failed.exit) == ("the loss is NaN", 1)
    assert json.loads(stored(server, f"failure-{FAILED.key}"))["reason"] == "the loss is NaN"

    report = server.runs["report-tiny"]
    assert report.rows[0]["leaderboard"]["nrows"] == 2 and report.exit == 0
    (page,) = [version for version in server.versions if version.name == "leaderboard-tiny"]
    assert "index.html" in json.loads(server.files[f"/manifest/{page.id}"])["contents"]

    assert marker(runs, DONE.key) == {"project": "prunebench", "entity": None, "mode": "online", "outcome": "done"}
    assert marker(runs, FAILED.key)["outcome"] == "failed 1"
    assert not stale.exists()
    asked = len(server.operations)
    assert cli.main(["sync"]) == 0
    assert "0 sent, 4 there already, 0 failed" in capsys.readouterr().out
    assert set(server.operations[asked:]) <= {"Viewer"}

    with Tracker("prunebench", "offline", group="tiny", folder=runs) as tracker:
        tracker.finish(DONE.trial, folder)
    assert marker(runs, DONE.key)["mode"] == "online" and not list(runs.glob("wandb/offline-run-*"))


def test_a_run_that_w_and_b_has_in_part_goes_on(server, runs):
    folder = runs / "trials" / DONE.key
    (folder / "record.json").rename(folder / "later.json")
    (folder / "history.jsonl").write_text(DONE.history[0].model_dump_json() + "\n")
    with Tracker("prunebench", "online", group="tiny", folder=runs) as tracker:
        tracker.poll(DONE.trial, folder)
    assert [row["_step"] for row in server.runs[DONE.key].rows] == [0] and server.runs[DONE.key].exit == 1
    (folder / "later.json").rename(folder / "record.json")
    assert wandb_sync.send_trials(runs) == wandb_sync.Sent(sent=3)
    run = server.runs[DONE.key]
    assert [(row["_step"], row["loss"]) for row in run.rows] == [(0, 2.0), (1, 1.0)] and run.exit == 0


def test_what_the_server_refuses_is_sent_the_next_time(server, runs, capsys):
    (runs / "trials" / DENSE.key / "record.json").write_text("{")
    server.broken.add("CreateArtifact")
    assert cli.main(["sync", "tiny", "--project", "other", "--entity", "team"]) == 1
    told = capsys.readouterr()
    assert "0 sent, 0 there already, 4 failed" in told.out
    assert f"{DONE.key}: W&B did not take it" in told.err and "record.json is not a record" in told.err
    assert not list(runs.glob("**/tracked.json"))
    server.broken.clear()
    (runs / "trials" / DENSE.key / "record.json").write_text(DENSE.model_dump_json())
    assert cli.main(["sync", "tiny", "--project", "other", "--entity", "team"]) == 0
    assert "4 sent, 0 there already" in capsys.readouterr().out
    assert [row["_step"] for row in server.runs[DONE.key].rows] == [0, 1]
    assert (server.runs[DONE.key].starts[0]["project"], server.runs[DONE.key].starts[0]["entity"]) == ("other", "team")
    assert marker(runs, DONE.key)["entity"] == "team"


def test_a_network_that_goes_keeps_what_was_sent(server, runs, capsys, monkeypatch):
    real, begun = wandb_run.start_trial, []

    def start_trial(*arguments):
        if begun:
            server.stop()
        begun.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(wandb_run, "start_trial", start_trial)
    monkeypatch.setattr(wandb_run, "NETWORK_S", 2)
    monkeypatch.setattr(wandb_sync, "AT_ONCE", 1)
    assert cli.main(["sync", "tiny"]) == 1
    told = capsys.readouterr()
    assert "1 sent, 0 there already, 2 failed" in told.out and told.err.count("W&B starts no run") == 1
    assert len(list(runs.glob("trials/*/tracked.json"))) == 1 and len(begun) == 2


def test_without_a_key_a_network_or_wandb_nothing_changes(tmp_path, runs, monkeypatch, capsys):
    def refused() -> str:
        assert cli.main(["sync", "tiny"]) == 2
        assert not list(runs.glob("**/tracked.json"))
        return capsys.readouterr().err.splitlines()[-1]

    use(monkeypatch, tmp_path, "http://127.0.0.1:9")  # nobody listens there
    assert "W&B does not answer" in refused()
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    assert "W&B has no API key" in refused()
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert refused() == ("prunebench: wandb is not installed (pip install wandb): nothing was sent, nothing is lost")


def test_there_and_back_on_another_machine(server, runs, monkeypatch, tmp_path, capsys):
    assert cli.main(["sync", "tiny"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert cli.main(["pull", "team/p"]) == 0
    assert "3 taken, 0 here already, 0 refused" in capsys.readouterr().out
    for key, name in ((DONE.key, "record.json"), (DENSE.key, "record.json"), (FAILED.key, "failed-1.json")):
        there = Path("runs/p/trials") / key / name
        assert there.read_bytes() == (tmp_path / runs / "trials" / key / name).read_bytes()
    asked = len(server.operations)
    assert cli.main(["pull", "team/p"]) == 0
    assert "0 taken, 3 here already, 0 refused" in capsys.readouterr().out
    assert "FetchArtifactManifest" not in server.operations[asked:]
    begun = {key: len(run.starts) for key, run in server.runs.items()}
    assert cli.main(["sync", "p"]) == 0  # it goes back where it came from
    assert "2 sent, 2 there already, 0 failed" in capsys.readouterr().out  # the failure, and a report of its own
    assert {key for key, run in server.runs.items() if len(run.starts) > begun.get(key, 0)} == {FAILED.key, "report-p"}
