import pytest
import timm
import torch
from torch import nn

from bench import backbones, channels, cost
from bench.channels import budget
from bench.channels.coupling import trace
from bench.method import MethodError
from bench.spec import BackboneSpec


def tiny() -> tuple[nn.Module, torch.Tensor]:
    """1 x 1 images and kernels, so that MACs are products of widths: 3a + ab + 5b with a = 4 and b = 10."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 10, 1), nn.Flatten(), nn.Linear(10, 5))
    return model, torch.zeros(1, 3, 1, 1)


def counter_of(model, groups, example):
    return budget.Counter(cost.per_layer(model, example), groups)


def largest(model, groups, example) -> int:
    return budget.largest_unit(counter_of(model, groups, example), groups)


def select(model, groups, example, scores, **how):
    return budget.select(counter_of(model, groups, example), groups, scores, **how)


def chosen(scores: dict[str, list[float]], macs: float, scope: str = "global") -> dict[str, list[int]]:
    model, example = tiny()
    tensors = {name: torch.tensor(values) for name, values in scores.items()}
    keep = select(model, channels.groups(model, example), example, tensors, macs=macs, scope=scope)
    return {name: ids.tolist() for name, ids in keep.items()}


A = [0.9, 0.1, 0.5, 0.3]
B = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]


def test_macs_of_widths_by_hand():
    model, example = tiny()
    counter = counter_of(model, channels.groups(model, example), example)
    assert counter.macs({}) == 12 + 40 + 50 == cost.count(model, example).macs
    assert counter.macs({"0": 3}) == 9 + 30 + 50
    assert counter.macs({"0": 2, "2": 7}) == 6 + 14 + 35
    # the dearest unit is one of the first convolution: 3 + 10, against 4 + 5
    assert largest(model, channels.groups(model, example), example) == 13


def test_global_order_by_hand():
    # In this order: a1 (89 left), b0 (81), a3 (69), b1 (62), a2 (51, then a0 is at its floor), b2 (45) ...
    assert chosen({"0": A, "2": B}, 81) == {"0": [0, 2, 3], "2": list(range(1, 10))}
    assert chosen({"0": A, "2": B}, 69) == {"0": [0, 2], "2": list(range(1, 10))}
    assert chosen({"0": A, "2": B}, 51) == {"0": [0], "2": list(range(2, 10))}


def test_nearest_from_either_side():
    nine = list(range(1, 10))
    assert chosen({"0": A, "2": B}, 76) == {"0": [0, 2, 3], "2": nine}  # 81 is 5 off, 69 is 7 off
    assert chosen({"0": A, "2": B}, 74) == {"0": [0, 2], "2": nine}  # 69 is 5 off, 81 is 7 off
    assert chosen({"0": A, "2": B}, 75) == {"0": [0, 2], "2": nine}  # a tie goes to the smaller network


def test_layer_scope_takes_the_same_share_of_every_group():
    # By (rank + 1/2) / size: b0 (93 left), a1 (81), b1 (73), b2 (65), b3 (57), a3 (48), b4 (41) ...
    assert chosen({"0": A, "2": B}, 51, "layer") == {"0": [0, 2], "2": [4, 5, 6, 7, 8, 9]}
    assert chosen({"0": A, "2": B}, 57, "layer") == {"0": [0, 2, 3], "2": [4, 5, 6, 7, 8, 9]}
    scaled = [1000 * value for value in A]
    assert chosen({"0": scaled, "2": B}, 57, "layer") == chosen({"0": A, "2": B}, 57, "layer")


def test_groups_without_scores_and_large_targets_stay_whole():
    assert chosen({"2": B}, 60) == {"2": [5, 6, 7, 8, 9]}  # 12 + 9b: 57 is nearer than 66
    assert chosen({"0": A, "2": B}, 102) == {"0": [0, 1, 2, 3], "2": list(range(10))}
    assert chosen({"0": A, "2": B}, 1e9) == {"0": [0, 1, 2, 3], "2": list(range(10))}


def test_ties_are_broken_one_unit_at_a_time():
    assert chosen({"0": [1.0] * 4, "2": [1.0] * 10}, 89) == {"0": [1, 2, 3], "2": list(range(10))}


def test_floors_hold_and_bound_the_target():
    model, example = tiny()
    floors = {"0": 2, "2": 5}
    groups = channels.grouped(trace(model, example), floors, example.device)
    scores = {"0": torch.tensor(A), "2": torch.tensor(B)}
    keep = select(model, groups, example, scores, macs=41)  # 6 + 10 + 25
    assert {name: ids.tolist() for name, ids in keep.items()} == {"0": [0, 2], "2": [5, 6, 7, 8, 9]}
    with pytest.raises(MethodError, match=r"0.00 M MACs are out of reach: .* at least \(40.2 % of this network's"):
        select(model, groups, example, scores, macs=40)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"9": torch.ones(4)}, "scores for 9, but the groups are 0, 2"),
        ({"0": torch.ones(5)}, r"scores of 0 have the shape \(5,\), the group has 4 units"),
        ({"0": torch.tensor([1.0, float("nan"), 1, 1])}, "scores of 0 are not numbers"),
    ],
)
def test_scores_that_do_not_fit(scores, message):
    model, example = tiny()
    with pytest.raises(MethodError, match=message):
        select(model, channels.groups(model, example), example, scores, macs=60)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("cifar_resnet20", {"shortcut": "A"}),
        ("cifar_resnet20", {"shortcut": "B"}),
        ("cifar_vgg16", {}),
        ("resnet18", {}),
        ("mobilenetv2_050", {}),
        ("regnetx_002", {}),
        ("efficientnet_b0", {}),
        ("convnext_atto", {}),
    ],
)
def test_target_met_and_confirmed_by_fvcore(name, kwargs, scope):
    torch.manual_seed(0)
    model = backbones.create(BackboneSpec(name=name, kwargs=kwargs), num_classes=10)
    assert_met(model, torch.zeros(1, 3, 32, 32), scope)


def test_target_met_where_features_are_concatenated():
    torch.manual_seed(0)
    assert_met(
        timm.create_model("densenet121", block_config=(2, 2), growth_rate=8), torch.zeros(1, 3, 32, 32), "global"
    )


def assert_met(model: nn.Module, example: torch.Tensor, scope: str) -> None:
    groups, dense = channels.groups(model, example), cost.count(model, example).macs
    counter, unit = counter_of(model, groups, example), largest(model, groups, example)
    scores = {group.name: torch.rand(group.size) for group in groups}
    keep = select(model, groups, example, scores, macs=0.4 * dense, scope=scope)
    small = cost.count(channels.shrink(model, example, keep), example).macs
    assert small == counter.macs({name: len(ids) for name, ids in keep.items()})
    assert abs(small - 0.4 * dense) <= unit / 2
