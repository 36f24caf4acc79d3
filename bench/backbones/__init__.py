"""Networks by name: own CIFAR networks, every timm model, and plugins.

Importing this package registers the CIFAR networks with timm. A plugin is a module that registers its models with
timm (`timm.models.register_model`) when it is imported, named by an entry point of the group `prunebench.backbones`.
"""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points

import timm
from timm.models.resnet import ResNet
from torch import nn

from bench.backbones import googlenet, resnet, resnet_v1, vgg
from bench.errors import UserError
from bench.spec import BackboneSpec

GROUP = "prunebench.backbones"
CIFAR = [*resnet.default_cfgs, *vgg.default_cfgs, *googlenet.default_cfgs]
OWN = [*CIFAR, *resnet_v1.default_cfgs]


class BackboneError(UserError, ValueError):
    """A backbone cannot be had as asked; the message is one line."""


def names() -> list[str]:
    """All backbones: the own CIFAR networks, then what timm and the plugins offer."""
    _load_plugins()
    return OWN + [name for name in timm.list_models() if name not in OWN]


def create(
    spec: BackboneSpec,
    *,
    num_classes: int,
    in_chans: int = 3,
    image_size: int | None = None,
    pretrained: bool | str = False,
) -> nn.Module:
    """Build a network through `timm.create_model`, with `spec.kwargs` for its constructor.

    `pretrained`: timm's weights, by default or by tag ("a1_in1k"). `image_size` (pixels) reaches models of a fixed
    input size. One keyword is handled here: `stem: cifar` gives a timm ResNet a 3x3 stem of stride 1 without max-pool,
    for images of 64 pixels or less. Raises BackboneError, in one line, for an unknown name, keyword or value.
    """
    _load_plugins()
    name, kwargs = spec.name, dict(spec.kwargs)
    if not timm.is_model(name):
        raise BackboneError(f"unknown backbone '{name}'; did you mean {', '.join(_nearest(name))}?")
    if taken := sorted({"num_classes", "in_chans", "pretrained", "checkpoint_path"} & kwargs.keys()):
        raise BackboneError(f"backbone {name}: leave {', '.join(taken)} out: data set and weights decide that")
    stem = kwargs.pop("stem", None)
    if stem not in (None, "cifar"):
        raise BackboneError(f"backbone {name}: stem must be 'cifar' or left out, not {stem!r}")
    if stem and pretrained:
        raise BackboneError(f"backbone {name}: stem 'cifar' would throw the trained stem away; drop stem or pretrained")
    if isinstance(pretrained, str):
        name = f"{name.split('.')[0]}.{pretrained}"
    if pretrained and not timm.is_model_pretrained(name):
        raise BackboneError(f"backbone {name}: timm has no trained weights for it; train it or name a file of weights")
    if image_size is not None and getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
        kwargs.setdefault("img_size", image_size)
    try:
        model = timm.create_model(
            name, pretrained=bool(pretrained), num_classes=num_classes, in_chans=in_chans, **kwargs
        )
    except OSError as error:  # from the hub, whose errors are ValueErrors too
        if not pretrained:
            raise
        raise BackboneError(
            f"timm's trained weights of {name} cannot be had: they are not here, and their host cannot be reached; "
            "load them once where there is a network, or name a file: `dense: {weights: FILE}`"
        ) from error
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackboneError(f"backbone {name} cannot be built with {kwargs}: {reason}") from error
    if stem:
        if not isinstance(model, ResNet) or not isinstance(model.conv1, nn.Conv2d):
            raise BackboneError(f"backbone {name}: stem 'cifar' is for timm ResNets whose stem is one convolution")
        model.conv1 = nn.Conv2d(in_chans, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm's own
        model.maxpool = nn.Identity()
    return model


def _nearest(name: str) -> list[str]:
    """Up to five known names that look like `name`, the CIFAR networks first."""
    wanted = name.lower()
    own = difflib.get_close_matches(wanted, CIFAR, n=3)
    others = difflib.get_close_matches(wanted, [other for other in names() if other not in CIFAR], n=5)
    return (own + others)[:5] or CIFAR


def _load_plugins() -> None:
    for plugin in entry_points(group=GROUP):
        try:
            plugin.load()
        except Exception as error:
            raise BackboneError(f"backbone plugin {plugin.name} ({plugin.value}) does not import: {error}") from error
