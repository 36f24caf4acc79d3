"""Own CIFAR networks against published counts and weights; names, keywords and plugins of `bench.backbones`."""

import os
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from bench import backbones, cost
from bench.backbones.resnet import PadShortcut
from bench.spec import BackboneSpec

SHARED = Path(os.environ.get("PRUNEBENCH_SHARED", Path(__file__).parents[2] / "shared"))
AKAMASTER = ((r"^module\.", ""), (r"^linear\.", "fc."))
GATE_DECORATOR_RESNET = ((r"^linear\.", "fc."),)
GATE_DECORATOR_VGG = ((r"^classifier\.", "fc."),)


def create(name, num_classes=10, in_chans=3, image_size=None, pretrained=False, **kwargs):
    spec = BackboneSpec(name=name, kwargs=kwargs)
    return backbones.create(
        spec, num_classes=num_classes, in_chans=in_chans, image_size=image_size, pretrained=pretrained
    )


def published(file, rename):
    path = SHARED / "weights" / file
    if not path.exists():
        pytest.skip(f"{path} is missing")
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    for pattern, replacement in rename:
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    return state


def refusal(*args, **kwargs):
    with pytest.raises(ValueError) as caught:
        create(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "kwargs", "macs", "fvcore_total", "params"),
    [
        ("cifar_resnet56", {}, 125.49, 126.55, 853_018),
        ("cifar_resnet56", {"shortcut": "B"}, 125.75, 126.84, 855_770),
        ("cifar_resnet110", {}, 252.89, 254.99, 1_727_962),
        ("cifar_vgg16", {}, 313.20, 313.76, 14_728_266),
        ("cifar_googlenet", {}, 1521.76, 1526.87, 6_166_250),
    ],
)
def test_costs_are_the_measured_ones_of_the_reference_networks(name, kwargs, macs, fvcore_total, params):
    counted = cost.count(create(name, **kwargs), torch.zeros(1, 3, 32, 32))
    assert (round(counted.macs / 1e6, 2), round(counted.fvcore_total / 1e6, 2)) == (macs, fvcore_total)
    assert counted.params == params


@pytest.mark.parametrize(("depth", "params"), [(20, 269_722), (32, 464_154), (44, 658_586)])
def test_shallower_resnets_add_a_known_number_of_parameters_per_block(depth, params):
    # 12 layers more are two blocks per stage: 2 * 2 * (9 * (16² + 32² + 64²) + 2 * (16 + 32 + 64)) = 194,432.
    assert sum(p.numel() for p in create(f"cifar_resnet{depth}").parameters()) == params


@pytest.mark.parametrize("name", [name for name in backbones.CIFAR if name != "cifar_resnet110"])
def test_small_grey_images_pass_and_train(name):
    model = create(name, num_classes=7, in_chans=1)
    logits = model(torch.randn(2, 1, 8, 8))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_vgg16", "cifar_googlenet"])
def test_timm_interface(name):
    model = timm.create_model(name, num_classes=100).eval()
    features = model.forward_features(torch.randn(1, 3, 32, 32))
    assert features.shape[1] == model.num_features
    assert torch.allclose(model.forward_head(features, pre_logits=True), features.mean((2, 3)), atol=1e-6)
    assert model.get_classifier() is model.fc and model.fc.out_features == model.num_classes == 100
    assert isinstance(model.get_submodule(model.default_cfg["first_conv"]), nn.Conv2d)
    model.reset_classifier(3)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    model.reset_classifier(0)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, model.num_features)


def test_resnet_starts_from_he_normal_weights_of_fan_in():
    torch.manual_seed(0)
    weight = create("cifar_resnet20").layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.abs().max() > 3 * weight.std()  # a uniform distribution ends at 1.73


def test_pad_shortcut_subsamples_and_pads_both_sides():
    x = torch.randn(2, 4, 6, 6)
    expected = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    assert torch.equal(PadShortcut(4, 8, 2)(x), expected)


def test_a_cut_pad_shortcut_copies_what_is_left():
    shortcut = PadShortcut(4, 8, 2)
    assert shortcut.index.tolist() == [4, 4, 0, 1, 2, 3, 4, 4]
    shortcut.index, shortcut.n_in = torch.tensor([2, 0, 1]), 2  # outputs: zero, first, second of two inputs
    x = torch.randn(1, 2, 2, 2)
    assert shortcut(x).flatten().tolist() == [0.0, x[0, 0, 0, 0].item(), x[0, 1, 0, 0].item()]


def test_pad_shortcut_accepts_checkpoints_without_it_but_not_of_another_width():
    shortcut = PadShortcut(4, 8, 2)
    shortcut.load_state_dict({})
    assert shortcut.index.tolist() == [4, 4, 0, 1, 2, 3, 4, 4]
    with pytest.raises(RuntimeError, match="index"):
        shortcut.load_state_dict({"index": torch.zeros(3, dtype=torch.long)})


