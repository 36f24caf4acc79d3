"""What the CIFAR networks share: global average pooling, one linear classifier `fc`, timm's model interface."""

from __future__ import annotations

from typing import Any

from timm.layers import get_device_dtype
from torch import Tensor, nn
from torch.nn import functional as F


class CifarNet(nn.Module):
    """A subclass sets `num_features`, builds its layers, ends with `reset_classifier` and writes `forward_features`.

    Input (N, in_chans, H, W), output (N, num_classes) logits; made for 32 x 32, runs from 8 x 8 on.
    """

    num_features: int
    num_classes: int

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (N, in_chans, H, W) -> feature maps (N, num_features, h, w)."""
        raise NotImplementedError

    def pool(self, x: Tensor) -> Tensor:
        """Global average: (N, num_features, h, w) -> (N, num_features)."""
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps -> logits (N, num_classes), or pooled features (N, num_features) for `pre_logits`."""
        x = self.pool(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """The last linear layer, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh classifier; none at all (the pooled features come out) for 0 classes."""
        self.num_classes = num_classes
        place = get_device_dtype(self)
        self.fc = nn.Linear(self.num_features, num_classes, **place) if num_classes else nn.Identity()


def config(first_conv: str) -> dict[str, Any]:
    """timm's description of a CIFAR network without published weights; mean and std are CIFAR-10's."""
    return {
        "url": "",
        "num_classes": 10,
        "input_size": (3, 32, 32),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2470, 0.2435, 0.2616),
        "first_conv": first_conv,
        "classifier": "fc",
    }
