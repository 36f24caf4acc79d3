import pytest
import timm
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from bench import backbones, cost
from bench.method import MethodError
from bench.spec import BackboneSpec


def small() -> nn.Module:
    """8 x 8 images: 8 * 8 * (3 * 9 * 4) + 8 * 8 * (4 * 6) + 6 * 64 * 5 MACs."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.Flatten(), nn.Linear(384, 5)
    )


def test_headline_by_hand():
    model, example = small(), torch.zeros(1, 3, 8, 8)
    found = cost.count(model, example)
    assert found.macs == 6912 + 1536 + 1920
    assert found.fvcore_total == found.macs + 2 * 4 * 64  # batch norm at 2 per element in eval mode
    assert found.params == (27 * 4 + 4) + 8 + (24 + 6) + (1920 + 5)


def test_layers_by_hand():
    model, example = small(), torch.zeros(1, 3, 8, 8)
    assert cost.per_layer(model, example) == [
        ("0", 6912, 112, (4, 8, 8)),
        ("1", 0, 8, (4, 8, 8)),
        ("2", 1536, 30, (6, 8, 8)),
        ("4", 1920, 1925, (5,)),
    ]


@pytest.mark.parametrize(
    ("name", "kwargs", "macs", "total", "params"),
    [
        ("cifar_resnet56", {"shortcut": "A"}, 125.49, 126.55, 853018),
        ("cifar_resnet56", {"shortcut": "B"}, 125.75, 126.84, 855770),
        ("cifar_vgg16", {}, 313.20, 313.76, 14728266),
    ],
)
def test_networks_of_the_papers(name, kwargs, macs, total, params):
    model = backbones.create(BackboneSpec(name=name, kwargs=kwargs), num_classes=10)
    found = cost.count(model, torch.zeros(1, 3, 32, 32))
    assert (round(found.macs / 1e6, 2), round(found.fvcore_total / 1e6, 2), found.params) == (macs, total, params)


def test_layers_add_up_with_attention():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    example = torch.zeros(1, 3, 32, 32)
    layers, found = cost.per_layer(model, example), cost.count(model, example)
    assert sum(layer.macs for layer in layers) == found.macs
    assert sum(layer.params for layer in layers) == found.params
    products = 2 * 5 * 5 * 192  # queries times keys, and attention times values, of 4 patches and the class token
    assert {layer.layer: layer.macs for layer in layers}["blocks.0.attn"] == products


class Attends(nn.Module):
    """`kind` of attention over 16 places with 8 channels in 2 heads."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.mha = kind, nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2).transpose(1, 2)
        if self.kind == "mha":
            return x + self.mha(x, x, x, need_weights=False)[0]
        heads = x.unflatten(2, (2, 4)).transpose(1, 2)
        return torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(8, 4, 3, padding="same"), 4 * 4 * 8 * 9 * 4),
        (nn.Conv2d(8, 4, 3, padding="same", groups=4), 4 * 4 * 2 * 9 * 4),
        (nn.Conv2d(8, 4, 3, padding="valid"), 2 * 2 * 8 * 9 * 4),
        (Attends("sdpa"), 2 * 16 * 16 * (4 + 4)),
        (Attends("mha"), 16 * 8 * 24 + 2 * 16 * 16 * (4 + 4) + 16 * 8 * 8),
    ],
)
def test_what_fvcore_passes_by_is_counted(layer, macs):
    assert cost.count(layer.eval(), torch.zeros(1, 8, 4, 4)).macs == macs


def test_what_cannot_be_counted_is_refused():
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Bilinear(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, x)

    with pytest.raises(MethodError, match="the MACs of Bilinear cannot be counted: it uses aten::bilinear"):
        cost.count(Bilinear(), torch.zeros(1, 1, 4, 4))


def test_model_is_left_as_it_was():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1).train()
    model.patch_embed.eval()
    attention = model.blocks[0].attn
    attention.fused_attn = True
    running = small().train()
    before = running[1].running_mean.clone()
    cost.count(model, torch.zeros(1, 3, 32, 32))
    cost.per_layer(running, torch.ones(1, 3, 8, 8))
    assert model.training and not model.patch_embed.training and attention.training and attention.fused_attn
    assert torch.equal(running[1].running_mean, before)


class Mix(nn.Module):
    """Four filters made from eight, by a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mixture", torch.ones(4, 8))

    def forward(self, full: torch.Tensor) -> torch.Tensor:
        return (self.mixture @ full.flatten(1)).view(4, *full.shape[1:])


def test_making_a_weight_is_not_counted():
    model, example = small(), torch.zeros(1, 3, 8, 8)
    plain = cost.count(model, example)
    model[0].weight = nn.Parameter(torch.ones(8, 3, 3, 3))
    register_parametrization(model[0], "weight", Mix(), unsafe=True)
    found = cost.count(model, example)
    assert (found.macs, found.fvcore_total) == (plain.macs, plain.fvcore_total)
    layers = cost.per_layer(model, example)
    assert layers[0] == ("0", 6912, 8 * 27 + 4, (4, 8, 8))
    assert sum(layer.macs for layer in layers) == found.macs
    assert sum(layer.params for layer in layers) == found.params