@pytest.mark.parametrize(
    ("file", "name", "kwargs", "rename"),
    [
        ("cifar10_resnet20_A_akamaster.pth", "cifar_resnet20", {}, AKAMASTER),
        ("cifar10_resnet56_A_akamaster.pth", "cifar_resnet56", {}, AKAMASTER),
        (
            "cifar10_resnet56_B_gate_decorator_baseline.pth",
            "cifar_resnet56",
            {"shortcut": "B"},
            GATE_DECORATOR_RESNET,
        ),
    ],
)
def test_published_weights_load_strictly(file, name, kwargs, rename):
    state = published(file, rename)
    model = create(name, **kwargs)
    model.load_state_dict(state)
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items())


def test_published_pruned_vgg_has_our_layers_at_other_widths():
    state = published("cifar10_vgg16_gate_decorator_0.3M.pth", GATE_DECORATOR_VGG)
    model = create("cifar_vgg16").eval()
    tensors = model.state_dict(keep_vars=True)
    assert tensors.keys() == state.keys()
    for key, tensor in tensors.items():
        tensor.data = state[key]
    assert sum(p.numel() for p in model.parameters()) == 305_104
    assert model(torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_own_networks_are_named_first_and_once():
    known = backbones.names()
    assert known[:7] == [*(f"cifar_resnet{depth}" for depth in (20, 32, 44, 56, 110)), "cifar_vgg16", "cifar_googlenet"]
    assert "resnet50" in known and len(known) == len(set(known))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet56", "did you mean cifar_resnet56"), ("CIFAR_VGG19", "cifar_vgg16"), ("resnet051", "resnet50")],
)
def test_an_unknown_name_is_answered_with_near_ones(name, hint):
    assert hint in refusal(name)


def test_trained_weights_without_a_network_are_refused_in_one_line(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("name resolution\nfailed")

    monkeypatch.setattr("timm.create_model", unreachable)
    assert "cannot be had" in (said := refusal("resnet18", pretrained=True)) and "name a file" in said


def test_bad_keywords_and_values_are_refused_in_one_line():
    assert "'shortcut': 'C'" in refusal("cifar_resnet20", shortcut="C")
    assert "unexpected keyword argument 'width'" in refusal("cifar_vgg16", width=2)
    assert "bogus" in refusal("resnet18.bogus")
    assert "no trained weights" in refusal("cifar_resnet56", pretrained=True)
    assert "no trained weights" in refusal("resnet18", pretrained="bogus")
    with pytest.raises(ValueError, match="leave num_classes out"):
        backbones.create(BackboneSpec(name="cifar_vgg16", kwargs={"num_classes": 3}), num_classes=10)


def test_cifar_stem_of_a_timm_resnet():
    model = create("resnet18", num_classes=10, stem="cifar")
    # 64 * 27 * 1024, the four stages, 5120: ResNet-18 with a CIFAR stem is known for 555.42 M MACs.
    assert cost.count(model, torch.zeros(1, 3, 32, 32)).macs == 555_422_720
    assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 512, 4, 4)


def test_cifar_stem_is_refused_where_it_cannot_be():
    assert "one convolution" in refusal("cifar_resnet20", stem="cifar")
    assert "one convolution" in refusal("resnet18d", stem="cifar")
    assert "must be 'cifar'" in refusal("resnet18", stem="imagenet")
    assert "trained stem" in refusal("resnet18", stem="cifar", pretrained=True)


def test_image_size_reaches_models_of_a_fixed_input_size():
    model = create("vit_tiny_patch16_224", image_size=32, patch_size=8, depth=1)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_plugin_module_registers_with_timm(tmp_path, monkeypatch):
    (tmp_path / "prunebench_plugin.py").write_text(
        "from timm.models import register_model\n"
        "from torch import nn\n"
        "@register_model\n"
        "def plugged_net(pretrained=False, num_classes=10, in_chans=3, **kwargs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * 4, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugin = EntryPoint("mine", "prunebench_plugin", backbones.GROUP)
    monkeypatch.setattr(backbones, "entry_points", lambda *, group: [plugin] if group == plugin.group else [])
    assert "plugged_net" in backbones.names()
    assert create("plugged_net", num_classes=5, image_size=2)(torch.zeros(1, 3, 2, 2)).shape == (1, 5)
    del sys.modules["prunebench_plugin"]


def test_a_broken_plugin_is_named(monkeypatch):
    plugin = EntryPoint("mine", "no_such_module_at_all", backbones.GROUP)
    monkeypatch.setattr(backbones, "entry_points", lambda *, group: [plugin])
    assert "plugin mine (no_such_module_at_all)" in refusal("cifar_vgg16")


def test_resnet50_v1_has_the_original_s_strides_and_costs():
    model = backbones.create(BackboneSpec(name="resnet50_v1", kwargs={"norm_eps": 0.001}), num_classes=1000)
    assert cost.count(model.eval(), torch.zeros(1, 3, 224, 224)).macs == 3_857_973_248
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.001}
