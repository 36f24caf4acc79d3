import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from digits import Net, macs, net, session
from torch import nn

from bench import MethodError, backbones, channels, cost
from bench.spec import BackboneSpec
from bench.suite import find
from methods.dcff import DCFF, Fuse, _fused, attach, code, coded, rated, widths

GOLDEN = np.load(Path(__file__).parent / "golden" / "dcff_reference.npz")

# Million MACs (thop) and million parameters that the authors print beside the rates of these suites.
PRINTED = {
    "dcff_cifar10_vgg16": (72.77, 1.06),
    "dcff_cifar10_resnet56": (55.84, 0.38),
    "dcff_cifar10_resnet110": (85.30, 0.56),
    "dcff_cifar10_googlenet": (457.22, 2.08),
    "dcff_imagenet_resnet50_0.96g": (960, 7.40),
    "dcff_imagenet_resnet50_1.02g": (1020, 6.56),
    "dcff_imagenet_resnet50_1.38g": (1380, 11.81),
    "dcff_imagenet_resnet50_1.49g": (1490, 10.58),
    "dcff_imagenet_resnet50_1.52g": (1520, 11.05),
    "dcff_imagenet_resnet50_2.25g": (2250, 15.16),
}


def network(name, classes=10, **kwargs):
    torch.manual_seed(0)
    return backbones.create(BackboneSpec(name=name, kwargs=kwargs), num_classes=classes)


@pytest.mark.parametrize("tag", ["a", "c"])
def test_reference_at_every_epoch(tag):
    weight = torch.from_numpy(GOLDEN[f"{tag}_weight"])
    kept = int(len(weight) * (1 - float(GOLDEN[f"{tag}_rate"])))
    model = nn.Sequential(nn.Conv2d(weight.shape[1], kept, 3, bias=False))
    attach(model[0], weight.clone(), None)
    for epoch in [*range(12), 50, 299]:
        golden = {key: GOLDEN[f"{tag}_e{epoch}_{key}"] for key in ("T", "score", "finite", "kept", "fused_sorted")}
        method = DCFF()
        temperature = method.temperature(epoch, 300)
        assert temperature == pytest.approx(float(golden["T"]), rel=1e-12)
        _, score = code(weight, temperature, "reference")
        assert (epoch == 0) == bool(score.isfinite().all()) == bool(np.all(golden["finite"]))
        method.recode(epoch, 300, model)
        ((conv, fuse),) = coded(model)
        if epoch == 0:
            np.testing.assert_allclose(fuse.score.numpy(), golden["score"], atol=1e-6)
        np.testing.assert_array_equal(fuse.kept().numpy(), golden["kept"])
        np.testing.assert_allclose(conv.weight.detach().numpy(), golden["fused_sorted"], atol=1e-7)


def test_schedule_saturates_as_documented_unless_it_is_slowed():
    assert DCFF().temperature(0, 300) == 1
    assert DCFF().temperature(1, 300) == pytest.approx(1 + 9999 * math.tanh(0.5))
    slow = DCFF(t_start=2, t_end=50, steepness=0.02)
    assert slow.temperature(0, 300) == 2
    assert slow.temperature(300, 300) == pytest.approx(50)
    assert slow.temperature(1, 300) < 3


@pytest.mark.parametrize("arithmetic", ["reference", "exact"])
def test_scores_are_the_formula_written_out(arithmetic):
    bank = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    p, score = code(bank, 0.7, arithmetic)
    epsilon = 1e-7 if arithmetic == "reference" else 0.0
    for j in range(5):
        distances = [math.dist(bank[j].flatten().tolist(), bank[k].flatten().tolist()) for k in range(5)]
        total = sum(math.exp(-0.7 * d) for d in distances)
        assert p[j].tolist() == pytest.approx([math.exp(-0.7 * d) / total for d in distances], rel=1e-5)
        divergences = [
            sum(float(p[j, i]) * math.log(float(p[j, i]) / (float(p[k, i]) + epsilon)) for i in range(5)) / 5
            for k in range(5)
        ]
        assert float(score[j]) == pytest.approx(sum(divergences), abs=1e-6)


def test_exact_arithmetic_still_ranks_where_the_reference_is_not_a_number():
    bank = torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    assert not code(bank, 4622, "reference")[1].isfinite().any()
    score = code(bank, 4622, "exact")[1]
    assert score.isfinite().all()
    assert len(score.unique()) == 32


def test_scores_that_are_not_finite_leave_the_ranking_alone():
    conv = nn.Conv2d(3, 2, 3, bias=False)
    attach(conv, torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)), None)
    method, model = DCFF(), nn.Sequential(conv)
    method.recode(0, 300, model)
    ((_, fuse),) = coded(model)
    before = fuse.score.clone()
    conv.parametrizations.weight.original.data.mul_(-3).add_(torch.randn(4, 1, 1, 1))
    method.recode(1, 300, model)
    assert fuse.score.equal(before)
    assert fuse.p.sum(1).tolist() == pytest.approx([1, 1])
    assert fuse.p.max(1).values.tolist() == pytest.approx([1, 1])


