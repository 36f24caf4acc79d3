"""From a record back to the line that asked for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import make_record, make_trial, save

import leaderboards
from bench.record import RecordError, write_json
from bench.spec import MethodSpec
from leaderboards.boards import boards
from leaderboards.caveats import incomplete
from leaderboards.results import read
from leaderboards.suitelines import SuiteCopy

SUITE = """\
name: tiny            # a comment
methods:
  - random
  - l1: {scope: [layer, global]}   # both
  - dcff:
      rates: [0.5, 1e-1]

  - scratch: {of: dcff}
  - 7
  - [l1]
"""


@pytest.fixture
def suite(tmp_path: Path) -> SuiteCopy:
    (tmp_path / "suite.yaml").write_text(SUITE)
    return SuiteCopy(tmp_path / "suite.yaml")


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("random", {"scope": "layer"}, (3, "- random")),
        ("l1", {"scope": "global", "p": 1}, (4, "- l1: {scope: [layer, global]}")),
        ("l1", {"scope": "stage"}, None),
        ("dcff", {"rates": [0.5, 0.1], "t_start": 1.0}, (5, "- dcff:\n    rates: [0.5, 1e-1]")),
        ("dcff", {"rates": [0.5, 0.2]}, None),
        ("scratch", {"of": "dcff", "epochs": "matched"}, (8, "- scratch: {of: dcff}")),
        ("fpgm", {}, None),
    ],
)
def test_the_entry_of_a_method(suite: SuiteCopy, name: str, params: dict, expected: tuple[int, str] | None) -> None:
    found = suite.line("tiny", MethodSpec(name=name, params=params))
    assert (found and (found.number, found.text)) == expected


def test_seeds_that_did_not_take_part_are_told(tmp_path: Path) -> None:
    save(tmp_path, make_record(make_trial("random", seed=1), suite="tiny"))
    for given, missing in (("[0, 1, 2]", "0, 2 did not take part"), ("1", "")):
        (tmp_path / "suite.yaml").write_text(f"{SUITE}seeds: {given}\n")
        (board,) = boards(read(tmp_path))
        assert [line for line in incomplete(board) if "take part" in line] == (
            [f"The suite asks for seeds 0, 1, 2: {missing}."] if missing else []
        )


def test_another_suites_record_has_no_line_here(suite: SuiteCopy) -> None:
    assert suite.line("other", MethodSpec(name="random")) is None


@pytest.mark.parametrize("text", ["", "- a", "a: [", "methods: 3\nname: tiny\n"])
def test_what_is_no_suite(tmp_path: Path, text: str) -> None:
    (tmp_path / "suite.yaml").write_text(text)
    if text.startswith("methods"):
        assert SuiteCopy(tmp_path / "suite.yaml").line("tiny", MethodSpec(name="l1")) is None
        return
    with pytest.raises(RecordError, match="suite.yaml"):
        SuiteCopy(tmp_path / "suite.yaml")


def test_run_folders_and_flat_ones_find_their_suite_and_tables_link_to_it(tmp_path: Path) -> None:
    record = make_record(make_trial("random"))
    save(tmp_path / "run", record)
    write_json(tmp_path / "flat" / f"{record.key}.json", record)
    for folder in ("run", "flat"):
        (tmp_path / folder / "suite.yaml").write_text(SUITE)
        (entry,) = read(tmp_path / folder).records
        assert entry.asked is not None and entry.asked.number == 3
    leaderboards.report(tmp_path / "run", tmp_path / "out")
    table = (tmp_path / "out" / "table.md").read_text()
    assert f"| [0](../run/trials/{record.key}/record.json) | [3](../run/suite.yaml#L3) |" in table
    assert "suite.yaml, line 3: - random" in leaderboards.show(tmp_path / "run", record.key)


def test_a_damaged_suite_is_named_and_the_records_are_read(tmp_path: Path) -> None:
    save(tmp_path, make_record())
    (tmp_path / "suite.yaml").write_text("a: [")
    results = read(tmp_path)
    assert len(results.records) == 1 and results.records[0].asked is None
    assert len(results.problems) == 1 and "suite.yaml" in results.problems[0]


def test_targets(suite: SuiteCopy, tmp_path: Path) -> None:
    assert suite.points() == []
    (tmp_path / "suite.yaml").write_text(f"keep_macs: [0.5, 1{'0' * 400}, -1, x]\nmethods: [l1]\n")
    assert SuiteCopy(tmp_path / "suite.yaml").points() == [0.5]
