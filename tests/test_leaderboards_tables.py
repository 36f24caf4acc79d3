"""Formats, and what a hostile name may not do to them."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from records import machine, make_latency, make_record, make_trial, save, save_failure, save_latency, save_plan

import leaderboards
from bench.errors import UserError
from bench.labels import plain
from bench.spec import BackboneSpec
from leaderboards.boards import boards
from leaderboards.escape import escape_markdown
from leaderboards.results import read
from leaderboards.tables import csv_table, markdown, terminal

HOSTILE = '<script>alert("1")</script>&_%\\|$#{}~^`*[x](javascript:y)\x1b[31m\n'


def report(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in leaderboards.report(folder, folder / "report")}


def test_all_formats_are_written_and_agree_with_their_records(tmp_path: Path) -> None:
    files = report(save(tmp_path, make_record(top1=90.126, dense=None)))
    tables = {"table.md", "table-compact.md", "table.tex", "table-compact.tex", "index.html"}
    assert set(files) == tables | {"table.csv", "methods.bib", "cifar10-cifar-resnet20-matched-track.js"}
    assert all("90.13" in files[name] for name in tables) and "90.126" in files["table.csv"]
    assert leaderboards.check(tmp_path, tmp_path / "report") == []
    assert not list((tmp_path / "report").glob(".*"))


def test_the_package_offers_functions_whatever_was_imported_before(tmp_path: Path) -> None:
    assert len(leaderboards.rows(save(tmp_path, make_record()))) == 1
    assert all(callable(getattr(leaderboards, name)) for name in leaderboards.__all__)


def test_check_names_what_differs(tmp_path: Path) -> None:
    report(save(tmp_path, make_record(dense=None)))
    (tmp_path / "report" / "table.md").write_text("by hand")
    (tmp_path / "report" / "table.csv").unlink()
    (tmp_path / "report" / "data" / "gone.js").write_text("details(1)")
    found = leaderboards.check(tmp_path, tmp_path / "report")
    assert len(found) == 3 and "table.md differs" in found[0] and "table.csv is missing" in found[1]
    assert "gone.js belongs to no board" in found[2]
    report(tmp_path)
    assert leaderboards.check(tmp_path, tmp_path / "report") == []


def test_check_refuses_smoke_records(tmp_path: Path) -> None:
    report(save(tmp_path, make_record(make_trial(smoke=True))))
    assert "smoke" in leaderboards.check(tmp_path, tmp_path / "report")[0]


def test_check_refuses_records_of_an_unclean_checkout(tmp_path: Path) -> None:
    report(save(tmp_path, make_record(machine=machine(commit="abc+"))))
    assert "changes not committed" in leaderboards.check(tmp_path, tmp_path / "report")[0]
    save(tmp_path, record := make_record(dense=None))
    save_latency(tmp_path, make_latency(record, machine=machine(commit="abc+")))
    report(tmp_path)
    (problem,) = leaderboards.check(tmp_path, tmp_path / "report")
    assert "the speed beside" in problem and "changes not committed" in problem


def test_smoke_runs_say_so_everywhere(tmp_path: Path) -> None:
    save(tmp_path, make_record(make_trial(smoke=True)))
    assert "SMOKE RUN" in leaderboards.text(tmp_path)
    files = report(tmp_path)
    assert all("SMOKE RUN" in files[name] for name in ("table.md", "table.tex", "table-compact.tex", "index.html"))
    assert "True" in files["table.csv"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    files = report(save(tmp_path, make_record(make_trial(HOSTILE))))
    assert "<script>alert" not in files["index.html"] and "\\u003cscript\\u003ealert" in files["index.html"]
    assert "<script" not in files["table.md"]
    assert not any(c in files["table.tex"].replace("@{}", "") for c in ("#{}", "~^", "\\|"))
    assert not any("\x1b" in text for text in files.values())
    rows = [line for line in files["table.md"].splitlines() if line.startswith("|")]
    assert len(rows) == 3 and len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_a_formula_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    text = csv_table(boards(read(save(tmp_path, make_record(make_trial("=HYPERLINK(1)"))))))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["method"] == "'=HYPERLINK(1)" and float(rows[0]["change"]) == -1.0


def test_markdown_escapes() -> None:
    assert escape_markdown("a|b_c*<b>&") == r"a\|b\_c\*&lt;b&gt;&amp;"


def test_control_characters_never_reach_a_reader() -> None:
    assert plain("a\x1b[31m\nb\u202ec") == "a\ufffd[31m b\ufffdc"


def test_best_and_second_best_are_marked_in_each_format(tmp_path: Path) -> None:
    tops = {"a": 91.0, "b": 90.0, "c": 89.0}
    board = boards(read(save(tmp_path, *(make_record(make_trial(n), t) for n, t in tops.items()))))[0]
    assert "**91.00**" in markdown(board) and "<ins>90.00</ins>" in markdown(board)
    assert "91.00**" in terminal(board) and "90.00* " in terminal(board)


def test_a_narrow_terminal_gets_the_compact_form(tmp_path: Path) -> None:
    board = boards(read(save(tmp_path, make_record())))[0]
    assert "Starts from" in terminal(board, 200) and "Starts from" not in terminal(board, 100)
    assert max(map(len, terminal(board, 100).splitlines())) <= 100


def test_a_frame_has_one_row_per_record(tmp_path: Path) -> None:
    save(tmp_path, make_record(top1=90.0), make_record(make_trial(seed=1)))
    (tmp_path / "trials" / "0" / "record.json").parent.mkdir()
    (tmp_path / "trials" / "0" / "record.json").write_text("{}")
    with pytest.warns(UserWarning, match="not a record"):
        frame = leaderboards.load(tmp_path)
    assert len(frame) == 2 and frame.set_index("seed").loc[0, "change"] == -1.0


def test_a_frame_shows_what_did_not_run(tmp_path: Path) -> None:
    done, failed, missing = (make_trial(seed=seed) for seed in range(3))
    save_failure(save(tmp_path, make_record(done)), failed, "out of memory")
    save_plan(tmp_path, done, failed, missing)
    frame = leaderboards.load(tmp_path).set_index("seed")
    assert frame["state"].to_dict() == {0: "done", 1: "failed", 2: "missing"}
    assert frame.loc[1, "reason"] == "out of memory" and frame["top1"].count() == 1
    assert set(frame["recipe.epochs"]) == {6}


def test_a_frame_of_a_suite_by_its_name_or_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trial = make_trial(backbone=BackboneSpec(name="cifar_resnet20", kwargs={"shortcut": "A"}))
    save(tmp_path / "runs" / "tiny", make_record(trial))
    save_plan(tmp_path / "runs" / "tiny", trial)
    frame = leaderboards.load("tiny")
    assert frame["backbone.shortcut"].tolist() == ["A"] and frame["keep_macs"].tolist() == [0.5]
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        leaderboards.load(["tiny", "tinny"])
    (tmp_path / "empty").mkdir()
    with pytest.warns(UserWarning), pytest.raises(UserError, match="there is no record in empty"):
        leaderboards.load("empty")


def test_a_report_imports_neither_torch_nor_pandas(tmp_path: Path) -> None:
    save(tmp_path, make_record())
    code = (
        f"import sys, leaderboards; leaderboards.text({str(tmp_path)!r}); "
        f"leaderboards.report({str(tmp_path)!r}, {str(tmp_path / 'out')!r}); "
        "assert not {'torch', 'pandas', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
