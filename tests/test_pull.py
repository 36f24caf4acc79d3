"""`prunebench pull` against a fake of wandb.Api (see wandb_fake.py)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from records import make_record, make_trial, save, save_plan

from bench import cli, compact
from bench.lease import hold
from bench.record import Failure, Record, read_record, write_json
from bench.spec import BackboneSpec, Trial

wandb = pytest.importorskip("wandb")

from wandb_fake import FakeApi, FakeArtifact, FakeCollection, FakeEntry, FakeType  # noqa: E402

RECORD, DENSE = make_record(), make_record(make_trial("dense"))


def text(record: Record | Failure) -> bytes:
    return record.model_dump_json(indent=1).encode()


def artifact(record: Record, content: bytes | None = None, **more) -> FakeArtifact:
    files = {"record.json": text(record) if content is None else content}
    values = {
        "collection": f"record-{record.key}",
        "type": "record",
        "files": files,
        "metadata": {"suite": record.suite},
    }
    return FakeArtifact(**(values | more))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that fills team/p."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb, "login", lambda prompt: True)

    def fill(*artifacts: FakeArtifact) -> FakeApi:
        api = FakeApi("team/p", *artifacts)
        monkeypatch.setattr(wandb, "Api", lambda: api)
        return api

    return fill


def pull(capsys, *arguments: str) -> tuple[int, str, list[str]]:
    """(exit status, what was printed, the lines about what was refused)."""
    capsys.readouterr()
    code = cli.main(["pull", "team/p", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err.splitlines()


def test_records_come_once_and_make_a_leaderboard(project, capsys):
    found = [artifact(DENSE), artifact(RECORD)]
    project(*found)
    code, told, errors = pull(capsys)
    assert (code, errors) == (0, []) and "2 taken, 0 here already, 0 refused" in told
    assert read_record(Path(f"runs/p/trials/{RECORD.key}/record.json")) == RECORD
    plan = Path("runs/p/plan.json")
    assert {entry["key"] for entry in json.loads(plan.read_text())["trials"]} == {DENSE.key, RECORD.key}
    assert json.loads(Path("runs/p/methods.json").read_text())["dense"]["control"]
    assert cli.main(["report", "p"]) == 0
    assert "90.00" in capsys.readouterr().out
    assert cli.main(["status", "p"]) == 0
    assert "2 done of 2 trials" in capsys.readouterr().out

    before = plan.stat().st_mtime_ns
    code, told, errors = pull(capsys)
    assert (code, errors) == (0, []) and "0 taken, 2 here already, 0 refused" in told
    assert [each.downloads for each in found] == [1, 1] and plan.stat().st_mtime_ns == before
    assert not list(Path("runs/p").glob(".pull-*"))


def test_what_is_no_record_is_refused_and_the_rest_kept(project, capsys):
    altered = json.loads(text(RECORD))
    altered["trial"]["seed"] = 9
    missing = json.loads(text(RECORD))
    del missing["result"]
    others = [make_trial("l1", seed=seed) for seed in range(1, 9)]
    damaged, wrong, moved, more, refers, large, absent, named = (make_record(trial) for trial in others)
    project(
        artifact(damaged, b"{"),
        artifact(wrong, json.dumps(missing).encode()),
        artifact(moved, text(RECORD)),
        artifact(RECORD, json.dumps(altered).encode()),
        artifact(more, files={"record.json": text(more), "../../../../escaped.txt": b"x"}),
        artifact(refers, ref="file:///etc/passwd"),
        artifact(large, size=10**9),
        artifact(absent, fails=_http_error()),
        artifact(named, collection="record-../../escaped"),
        artifact(DENSE),
    )
    code, told, errors = pull(capsys)
    assert code == 1 and "1 taken, 0 here already, 9 refused" in told
    assert [path.parent.name for path in Path().rglob("record.json")] == [DENSE.key]
    assert not list(Path().rglob("escaped*")) and not list(Path().parent.glob("escaped*"))
    reasons = dict(zip([line.split(": ")[1] for line in errors], errors, strict=True))
    for record, reason in (
        (damaged, "it is not a record: Invalid JSON"),
        (wrong, "it is not a record: result: Field required"),
        (moved, f"it holds the record {RECORD.key}"),
        (RECORD, "it was altered"),
        (more, "it holds other files than record.json"),
        (refers, "it refers to a file elsewhere"),
        (large, "it is larger than 50 MB"),
        (absent, "it cannot be downloaded: HTTPError: 404"),
    ):
        assert reason in reasons[f"record-{record.key}:v0"]
    assert "it is no artifact of a trial" in reasons["record-../../escaped:v0"]


def _http_error() -> Exception:
    import requests

    response = requests.Response()
    response.status_code = 404
    return requests.HTTPError("404 Client Error", response=response)


def test_a_record_that_differs_is_a_conflict_and_the_one_here_stays(project, capsys):
    own = make_record(top1=80.0)
    save(Path("runs/p"), own)
    second = make_record(make_trial("l1", seed=1), top1=81.0)
    rerun = make_record(make_trial("l1", seed=1), top1=82.0)
    network = FakeArtifact(f"model-{second.key}", "model", {"model.safetensors": b"whose?"})
    project(artifact(RECORD), artifact(second), artifact(rerun, version="v1"), artifact(second, version="v10"), network)
    code, told, errors = pull(capsys, "--models")
    assert code == 1 and "1 taken, 1 here already, 3 refused" in told
    assert f"record-{own.key}:v0: in conflict with runs/p/trials/{own.key}/record.json" in errors[0]
    assert f"record-{second.key}:v1: in conflict" in errors[1]
    assert f"model-{second.key}:v0: its record is refused or in conflict" in errors[2]
    assert read_record(Path(f"runs/p/trials/{own.key}/record.json")).result.top1 == 80.0
    assert read_record(Path(f"runs/p/trials/{second.key}/record.json")).result.top1 == 81.0


def test_a_plan_that_is_there_keeps_its_entries(project, capsys):
    waiting = make_trial("l1", seed=3)
    save_plan(Path("runs/tiny"), waiting, RECORD.trial)
    write_json(Path("runs/tiny/methods.json"), {"elsewhere": {"summary": "a plugin of another machine"}})
    project(artifact(RECORD), artifact(make_record(make_trial("l1", seed=1), suite="another")))
    assert pull(capsys, "--suite", "tiny")[0] == 0
    plan = json.loads(Path("runs/tiny/plan.json").read_text())
    assert [entry["key"] for entry in plan["trials"]] == [waiting.key, RECORD.key] and plan["suite"] == "tiny"
    assert {"elsewhere", "l1"} <= set(json.loads(Path("runs/tiny/methods.json").read_text()))
    assert [path.parent.name for path in Path().rglob("record.json")] == [RECORD.key]
    Path("runs/tiny/plan.json").write_text("{")
    code, _, errors = pull(capsys, "--suite", "tiny")
    assert code == 2 and "plan.json is damaged" in errors[0]


def test_a_record_of_another_suite_stays_away_though_nothing_says_so(project, capsys):
    project(artifact(make_record(suite="another"), metadata={}))
    code, told, errors = pull(capsys, "--suite", "tiny")
    assert (code, errors) == (0, []) and "0 taken, 0 here already, 0 refused" in told
    assert not list(Path().rglob("record.json"))


def test_failed_trials_come_along_unless_they_are_done_here(project, capsys):
    done, failed = RECORD.trial, make_trial("l1", seed=5)
    save(Path("runs/p"), RECORD)

    def failure(trial: Trial, key: str = "") -> FakeArtifact:
        value = Failure(key=key or trial.key, trial=trial, kind="method", reason="NaN", when="now")
        return FakeArtifact(f"failure-{key or trial.key}", "failure", {"failure.json": text(value)})

    found = [failure(done), failure(failed), failure(failed, "0" * 16)]
    project(*found)
    code, told, errors = pull(capsys)
    assert code == 1 and "1 taken, 0 here already, 1 refused" in told and "it was altered" in errors[0]
    assert json.loads(Path(f"runs/p/trials/{failed.key}/failed-1.json").read_text())["reason"] == "NaN"
    assert "0 taken, 1 here already, 1 refused" in pull(capsys)[1]
    assert len(list(Path("runs/p/trials").glob("*/failed-*.json"))) == 1 and found[1].downloads == 1
    capsys.readouterr()
    assert cli.main(["report", "p"]) == 0
    assert "(1 failed)" in capsys.readouterr().out


def test_networks_come_when_asked_for_and_fit_their_record(project, capsys, tmp_path):
    def network(name: str) -> bytes:
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
        spec, path = BackboneSpec(name=name), tmp_path / f"{name}.safetensors"
        compact.save(path, model, spec, num_classes=10, in_chans=3, image_size=32, mean=(0.0,), std=(1.0,))
        return path.read_bytes()

    def model(record: Record, content: bytes) -> FakeArtifact:
        return FakeArtifact(f"model-{record.key}", "model", {"model.safetensors": content})

    other = make_record(make_trial("l1", seed=1))
    good, foreign = network("cifar_resnet20"), network("cifar_resnet56")
    elsewhere = FakeArtifact("a-model-of-somebody", "model", {"x.bin": b""})
    found = [artifact(RECORD), artifact(DENSE), artifact(other), model(RECORD, good), model(DENSE, good), elsewhere]
    project(*found)
    assert pull(capsys)[0] == 0
    assert [path.parent.name for path in Path("runs").rglob("model.safetensors")] == [DENSE.key]  # others start from it
    code, told, errors = pull(capsys, "--models")
    assert (code, errors) == (0, []) and "1 taken, 4 here already" in told
    assert Path(f"runs/p/trials/{RECORD.key}/model.safetensors").read_bytes() == good
    assert "0 taken, 5 here already" in pull(capsys, "--models")[1]
    assert [each.downloads for each in found[3:5]] == [1, 1]

    project(
        *found[:3], model(RECORD, foreign), model(DENSE, b"\x80pickle"), model(make_record(make_trial("l1", 8)), good)
    )
    code, told, errors = pull(capsys, "--models")
    assert code == 1 and "0 taken, 3 here already, 3 refused" in told
    assert "it is a cifar_resnet56, its record's network a cifar_resnet20" in errors[0]
    assert "it cannot be read as safetensors" in errors[1] and "its record is not here" in errors[2]
    own = Path(f"runs/p/trials/{RECORD.key}/model.safetensors")
    own.write_bytes(good)
    project(artifact(RECORD), model(RECORD, network("cifar_resnet20")))  # fresh weights
    assert "in conflict with" in pull(capsys, "--models")[2][0] and own.read_bytes() == good


def test_a_record_is_not_put_beside_a_network_that_it_may_not_know(project, capsys):
    folder = Path(f"runs/p/trials/{RECORD.key}")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"of another training")
    project(artifact(RECORD))
    code, _, errors = pull(capsys)
    assert code == 1 and "holds a network without its record: move that folder away" in errors[0]
    assert not (folder / "record.json").exists()


@pytest.mark.parametrize("where", ["listing", "download"])
def test_a_network_that_goes_keeps_what_came(project, capsys, where):
    lost = artifact(RECORD, fails=ConnectionError("no route") if where == "download" else None)
    api = project(artifact(DENSE), lost, artifact(make_record(make_trial("l1", seed=1))))
    if where == "listing":
        list(api.collections.values())[1].fails = wandb.errors.CommError("no route")
    code, told, errors = pull(capsys)
    assert code == 1 and "1 taken, 0 here already, 1 refused" in told
    assert len(errors) == 1 and "pulling stops" in errors[0] and "no route" in errors[0]
    assert [path.parent.name for path in Path().rglob("record.json")] == [DENSE.key]
    assert len(json.loads(Path("runs/p/plan.json").read_text())["trials"]) == 1


def test_a_mistake_is_one_line(project, capsys, monkeypatch):
    project()
    assert cli.main(["pull", "p"]) == 2 and "give ENTITY/PROJECT" in capsys.readouterr().err
    assert cli.main(["pull", "team/other"]) == 2 and "is the name right?" in capsys.readouterr().err
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    assert cli.main(["pull", "team/p"]) == 2 and "no API key" in capsys.readouterr().err


def test_a_hostile_name_does_nothing_to_a_terminal(project, capsys):
    project(artifact(RECORD, collection="record-\x1b[2Jx\nx"))
    code, _, errors = pull(capsys)
    assert code == 1 and len(errors) == 1 and "\x1b" not in errors[0]


def test_the_fake_is_called_as_the_real_one():
    """Every parameter of a faked call is one of wandb's own, in the same place."""
    from wandb.apis.public import ArtifactCollection, ArtifactType
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    for fake, real, calls in (
        (FakeApi, wandb.Api, ["artifact_types"]),
        (FakeType, ArtifactType, ["collections"]),
        (FakeCollection, ArtifactCollection, ["artifacts"]),
        (FakeArtifact, wandb.Artifact, ["get_entry"]),
        (FakeEntry, ArtifactManifestEntry, ["download"]),
    ):
        for call in calls:
            own, theirs = (list(inspect.signature(getattr(cls, call)).parameters) for cls in (fake, real))
            assert own == theirs, (fake, call)
    for name in ("name", "type", "version", "digest", "metadata", "size", "manifest"):
        assert isinstance(inspect.getattr_static(wandb.Artifact, name), property)
    assert "ref" in ArtifactManifestEntry.model_fields


def test_a_failure_of_a_trial_that_runs_here_stays_away(project, capsys):
    trial = make_trial("l1", seed=5)
    value = Failure(key=trial.key, trial=trial, kind="method", reason="NaN", when="now")
    project(FakeArtifact(f"failure-{trial.key}", "failure", {"failure.json": text(value)}))
    folder = Path(f"runs/p/trials/{trial.key}")
    with hold(folder):
        assert pull(capsys)[0] == 0
    assert not list(folder.glob("failed-*.json"))
