"""What is missing is said before anything starts."""

import pytest
import torch

from bench import launch
from bench.errors import UserError

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
    suite = tmp_path / "tiny.yaml"
    suite.write_text(SUITE.format(dataset="cifar10", dense="{recipe: {epochs: 1, lr: 0.1}}"))
    with pytest.raises(UserError, match="prunebench fetch cifar10"):
        launch.run_suite(suite, out=tmp_path / "out", scheduler="inline")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_architecture(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "w.pth")
    suite = tmp_path / "tiny.yaml"
    suite.write_text(SUITE.format(dataset="digits", dense="{weights: w.pth}"))
    with pytest.raises(UserError, match=r"w\.pth does not fit the backbone"):
        launch.run_suite(suite, out=tmp_path / "out", scheduler="inline")
    assert not (tmp_path / "out").exists()
