"""VGG-16 for CIFAR with batch norm and one linear layer, as DCFF and Gate Decorator prune it.

Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, configuration D. Layer names are torchvision's
`vgg16_bn`; the convolutions have biases and torch's own initialisation, as in both papers' code.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from bench.backbones.cifar import CifarNet, config

__all__ = ["CifarVGG"]

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVGG(CifarNet):
    """Thirteen 3x3 convolutions in five stages, each ended by a pool that halves the map."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.num_features = STAGES[-1][-1]
        layers: list[nn.Module] = []
        for stage in STAGES:
            for width in stage:
                layers += [nn.Conv2d(in_chans, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                in_chans = width
            # ceil_mode changes nothing at 32 x 32, and lets a 1 x 1 map of a smaller image pass.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features(x)


default_cfgs = generate_default_cfgs({"cifar_vgg16": config("features.0")})


@register_model
def cifar_vgg16(pretrained: bool = False, **kwargs: Any) -> CifarVGG:
    """VGG-16."""
    return build_model_with_cfg(CifarVGG, "cifar_vgg16", pretrained, **kwargs)