def test_gradients_reach_the_whole_bank_through_a_constant_p():
    fuse, full = Fuse(1, torch.zeros(3, 2)), torch.ones(3, 2, requires_grad=True)
    fuse.p.copy_(torch.tensor([[0.5, 0.3, 0.2]]))
    with torch.autocast("cpu", torch.bfloat16):
        fused = fuse(full)
    fused.sum().backward()
    assert fused.dtype == torch.float32
    torch.testing.assert_close(full.grad, torch.tensor([[0.5, 0.5], [0.3, 0.3], [0.2, 0.2]]))


@pytest.mark.parametrize("suite", PRINTED)
def test_the_papers_widths_have_the_printed_cost(suite):
    values = yaml.safe_load(find(suite).read_text())
    spec = {"name": values["backbone"]} if isinstance(values["backbone"], str) else values["backbone"]
    imagenet = "imagenet" in suite
    model, example = (
        network(**spec, classes=1000 if imagenet else 10),
        torch.zeros(1, 3, *[224 if imagenet else 32] * 2),
    )
    method = DCFF(rates=tuple(values["methods"][0]["dcff"]["rates"]))
    groups = channels.groups(model, example)
    method.check(model, groups)
    keep = {name: torch.arange(width) for name, width in widths(groups, method.rates).items()}
    compact = channels.shrink(model, example, keep)
    counted, (macs, params) = cost.count(compact, example), PRINTED[suite]
    assert counted.fvcore_total / 1e6 == pytest.approx(macs, rel=0.005)
    assert counted.params / 1e6 == pytest.approx(params, rel=0.012)  # two decimals are printed


def test_rates_follow_the_authors_order():
    example = torch.zeros(1, 3, 64, 64)
    names = [group.name for group in rated(channels.groups(network("resnet50"), example))]
    assert len(names) == 37
    assert names[0] == "conv1"
    assert names[1:17] == [f"layer{s}.{b}.conv1" for s, n in enumerate((3, 4, 6, 3), 1) for b in range(n)]
    assert names[17:33] == [name.replace("conv1", "conv2") for name in names[1:17]]
    assert [name.split(".")[0] for name in names[33:]] == ["layer1", "layer2", "layer3", "layer4"]


def test_wrong_rates_are_refused_with_the_layers():
    model = net()
    groups = channels.groups(model, torch.zeros(1, 1, 8, 8))
    with pytest.raises(MethodError, match=r"has 3 values, this backbone needs 2, one for each of first, stem$"):
        DCFF(rates=(0.1, 0.2, 0.3)).check(model, groups)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        DCFF(rates=(0.1, 1.0))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with pytest.raises(MethodError, match="none to prune"):
        DCFF().check(linear, channels.groups(linear, torch.zeros(1, 1, 8, 8)))


def test_compact_network_is_the_fused_one_bit_for_bit(tmp_path):
    model, images = net(), torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    run = session(tmp_path, model)
    train, fused = run.train, []

    def watched(model, *args, **kwargs):
        assert model.stem.parametrizations.weight.original.shape == (8, 1, 3, 3)
        assert model.second.parametrizations.weight.original.shape == (8, 9, 3, 3)
        assert model.second.parametrizations.bias.original.shape == (8,)
        train(model, *args, **kwargs)
        fused.append((model.eval()(images), dict(model.state_dict())))

    run.train = watched
    model = DCFF(rates=(0.25, 0.5)).compress(model, run)  # first: 12 to 9; stem and second: 8 to 4
    logits, state = fused[0]
    assert model.eval()(images).equal(logits)
    assert model.second.weight.shape == (4, 9, 3, 3)
    assert model.norm2.weight.shape == (4,)
    assert all(type(module) in (nn.Conv2d, nn.BatchNorm2d, nn.Linear, Net) for module in model.modules())
    # stem and second make the same channels, and rank their filters on their own
    assert not state["stem.parametrizations.weight.0.score"].equal(state["second.parametrizations.weight.0.score"])
    assert run.epochs_left == 0


def test_a_macs_target_gives_uniform_widths_and_a_twins_widths_are_copied(tmp_path):
    model = net()
    dense = macs(model)
    compact = DCFF().compress(model, session(tmp_path / "a", model, keep_macs=0.5))
    assert macs(compact) == pytest.approx(0.5 * dense, rel=0.15)
    model = net()
    compact = DCFF().compress(model, session(tmp_path / "b", model, widths={"stem": 3, "first": 5}))
    assert compact.first.weight.shape[:2] == (5, 3)


def test_grouped_convolutions_and_shortcut_projections_stay_plain(tmp_path):
    model = network("mobilenetv2_050")
    fused = {m.layer for g in channels.groups(model, torch.zeros(1, 3, 32, 32)) for m in _fused(g)}
    assert not any("dw" in layer for layer in fused)
    assert {"conv_stem", "conv_head"} <= fused
    model = network("resnet50")
    fused = {m.layer for g in channels.groups(model, torch.zeros(1, 3, 64, 64)) for m in _fused(g)}
    assert len(fused) == 49
    assert not any("downsample" in layer for layer in fused)


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    method = DCFF(rates=(0.25, 0.5), steepness=0.1)
    whole = method.compress(model := net(), session(tmp_path / "whole", model, epochs=3))

    def killed(line):
        if "2/3" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.compress(model := net(), session(tmp_path / "part", model, epochs=3, say=killed))
    resumed = method.compress(model := net(), session(tmp_path / "part", model, epochs=3))
    for key, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[key]), key
