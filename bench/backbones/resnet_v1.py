"""ResNet-50 as first published: a stage's stride in the first 1x1 convolution of its first block.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.1. timm and torchvision have the stride
in the 3x3 convolution (4.09 instead of 3.86 G MACs), so weights of the original do not serve there.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import ResNet, resnet50
from torch import nn

__all__ = ["resnet50_v1"]

default_cfgs = generate_default_cfgs(
    {"resnet50_v1": {"num_classes": 1000, "input_size": (3, 224, 224), "first_conv": "conv1", "classifier": "fc"}}
)


@register_model
def resnet50_v1(pretrained: bool = False, norm_eps: float = 1e-5, **kwargs: Any) -> ResNet:
    """ResNet-50 v1. `norm_eps`: of the batch norms; Keras' weights want 1e-3."""
    model = resnet50(pretrained=False, **kwargs)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = norm_eps
    return model
