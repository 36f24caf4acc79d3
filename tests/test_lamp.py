import pytest
import torch
from fakes import FakeRun, Tiny

from bench.channels import groups
from methods.lamp import LAMP


def scored(*values: float) -> torch.Tensor:
    """LAMP scores of group a when the squared norms of its filters are `values`, and nothing else differs."""
    model = Tiny(norm=False)
    with torch.no_grad():
        model.a.weight.zero_()
        model.a.weight[:, 0, 0, 0] = torch.tensor(values).sqrt()
        model.b.weight.zero_()
    run = FakeRun()
    run.groups = lambda model: groups(model, torch.zeros(1, 1, 6, 6))
    return LAMP().score(model, run)["a"]


def test_share_of_all_that_are_at_least_as_large():
    assert scored(1.0, 4.0, 3.0, 2.0).tolist() == pytest.approx([1 / 10, 4 / 4, 3 / 7, 2 / 9])


def test_layers_of_any_magnitude_are_comparable():
    assert torch.allclose(scored(1.0, 4.0, 3.0, 2.0), scored(100.0, 400.0, 300.0, 200.0))


def test_units_of_a_grouped_convolution_get_one_score_each():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 1), torch.nn.Conv2d(8, 8, 3, groups=2), torch.nn.Conv2d(8, 2, 1), torch.nn.Flatten()
    )
    run = FakeRun()
    run.groups = lambda model: groups(model, torch.zeros(1, 1, 3, 3))
    scores = LAMP().score(model, run)
    assert {name: len(score) for name, score in scores.items()} == {"0": 2}
    assert (scores["0"] > 0).all()
