"""Measured speed: read beside the records, shown for one machine, marked where other work ran."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from records import make_latency, make_record, make_trial, save, save_latency

import leaderboards
from leaderboards.boards import boards
from leaderboards.columns import columns
from leaderboards.latex import latex
from leaderboards.notes import notes
from leaderboards.results import read
from leaderboards.tables import csv_table, markdown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dense record, and one method with two seeds, measured 1.5 and 2 times as fast as the dense network."""
    seeds = [make_record(make_trial(seed=seed)) for seed in (0, 1)]
    save(tmp_path, make_record(make_trial("dense")), *seeds)
    for record, ms in zip(seeds, (2.0, 1.5), strict=True):
        save_latency(tmp_path, make_latency(record, ms=ms, dense_ms=3.0))
    return tmp_path


def test_a_row_has_the_mean_over_its_seeds(folder: Path) -> None:
    board = boards(read(folder))[0]
    dense, row = board.rows
    assert board.clock and board.clock.name == "Some CPU, 1 thread" and board.clock.batches == (1, 64)
    assert row.single and row.single.speedup and (row.single.batch, row.single.speedup.mean) == (1, 1.75)
    assert row.batched and (row.batched.batch, row.batched.ms.mean) == (64, 87.5)
    assert dense.single and dense.single.speedup is None and dense.single.ms.mean == 3.0
    cells = {column.name: column.cell(row) for column in columns("long", board.rows)}
    assert cells["speedup"] == "1.75 ± 0.35×"
    assert {"speedup", "batch_speedup"} <= {column.name for column in columns("usual", board.rows)}


def test_every_format_shows_it(folder: Path) -> None:
    found = boards(read(folder))
    assert "1.75 ± 0.35×" in markdown(found[0]) and "with the machine to itself" in markdown(found[0])
    assert "the dense network takes 3.00 ms at batch 1 and 150.00 ms at batch 64" in markdown(found[0])
    assert r"1.75 $\pm$ 0.35$\times$" in latex(found[0])
    row = next(row for row in csv.DictReader(io.StringIO(csv_table(found))) if row["method"] == "l1")
    assert (row["speedup"], row["batch"], row["batch_latency_ms"]) == ("1.75", "64", "87.5")
    assert row["measured_on"] == "Some CPU, 1 thread"
    frame = leaderboards.load(folder).set_index("seed")
    assert sorted(frame["speedup.1"].dropna()) == [1.5, 2.0]
    key = next(entry.record.key for entry in read(folder).records if entry.latencies)
    assert "x (" in leaderboards.show(folder, key) and "speed on Some CPU, 1 thread" in leaderboards.show(folder, key)


def test_nothing_is_said_where_nothing_was_measured(tmp_path: Path) -> None:
    board = boards(read(save(tmp_path, make_record())))[0]
    assert board.clock is None and not any("Speed-up" in note for note in notes(board))
    assert "speedup" not in {column.name for column in columns("long", board.rows)}


def test_a_dense_network_that_nobody_trained_is_said_to_be_fresh(tmp_path: Path) -> None:
    record = make_record(make_trial("dcff", dense=None, track="paper"), dense=None, spent_dense=None)
    save_latency(save(tmp_path, record), make_latency(record))
    assert "time of the dense network (none is trained: fresh weights) / time" in "\n".join(
        notes(boards(read(tmp_path))[0])
    )


def test_one_machine_is_shown_and_the_others_are_counted(folder: Path) -> None:
    record = read(folder).records[-1].record
    save_latency(folder, make_latency(record, name="A GPU", ms=0.1), "latency-a-gpu.json")
    board = boards(read(folder))[0]
    assert board.clock and (board.clock.name, board.clock.others) == ("Some CPU, 1 thread", 1)
    assert any("Measurements on 1 more machine are" in note for note in notes(board))


def test_the_newer_of_two_measurements_on_one_machine_counts(folder: Path) -> None:
    entry = next(entry for entry in read(folder).records if entry.latencies)
    save_latency(folder, make_latency(entry.record, ms=9.0, measured="2026-02-01T00:00:00Z"), "latency-again.json")
    again = next(e for e in read(folder).records if e.record.key == entry.record.key)
    assert [latency.timings[0].compact_ms.median for latency in again.latencies] == [9.0]


def test_a_loaded_machine_is_marked(folder: Path) -> None:
    entry = next(entry for entry in read(folder).records if entry.latencies)
    save_latency(folder, make_latency(entry.record, alone=False, load=2.5))
    board = boards(read(folder))[0]
    assert "×‡" in markdown(board) and any("other work running where marked ‡" in note for note in notes(board))


@pytest.mark.parametrize("text", ["{}", "not JSON", '{"key": NaN}'])
def test_a_damaged_measurement_is_named_and_the_rest_is_built(folder: Path, text: str) -> None:
    entry = next(entry for entry in read(folder).records if entry.latencies)
    (entry.path.parent / "latency-x.json").write_text(text)
    results = read(folder)
    assert len(results.records) == 3 and len(results.problems) == 1
    assert "latency-x.json is no measurement of latency" in results.problems[0]
