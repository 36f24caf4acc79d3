"""Every format against the records, by code that shares nothing with the tables': see recount.py."""

from __future__ import annotations

import csv
import html
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from records import make_record, make_trial, measured, save, save_failure, save_plan

import leaderboards
from bench.labels import plain
from bench.spec import DENSE, Recipe
from leaderboards.escape import escape_latex, escape_markdown

pytest.importorskip("pandas")
import recount

HOSTILE = ('<script>alert("1")</script>', "a|b\nc & 50 % of $x_1^2$ \\input{y} #~", "näher 東 \x1b[31m\u202e", "=1+1")
METHODS = ("l1", "tie", "other", "once", *HOSTILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ties, one seed, a failure, missing trials, hostile names, an accuracy of 100 %, huge and tiny networks."""
    folder, rng = tmp_path_factory.mktemp("recount"), random.Random(0)
    dense = [make_trial(DENSE, seed, recipe=Recipe(epochs=160, lr=0.1)) for seed in range(3)]
    save(folder, *map(make_record, dense))
    planned = list(dense)
    for keep in (0.7, 0.5):
        for i, name in enumerate(METHODS):
            for seed in range(3):
                trial = make_trial(name, seed, keep, baseline=dense[seed].key)
                planned.append(trial)
                if name == "other" and seed == 1:
                    save_failure(folder, trial, "the loss is | NaN")
                elif not (name == "once" and seed):
                    # At 50 %, the first two are equal in every seed; elsewhere chance decides.
                    top1 = 90.0 + seed if keep == 0.5 and i < 2 else round(88 + 4 * rng.random() - i, 2)
                    macs = int(4e7 * keep * (1 + 0.05 * rng.random()))
                    size = measured(100.0 if i == 3 else top1, macs, 10**17 if i == 4 else 7 + seed)
                    save(folder, make_record(trial, macs=macs, result=size))
    save_plan(folder, *planned)
    leaderboards.report(folder, folder / "report")
    return folder


def near(text: str, value: float | None) -> bool:
    if text == "" or value is None:
        return text == "" and value is None
    return math.isclose(float(text), value, rel_tol=1e-9, abs_tol=1e-9)


def test_csv(folder: Path) -> None:
    expected = recount.rows(folder)
    lines = list(csv.DictReader((folder / "report" / "table.csv").open(newline="")))
    assert len(lines) == len(expected) == 1 + 2 * len(METHODS)
    for line in lines:
        name = next(n for n in (*METHODS, DENSE) if plain(n) == line["method"].removeprefix("'"))
        row = expected[name, float(line["keep_macs"]) if line["keep_macs"] else None]
        assert line["n"] == str(row["n"]) and sorted(line["keys"].split()) == row["keys"]
        for figure in recount.NAMES:
            assert near(line[figure], row[figure]), (name, figure)
            assert near(line[f"{figure}_std"], row[f"{figure}_std"]), (name, figure)
        if name != DENSE:
            assert line["mark"] == row["mark"] and line["rank"] == str(row["rank"] or "")
            assert line["rank_worst"] == str(row["rank_worst"] or "")
            assert line["off_target"] == str(row["off"])


def shown(value: float | None, std: float | None = None, digits: int = 2, sign: bool = False) -> str:
    if value is None:
        return ""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    text = text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
    return text + (f" ± {std:.{digits}f}" if std is not None else "")


def places(best: int, worst: int) -> str:
    return str(best) if best == worst else f"{best}–{worst}"


def cells(row: dict[str, Any], is_dense: bool, off: str = "†") -> dict[str, str]:
    """As a reader sees them."""
    digits = 2 if row["params"] >= 1e6 else 3
    cut = {n: "" if is_dense else f" ({shown(-row[f'{n}_cut'], None, 1, True)} %)" for n in ("macs", "params")}
    return {
        "top1": shown(row["top1"], row["top1_std"]),
        "top5": shown(row["top5"], row["top5_std"]),
        "change": shown(row["change"], row["change_std"], sign=True),
        "macs": shown(row["macs"] / 1e6) + cut["macs"] + (off if row["off"] and not is_dense else ""),
        "params": shown(row["params"] / 1e6, None, digits) + cut["params"],
        "rank": "" if is_dense or not row["rank"] else places(row["rank"], row["rank_worst"]),
        "epochs": f"{row['epochs']:g}",
        "epochs_in_all": f"{row['epochs_in_all']:g}",
    }


HEADERS = {
    "Top-1 (%)": "top1", "Top-5 (%)": "top5", "Δ dense": "change", "MACs (M)": "macs", "Params (M)": "params",
    "Rank": "rank", "Epochs": "epochs", "Epochs in all": "epochs_in_all",
}  # fmt: skip


def test_markdown(folder: Path) -> None:
    expected = recount.rows(folder)
    for file in ("table.md", "table-compact.md"):
        lines = [line for line in (folder / "report" / file).read_text().splitlines() if line.startswith("| ")]
        table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
        assert len(table) == 2 + len(expected) and len({len(line) for line in table}) == 1
        names = {escape_markdown(name): name for name in (*METHODS, DENSE)}
        for line in table[2:]:
            got = dict(zip(table[0], line, strict=True))
            name = names[got["Method"]]
            keep = None if name == DENSE else float(got["MACs kept"].removesuffix(" %")) / 100
            row = expected[name, keep]
            want = cells(row, name == DENSE)
            marks = {"best": "**{}**", "second": "<ins>{}</ins>"}
            want["top1"] = marks.get(row.get("mark", ""), "{}").format(want["top1"])
            for header in HEADERS.keys() & got.keys():
                assert html.unescape(got[header]) == want[HEADERS[header]], (file, name, header)


def test_latex(folder: Path) -> None:
    expected = {tuple(row["keys"]): (key[0], row) for key, row in recount.rows(folder).items()}
    for file, order in (("table.tex", ("top1", "top5", "change", "rank")), ("table-compact.tex", ("top1", "change"))):
        lines = [line for line in (folder / "report" / file).read_text().splitlines() if r" \\ % " in line]
        assert len(lines) == len(expected)
        for line in lines:
            body, keys = line.split(r" \\ % ")
            name, row = expected[tuple(sorted(keys.split()))]
            got = re.split(r"(?<!\\) ?& ?", body)
            want = cells(row, name == DENSE)
            if file == "table-compact.tex":
                want["change"] = shown(row["change"], sign=True)
            top1 = escape_latex(want["top1"])
            marks = {"best": rf"\textbf{{{top1}}}", "second": rf"\underline{{{top1}}}"}
            figures = [marks.get(row.get("mark", ""), top1), *(escape_latex(want[n]) for n in order[1:])]
            seeds = next(
                i for i, cell in enumerate(got) if re.fullmatch(r"\d+( of \d+)?( \(.*\))?|\d+/\d+", cell.strip())
            )
            there = [cell.strip() for i, cell in enumerate(got) if i not in (0, seeds)][: len(figures)]
            assert there == figures, (file, name)


def test_data_frame(folder: Path) -> None:
    ours = leaderboards.load(folder).query("state == 'done'").set_index("key").sort_index()
    theirs = recount.frame(folder).set_index("key").sort_index()
    assert list(ours.index) == list(theirs.index)
    for name in ("top1", "top5", "macs", "params", "fvcore_total", "change"):
        assert ours[name].astype(float).round(9).equals(theirs[name].astype(float).round(9)), name
    assert list(ours["spent.epochs"]) == list(theirs["epochs"]) and list(ours["seed"]) == list(theirs["seed"])


def test_page(folder: Path) -> None:
    expected = recount.rows(folder)
    text = (folder / "report" / "index.html").read_text()
    (board,) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    columns = {column["name"]: i for i, column in enumerate(board["columns"])}
    names = {plain(name): name for name in (*METHODS, DENSE)}
    for shown_row in board["rows"]:
        name = names[shown_row["label"]]
        keep = None if name == DENSE else float(shown_row["point"].removesuffix(" %")) / 100
        row = expected[name, keep]
        want = cells(row, name == DENSE)
        got = {column: shown_row["cells"][i] for column, i in columns.items()}
        assert {column: got[column] for column in want} == want, name
        assert shown_row["values"][columns["top1"]] == pytest.approx(row["top1"])
