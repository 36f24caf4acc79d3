import pytest
import torch
from fakes import FakeRun, Tiny

from methods.fpgm import FPGM


def test_sum_of_distances_to_the_other_filters():
    model = Tiny()
    with torch.no_grad():
        model.a.weight.zero_()
        model.a.weight[:, 0, 0, 0] = torch.tensor([0.0, 3.0, 0.0, 10.0])
        model.a.weight[2, 0, 0, 1] = 4.0
    # filters (0, 0), (3, 0), (0, 4), (10, 0): distances 3, 4, 5, 7, 10 and the root of 116
    far = 116**0.5
    assert FPGM().score(model, FakeRun())["a"].tolist() == pytest.approx([17, 15, 9 + far, 17 + far])


def test_equal_filters_have_no_distance():
    """A matrix product would leave 1e-3 of rounding between filters of norm 1,000."""
    model = Tiny()
    with torch.no_grad():
        model.a.weight[:] = 1000 * torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert FPGM().score(model, FakeRun())["a"].tolist() == [0, 0, 0, 0]
