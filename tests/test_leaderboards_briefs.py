"""Records read in two processes are what one process reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from records import make_history, make_record, make_trial, save

from bench.record import RecordError, find_records, read_record
from leaderboards import briefs
from leaderboards.curves import curve_of
from leaderboards.results import read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven records, one of them damaged."""
    records = [make_record(make_trial(seed=seed), history=make_history(3, 90.0)) for seed in range(7)]
    save(tmp_path, *records)
    (tmp_path / "trials" / max(record.key for record in records) / "record.json").write_text("{")
    return tmp_path


def test_two_processes_read_what_one_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(briefs.os, "cpu_count", lambda: 2)
    alone = read(folder)
    monkeypatch.setattr(briefs, "MANY", 2)
    together = read(folder)
    assert together.records == alone.records and together.problems == alone.problems
    assert len(alone.records) == 6 and len(alone.problems) == 1


def test_the_second_process_answers_for_its_half(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(briefs, "MANY", 2)
    monkeypatch.setattr(briefs.os, "cpu_count", lambda: 2)
    paths = find_records(folder)
    read_brief = briefs.reader(paths)
    monkeypatch.setattr(
        briefs, "read_brief", lambda path: pytest.fail(f"{path} was read here") if path in paths[3:-1] else None
    )
    for path in paths[3:-1]:
        record, drawn = read_brief(path)
        whole = read_record(path)
        assert record == whole.model_copy(update={"history": []}) and drawn == curve_of(whole.history)


def test_where_no_second_process_starts_one_does_it_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(briefs, "MANY", 2)
    for executable in ("/nowhere/python", "/bin/true"):
        monkeypatch.setattr(sys, "executable", executable)
        assert len(read(folder).records) == 6


def test_a_damaged_record_has_its_reason(folder: Path) -> None:
    with pytest.raises(RecordError, match="is not a record"):
        briefs.read_brief(find_records(folder)[-1])
