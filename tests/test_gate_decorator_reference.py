"""Gate Decorator against what the authors' code computes, and their checkpoint half way through ResNet-56."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench import backbones, channels, cost
from bench.data import DataError
from bench.data.fetch import cached
from bench.spec import BackboneSpec
from methods.gate_decorator import GateDecorator, decorate, fold, gated, survivors

SHARED = Path(os.environ.get("PRUNEBENCH_SHARED") or Path(__file__).parents[2] / "shared")
GOLDEN = np.load(Path(__file__).parent / "golden" / "gate_decorator_resnet56.npz")
CIFAR = torch.zeros(1, 3, 32, 32)


def published(name):
    path = SHARED / "weights" / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key.replace("linear.", "fc."): value for key, value in state.items()}


def resnet56():
    return backbones.create(BackboneSpec(name="cifar_resnet56", kwargs={"shortcut": "B"}), num_classes=10)


def cifar(part, images):
    try:
        arrays = cached("cifar10")
    except DataError:
        pytest.skip("CIFAR-10 is not on this machine: `prunebench fetch cifar10`")
    x = torch.from_numpy(arrays[f"{part}_images"][images].copy()).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.247, 0.243, 0.261])
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    return x, torch.from_numpy(arrays[f"{part}_labels"][images].astype(np.int64))


class TwoSteps:
    """The training of the golden tick: images 0-63, then 64-127, momentum 0.9, weight decay 5e-4."""

    def train(self, model, epochs, *, lr, frozen, each_step, name):
        images, labels = cifar("train", slice(128))
        free = [p for key, p in model.named_parameters() if not frozen(key, p)]
        optimiser = torch.optim.SGD(free, lr=lr, momentum=0.9, weight_decay=5e-4)
        model.train()
        self.losses = []
        for part in (slice(64), slice(64, 128)):
            loss = F.cross_entropy(model(images[part]), labels[part])
            model.zero_grad()
            loss.backward()
            each_step(model)
            optimiser.step()
            self.losses.append(loss.item())


def test_reference_tick():
    model, run, method = resnet56(), TwoSteps(), GateDecorator()
    model.load_state_dict(published("cifar10_resnet56_B_gate_decorator_baseline.pth"))
    decorate(channels.groups(model, CIFAR))
    method._tick(model, run)
    assert run.losses == pytest.approx(GOLDEN["losses"].tolist(), rel=1e-5)
    names = [name for name, layer in model.named_modules() if "gate_score" in layer._buffers]
    assert len(names) == 57
    for name in names:  # float64 itself is 1 % from the golden values, which are float32
        golden = GOLDEN[f"score/{name}"].ravel()
        score = model.get_submodule(name).gate_score.numpy()
        np.testing.assert_allclose(score, golden, atol=0.02 * golden.max(), err_msg=name)
    groups = channels.groups(model, CIFAR)
    assert sorted(len(gated(group)) for group in groups) == [1] * 27 + [10] * 3
    for num in (4, 50):
        masks = survivors(
            {group.name: method._score(group, {}) for group in groups},
            {group.name: len(gated(group)) for group in groups},
            {group.name: group.floor for group in groups},
            num,
        )
        for group in groups:
            for member in gated(group):
                np.testing.assert_array_equal(masks[group.name].float(), GOLDEN[f"mask{num}/{member.layer}"].ravel())


def halfway():
    """The authors' checkpoint after the last tick: its gates through ours, its masks through our cutting."""
    state, model = published("cifar10_resnet56_B_gate_decorator_70pct_masked.pth"), resnet56()
    groups = channels.groups(model, CIFAR)
    decorate(groups)
    keep = {}
    with torch.no_grad():
        for group in groups:
            for member in gated(group):
                norm, name = member.module, member.layer
                assert state[f"{name}.bn.weight"].eq(1).all()
                norm.weight.copy_(state[f"{name}.g"].flatten())
                norm.parametrizations.bias.original.copy_(state[f"{name}.bn.bias"])
                norm.running_mean.copy_(state[f"{name}.bn.running_mean"])
                norm.running_var.copy_(state[f"{name}.bn.running_var"])
                keep[group.name] = state[f"{name}.bn_mask"].flatten().nonzero().flatten()
        for name, parameter in model.named_parameters():
            if name in state and "bn" not in name:
                parameter.copy_(state[name])
    channels.shrink(model, CIFAR, keep)
    fold(model)
    return model.eval()


def test_the_published_half_way_checkpoint_becomes_a_plain_network():
    counted = cost.count(halfway(), CIFAR)
    assert counted.macs / 1e6 == pytest.approx(36.869, abs=0.001)
    assert counted.params == 286_034


@pytest.mark.slow
def test_the_published_half_way_checkpoint_is_as_accurate_as_measured():
    images, labels = cifar("test", slice(None))
    model = halfway()
    with torch.inference_mode():
        correct = sum(
            int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    assert correct == 9177
