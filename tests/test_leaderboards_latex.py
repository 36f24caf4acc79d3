"""LaTeX tables: escapes, forms, floats; compiled where a TeX distribution is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from records import make_record, make_trial, save, save_plan

import leaderboards
from bench.record import write_json
from leaderboards.boards import Board, boards
from leaderboards.escape import escape_latex
from leaderboards.latex import _broken, bibtex, latex, latex_compact
from leaderboards.results import read

HOSTILE = 'a_b & 50 % of {x} $y^2$ #1 ~ \\input{/etc/passwd} «東» "q" `t\' --z'


def board(folder: Path, *names: str) -> Board:
    return boards(read(save(folder, *(make_record(make_trial(name), 90 - i) for i, name in enumerate(names)))))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 %", r"a\_b \& 50 \%"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("91.0 ± 0.5†", r"91.0 $\pm$ 0.5$^\dagger$"),
        ("--x", "-{}-x"),
        ("a---b", "a-{}-{}-b"),
        ("*[x]", "{*}{[}x]"),
        ("näher 東 «", "näher {[}U+6771] {[}U+00AB]"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert escape_latex(text) == expected


def test_best_and_second_best_are_marked(tmp_path: Path) -> None:
    for text in (latex(board(tmp_path, "a", "b", "c")), latex_compact(board(tmp_path, "a", "b", "c"))):
        assert r"\textbf{90.00}" in text and r"\underline{89.00}" in text


def test_a_long_board_takes_several_floats_with_the_notes_under_the_last(tmp_path: Path) -> None:
    text = latex_compact(board(tmp_path, *(f"m{i}" for i in range(60))))
    assert text.count(r"\begin{table}") == 2 and "(1 of 2)." in text and "(2 of 2)." in text
    assert text.count("Protocol version") == 1 and text.index("Protocol version") > text.index("(2 of 2)")
    assert re.findall(r"\\label{(.*)}", text) == ["tab:board-compact", "tab:board-compact-part2"]


def test_notes_that_would_run_off_the_page_have_a_float_of_their_own(tmp_path: Path) -> None:
    text = latex_compact(board(tmp_path, *(f"m{i}" for i in range(48))))
    assert text.count(r"\begin{table}") == 2 and text.count(r"\begin{tabular*}") == 1
    assert text.index("Protocol version") > text.index(": notes.}") > text.index(r"\end{tabular*}")


def test_a_long_label_breaks_between_words_and_after_an_equals_sign(tmp_path: Path) -> None:
    params = [{"prune_fraction": 0.002, "ticks": n} for n in (10, 20)]
    save(tmp_path, *(make_record(make_trial("gate_decorator", params=p | {"tick": p["ticks"]})) for p in params))
    text = latex_compact(boards(read(tmp_path))[0])
    assert r"gate\_decorator \\ (tick=10, \\ ticks=10)" in text
    assert _broken("gate_decorator (prune_fraction=0.002, ticks=10)", 17) == [
        "gate_decorator", "(prune_fraction=", "0.002, ticks=10)",
    ]  # fmt: skip
    assert _broken("x" * 20, 17) == ["x" * 17, "xxx"]


def test_bibtex_has_the_entries_of_the_methods_shown_once(tmp_path: Path) -> None:
    paper = {"title": "T", "year": 2017, "url": "", "bibtex": "@article{x,\n  title = {T}\n}"}
    methods: dict[str, Any] = {"a": {"paper": paper}, "b": {"paper": paper}, "c": {"paper": None}}
    methods["absent"] = {"paper": {**paper, "bibtex": "@article{y}"}}
    save(tmp_path, *(make_record(make_trial(name)) for name in "abc"))
    write_json(tmp_path / "methods.json", methods)
    assert bibtex(boards(read(tmp_path))) == "@article{x,\n  title = {T}\n}\n"


@pytest.mark.parametrize(
    ("bibtex", "cited"),
    [
        ("@article{he_2019:a,\n  title = {T}\n}", r"dcff\methodcite{he_2019:a} &"),
        ("@article{}\\input{x},}", "dcff &"),
        ("@article{\ud800,}", "dcff &"),
        ("", "dcff &"),
    ],
)
def test_a_method_has_the_key_of_its_paper_beside_it(tmp_path: Path, bibtex: str, cited: str) -> None:
    save(tmp_path, make_record(make_trial("dcff")))
    write_json(tmp_path / "methods.json", {"dcff": {"paper": {"bibtex": bibtex}}})
    (made,) = boards(read(tmp_path))
    assert cited in latex(made) and cited in latex_compact(made)


def compiled(folder: Path, preamble: str, *names: str) -> str:
    """What pdfLaTeX says of a paper with these tables; a failure is a failed test."""
    inputs = "".join(rf"\input{{{folder}/report/{name}.tex}}" for name in names)
    (folder / "paper.tex").write_text(rf"{preamble}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


# Computer Modern in place of Times, which Debian has in one more package, and is narrower.
NO_TIMES = "".join(
    rf"\DeclareFontFamily{{{code}}}{{ptm}}{{}}"
    + "".join(
        rf"\DeclareFontShape{{{code}}}{{ptm}}{{{series}}}{{{shape}}}{{<->ssub*cmr/{ours}/{shape}}}{{}}"
        for series, ours in (("m", "m"), ("bx", "bx"), ("b", "bx"))
        for shape in ("n", "it")
    )
    for code in ("OT1", "TS1")
)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("preamble", [r"\documentclass{article}", NO_TIMES + r"\documentclass{IEEEtran}"])
def test_tables_compile_and_fit(tmp_path: Path, preamble: str) -> None:
    if "IEEEtran" in preamble and not subprocess.run(["kpsewhich", "IEEEtran.cls"], capture_output=True).stdout:
        pytest.skip("IEEEtran is not installed")
    trials = [make_trial(name, seed) for name in (HOSTILE, "dcff", "l1") for seed in range(3)]
    save(tmp_path, *(make_record(trial, 90 + trial.seed, best_top1=95.0) for trial in trials[:-1]))
    save_plan(tmp_path, *trials, make_trial("not_yet"))
    leaderboards.report(tmp_path, tmp_path / "report")
    said = compiled(tmp_path, preamble, "table", "table-compact")
    assert "Overfull" not in said and "too large" not in said and "multiply defined" not in said


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("preamble", ["", r"\newcommand{\methodcite}[1]{~\cite{#1}}"])
def test_the_compact_table_fits_a_column_of_two(tmp_path: Path, preamble: str) -> None:
    save(tmp_path, *(make_record(make_trial(name, s), 90 + s) for name in (HOSTILE, "dcff", "l1") for s in range(3)))
    write_json(tmp_path / "methods.json", {"dcff": {"paper": {"bibtex": "@article{lin2023dcff,}"}}})
    leaderboards.report(tmp_path, tmp_path / "report")
    said = compiled(tmp_path, r"\documentclass[twocolumn]{article}" + preamble, "table-compact")
    assert "Overfull" not in said and ("Citation `lin2023dcff'" in said) == bool(preamble)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("preamble", [r"\documentclass{article}", r"\documentclass[twocolumn]{article}"])
def test_no_float_is_larger_than_a_page(tmp_path: Path, preamble: str) -> None:
    names = ["prune_fraction", "sparsity", "tick_epochs", "ticks", "ticks_per_tock", "tock_epochs"]
    sweep = [{name: n / 1000 + i for i, name in enumerate(names)} for n in range(1, 9)]
    save(tmp_path, *(make_record(make_trial("gate_decorator", params=params)) for params in sweep))
    save(tmp_path, *(make_record(make_trial(f"m{i}", keep=0.1 * (1 + i % 7))) for i in range(45)))
    leaderboards.report(tmp_path, tmp_path / "report")
    assert "too large" not in compiled(tmp_path, preamble, "table", "table-compact")


def test_headings_break_between_words_and_rows_carry_their_keys(tmp_path: Path) -> None:
    record = make_record(cut_top1=50.0)
    (made,) = boards(read(save(tmp_path, record)))
    text = latex(made)
    assert rf"\\ % {record.key}" in text and r"Training \\ (TMACs)" in text and r"After the \\ cut (\%)" in text


def test_what_has_not_run_stands_in_the_first_table_alone(tmp_path: Path) -> None:
    save_plan(save(tmp_path, make_record()), make_trial(), make_trial("not_yet"))
    (made,) = boards(read(tmp_path))
    assert latex(made).count(r"not\_yet & missing") == 1 and latex(made).count(r"not\_yet &") == 1


def test_boards_of_one_title_have_labels_of_their_own(tmp_path: Path) -> None:
    text = "".join(latex_compact(board(tmp_path, *(f"m{i}" for i in range(60))), name) for name in ("a", "a-2"))
    labels = re.findall(r"\\label{(.*)}", text)
    assert len(labels) == len(set(labels)) == 4


def test_a_file_takes_whatever_a_run_says_of_its_paper(tmp_path: Path) -> None:
    save(tmp_path, make_record(make_trial("dcff")))
    (tmp_path / "methods.json").write_text(r'{"dcff": {"paper": {"bibtex": "@article{a,\ud800\u001b\n title={T}}"}}}')
    leaderboards.report(tmp_path, tmp_path / "report")
    assert (tmp_path / "report" / "methods.bib").read_text() == "@article{a,\ufffd\ufffd\n title={T}}\n"
