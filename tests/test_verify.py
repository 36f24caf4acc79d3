"""An honest record stands; each kind of lie is refused with its reason."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from bench import cli, verify
from bench.record import Record
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial
from bench.trial import run_trial

DENSE = Trial(
    dataset=DataSpec(name="digits", subset=400),
    backbone=BackboneSpec(name="cifar_resnet20"),
    dense=DenseSpec(recipe=Recipe(epochs=2, lr=0.05)),
    method=MethodSpec(name="dense"),
    recipe=Recipe(epochs=2, lr=0.05),
)
CUT = DENSE.model_copy(update={"method": MethodSpec(name="l1"), "baseline": DENSE.key, "keep_macs": 0.5})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with the records of a dense network and of one that lost half of its MACs."""
    folder = tmp_path_factory.mktemp("run")
    for trial in (DENSE, CUT):
        assert isinstance(run_trial(trial, folder, suite="t", threads=1), Record)
    return folder


@pytest.fixture
def record(run, tmp_path):
    """The pruned trial's record in a copy of the run folder, to be tampered with."""
    shutil.copytree(run / "trials", tmp_path / "trials", ignore=shutil.ignore_patterns("journal"))
    return tmp_path / "trials" / CUT.key / "record.json"


def change(path, **values):
    """`result__top1=...` changes that field of the record."""
    record = json.loads(path.read_text())
    for name, value in values.items():
        *parents, last = name.split("__")
        place = record
        for parent in parents:
            place = place[parent]
        place[last] = value(place[last]) if callable(value) else value
    path.write_text(json.dumps(record))


def refused(path, **options):
    return [check.text for check in verify.verify(path, **options) if check.outcome == "refused"]


def test_honest_records_stand(run, capsys):
    assert cli.main(["verify", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "2 verified, 0 refused" in shown and "evaluated anew" in shown and "the same kind of machine" in shown


ONE_IMAGE = 100 / 360
"""Of the test set of digits, in points."""


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"result__top1": lambda v: v + 4 * ONE_IMAGE}, "top-1"),
        ({"result__top1": lambda v: v + 0.1}, "no number of them is"),
        ({"result__top5": lambda v: v - 3 * ONE_IMAGE}, "top-5"),
        ({"result__test_images": 720}, "of 360"),
        ({"result__macs": lambda v: v - 1}, "counted anew"),
        ({"result__params": lambda v: v - 1}, "counted anew"),
        ({"dense__macs": lambda v: v + 1000, "off_target": None}, "dense network: "),
        ({"dense__top1": lambda v: v - 4 * ONE_IMAGE}, "own record says something else"),
        ({"spent_dense__epochs": 1.0}, "own record says something else"),
        ({"widths": lambda w: {**w, next(iter(w)): 3}}, "filters, not 3"),
        ({"dense_widths": lambda w: {**w, next(iter(w)): 64}}, "filters, not 64"),
        ({"spent__epochs": 1.0}, "the history has 2"),
        ({"spent__macs": lambda v: v / 2}, "MACs of training"),
        ({"spent__images": 1}, "images of training"),
        ({"starts_from": "scratch"}, "it starts from pretrained"),
        ({"spent_dense": None}, "own record says something else"),
        ({"off_target": None}, "off the target"),
        ({"history": lambda h: h[:-1]}, "the history has 1"),
        ({"result__top1": float("nan")}, "is not a record"),
        ({"best_top1": 99.0}, "best test epoch"),
        ({"off_target": 0.0}, "off the target"),
        ({"off_target": None}, "off the target"),
        ({"dense": None, "off_target": None}, "its trial has one"),
        ({"spent__images": lambda v: v - 128}, "images of training"),
        ({"history": lambda rows: rows[:1]}, "the history has 1"),
        ({"history": lambda rows: [{**rows[0], "macs": 1}, *rows[1:]]}, "MACs of training"),
        ({"history": lambda rows: rows * 2, "spent__epochs": 4.0}, "within its budget of 2 epochs, but 4 were spent"),
        ({"history": lambda rows: [{**row, "top1": 99.0} for row in rows]}, "best test epoch"),
        (
            {"history": lambda rows: [{**row, "top1": 99.0} for row in rows], "best_top1": 99.0},
            "the last epoch's test accuracy 99.00 %, but the result is",
        ),
        (
            {"history": lambda rows: [{**row, "top1": 50.0} for row in rows], "best_top1": 50.0},
            "test accuracies of 2 epochs, but its trial asks for those of 0",
        ),
        ({"history": lambda rows: [{**rows[0], "epochs": -4.0}, {**rows[1], "epochs": 6.0}]}, "is not a record"),
        ({"result__top5": True}, "is not a record"),
        ({"result__top1": "88.5"}, "is not a record"),
        ({"key": "0" * 16}, "was altered"),
        ({"trial__seed": 7}, "was altered"),
        ({"result__top1": "high"}, "is not a record"),
        ({"unknown": 1}, "is not a record"),
        ({"dense__macs": 0}, "is not a record"),
    ],
)
def test_a_lie_is_refused_with_its_reason(record, values, reason):
    change(record, **values)
    reasons = refused(record)
    assert any(reason in text for text in reasons), reasons


def test_a_precision_that_the_trial_did_not_ask_for_is_refused(record):
    values = json.loads(record.read_text())
    trial = Trial.model_validate({**values["trial"], "precision": "fp32"})
    change(record, trial=trial.model_dump(mode="json"), key=trial.key, machine__precision="bf16")
    assert "trained in bf16, but its trial asks for fp32" in refused(record)


