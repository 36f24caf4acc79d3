import pytest
import timm
import torch
from digits import macs, net, session
from fakes import FakeRun, Tiny, tiny_groups
from torch import nn

from bench import MethodError, channels
from methods.gate_decorator import GateDecorator, decorate, fold, gate_of, gated, gates, survivors

SMALL = {"tick_epochs": 0.25, "tock_epochs": 0.5, "ticks_per_tock": 2}


def test_survivors_by_hand():
    scores = {"a": torch.tensor([0.1, 0.5, 0.9, 0.0]), "b": torch.tensor([0.2, 0.3, 0.4])}
    # the list: a without its best and without 0, b without its best, twice: 0.1 0.2 0.2 0.3 0.3 0.5
    for num, a, b in ((0, [0, 1, 1, 0], [1, 1, 1]), (2, [0, 1, 1, 0], [0, 1, 1]), (4, [0, 1, 1, 0], [0, 0, 1])):
        kept = survivors(scores, {"a": 1, "b": 2}, {"a": 1, "b": 1}, num)
        assert (kept["a"].int().tolist(), kept["b"].int().tolist()) == (a, b)
    last = survivors(scores, {"a": 1, "b": 2}, {"a": 1, "b": 1}, 99)
    assert (last["a"].int().tolist(), last["b"].int().tolist()) == ([0, 0, 1, 0], [0, 0, 1])
    none = survivors({"a": torch.zeros(3)}, {"a": 1}, {"a": 1}, 0)
    assert none["a"].all()


