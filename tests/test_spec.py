"""Trials: validation, and keys that must not change unless results do."""

import pytest
from pydantic import ValidationError

from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial, WeightsSpec


def trial(**changes) -> Trial:
    values = {
        "dataset": DataSpec(name="cifar10", subset=5000),
        "backbone": BackboneSpec(name="cifar_resnet20"),
        "dense": DenseSpec(recipe=Recipe(epochs=12, lr=0.1)),
        "method": MethodSpec(name="l1", params={"scope": "global"}),
        "recipe": Recipe(epochs=4, lr=0.02),
        "keep_macs": 0.5,
    }
    return Trial(**{**values, **changes})


def test_frozen_keys():
    """A changed key means that every record there is would be run again: raise PROTOCOL or do not change it."""
    assert trial().key == "0a2c5a7ce932490c"
    assert trial(seed=1, keep_macs=None, smoke=True).key == "1e7c27491c375c02"


def test_where_files_lie_does_not_count():
    here, there = (DenseSpec(weights=WeightsSpec(file=file, sha256="ab")) for file in ("/a/w.pth", "/b/w.pth"))
    assert trial(dense=here).key == trial(dense=there).key
    other = DenseSpec(weights=WeightsSpec(file="/a/w.pth", sha256="cd"))
    assert trial(dense=here).key != trial(dense=other).key
    roots = [DataSpec(name="imagefolder", root=root, fingerprint="ab") for root in ("/a", "/b")]
    assert trial(dataset=roots[0]).key == trial(dataset=roots[1]).key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"keep_macs": 0.25},
        {"smoke": True},
        {"precision": "bf16"},
        {"recipe": Recipe(epochs=4, lr=0.01)},
        {"method": MethodSpec(name="l1", version=2, params={"scope": "global"})},
        {"method": MethodSpec(name="l1", params={"scope": "layer"})},
        {"backbone": BackboneSpec(name="cifar_resnet20", kwargs={"shortcut": "B"})},
        {"protocol": 2},
        {"dataset": DataSpec(name="cifar10", subset=5000, crop=1.0)},
        {"dataset": DataSpec(name="cifar10", subset=5000, classes="imagenet-1k")},
    ],
)
def test_what_decides_a_result_counts(change):
    assert trial(**change).key != trial().key


def test_a_key_survives_the_disk():
    assert Trial.model_validate_json(trial().model_dump_json()).key == trial().key


def test_text_that_yaml_leaves_as_a_string_becomes_a_number():
    assert Recipe(epochs=1, lr="1e-4").lr == 1e-4


@pytest.mark.parametrize("keep", [0, -0.5, 1.01])
def test_a_share_of_macs_is_in_0_to_1(keep):
    with pytest.raises(ValidationError):
        trial(keep_macs=keep)


def test_milestones_mean_step():
    assert Recipe(epochs=3, lr=0.1, milestones=[1, 2]).schedule == "step"
    with pytest.raises(ValidationError, match="belong together"):
        Recipe(epochs=3, lr=0.1, schedule="step")


def test_one_source_of_dense_weights():
    with pytest.raises(ValidationError, match="exactly one"):
        DenseSpec(pretrained=True, recipe=Recipe(epochs=1, lr=0.1))
