import pytest
import torch
from fakes import FakeRun, Tiny

from methods.group_norm import squared_norm
from methods.group_sl import GroupSL


def test_the_weakest_unit_is_pulled_sixteen_times_as_hard():
    squared = torch.tensor([1.0, 4.0, 9.0], requires_grad=True)  # norms 1, 2, 3: gamma 16, 4, 1
    pull = GroupSL(alpha=4)._pull(squared)
    assert float(pull.detach()) == pytest.approx(16 + 16 + 9)
    pull.backward()
    assert squared.grad.tolist() == pytest.approx([16, 4, 1])


def test_equal_units_are_pulled_alike():
    assert float(GroupSL()._pull(torch.full((3,), 4.0))) == 12


def test_the_penalty_covers_every_group():
    model, run, seen = Tiny(), FakeRun(epochs=4), {}
    run.train = lambda model, epochs, name, penalty=None: seen.update({name: penalty and penalty(model).item()})
    run.shrink = lambda model, keep: model
    GroupSL(reg=0.1, alpha=0).compress(model, run)
    expected = 0.05 * sum(squared_norm(group).sum().item() for group in run.groups(model))
    assert seen["sparse training"] == pytest.approx(expected)
    assert seen["fine-tune"] is None


def test_trains_cuts_and_fine_tunes_within_the_budget():
    run = FakeRun(epochs=4)
    GroupSL(share=0.75).compress(Tiny(), run)
    assert run.phases == [("sparse training", 3), ("fine-tune", 1)]
