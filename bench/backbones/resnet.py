"""ResNets for CIFAR: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.

Three stages of 16, 32 and 64 channels with (depth - 2) / 6 blocks each. Layer names are torchvision's.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from bench.backbones.cifar import CifarNet, config

__all__ = ["BasicBlock", "CifarResNet", "PadShortcut"]

DEPTHS = (20, 32, 44, 56, 110)


class PadShortcut(nn.Module):
    """Shortcut A, without parameters: every `stride`-th position, and zero channels to reach the new width.

    `index` (channels out,): the input channel that each output copies; the value `n_in` (channels in) stands for a
    zero channel. The dense network puts half of the zero channels before and half after the copied ones. Kept as an
    index, and not as two amounts of padding, so that any channel can be cut on either side.
    """

    index: Tensor

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        before = (n_out - n_in) // 2
        index = torch.full((n_out,), n_in)
        index[before : before + n_in] = torch.arange(n_in)
        self.n_in = n_in
        self.stride = stride
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        # Pooling and the channels last, because slicing sends back gradients in another memory layout than the other
        # branch: all that meets them would take some ten times as long.
        x = F.avg_pool2d(x, 1, self.stride).permute(0, 2, 3, 1)
        return F.pad(x, (0, 1)).index_select(3, self.index).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{self.n_in}, {len(self.index)}, stride={self.stride}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Published checkpoints do not know the index: what was built stands.
        state_dict.setdefault(f"{prefix}index", self.index)
        super()._load_from_state_dict(state_dict, prefix, *args)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, n_in, H, W) -> (N, n_out, H / stride, W / stride)."""

    def __init__(self, n_in: int, n_out: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = PadShortcut(n_in, n_out, stride)
            if shortcut == "B":
                self.shortcut = nn.Sequential(
                    nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
                )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(CifarNet):
    """`shortcut`: how a stage's first block widens its input, "A" zero channels, "B" 1x1 convolution and norm.

    DCFF uses A, Gate Decorator B. Weights start from a normal distribution of He's variance (fan in), as in both.
    """

    def __init__(self, depth: int, num_classes: int = 10, in_chans: int = 3, shortcut: Literal["A", "B"] = "A") -> None:
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' or 'B', not {shortcut!r}")
        super().__init__()
        self.num_features = 64
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        blocks = (depth - 2) // 6
        self.layer1 = _stage(16, 16, 1, blocks, shortcut)
        self.layer2 = _stage(16, 32, 2, blocks, shortcut)
        self.layer3 = _stage(32, 64, 2, blocks, shortcut)
        self.reset_classifier(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))


def _stage(n_in: int, n_out: int, stride: int, blocks: int, shortcut: str) -> nn.Sequential:
    first = BasicBlock(n_in, n_out, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(n_out, n_out, 1, shortcut) for _ in range(blocks - 1)))


default_cfgs = generate_default_cfgs({f"cifar_resnet{depth}": config("conv1") for depth in DEPTHS})


def _build(depth: int, pretrained: bool, **kwargs: Any) -> CifarResNet:
    return build_model_with_cfg(CifarResNet, f"cifar_resnet{depth}", pretrained, depth=depth, **kwargs)


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-20."""
    return _build(20, pretrained, **kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-32."""
    return _build(32, pretrained, **kwargs)


@register_model
def cifar_resnet44(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-44."""
    return _build(44, pretrained, **kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-56."""
    return _build(56, pretrained, **kwargs)


@register_model
def cifar_resnet110(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-110."""
    return _build(110, pretrained, **kwargs)
