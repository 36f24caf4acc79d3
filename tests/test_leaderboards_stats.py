"""Mean, deviation, t-test and ranks against golden values (scipy 1.17: stats.t.sf, stats.ttest_rel)."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboards.stats import axis_floor, ranks, stat, two_sided_p


def test_mean_and_sample_deviation() -> None:
    result = stat([1.0, 2.0, None, 6.0])
    assert result is not None
    assert (result.mean, result.n) == (3.0, 3)
    assert result.std == pytest.approx(7**0.5)  # sqrt((4 + 1 + 9) / 2)


def test_one_value_has_no_deviation() -> None:
    result = stat([5.0])
    assert result is not None and result.std is None and result.n == 1
    assert stat([None]) is None


@pytest.mark.parametrize(
    ("t", "df", "expected"),
    [
        (0.0, 2, 1.0),
        (1.0, 1, 0.5000000000000001),
        (12.706204736432095, 1, 0.0499999999989913),
        (4.302652729911275, 2, 0.04999999999651663),
        (17.32, 2, 0.003316952349830409),
        (2.5, 3, 0.08770664700806556),
        (3.1, 4, 0.03622111103743915),
        (2.0, 7, 0.08561932856297605),
        (6.0, 19, 8.979235472490839e-06),
        (0.3, 50, 0.7654208802553033),
    ],
)
def test_p_value_equals_scipys(t: float, df: int, expected: float) -> None:
    assert two_sided_p(np.array([t]), df)[0] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_constant_lead_is_significant() -> None:
    assert ranks([seeds(91, 92, 93), seeds(90, 91, 92)]) == [(1, 1), (2, 2)]


def test_a_constant_lead_of_one_image_is_not() -> None:
    # Rounding alone spreads differences by step / sqrt(6), 0.0041 of 10,000 images: t = 0.01 / 0.0024 = 4.2, p = 0.051.
    ahead, behind = seeds(91.01, 92.01, 93.01), seeds(91, 92, 93)
    assert ranks([ahead, behind], step=0.01) == [(1, 2), (1, 2)]
    assert ranks([seeds(91.1, 92.1, 93.1), behind], step=0.01) == [(1, 1), (2, 2)]


def test_pairing_by_seed_decides() -> None:
    # Differences 1.0, 1.1, 0.9: mean 1, std 0.1, t = 17.3, p = 0.0033; unpaired, the seeds' spread would hide it.
    assert ranks([seeds(91, 95, 99), seeds(90, 93.9, 98.1)]) == [(1, 1), (2, 2)]


def test_a_noisy_lead_is_not() -> None:
    # Differences 3, 0.1, -1: t = 0.58.
    assert ranks([seeds(93, 92.1, 91), seeds(90, 92, 92)]) == [(1, 2), (1, 2)]


def test_ties_share_a_rank() -> None:
    assert ranks([seeds(90, 91, 92), seeds(90, 91, 92), seeds(80, 81, 82)]) == [(1, 2), (1, 2), (3, 3)]


def test_holm_corrects_over_all_pairs() -> None:
    # p = 0.0390 for the differences 1.0, 1.5, 0.75 (t = 4.91): significant alone, not beside two more pairs.
    first, second = seeds(91, 92.5, 92.75), seeds(90, 91, 92)
    assert ranks([first, second]) == [(1, 1), (2, 2)]
    assert ranks([first, second, seeds(93, 88, 96)]) == [(1, 3), (1, 3), (1, 3)]


def test_a_row_that_cannot_be_told_from_either_may_hold_any_place() -> None:
    # The third lies between the others and spreads so widely that no pair with it is significant; the first two are.
    wide = seeds(85, 90.5, 96)
    assert ranks([seeds(91, 92, 93), seeds(90, 91, 92), wide]) == [(1, 2), (2, 3), (1, 3)]


def test_fewer_than_three_seeds_have_no_rank() -> None:
    assert ranks([seeds(91, 92, 93), seeds(90, 91), seeds(80, 81, 82)]) == [(1, 1), None, (2, 2)]


def test_nothing_to_compare_with_means_no_rank() -> None:
    assert ranks([seeds(1, 2, 3)]) == [None]
    assert ranks([seeds(1, 2, 3), {7: 1.0, 8: 2.0, 9: 3.0}]) == [None, None]


def test_a_ruined_row_does_not_stretch_the_axis() -> None:
    values = [86.0, 88.0, 88.0, 89.0, 90.0]  # and 14: the fence lies at 79.75, but 20 points are always shown
    assert axis_floor([*values, 14.0]) == pytest.approx(70.0)
    assert axis_floor([60.0, 70.0, 80.0, 84.0, 90.0]) is None
    assert axis_floor([0.0, 70.0, 74.0, 78.0, 99.0]) == pytest.approx(70 - 3 * 8)
    assert axis_floor(values) is None and axis_floor([14.0, 90.0]) is None and axis_floor([]) is None