def test_gates_change_nothing_but_where_the_clamp_bites():
    model, x = Tiny().eval(), torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        model.norm_a.weight.copy_(torch.tensor([0.5, -2.0, 0.01, 0.0]))
        model.norm_a.bias.copy_(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    before = model.norm_a(torch.ones(2, 4, 1, 1))
    decorate(tiny_groups(model))
    after = model.norm_a(torch.ones(2, 4, 1, 1))
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert model.norm_a.bias.tolist() == pytest.approx([1.0, 1.0, 0.1, 0.0])
    logits = model(x)
    fold(model)
    assert model(x).equal(logits)
    assert not list(gates(model))
    assert set(model.state_dict()) == set(Tiny().state_dict())


def test_score_is_the_first_order_change_when_the_gate_closes():
    torch.manual_seed(0)
    model, run = Tiny(), FakeRun(epochs=1)
    with torch.no_grad():
        model.norm_a.bias.normal_()
        model.norm_a.weight.uniform_(0.5, 1.5)
    run.loss(model.train(), run.images, run.labels).backward()
    norm = model.norm_a  # g * dL/dg, where the bias is b * g, is w * dL/dw + b * dL/db
    expected = (norm.weight * norm.weight.grad + norm.bias * norm.bias.grad).abs()
    decorate(tiny_groups(model))
    GateDecorator()._tick(model, run)
    torch.testing.assert_close(model.norm_a.gate_score, expected.detach(), rtol=1e-4, atol=1e-7)


def test_costly_filters_are_charged():
    model = Tiny()
    groups = tiny_groups(model)
    decorate(groups)
    model.norm_a.gate_score.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    areas = {"norm_a": 36.0, "norm_b": 9.0}
    # eta / smallest area * area * width = 0.1 * 4 * 4
    assert GateDecorator(eta=0.1)._score(groups[0], areas).tolist() == pytest.approx([-0.6, 0.4, 1.4, 2.4])
    assert GateDecorator()._score(groups[0], areas).tolist() == [1, 2, 3, 4]


def test_the_learning_rate_is_a_triangle():
    triangle = GateDecorator(tock_lr=(0.001, 0.01))._triangle
    assert [triangle(share) for share in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([0.001, 0.0055, 0.01, 0.0055, 0.001])


def plain_cnn():
    """Gates without batch norm, on convolutions and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


NETWORKS = {
    "residual": lambda: timm.create_model("resnet18", num_classes=10),
    "BatchNormAct2d, depthwise": lambda: timm.create_model("mobilenetv2_050", num_classes=10),
    "concatenated": lambda: timm.models.densenet.DenseNet(8, (2, 2), 10),
    "no batch norm": plain_cnn,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_cutting_between_ticks_is_masking(name):
    torch.manual_seed(0)
    model = NETWORKS[name]().double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    decorate(channels.groups(model, images[:1]))
    groups = channels.groups(model, images[:1])
    keep = {
        group.name: torch.randperm(group.size)[: max(group.floor, group.size // 2)].sort().values for group in groups
    }
    open_gates = {layer: gate_of(layer).detach().clone() for layer in gates(model)}
    with torch.no_grad():
        for group in groups:
            gone = torch.ones(group.size, dtype=torch.bool)
            gone[keep[group.name]] = False
            for member in gated(group):
                gate_of(member.module)[member.channels[gone].flatten()] = 0
        masked = model(images)
        for layer, gate in open_gates.items():
            gate_of(layer).copy_(gate)
        assert not torch.allclose(model(images), masked, atol=1e-9)
        channels.shrink(model, images[:1], keep)
        torch.testing.assert_close(model(images), masked, rtol=1e-9, atol=1e-12)
        assert all(layer.gate_score.shape == gate_of(layer).shape for layer in gates(model))
        fold(model)
        torch.testing.assert_close(model(images), masked, rtol=1e-9, atol=1e-12)


def test_reaches_the_target_in_the_ticks_that_are_given(tmp_path):
    model = net()
    dense = macs(model)
    run = session(tmp_path, model, epochs=4, keep_macs=0.5)
    frozen, tick = [], GateDecorator._tick
    steps = []

    class Watched(GateDecorator):
        def _tick(self, model, run):
            before = {key: value.clone() for key, value in model.state_dict().items()}
            tick(self, model, run)
            frozen.append(
                model.stem.weight.equal(before["stem.weight"]) and not model.fc.weight.equal(before["fc.weight"])
            )
            steps.append(macs(model) / dense)

    model = Watched(ticks=3, **SMALL).compress(model, run)
    assert [(row.phase, row.epochs) for row in run.meter.history] == [
        ("tock", 0.5), ("tick", 0.25), ("tick", 0.25), ("tock", 0.5), ("tick", 0.25),
        ("fine-tune", 1), ("fine-tune", 1), ("fine-tune", 0.25),
    ]  # fmt: skip
    assert frozen == [True] * 3
    assert steps == pytest.approx([1, 1 - 0.5 / 3, 1 - 1 / 3], abs=0.08)
    assert macs(model) / dense == pytest.approx(0.5, abs=0.05)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert set(model.state_dict()) == set(net().state_dict())


def test_prunes_a_share_of_the_filters_each_tick_until_the_target_is_nearest(tmp_path):
    model = net()
    dense = macs(model)
    run = session(tmp_path, model, epochs=6, keep_macs=0.6)
    model = GateDecorator(prune_fraction=0.05, finetune_epochs=(0.5, 0.25), **SMALL).compress(model, run)
    phases = [row.phase for row in run.meter.history]
    assert phases[0] == "tock"
    assert phases.count("tock") == 1 + phases.count("tick") // 2
    assert phases[-2:] == ["fine-tune", "fine-tune"]
    assert [row.epochs for row in run.meter.history[-2:]] == [0.5, 0.25]
    unit = macs(model) / 8  # the most that one filter can save
    assert abs(macs(model) - 0.6 * dense) <= unit


def test_networks_without_batch_norm_get_plain_gates(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    dense = macs(model)
    keys = set(model.state_dict())
    run = session(tmp_path, model, epochs=3, keep_macs=0.5)
    model = GateDecorator(ticks=2, eta=1e-4, **SMALL).compress(model, run)
    assert macs(model) / dense == pytest.approx(0.5, abs=0.1)
    assert set(model.state_dict()) == keys


def test_what_cannot_be_done_is_refused_before_training(tmp_path):
    def refused(method, words, **budget):
        model = net()
        run = session(tmp_path, model, **budget)
        with pytest.raises(MethodError, match=words):
            method.compress(model, run)
        assert run.meter.history == []

    refused(GateDecorator(), "needs 11 epochs, and the trial has 2 left", keep_macs=0.5)
    refused(GateDecorator(ticks=4, finetune_epochs=(4, 1), **SMALL), "needs 7.5 epochs", keep_macs=0.5)
    refused(GateDecorator(ticks=1, **SMALL), "out of reach", keep_macs=0.001)
    refused(GateDecorator(ticks=1, **SMALL), "no MACs target")
    with pytest.raises(MethodError, match="none to prune"):
        GateDecorator().check(net(), [])
    with pytest.raises(ValueError, match="at least 1"):
        GateDecorator(ticks=0)


def test_says_when_the_epochs_are_spent_before_the_target(tmp_path):
    model = net()
    with pytest.raises(MethodError, match="needs 0.25 epochs after 4 ticks, and the trial has 0 left"):
        GateDecorator(prune_fraction=0.001, tick_epochs=0.25, tock_epochs=0).compress(
            model, session(tmp_path, model, epochs=1, keep_macs=0.2)
        )


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    method = GateDecorator(ticks=2, **SMALL)
    whole = method.compress(model := net(), session(tmp_path / "whole", model, epochs=4, keep_macs=0.5))

    def killed(line):
        if "fine-tune 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.compress(model := net(), session(tmp_path / "part", model, epochs=4, keep_macs=0.5, say=killed))
    resumed = method.compress(model := net(), session(tmp_path / "part", model, epochs=4, keep_macs=0.5))
    for key, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[key]), key
