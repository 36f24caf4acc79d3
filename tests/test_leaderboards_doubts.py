"""Records that contradict each other, or their suite, are named by `report --check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import make_history, make_record, make_trial, measured, save, save_failure, save_plan

from leaderboards.doubts import doubts
from leaderboards.results import read

SUITE = """\
name: tiny
keep_macs: [0.5, 0.3]
seeds: [0, 1]
methods:
  - random
  - finetune
  - l1: {scope: global}
"""


def told(folder: Path) -> list[str]:
    return list(doubts(read(folder)))


def test_one_training_under_several_seeds(tmp_path: Path) -> None:
    first, copy, third = (make_record(make_trial(seed=seed), 90.0) for seed in range(3))
    save(tmp_path, first, copy, third.model_copy(update={"history": make_history(3, 90.0)}))
    (problem,) = told(tmp_path)
    assert first.key in problem and copy.key in problem and third.key not in problem


@pytest.mark.parametrize("other", ["method", "result", "untrained"])
def test_what_may_be_alike(tmp_path: Path, other: str) -> None:
    history = [] if other == "untrained" else make_history(2, 90.0)  # a method without chance, and no training
    save(tmp_path, make_record(make_trial(seed=0), 90.0, history=history))
    method, top1 = ("fpgm" if other == "method" else "l1"), (90.1 if other == "result" else 90.0)
    save(tmp_path, make_record(make_trial(method, seed=1), top1, history=history))
    assert told(tmp_path) == []


def test_a_dense_network_that_its_own_record_does_not_know(tmp_path: Path) -> None:
    dense = make_record(make_trial("dense"))
    honest, other = (make_record(make_trial(name, baseline=dense.key)) for name in ("l1", "fpgm"))
    lower = measured(90.0, dense.result.macs, dense.result.params)
    save(tmp_path, dense, honest, other.model_copy(update={"dense": lower}))
    (problem,) = told(tmp_path)
    assert other.key in problem and dense.key in problem


def test_what_the_suite_asks_for_and_nothing_tells_of(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    trials = [make_trial("finetune", keep=None), *(make_trial("l1", keep=keep) for keep in (0.5, 0.3))]
    save(tmp_path, make_record(trials[0]), make_record(trials[1]))
    save_failure(tmp_path, trials[2], "the loss is NaN")  # told of, and shown
    (problem,) = told(tmp_path)
    assert "suite.yaml:5 asks for random at 0.5, 0.3, and neither" in problem
    save_plan(tmp_path, *trials, make_trial("random", keep=0.5))
    (problem,) = told(tmp_path)
    assert "random at 0.3, and" in problem
    save_plan(tmp_path, *trials, *(make_trial("random", keep=keep) for keep in (0.5, 0.3)))
    assert told(tmp_path) == []
