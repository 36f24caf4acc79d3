"""GoogLeNet for CIFAR, as DCFF and other pruning papers use it, without auxiliary classifiers.

Szegedy et al., Going Deeper with Convolutions, CVPR 2015, table 1, with a 3x3 stem of 192 filters at full resolution,
batch norm everywhere, and the 5x5 branch as two 3x3 convolutions. Layer names are those of kuangliu/pytorch-cifar;
biases and torch's own initialisation as in DCFF's code.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from bench.backbones.cifar import CifarNet, config

__all__ = ["CifarGoogLeNet", "Inception"]

# Filters per module: 1x1 | reduction, 3x3 | reduction, "5x5" | after the pool. A pool halves the map before a4 and a5.
MODULES = {
    "a3": (64, 96, 128, 16, 32, 32),
    "b3": (128, 128, 192, 32, 96, 64),
    "a4": (192, 96, 208, 16, 48, 64),
    "b4": (160, 112, 224, 24, 64, 64),
    "c4": (128, 128, 256, 24, 64, 64),
    "d4": (112, 144, 288, 32, 64, 64),
    "e4": (256, 160, 320, 32, 128, 128),
    "a5": (256, 160, 320, 32, 128, 128),
    "b5": (384, 192, 384, 48, 128, 128),
}


def _layers(n_in: int, *filters: tuple[int, int]) -> list[nn.Module]:
    """Convolution, norm and ReLU for each (filters, kernel size)."""
    layers: list[nn.Module] = []
    for n_out, kernel in filters:
        layers += [nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
        n_in = n_out
    return layers


class Inception(nn.Module):
    """Four branches side by side, their channels concatenated; the size of the map stays."""

    def __init__(self, n_in: int, n1: int, reduce3: int, n3: int, reduce5: int, n5: int, pool: int) -> None:
        super().__init__()
        self.b1 = nn.Sequential(*_layers(n_in, (n1, 1)))
        self.b2 = nn.Sequential(*_layers(n_in, (reduce3, 1), (n3, 3)))
        self.b3 = nn.Sequential(*_layers(n_in, (reduce5, 1), (n5, 3), (n5, 3)))
        self.b4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *_layers(n_in, (pool, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], 1)


class CifarGoogLeNet(CifarNet):
    """A stem, nine Inception modules in three stages, and the classifier."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.num_features = 192
        self.pre_layers = nn.Sequential(*_layers(in_chans, (self.num_features, 3)))
        for name, (n1, reduce3, n3, reduce5, n5, pool) in MODULES.items():
            self.add_module(name, Inception(self.num_features, n1, reduce3, n3, reduce5, n5, pool))
            self.num_features = n1 + n3 + n5 + pool
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.pre_layers(x)
        for name in MODULES:
            if name in ("a4", "a5"):
                x = self.maxpool(x)
            x = self.get_submodule(name)(x)
        return x

    def pool(self, x: Tensor) -> Tensor:
        """Mean over the map. fvcore does not count it, nor the AvgPool2d that published totals stand for."""
        return x.mean((2, 3))


default_cfgs = generate_default_cfgs({"cifar_googlenet": config("pre_layers.0")})


@register_model
def cifar_googlenet(pretrained: bool = False, **kwargs: Any) -> CifarGoogLeNet:
    """GoogLeNet."""
    return build_model_with_cfg(CifarGoogLeNet, "cifar_googlenet", pretrained, **kwargs)
