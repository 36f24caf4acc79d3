import pytest
import torch
from fakes import FakeRun, Tiny

from methods.growing_reg import GrowingReg


def spied(method: GrowingReg, steps: int) -> list[float]:
    """The penalty at each step, without any training: unit 2 and 3 of a are the smallest, units 2 of b."""
    model, run, penalties = Tiny(norm=False), FakeRun(epochs=4, keep=0.5), []
    with torch.no_grad():
        for i, value in enumerate([3.0, 4.0, 2.0, 1.0]):
            model.a.weight[i] = value  # a's doomed filters: 9 * 4 + 9 * 1 = 45
        for i, value in enumerate([3.0, 4.0, 1.0]):
            model.b.weight[i] = value  # b's: 36

    def train(model, epochs, name, lr=None, penalty=None, each_step=None):
        for _ in range(steps if penalty else 0):
            penalties.append(penalty(model).item())
            each_step(model)

    run.train = train
    method.compress(model, run)
    return penalties


def test_the_penalty_on_the_chosen_filters_grows_step_by_step():
    half = 0.5 * (45 + 36)
    assert spied(GrowingReg(delta=0.1, every=2), 5) == pytest.approx([0, 0, 0.1 * half, 0.1 * half, 0.2 * half])


def test_the_penalty_has_a_ceiling():
    half = 0.5 * (45 + 36)
    assert spied(GrowingReg(delta=0.4, every=1, ceiling=0.5), 4)[2:] == pytest.approx([0.5 * half, 0.5 * half])


def test_what_was_chosen_at_the_start_is_cut_and_nothing_stays_behind():
    run, model = FakeRun(epochs=4, keep=0.5), Tiny()
    with torch.no_grad():
        for i, value in enumerate([0.3, 0.4, 0.2, 0.1]):
            model.a.weight[i] = value
    names = set(model.state_dict())
    compact = GrowingReg(delta=0.1, every=1, lr=0.1).compress(model, run)
    assert run.phases == [("growing penalty", 2), ("fine-tune", 2)]
    assert compact.a.weight.shape[0] == 2
    assert compact.a.weight.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.3, 0.4], abs=0.1)
    assert set(compact.state_dict()) == names
