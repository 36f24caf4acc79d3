"""Histories read in a hurry are what the careful reader makes of them, or are left to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from records import make_history, make_record

from bench.record import Epoch, Record
from leaderboards.curves import curve, curve_of


def raw(history: list[Epoch]) -> list[dict[str, Any]]:
    return json.loads(json.dumps([epoch.model_dump() for epoch in history]))


def test_both_ways_give_the_same_curve() -> None:
    training = make_history(5, 90.0)
    tested = [e.model_copy(update={"top1": 80.0 + i, "epochs": 0.5}) if i % 2 else e for i, e in enumerate(training)]
    for history in ([], training, tested):
        assert curve(raw(history)) == curve_of(history)
    found = curve_of(tested)
    assert list(found.epochs) == [1.5, 3.0] and list(found.top1) == [81.0, 83.0] and found.on_test
    assert list(curve_of(training).top1) == [89.0] * 5


@pytest.mark.parametrize("missing", ["top1"])
def test_what_may_be_left_out(missing: str) -> None:
    rows = raw(make_history(2, 90.0))
    for row in rows:
        del row[missing]
    assert curve(rows) == curve(raw(make_history(2, 90.0)))


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "high"}, {"loss": None}, {"loss": float("nan")}, {"loss": True}, {"loss": [1.0]}, {"epochs": 1e999},
        {"epoch": 0.5}, {"macs": -1}, {"macs": 10**400}, {"macs": 2.5}, {"top1": 101}, {"top1": "90"}, {"phase": 1},
        {"more": 1}, {"lr": 10**400}, {"epochs": -1}, {"epoch": -1}, {"seconds": -0.5}, {"images_per_s": -1.0},
        {"images_per_s": float("nan")}, {"seconds": 1e31},
    ],
)  # fmt: skip
def test_an_epoch_that_is_odd_is_left_to_the_careful_reader(change: dict[str, Any]) -> None:
    rows = raw(make_history(3, 90.0))
    rows[1] |= change
    assert curve(rows) is None


@pytest.mark.parametrize("name", list(Epoch.model_fields))
def test_an_epoch_without_a_field_is_left_to_it_too(name: str) -> None:
    rows = raw(make_history(3, 90.0))
    rows[1].pop(name)
    rows[1]["other"] = 1
    assert curve(rows) is None


@pytest.mark.parametrize("history", [None, 1, "text", {"a": 1}, [1], [None], [[]], ["phase"]])
def test_what_is_no_history(history: object) -> None:
    assert curve(history) is None


def test_whatever_the_record_refuses_is_never_a_curve() -> None:
    values = json.loads(make_record().model_dump_json())
    for change in ({"loss": None}, {"macs": -1}, {"seconds": -1.0}, {"top1": 200.0}, {"more": 1}):
        values["history"][0] |= change
        with pytest.raises(ValueError):
            Record.model_validate(values)
        assert curve(values["history"]) is None
