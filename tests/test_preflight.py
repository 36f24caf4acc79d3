"""What is missing is said before anything starts."""

import pytest
import torch

from bench import launch, registry, suite
from bench.errors import UserError
from bench.method import MethodError
from bench.running import preflight

SUITE = """\
name: tiny
dataset: {dataset}
backbone: cifar_resnet20
dense: {dense}
keep_macs: [0.5]
methods: [l1]
recipe: {{epochs: 1, lr: 0.01}}
"""


def test_data_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path / "empty"))
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE.format(dataset="cifar10", dense="{recipe: {epochs: 1, lr: 0.1}}"))
    with pytest.raises(UserError, match="prunebench fetch cifar10"):
        launch.run_suite(path, out=tmp_path / "out", scheduler="inline")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_architecture(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "w.pth")
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE.format(dataset="digits", dense="{weights: w.pth}"))
    with pytest.raises(UserError, match=r"w\.pth does not fit the backbone"):
        launch.run_suite(path, out=tmp_path / "out", scheduler="inline")
    assert not (tmp_path / "out").exists()


RATES = "dcff cannot work on cifar_resnet20: "


def trials(tmp_path, methods):
    path = tmp_path / "tiny.yaml"
    text = SUITE.format(dataset="digits", dense="{recipe: {epochs: 1, lr: 0.1}}").replace("[l1]", methods)
    path.write_text(text)
    return suite.trials(suite.load(path))


def test_a_method_that_cannot_work_on_the_backbone_is_told_of_before_the_dense_network_trains(tmp_path):
    (line,) = preflight.check(trials(tmp_path, "[l1, {dcff: {rates: [0.5, 0.5]}}]"), None)
    assert line.startswith(RATES)
    with pytest.raises(MethodError, match=RATES):  # nothing else would come of it
        preflight.check(trials(tmp_path, "[{dcff: {rates: [0.5, 0.5]}}]"), None)


def test_what_goes_wrong_otherwise_is_left_to_the_trial(tmp_path, monkeypatch):
    def broken(self, model, groups):
        raise KeyError("a plugin's own mistake")

    monkeypatch.setattr(registry.methods()["dcff"], "check", broken)
    assert preflight.check(trials(tmp_path, "[dcff]"), None) == []


def test_where_something_is_done_the_rest_is_only_told_of(tmp_path):
    wanted = trials(tmp_path, "[{dcff: {rates: [0.5, 0.5]}}]")
    record = tmp_path / "out" / "trials" / wanted[0].key / "record.json"
    record.parent.mkdir(parents=True)
    record.touch()
    assert len(preflight.check(wanted, tmp_path / "out")) == 1
