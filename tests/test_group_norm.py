import pytest
import torch
import torch_pruning as tp
from fakes import FakeRun, Tiny

from bench.channels import groups
from methods.group_norm import GroupNorm


def test_sum_of_squares_over_all_members():
    model = Tiny()
    with torch.no_grad():
        model.a.weight.zero_()
        model.a.weight[1, 0, 0, :2] = torch.tensor([3.0, 4.0])  # 25 for unit 1
        model.norm_a.weight.copy_(torch.tensor([1.0, 2.0, 0.0, 0.0]))  # 1 and 4
        model.b.weight.zero_()
        model.b.weight[:, 3, 1, 1] = 2.0  # unit 3 is read by three filters: 3 x 4
    assert GroupNorm().score(model, FakeRun())["a"].tolist() == [1, 29, 0, 12]


def test_equals_torch_pruning_up_to_a_factor():
    """Its criterion is the mean over the members, ours the sum."""
    model = Tiny()
    with torch.no_grad():
        model.norm_a.weight.uniform_()
    run = FakeRun()
    run.groups = lambda model: groups(model, torch.zeros(1, 1, 6, 6))
    ours = GroupNorm().score(model, run)
    for group in run.groups(model):
        theirs = tp.importance.MagnitudeImportance(p=2)(group.native)
        assert torch.allclose(ours[group.name] / ours[group.name].mean(), theirs)


def test_compared_over_the_network_relative_to_the_group():
    run, asked = FakeRun(), []
    select = run.select
    run.select = lambda model, scores, scope: asked.append((scores, scope)) or select(model, scores, scope=scope)
    GroupNorm().compress(Tiny(), run)
    assert asked[0][1] == "global"
    assert [float(score.mean()) for score in asked[0][0].values()] == pytest.approx([1, 1])