def retold(path, **changes):
    """The record as one of another trial; its dense network's record stays."""
    trial = Trial.model_validate({**json.loads(path.read_text())["trial"], **changes})
    change(path, trial=trial.model_dump(mode="json"), key=trial.key)


def test_a_target_that_its_network_misses_by_far_is_refused(record):
    retold(record, keep_macs=0.2)
    change(record, off_target=lambda off: off + 30)
    assert any("it may be" in text and "one filter group" in text for text in refused(record))


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({"name": "l1", "version": 99}, "version 99 of l1; installed is 1"),
        ({"name": "l1", "params": {"nonsense": 1}}, "l1 has no such hyper-parameters"),
        ({"name": "l1", "params": {"scope": "sideways"}}, "l1 has no such hyper-parameters"),
    ],
)
def test_a_method_that_there_is_not_is_refused(record, method, reason):
    retold(record, method=method)
    assert any(reason in text for text in refused(record))


def test_an_older_version_of_a_method_is_only_noted(record):
    retold(record, method={"name": "slimming", "version": 1})
    notes = [check.text for check in verify.verify(record) if check.outcome == "note"]
    assert "version 1 of slimming; installed is 2" in notes and not refused(record)


def test_widths_that_are_not_those_of_its_twin_are_refused(record):
    twin = json.loads(record.read_text())["key"]
    copy = record.parents[1] / "twin" / "record.json"
    shutil.copytree(record.parent, copy.parent)
    retold(copy, twin=twin)
    assert not refused(copy)
    change(record, widths=lambda w: {**w, next(iter(w)): 3})
    assert f"the widths of trial {twin}, but it has others" in refused(copy)


def test_images_of_another_size_than_the_data_sets_are_refused(record):
    network = record.with_name("model.safetensors")
    with safe_open(network, "pt") as file:
        about, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    forged = {key: value.replace('"image_size":8', '"image_size":4') for key, value in about.items()}
    assert forged != about
    save_file(weights, network, forged)
    assert "10 classes of 1 x 4 x 4 images, but digits has 10 classes of 1 x 8 x 8 images" in refused(record)


def test_another_network_beside_the_record_is_refused(record, run):
    shutil.copy(run / "trials" / DENSE.key / "model.safetensors", record.with_name("model.safetensors"))
    assert any("counted anew" in text for text in refused(record))
    network = record.with_name("model.safetensors")
    for damaged in (b"no network", network.read_bytes()[:5000], network.read_bytes()[:-1], b""):
        network.write_bytes(damaged)
        assert "cannot be read as safetensors" in refused(record)[-1]


def test_every_forgery_ends_with_its_reason_and_exit_code_1(record, capsys):
    change(record, result__macs=lambda v: v // 2)
    assert cli.main(["verify", str(record.parents[1])]) == 1  # beside an honest one
    shown = capsys.readouterr().out
    assert "1 verified, 1 refused" in shown and "counted anew" in shown
    assert sum(line.endswith(": refused") for line in shown.splitlines()) == 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_network_is_refused(record, share):
    network = record.with_name("model.safetensors")
    whole = network.read_bytes()
    network.write_bytes(whole[: int(len(whole) * share)])
    reasons = refused(record)
    assert reasons and "model.safetensors" in reasons[-1], reasons


def test_weights_that_were_changed_are_refused(record):
    """The same shapes, other values: all counts agree, the accuracy does not."""
    network = record.with_name("model.safetensors")
    with safe_open(network, "pt") as file:
        about, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({name: w.flip(0).contiguous() for name, w in weights.items()}, network, about)
    assert any("evaluated anew" in text for text in refused(record))


def test_the_network_may_lie_elsewhere_but_not_be_missing(record, tmp_path, capsys):
    elsewhere = tmp_path / "downloaded.safetensors"
    record.with_name("model.safetensors").rename(elsewhere)
    assert cli.main(["verify", str(record)]) == 1
    assert "--network" in capsys.readouterr().out
    assert cli.main(["verify", str(record), "--network", str(elsewhere)]) == 0


def test_a_record_alone_says_what_was_not_looked_at(record):
    shutil.rmtree(record.parents[1] / DENSE.key)
    checks = verify.verify(record)
    assert [check.text for check in checks if check.outcome == "note"][0].startswith("the accuracy of its dense")
    assert not [check for check in checks if check.outcome == "refused"]


def test_records_named_by_their_keys_find_their_files(record, tmp_path):
    flat = tmp_path / "results"
    flat.mkdir()
    for folder in record.parents[1].iterdir():
        shutil.copy(folder / "record.json", flat / f"{folder.name}.json")
        shutil.copy(folder / "model.safetensors", flat / f"{folder.name}.model.safetensors")
    for path in sorted(flat.glob("*.json")):
        assert {check.outcome for check in verify.verify(path)} == {"ok"}


def test_another_machine_is_allowed_more(record, capsys):
    change(record, machine__cpu="Another CPU")
    assert cli.main(["verify", str(record)]) == 0
    assert "another kind of machine" in capsys.readouterr().out


def test_a_folder_without_records_is_a_mistake(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "there is no record in" in capsys.readouterr().err


def test_a_dense_network_that_the_trial_does_not_name_is_refused(record):
    values = json.loads(record.read_text())
    trial = Trial.model_validate({**values["trial"], "baseline": None})
    change(record, trial=trial.model_dump(mode="json"), key=trial.key, dense__top1=50.0)
    assert "no dense trial named, but its trial has one" in refused(record)
