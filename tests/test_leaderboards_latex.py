"""LaTeX tables: escapes, forms, floats; compiled where a TeX distribution is installed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import make_record, make_trial, save

import leaderboards
from leaderboards.boards import Board, boards
from leaderboards.escape import escape_latex
from leaderboards.latex import ROWS, bibtex, latex, latex_compact
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
    text = latex_compact(board(tmp_path, *(f"m{i}" for i in range(ROWS + 1))))
    assert text.count(r"\begin{table}") == 2 and "(1 of 2)." in text and "(2 of 2)." in text
    assert text.count("Protocol version") == 1 and text.index("Protocol version") > text.index("(2 of 2)")


def test_bibtex_has_the_entries_of_the_methods_shown_once(tmp_path: Path) -> None:
    paper = {"title": "T", "year": 2017, "url": "", "bibtex": "@article{x,\n  title = {T}\n}"}
    methods: dict[str, Any] = {"a": {"paper": paper}, "b": {"paper": paper}, "c": {"paper": None}}
    methods["absent"] = {"paper": {**paper, "bibtex": "@article{y}"}}
    shown = replace(board(tmp_path, "a", "b", "c"), methods=methods)
    assert bibtex([shown]) == "@article{x,\n  title = {T}\n}\n"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("options", [r"\documentclass{article}", r"\documentclass[twocolumn]{article}"])
def test_tables_compile_and_fit(tmp_path: Path, options: str) -> None:
    save(tmp_path, *(make_record(make_trial(name, s), 90 + s) for name in (HOSTILE, "dcff", "l1") for s in range(3)))
    leaderboards.report(tmp_path, tmp_path / "report")
    names = ["table-compact"] if "twocolumn" in options else ["table", "table-compact"]
    inputs = "".join(rf"\input{{{tmp_path}/report/{name}.tex}}" for name in names)
    (tmp_path / "paper.tex").write_text(rf"{options}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
