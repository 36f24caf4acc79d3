"""What is said of one record."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from records import make_history, make_record, make_trial, save, save_failure

import leaderboards
from bench.errors import UserError
from bench.record import write_json


def test_a_record_is_shown_by_the_beginning_of_its_key(tmp_path: Path) -> None:
    record = make_record(make_trial(params={"scope": "layer"}), 90.0, history=make_history(100, 90.0), notes=["a\x1bb"])
    text = leaderboards.show(save(tmp_path, record), record.key[:6])
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    assert lines["MACs"] == "20,000,000 (50.00 % of 40,000,000)"
    again = f"--scheduler inline --out runs/again-{record.key}"
    assert lines["again"] == f"OMP_NUM_THREADS=1 prunebench run tiny.yaml --only {record.key} --seeds 0 {again}"
    assert lines["machine.commit"] == "abc" and '"scope": "layer"' in lines["trial.method"]
    epochs = re.findall(r"^after ([0-9]+) epochs ", text, re.MULTILINE)
    assert len(epochs) == 12 and epochs[0] == "1" and epochs[-1] == "100"
    assert "\x1b" not in text


def test_a_failed_trial_says_why(tmp_path: Path) -> None:
    trial = make_trial()
    save_failure(tmp_path, trial, "the loss is NaN")
    told = leaderboards.show(tmp_path, trial.key)
    assert "failed: the loss is NaN" in told and str(tmp_path / "trials" / trial.key / "failed-1.json") in told


def test_its_suite_is_where_it_was_or_the_copy_of_it(tmp_path: Path) -> None:
    record, run, source = make_record(make_trial("dense")), tmp_path / "run", tmp_path / "mine.yaml"
    save(run, record)

    def again() -> str:
        return re.search("^again .*prunebench run (.*) --only", leaderboards.show(run, record.key), re.M)[1]

    assert again() == "tiny.yaml"
    for path in (source, run / "suite.yaml"):
        path.write_text("name: tiny\n")
    assert again() == str(run / "suite.yaml")
    write_json(run / "plan.json", {"source": str(source), "trials": []})
    assert again() == str(source)  # paths in it are taken from where it lies
    source.write_text("name: changed\n")
    assert again() == str(run / "suite.yaml")


def test_a_suite_that_comes_along_is_named_though_its_comments_have_changed(tmp_path: Path) -> None:
    name = "matched_resnet20"
    record, copy = make_record(make_trial("dense")).model_copy(update={"suite": name}), tmp_path / "suite.yaml"
    save(tmp_path, record)
    text = Path(str(files("bench"))).joinpath("suites", f"{name}.yaml").read_text()
    for written, told in (("# older\n" + text, name), (text + "compile: true\n", str(copy)), ("name: [", str(copy))):
        copy.write_text(written)
        assert f"prunebench run {told} --only" in leaderboards.show(tmp_path, record.key)


def test_unknown_and_ambiguous_keys_are_refused(tmp_path: Path) -> None:
    save(tmp_path, make_record(), make_record(make_trial(seed=1)))
    with pytest.raises(UserError, match="no record"):
        leaderboards.show(tmp_path, "zz")
    save_failure(tmp_path, make_trial(seed=2), "late")
    with pytest.raises(UserError, match="3 trials"):
        leaderboards.show(tmp_path, "")
