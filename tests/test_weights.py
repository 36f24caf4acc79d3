"""Trained weights from a file: renamed, checked, refused in one line."""

import pytest
import torch

from bench import backbones, compact, weights
from bench.data import DataError
from bench.method import MethodError
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial, WeightsSpec


def network():
    return backbones.create(BackboneSpec(name="cifar_resnet20"), num_classes=10)


def saved(path, state):
    torch.save(state, path)
    return str(path)


def test_keys_are_renamed_in_order_and_a_wrapping_mapping_is_opened(tmp_path):
    source = network()
    state = {"module." + key.replace("fc.", "linear."): value for key, value in source.state_dict().items()}
    file = saved(tmp_path / "w.pth", {"state_dict": state, "epoch": 3})
    model = network()
    weights.load_weights(model, WeightsSpec(file=file, rename=((r"^module\.", ""), (r"^linear\.", "fc."))))
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_other_keys_are_named(tmp_path):
    file = saved(tmp_path / "w.pth", {"linear.weight": torch.zeros(10, 64)})
    with pytest.raises(MethodError, match=r"lacks bn1.bias and \d+ more; it has the unknown linear.weight and 0 more"):
        weights.load_weights(network(), WeightsSpec(file=file))


def test_another_architecture_is_refused(tmp_path):
    state = network().state_dict()
    state["fc.weight"] = torch.zeros(100, 64)
    with pytest.raises(MethodError, match=r"fc.weight is \(100, 64\), the backbone's \(10, 64\)"):
        weights.load_weights(network(), WeightsSpec(file=saved(tmp_path / "w.pth", state)))


def test_a_file_that_changed_since_the_suite_was_read_is_refused(tmp_path):
    file = saved(tmp_path / "w.pth", network().state_dict())
    with pytest.raises(MethodError, match="has changed since the suite was read"):
        weights.load_weights(network(), WeightsSpec(file=file, sha256="0" * 64))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_weights_is_refused(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(MethodError, match="cannot be read as weights"):
        weights.load_weights(network(), WeightsSpec(file=str(tmp_path / "w.pth")))


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"a": Evil()}, tmp_path / "w.pth")
    with pytest.raises(MethodError, match="cannot be read as weights"):
        weights.load_weights(network(), WeightsSpec(file=str(tmp_path / "w.pth")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "others", [{"optimizer": {"lr": 0.1}, "epoch": 3}, {"scheduler": {}, "optimizer": {"state": {}}, "args": {"lr": 1}}]
)
@pytest.mark.parametrize("name", ["state_dict", "model"])
def test_a_training_checkpoint_is_opened_whatever_else_it_holds(tmp_path, name, others):
    source, model = network(), network()
    file = saved(tmp_path / "w.pth", {**others, name: source.state_dict()})
    weights.load_weights(model, WeightsSpec(file=file))
    assert torch.equal(model.conv1.weight, source.conv1.weight)


def test_a_classifier_for_other_classes_is_drawn_by_seed(monkeypatch):
    drawn = []

    def create(spec, **_):
        drawn.append(torch.rand(1).item())

    monkeypatch.setattr(backbones, "create", create)
    for seed in (0, 0, 1):
        torch.seed()
        trial = Trial(
            dataset=DataSpec(name="digits"),
            backbone=BackboneSpec(name="resnet18"),
            dense=DenseSpec(pretrained=True),
            method=MethodSpec(name="dense"),
            recipe=Recipe(epochs=0, lr=0.1),
            seed=seed,
        )
        weights.dense(trial, classes=10, channels=3, image_size=32)
    assert drawn[0] == drawn[1] != drawn[2]


def test_departures_from_how_timm_tests_its_weights_are_told():
    model = network()
    model.pretrained_cfg = {
        "num_classes": 1000,
        "crop_pct": 0.95,
        "interpolation": "bilinear",
        "input_size": (3, 224, 224),
    }
    trial = Trial(
        dataset=DataSpec(name="imagefolder", root="images"),
        backbone=BackboneSpec(name="resnet18"),
        dense=DenseSpec(pretrained=True),
        method=MethodSpec(name="dense"),
        recipe=Recipe(epochs=0, lr=0.1),
    )
    untrained, tested = weights.departures(trial, model, classes=10, size=64)
    assert untrained == "timm's weights tell 1000 classes apart: the dense network's classifier is untrained"
    assert tested.startswith(
        "timm tests these weights with a crop of 0.95, bilinear, 224 pixels; here it is a crop of 0.875"
    )
    same = {"num_classes": 10, "crop_pct": 0.9, "interpolation": "bicubic", "input_size": (3, 64, 64)}
    model.pretrained_cfg = same
    cropped = trial.model_copy(update={"dataset": DataSpec(name="imagefolder", root="images", crop=0.9)})
    assert list(weights.departures(cropped, model, classes=10, size=64)) == []
    whole = trial.model_copy(update={"dataset": DataSpec(name="digits")})  # tested on whole images
    model.pretrained_cfg = same | {"crop_pct": 0.5}
    assert list(weights.departures(whole, model, classes=10, size=64)) == []


def test_a_baseline_brings_the_normalisation_that_it_was_trained_with(tmp_path):
    trial = Trial(
        dataset=DataSpec(name="cifar10"),
        backbone=BackboneSpec(name="cifar_resnet20"),
        dense=DenseSpec(pretrained="some_tag"),
        method=MethodSpec(name="l1"),
        recipe=Recipe(epochs=1, lr=0.1),
        baseline="0" * 16,
    )
    with pytest.raises(DataError, match="the dense network cannot be had: .*model.safetensors"):
        weights.baseline(trial, tmp_path)
    path, own = tmp_path / "trials" / trial.baseline / "model.safetensors", {"mean": (0.1,) * 3, "std": (0.9,) * 3}
    compact.save(path, network(), trial.backbone, num_classes=10, in_chans=3, image_size=32, **own)
    model, normalisation = weights.baseline(trial, tmp_path)
    assert normalisation == ((0.1,) * 3, (0.9,) * 3) and model.conv1.weight.shape == (16, 3, 3, 3)
