import pytest
import torch
from fakes import FakeRun, Tiny

from methods.chip import CHIP, independence


def test_by_hand():
    """Rows (3, 0), (0, 2), (0, 2): singular values 3 and the root of 8.

    Without row 0 the root of 8 stays; without one of the twins 3 and 2 stay.
    """
    rows = torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 2.0]]).view(1, 3, 1, 1, 2)
    assert independence(rows).tolist() == pytest.approx([3, 8**0.5 - 2, 8**0.5 - 2])


@pytest.mark.parametrize(("height", "channels"), [(2, 1), (2, 3), (5, 1), (5, 3)])
def test_equals_the_nuclear_norm_of_the_zeroed_matrix(height, channels):
    """Fewer positions than channels, and more; one channel per unit, and three."""
    maps = torch.rand(2, 6, channels, height, height, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.zeros(6)
    for image in maps:
        whole = torch.linalg.matrix_norm(image.reshape(6 * channels, -1), "nuc")
        for unit in range(6):
            zeroed = image.clone()
            zeroed[unit] = 0
            expected[unit] += (whole - torch.linalg.matrix_norm(zeroed.reshape(6 * channels, -1), "nuc")) / 2
    assert torch.allclose(independence(maps), expected, atol=1e-5)


def test_a_copy_of_another_filter_is_least_independent():
    model = Tiny(norm=False)
    with torch.no_grad():
        model.a.weight.abs_()
        model.a.bias.zero_()
        model.a.weight[2] = model.a.weight[0] = 0.1
    scores = CHIP(batches=2, batch_size=4).score(model, FakeRun())["a"]
    assert scores[0] == pytest.approx(scores[2].item(), rel=1e-3)
    assert scores.argsort()[:2].sort().values.tolist() == [0, 2]
