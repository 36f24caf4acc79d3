import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from bench import backbones, channels, compact
from bench.spec import BackboneSpec

INPUT = {"num_classes": 10, "in_chans": 3, "image_size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}


def pruned(name: str, **kwargs) -> tuple[BackboneSpec, nn.Module, torch.Tensor]:
    """A network of which each group keeps two units in three, the last ones."""
    torch.manual_seed(0)
    spec, example = BackboneSpec(name=name, kwargs=kwargs), torch.randn(1, 3, 32, 32)
    model = backbones.create(spec, num_classes=10)
    keep = {group.name: torch.arange(group.size // 3, group.size) for group in channels.groups(model, example)}
    return spec, channels.shrink(model, example, keep).eval(), example


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("cifar_resnet20", {"shortcut": "A"}),
        ("cifar_resnet20", {"shortcut": "B"}),
        ("cifar_vgg16", {}),
        ("resnet18", {"stem": "cifar"}),
        ("mobilenetv2_050", {}),
        ("regnetx_002", {}),
        ("efficientnet_b0", {}),
        ("convnext_atto", {}),
        ("ghostnet_050", {}),
    ],
)
def test_round_trip_is_exact(name, kwargs, tmp_path):
    spec, model, example = pruned(name, **kwargs)
    path = tmp_path / "runs" / "model.safetensors"
    compact.save(path, model, spec, **INPUT)
    loaded = compact.load_compact(path)
    assert torch.equal(loaded(example), model(example))
    assert str(loaded) == str(model) and not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    before, after = channels.groups(model, example), channels.groups(loaded, example)
    assert [(group.name, group.size) for group in before] == [(group.name, group.size) for group in after]
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_description(tmp_path):
    spec, model, _ = pruned("cifar_resnet20", shortcut="B")
    compact.save(tmp_path / "m", model.to(memory_format=torch.channels_last).double(), spec, **INPUT)
    found = compact.describe(tmp_path / "m")
    assert (found.backbone, found.mean, found.image_size) == (spec, (0.5, 0.4, 0.3), 32)
    assert found.widths["layer1.0.conv1"] == {"in_channels": 11, "out_channels": 11, "groups": 1}
    assert compact.load_compact(tmp_path / "m").conv1.weight.dtype == torch.double


def test_a_parametrised_network_is_not_saved(tmp_path):
    spec, model, _ = pruned("cifar_resnet20")
    register_parametrization(model.bn1, "weight", nn.Identity())
    with pytest.raises(ValueError, match="bn1 is still parametrised"):
        compact.save(tmp_path / "m", model, spec, **INPUT)
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files(tmp_path):
    spec, model, _ = pruned("cifar_resnet20", shortcut="A")
    path = tmp_path / "m"
    compact.save(path, model, spec, **INPUT)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{path} cannot be read as safetensors: "):
        compact.load_compact(path)
    with pytest.raises(ValueError, match="is a folder: name the model.safetensors in it"):
        compact.load_compact(tmp_path)
    with pytest.raises(ValueError, match="absent cannot be read as safetensors: "):
        compact.load_compact(tmp_path / "absent")
    save_file({"weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=f"{path} is no compact network: its metadata lack 'prunebench'"):
        compact.load_compact(path)
    save_file({"weight": torch.ones(1)}, path, metadata={"prunebench": json.dumps({"backbone": 3})})
    with pytest.raises(ValueError, match=f"{path} is no compact network: its metadata are damaged"):
        compact.load_compact(path)


@pytest.mark.parametrize(
    ("other", "kwargs", "message"),
    [
        ("cifar_resnet32", {"shortcut": "A"}, "layer layer1.3.bn1 is only in the network"),
        ("cifar_resnet20", {"shortcut": "B"}, "layer layer2.0.shortcut is only in the file"),
        ("cifar_vgg16", {}, "layer bn1 is only in the file"),
    ],
)
def test_another_backbone(other, kwargs, message, tmp_path):
    _, model, _ = pruned("cifar_resnet20", shortcut="A")
    compact.save(tmp_path / "m", model, BackboneSpec(name=other, kwargs=kwargs), **INPUT)
    with pytest.raises(ValueError, match=f"m does not fit the backbone {other}: {message}"):
        compact.load_compact(tmp_path / "m")
