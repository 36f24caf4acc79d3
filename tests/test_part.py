"""Parts of a suite: by method, target and share, always with what they need."""

import pytest
from trials import make

from bench.running.part import Part
from bench.suite import SuiteError

DENSE = make("dense")
DCFF, L1, L1_LESS = (
    make(name, baseline=DENSE.key, keep_macs=keep) for name, keep in (("dcff", 0.5), ("l1", 0.5), ("l1", 0.3))
)
SCRATCH = make("scratch", baseline=DENSE.key, twin=DCFF.key, keep_macs=0.5)
FINETUNE = make("finetune", baseline=DENSE.key)
ALL = [DENSE, FINETUNE, DCFF, L1, L1_LESS, SCRATCH]


def chosen(**part):
    return Part(**part).choose(ALL)


def test_by_method_and_by_target():
    assert chosen() == ALL
    assert chosen(only=["scratch"]) == [DENSE, DCFF, SCRATCH]
    assert chosen(keep=[0.3]) == [DENSE, FINETUNE, L1_LESS]  # what has no target belongs to every one
    assert chosen(only=["l1"], keep=[0.5]) == [DENSE, L1]
    assert chosen(only=[L1_LESS.key, "finetune"]) == [DENSE, FINETUNE, L1_LESS]


def test_shares_cover_all_and_bring_what_they_need():
    shares = [chosen(shard=(i, 3)) for i in (1, 2, 3)]
    assert {trial.key for share in shares for trial in share} == {trial.key for trial in ALL}
    assert shares == [[DENSE, L1], [DENSE, FINETUNE, L1_LESS], [DENSE, DCFF, SCRATCH]]


def test_more_shares_than_trials_leave_some_empty():
    assert [len(chosen(only=["finetune"], shard=(i, 2))) for i in (1, 2)] == [2, 0]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            {"only": ["l2"]},
            r"'l2' is not in this suite with these seeds \(it has dcff, dense, finetune, l1, scratch, and no",
        ),
        ({"keep": [0.4]}, r"0.4 .*\(0.3, 0.5\)"),
    ],
)
def test_what_the_suite_lacks_is_named(part, words):
    with pytest.raises(SuiteError, match=words):
        chosen(**part)
