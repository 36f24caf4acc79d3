"""Reading folders: what is there, what is not, and what is damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from records import machine, make_record, make_trial, save, save_failure, save_plan

import leaderboards
from bench.record import RecordError, write_json
from bench.spec import DENSE
from leaderboards.results import check_publishable, read


def test_run_folder_and_flat_folder_give_the_same(tmp_path: Path) -> None:
    record = make_record()
    save(tmp_path / "run", record)
    write_json(tmp_path / "flat" / "cifar10" / f"{record.key}.json", record)
    for folder in ("run", "flat"):
        results = read(tmp_path / folder)
        assert [entry.record.key for entry in results.records] == [record.key]
        assert results.problems == []


def test_the_same_record_twice_counts_once(tmp_path: Path) -> None:
    record = make_record()
    results = read([save(tmp_path / "a", record), save(tmp_path / "b", record)])
    assert len(results.records) == 1 and results.problems == []


def test_two_suites_that_ran_one_trial_and_came_to_the_same_give_one_record(tmp_path: Path) -> None:
    first = make_record(suite="a", finished="2026-01-01T00:02:00Z")
    later = first.model_copy(update={"suite": "b", "finished": "2026-01-02T00:00:00Z", "machine": machine(cpu="Other")})
    folders = [save(tmp_path / "b", later), save(tmp_path / "a", first)]
    for order in (folders, folders[::-1]):
        results = read(order)
        assert results.problems == [] and [entry.record.suite for entry in results.records] == ["a"]


def test_what_a_run_says_of_its_methods_is_said_of_its_own_records(tmp_path: Path) -> None:
    told = {"l1": {"start": "pretrained", "defaults": {"scope": "layer"}}}
    save(tmp_path / "a", make_record())
    write_json(tmp_path / "a" / "methods.json", told)
    save(tmp_path / "b", make_record(make_trial("taylor")))
    write_json(tmp_path / "b" / "methods.json", {"taylor": {}, "l1": {"defaults": {}, "paper": {"bibtex": "@misc{x}"}}})
    abouts = {entry.record.trial.method.name: entry.about for entry in read([tmp_path / "a", tmp_path / "b"]).records}
    assert abouts == {"l1": told["l1"], "taylor": {}}


def test_a_planned_trial_whose_record_is_damaged_is_not_called_missing(tmp_path: Path) -> None:
    trials = [make_trial(seed=seed) for seed in range(3)]
    save_plan(save(tmp_path, *map(make_record, trials[:2])), *trials)
    (tmp_path / "trials" / trials[1].key / "record.json").write_text("{")
    results = read(tmp_path)
    states = {u.trial.seed: (u.state, u.reason) for u in results.unfinished}
    assert states == {1: ("refused", "its record cannot be used"), 2: ("missing", "not run yet")}
    table = leaderboards.text(results)
    (row,) = leaderboards.rows(results)
    assert (row["failed"], row["refused"], row["missing"]) == (0, 1, 1)
    assert "1 of 3 (1 refused)" in table and "Refused (its record cannot be used): l1 at 50 % (seed 1)." in table


def test_two_records_with_one_key_are_both_refused(tmp_path: Path) -> None:
    folders = [save(tmp_path / "a", make_record(top1=90)), save(tmp_path / "b", make_record(top1=95))]
    results = read(folders)
    assert results.records == []
    assert len(results.problems) == 1 and "different content" in results.problems[0]
    assert [u.state for u in results.unfinished] == ["refused"]


def test_a_damaged_record_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    whole, damaged = make_record(), make_record(make_trial(seed=1))
    save(tmp_path, whole, damaged)
    path = tmp_path / "trials" / damaged.key / "record.json"
    path.write_text(path.read_text()[:500])
    results = read(tmp_path)
    assert [entry.record.key for entry in results.records] == [whole.key]
    assert len(results.problems) == 1 and str(path) in results.problems[0] and "\n" not in results.problems[0]


def test_an_altered_trial_is_noticed(tmp_path: Path) -> None:
    record = make_record()
    save(tmp_path, record)
    path = tmp_path / "trials" / record.key / "record.json"
    values = json.loads(path.read_text())
    values["trial"]["seed"] = 7
    path.write_text(json.dumps(values))
    results = read(tmp_path)
    assert results.records == [] and "altered" in results.problems[0]


def test_another_protocol_version_is_named(tmp_path: Path) -> None:
    old = make_record(make_trial(protocol=0))
    results = read(save(tmp_path, old, make_record()))
    assert len(results.records) == 1
    assert len(results.problems) == 1 and "protocol 0" in results.problems[0]


def test_an_unknown_method_is_named_where_nothing_describes_it(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / f"{make_record().key}.json", make_record())
    unknown = make_record(make_trial("l2"))
    write_json(tmp_path / "a" / f"{unknown.key}.json", unknown)
    results = read(tmp_path / "a")
    assert [entry.record.trial.method.name for entry in results.records] == ["l1"]
    (problem,) = results.problems
    assert "unknown method, 'l2'" in problem and "methods.json" in problem


def test_an_unknown_method_is_named_where_the_methods_are_known(tmp_path: Path) -> None:
    save(tmp_path, make_record(), make_record(make_trial("l2")))
    (tmp_path / "methods.json").write_text('{"l1": {"summary": "", "start": "pretrained", "paper": null}}')
    results = read(tmp_path)
    assert [entry.record.trial.method.name for entry in results.records] == ["l1"]
    assert "unknown method, 'l2'" in results.problems[0]


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_records_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    results = read(tmp_path / name)
    assert results.records == [] and len(results.problems) == 1 and name in results.problems[0]


def test_failures_and_missing_trials(tmp_path: Path) -> None:
    done, failed, missing = make_trial(seed=0), make_trial(seed=1), make_trial(seed=2)
    save(tmp_path, make_record(done))
    for number in range(1, 11):
        save_failure(tmp_path, failed, f"try {number}", number)
    save_failure(tmp_path, done, "an earlier try")
    save_plan(tmp_path, done, failed, missing)
    results = read(tmp_path)
    states = {u.trial.seed: (u.state, u.reason) for u in results.unfinished}
    assert states == {1: ("failed", "try 10"), 2: ("missing", "not run yet")}
    assert results.problems == []


def test_a_damaged_plan_and_failure_are_named(tmp_path: Path) -> None:
    save(tmp_path, make_record())
    save_failure(tmp_path, make_trial(seed=1), "reason")
    (tmp_path / "plan.json").write_text("{")
    next(tmp_path.glob("trials/*/failed-1.json")).write_text("[]")
    results = read(tmp_path)
    assert len(results.records) == 1 and len(results.problems) == 2


def test_a_record_under_another_name_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / ("0" * 16 + ".json"), make_record())
    assert "should be called" in read(tmp_path).problems[0]


def test_smoke_records_are_not_publishable() -> None:
    check_publishable(make_record())
    with pytest.raises(RecordError, match="smoke"):
        check_publishable(make_record(make_trial(smoke=True)))


def test_curves_survive_without_the_history(tmp_path: Path) -> None:
    entry = read(save(tmp_path, make_record(make_trial(DENSE)))).records[0]
    assert entry.record.history == []
    assert list(entry.curve.epochs) == [1.0, 2.0] and list(entry.curve.loss) == [2.0, 1.0]
    assert not entry.curve.on_test


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("top1", "NaN"), ("top1", "1e999"), ("top1", "100.5"), ("top1", "-1"), ("macs", "1" + "0" * 400),
        ("macs", "-5"), ("params", "NaN"), ("test_images", "0"), ("top5", "null"), ("top5", '"high"'),
    ],
)  # fmt: skip
def test_what_no_network_could_have_is_refused_and_the_rest_is_built(tmp_path: Path, place: str, value: str) -> None:
    whole, other = make_record(), make_record(make_trial("random"))
    save(tmp_path, whole, other)
    path = tmp_path / "trials" / other.key / "record.json"
    text = path.read_text()
    path.write_text(re.sub(rf'("result": \{{[^}}]*"{place}": )[^,\n]*', rf"\g<1>{value}", text))
    assert path.read_text() != text
    results = read(tmp_path)
    assert [entry.record.key for entry in results.records] == [whole.key]
    (problem,) = results.problems
    assert str(path) in problem and f"result.{place}" in problem and "\n" not in problem
    leaderboards.report(results, tmp_path / "report")
    assert "90.00" in (tmp_path / "report" / "table.md").read_text()


def test_a_record_of_an_unknown_method_is_not_called_missing(tmp_path: Path) -> None:
    trials = [make_trial("mine"), make_trial()]
    save(tmp_path, *map(make_record, trials))
    save_plan(tmp_path, *trials)
    (tmp_path / "methods.json").unlink()
    assert [(u.trial.method.name, u.state) for u in read(tmp_path).unfinished] == [("mine", "refused")]


def test_failures_of_another_protocol_make_no_board(tmp_path: Path) -> None:
    save(tmp_path, make_record())
    save_failure(tmp_path, make_trial(protocol=0), "the loss is NaN")
    assert read(tmp_path).unfinished == []


@pytest.mark.parametrize(("place", "value"), [("suite", "x" * 300), ("suite", "../x"), ("dense_widths", {"conv": 0})])
def test_what_a_page_could_not_show_is_no_record(tmp_path: Path, place: str, value: object) -> None:
    save(tmp_path, make_record(), other := make_record(make_trial("random")))
    path = tmp_path / "trials" / other.key / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {place: value}))
    (problem,) = read(tmp_path).problems
    assert str(path) in problem and f": {place}" in problem
