"""Records that contradict each other, or their suite, are named by `report --check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import make_history, make_record, make_trial, measured, save, save_failure, save_plan

from bench.record import write_json
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
    first, copy, third = (make_record(make_trial(seed=seed), 90.0, dense=None) for seed in range(3))
    save(tmp_path, first, copy, third.model_copy(update={"history": make_history(3, 90.0)}))
    (problem,) = told(tmp_path)
    assert first.key in problem and copy.key in problem and third.key not in problem


@pytest.mark.parametrize("other", ["method", "result", "untrained"])
def test_what_may_be_alike(tmp_path: Path, other: str) -> None:
    history = [] if other == "untrained" else make_history(2, 90.0)  # a method without chance, and no training
    save(tmp_path, make_record(make_trial(seed=0), 90.0, history=history, dense=None))
    method, top1 = ("fpgm" if other == "method" else "l1"), (90.1 if other == "result" else 90.0)
    save(tmp_path, make_record(make_trial(method, seed=1), top1, history=history, dense=None))
    assert told(tmp_path) == []


def test_a_dense_network_that_its_own_record_does_not_know(tmp_path: Path) -> None:
    dense = make_record(make_trial("dense"))
    honest, other = (make_record(make_trial(name, baseline=dense.key)) for name in ("l1", "fpgm"))
    lower = measured(90.0, dense.result.macs, dense.result.params)
    save(tmp_path, dense, honest, other.model_copy(update={"dense": lower}))
    (problem,) = told(tmp_path)
    assert other.key in problem and dense.key in problem


def test_a_dense_network_whose_record_is_not_here(tmp_path: Path) -> None:
    nowhere = make_trial("dense").key
    trials = [make_trial("l1"), *(make_trial("fpgm", seed, baseline=nowhere) for seed in (0, 1))]
    save(tmp_path, *(make_record(trial, history=[]) for trial in trials))
    unnamed, unproved = sorted(told(tmp_path), key=lambda line: nowhere in line)
    assert unnamed.endswith("tells of a dense network, and not which")
    assert f"(and 1 more) tell of a dense network, {nowhere}, whose own record is not here" in unproved


def test_what_the_suite_asks_for_and_nothing_tells_of(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    both = (0, 1)
    tuned = [make_trial("finetune", seed, keep=None) for seed in both]
    early, late = ([make_trial("l1", seed, keep=keep) for seed in both] for keep in (0.5, 0.3))
    save(tmp_path, *(make_record(trial, dense=None, history=[]) for trial in tuned + early + late[:1]))
    save_failure(tmp_path, late[1], "the loss is NaN")  # told of, and shown
    unplanned, problem = told(tmp_path)
    assert "suite.yaml has no plan.json beside it, which says what was to run" in unplanned
    assert "suite.yaml:5 asks for random at 0.5 with seed 0, 1 and at 0.3 with seed 0, 1, and neither" in problem
    drawn = [make_trial("random", seed, keep=keep) for keep in (0.5, 0.3) for seed in both]
    save_plan(tmp_path, *tuned, *early, *late, *drawn[:3])
    (problem,) = told(tmp_path)
    assert "asks for random at 0.3 with seed 1, and" in problem
    save_plan(tmp_path, *tuned, *early, *late, *drawn)
    assert told(tmp_path) == []
    (tmp_path / "trials" / tuned[1].key / "record.json").unlink()
    save_plan(tmp_path, *early, *late, *drawn)
    (problem,) = told(tmp_path)
    assert "asks for finetune with seed 1, and" in problem


def test_a_row_with_explicit_rates_hides_no_missing_target(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(
        "name: tiny\nkeep_macs: [0.5, 0.3]\nmethods:\n  - dcff\n  - dcff: {rates: [0.5]}\n  - finetune\n"
    )
    rated = make_trial("dcff", keep=None, params={"rates": [0.5]})
    save(tmp_path, *(make_record(t, dense=None, history=[]) for t in (rated, make_trial("finetune", keep=None))))
    write_json(tmp_path / "methods.json", {"dcff": {"prunes": True}, "finetune": {"prunes": False}})
    save_plan(tmp_path, rated)
    (problem,) = told(tmp_path)
    assert "suite.yaml:4 asks for dcff at 0.5 with seed 0 and at 0.3 with seed 0" in problem
