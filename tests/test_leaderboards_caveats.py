"""What is said of rows that are not whole, and of settings that are not a method's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import make_record, make_trial, save, save_failure, save_plan

from bench.record import write_json
from leaderboards.boards import Board, boards
from leaderboards.caveats import NAMED, incomplete, settings
from leaderboards.results import read


def board(folder: Path) -> Board:
    (found,) = boards(read(folder))
    return found


def test_sixty_missing_trials_are_one_note(tmp_path: Path) -> None:
    trials = [make_trial(f"m{i:02}", seed) for i in range(20) for seed in range(3)]
    save_plan(save(tmp_path, make_record(trials[0])), *trials)
    (line,) = incomplete(board(tmp_path))
    assert line == ("Incomplete: 59 of 60 trials have not run yet, and n says how many seeds of how many each row has.")


def test_a_few_missing_trials_are_named(tmp_path: Path) -> None:
    trials = [make_trial(seed=seed) for seed in range(3)]
    save_plan(save(tmp_path, make_record(trials[1])), *trials)
    (line,) = incomplete(board(tmp_path))
    assert line.startswith("Incomplete: 2 of 3 trials") and line.endswith("each row has: l1 at 50 % (seeds 0, 2).")


def test_failures_are_told_by_their_reason(tmp_path: Path) -> None:
    for i in range(NAMED + 2):
        save_failure(tmp_path, make_trial(f"m{i}"), "out of memory")
    save_failure(tmp_path, make_trial("l1", seed=1), "the loss is NaN")
    first, second = incomplete(board(tmp_path))
    assert first == "Failed (the loss is NaN): l1 at 50 % (seed 1)."
    assert second.startswith("Failed (out of memory): m0 at 50 % (seed 0), m1") and second.endswith("and 2 more rows.")


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"defaults": {"ticks": None, "lr": 0.1}}, ["Settings other than a method's own defaults: l1 (ticks=10)."]),
        ({"defaults": {"ticks": 10, "lr": 0.1, "more": 1}}, []),
        ({}, ["Settings: l1 (lr=0.1, ticks=10)."]),
    ],
)
def test_settings(tmp_path: Path, about: dict[str, object], expected: list[str]) -> None:
    save(tmp_path, *(make_record(make_trial(seed=s, params={"ticks": 10, "lr": 0.1})) for s in (0, 1)))
    write_json(tmp_path / "methods.json", {"l1": about})
    assert list(settings(board(tmp_path))) == expected


def test_where_a_twins_widths_come_from_is_no_setting(tmp_path: Path) -> None:
    original = make_trial("dcff")
    twin = make_trial("scratch", params={"of": "dcff", "epochs": "matched"}, twin=original.key)
    save(tmp_path, make_record(original), make_record(twin))
    assert list(settings(board(tmp_path))) == ["Settings: scratch (epochs=matched)."]
