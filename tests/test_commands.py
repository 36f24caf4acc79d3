"""The commands that answer from records: report and its check, show, measure."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from records import make_record, make_trial, save

from bench import cli


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(*words):
    return cli.main(["report", *words])


def test_nothing_to_compare_is_a_mistake(work, capsys):
    assert report("--check") == 2
    assert "nothing to compare" in capsys.readouterr().err
    (work / "leaderboards/results").mkdir(parents=True)
    assert report("--check") == 1
    assert capsys.readouterr().err == "prunebench: leaderboards/results holds no records\n"
    assert report("--check", "elsewhere") == 2


def test_where_nothing_can_be_shown_nothing_is_written(work, capsys):
    record = make_record()
    save(work / "run", record)
    assert report("run", "--out", "tables") == 0
    before = {path: path.read_bytes() for path in (work / "tables").rglob("*.*")}
    capsys.readouterr()
    file = work / "run/trials" / record.key / "record.json"
    assert report(str(file), "--out", "tables") == 2
    assert "is a file: name the folder" in capsys.readouterr().err
    file.write_text("{")
    assert report("run", "--out", "tables") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "is not a record" in first and "nothing is written" in second
    assert before == {path: path.read_bytes() for path in (work / "tables").rglob("*.*")}


def test_a_report_leaves_what_is_not_its_own_alone(work, capsys):
    save(work / "run", make_record())
    (work / "site/data").mkdir(parents=True)
    (work / "site/data/mine.js").write_text("mine")
    assert report("run", "--out", "site") == 0 and report("run", "--out", "site") == 0
    assert (work / "site/data/mine.js").read_text() == "mine"
    (work / "paper").mkdir()
    (work / "paper/table.tex").write_text("mine")
    assert report("run", "--out", "paper") == 2
    assert "paper/table.tex is not of a report: name another folder with --out" in capsys.readouterr().err
    assert [path.name for path in (work / "paper").iterdir()] == ["table.tex"]
    (work / "file").write_text("mine")
    assert report("run", "--out", "file/report") == 2
    shown = capsys.readouterr()
    assert "file is a file: name a folder for the report" in shown.err and shown.out == ""


def test_a_suite_file_that_has_not_run_is_said_not_to_have(work, capsys):
    (work / "mine.yaml").write_text("name: mine\n")
    for command in ("report", "measure", "verify"):
        assert cli.main([command, "mine.yaml"]) == 2
        assert "mine.yaml has not run: there is no runs/mine" in capsys.readouterr().err


def test_show_tells_what_cannot_be_read(work, capsys):
    whole, damaged = make_record(), make_record(make_trial(seed=1))
    save(work / "run", whole, damaged)
    (work / "run/trials" / damaged.key / "record.json").write_text("{")
    assert cli.main(["show", whole.key, "run"]) == 1
    shown = capsys.readouterr()
    assert f"key                    {whole.key}" in shown.out and "is not a record" in shown.err
    assert cli.main(["show", damaged.key, "run"]) == 2


def test_an_operating_point_alone(work, capsys):
    save(work / "run", *(make_record(make_trial(keep=keep), macs=int(4e7 * keep)) for keep in (0.5, 0.3)))
    assert report("run", "--keep", "0.3") == 0
    assert "30 %" in capsys.readouterr().out
    table = (work / "run/report/table.md").read_text()
    assert "| 30 % |" in table and "| 50 % |" not in table
    capsys.readouterr()
    assert report("run", "--keep", "0.7") == 2
    assert capsys.readouterr().err == "prunebench: no row keeps 70 % of the MACs; there are 30, 50 %\n"
    assert (work / "run/report/table.md").read_text() == table


def test_a_folder_that_holds_nothing_is_left_alone(work, capsys):
    (work / "mine").mkdir()
    assert report("mine") == 2
    assert "mine holds no records" in capsys.readouterr().err
    assert not list((work / "mine").iterdir())


def test_check_fails_until_tables_and_records_agree(work, capsys):
    save(work / "leaderboards/results/mine", make_record(dense=None))
    assert report("--check") == 1
    assert "table.md is missing" in capsys.readouterr().err
    assert report("leaderboards/results", "--out", "leaderboards/tables") == 0
    assert report("--check") == 0
    assert "are what 1 records give" in capsys.readouterr().out
    save(work / "leaderboards/results/mine", make_record(make_trial(seed=1)))
    assert report("--check") == 1
    assert "table.csv differs from what its records give" in capsys.readouterr().err
    assert report("--check", "--results", "leaderboards/results", "--out", "elsewhere") == 1


def test_check_names_damaged_records_smoke_records_and_large_networks(work, capsys):
    results = work / "leaderboards/results"
    smoke = make_record(make_trial(smoke=True), dense=None)
    save(results, smoke)
    (results / "trials" / smoke.key / "model.safetensors").write_bytes(bytes(5_000_001))
    (results / "trials" / "damaged").mkdir()
    (results / "trials" / "damaged" / "record.json").write_text("{")
    assert report("leaderboards/results", "--out", "leaderboards/tables") == 1
    capsys.readouterr()
    assert report("--check") == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    for words, line in zip(("is not a record", "smoke record", "larger than 5 MB"), told, strict=True):
        assert words in line


def test_tables_of_records_that_are_gone_are_a_difference(work):
    save(work / "leaderboards/results", record := make_record())
    report("leaderboards/results", "--out", "leaderboards/tables")
    (work / "leaderboards/results/trials" / record.key / "record.json").unlink()
    assert report("--check") == 1


def test_a_problem_is_told_once_and_last(work, capfd):
    save(work / "runs/tiny", make_record(), make_record(make_trial(baseline="a" * 16)))
    (work / "runs/tiny/trials/x").mkdir()
    (work / "runs/tiny/trials/x/record.json").write_text("{")
    assert report("tiny") == 1
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2 and "is not a record" in told[0] and "are one row and one seed" in told[1]


def test_figures_come_with_the_report(work):
    pytest.importorskip("matplotlib")
    save(work / "runs/tiny", make_record(make_trial("dense")), make_record())
    assert report("tiny", "--figures") == 0
    assert {path.suffix for path in (work / "runs/tiny/report/figures").iterdir()} == {".pdf", ".svg"}


def test_show_finds_a_record_in_runs_and_in_the_reviewed_results(work, capsys):
    run, reviewed = make_record(), make_record(make_trial(seed=1))
    save(work / "runs/tiny", run)
    save(work / "leaderboards/results", reviewed)
    for record in (run, reviewed):
        assert cli.main(["show", record.key[:8]]) == 0
        assert record.key in capsys.readouterr().out
    assert cli.main(["show", reviewed.key, "tiny"]) == 2
    assert "no record whose key begins with" in capsys.readouterr().err


def test_show_says_where_it_looked(work, capsys):
    assert cli.main(["show", "0123"]) == 2
    assert "no run folder in runs and no leaderboards/results here" in capsys.readouterr().err


def test_measure_refuses_what_is_no_folder_of_records(work, capsys):
    assert cli.main(["measure", "never"]) == 2
    assert "there is no 'never', here or in runs/" in capsys.readouterr().err
    (work / "empty").mkdir()
    assert cli.main(["measure", "empty"]) == 2
    assert "there is no record in empty" in capsys.readouterr().err


def test_answers_from_records_never_import_torch(work):
    save(work / "runs/tiny", record := make_record())
    for words in (["report", "--check"], ["show", record.key]):
        code = f"import sys; from bench import cli; cli.main({json.dumps(words)}); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0, words
