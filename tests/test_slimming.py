import pytest
import torch
from fakes import FakeRun, Tiny, tiny_groups

from bench import Group, Member, MethodError
from methods.slimming import Slimming


def test_score_is_the_absolute_scale():
    model = Tiny()
    with torch.no_grad():
        model.norm_a.weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    assert Slimming().score(model, FakeRun())["a"].tolist() == [0.5, 2, 0, 1]


def test_the_penalty_is_the_sum_of_absolute_scales():
    model, run, penalties = Tiny(), FakeRun(epochs=4), {}
    with torch.no_grad():
        model.norm_a.weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    run.train = lambda model, epochs, name, penalty=None: penalties.update(
        {name: (epochs, penalty and penalty(model).item())}
    )
    run.shrink = lambda model, keep: model
    Slimming(sparsity=0.1, share=0.25).compress(model, run)
    assert penalties["sparse training"][0] == 1
    assert penalties["sparse training"][1] == pytest.approx(0.1 * (3.5 + 3))  # the norm of b still has ones
    assert penalties["fine-tune"][1] is None


def test_trains_cuts_and_fine_tunes_within_the_budget():
    run = FakeRun(epochs=4, keep=0.5)
    model = Slimming(sparsity=1e-2).compress(Tiny(), run)
    assert run.phases == [("sparse training", 2), ("fine-tune", 2)]
    assert model.a.weight.shape[0] + model.b.weight.shape[0] < 7


def test_refuses_a_network_without_batch_norm():
    bare = Tiny(norm=False)
    with pytest.raises(MethodError, match="needs batch norms"):
        Slimming().check(bare, tiny_groups(bare))
    Slimming().check(Tiny(), tiny_groups(Tiny()))


def test_a_norm_behind_a_concatenation_counts_once():
    model, run, penalties = Tiny(), FakeRun(epochs=4), []
    ids = torch.arange(2)[:, None]
    members = [Member("norm_a", model.norm_a, "norm", ids + first) for first in (0, 2)]
    run.groups = lambda model: [Group(name, 2, 1, (member,)) for name, member in zip("ab", members, strict=True)]
    run.train = lambda model, epochs, name, penalty=None: penalties.extend([penalty(model).item()] if penalty else [])
    run.shrink = lambda model, keep: model
    with torch.no_grad():
        model.norm_a.weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    Slimming(sparsity=0.1).compress(model, run)
    assert penalties == [pytest.approx(0.35)]
