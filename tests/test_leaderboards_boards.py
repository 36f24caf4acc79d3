"""Rows, boards and figures, computed by hand from hand-made records."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import machine, make_record, make_trial, save, save_failure, save_plan

from bench.errors import UserError
from bench.record import Record, Spent, write_json
from bench.spec import DENSE, DataSpec, DenseSpec, Recipe, Trial, WeightsSpec
from leaderboards.boards import Board, boards
from leaderboards.columns import LONG, number, spread
from leaderboards.notes import notes
from leaderboards.results import read
from leaderboards.row import Row
from leaderboards.stats import Stat


def built(folder: Path, *records: Record) -> list[Board]:
    return boards(read(save(folder, *records)))


def only(found: list[Board]) -> Board:
    assert len(found) == 1
    return found[0]


def row(board: Board, label: str) -> Row:
    return next(row for row in board.rows if row.label == label)


def cell(row: Row, name: str) -> str:
    return next(column.cell(row) for column in LONG if column.name == name)


def dense_trials() -> list[Trial]:
    return [make_trial(DENSE, seed, recipe=Recipe(epochs=160, lr=0.1)) for seed in range(3)]


def test_figures_by_hand(tmp_path: Path) -> None:
    dense = dense_trials()
    records = [
        make_record(make_trial(seed=s, baseline=dense[s].key), top1) for s, top1 in enumerate((90.0, 90.5, 92.5))
    ]
    board = only(built(tmp_path, *map(make_record, dense), *records))
    assert [r.label for r in board.rows] == ["dense", "l1"]
    l1 = row(board, "l1")
    assert cell(l1, "top1") == "91.00 ± 1.32"  # sqrt((1 + 0.25 + 2.25) / 2) = 1.3229
    assert cell(l1, "change") == "−1.00 ± 0.50"  # -1, -1.5, -0.5 against 91, 92, 93
    assert cell(l1, "macs") == "20.00 (−50.0 %)"
    assert cell(l1, "params") == "0.108 (−60.0 %)"
    assert cell(l1, "epochs") == "6" and cell(l1, "epochs_in_all") == "166"
    assert cell(l1, "training_macs") == "100" and cell(l1, "training_macs_in_all") == "6100"
    assert cell(l1, "seeds") == "3" and l1.rank is None  # nothing to be compared with
    assert cell(board.rows[0], "top1") == "92.00 ± 1.00" and board.rows[0].rank is None


def test_one_seed_has_neither_deviation_nor_rank(tmp_path: Path) -> None:
    board = only(built(tmp_path, make_record(top1=90.12), make_record(make_trial("random"), 89)))
    assert cell(row(board, "l1"), "top1") == "90.12"
    assert all(r.rank is None for r in board.rows)


def test_marks_and_ties(tmp_path: Path) -> None:
    tops = {"a": 91.001, "b": 90.999, "c": 90.0, "d": 89.0}
    board = only(built(tmp_path, *(make_record(make_trial(name), top1) for name, top1 in tops.items())))
    assert {r.label: r.mark for r in board.rows} == {"a": "best", "b": "best", "c": "second", "d": ""}


def test_ranks_within_an_operating_point(tmp_path: Path) -> None:
    records = [
        make_record(make_trial(method, seed, keep), 90 + seed - lead, int(4e7 * keep))
        for method, lead in (("a", 0.0), ("b", 1.0))
        for keep in (0.5, 0.7)
        for seed in range(3)
    ]
    board = only(built(tmp_path, *records))
    assert [(r.label, r.point, r.rank) for r in board.rows] == [
        ("a", "70 %", (1, 1)), ("b", "70 %", (2, 2)), ("a", "50 %", (1, 1)), ("b", "50 %", (2, 2)),
    ]  # fmt: skip


def test_a_row_with_a_seed_that_failed_holds_no_rank_and_no_mark(tmp_path: Path) -> None:
    lucky = [make_trial("lucky", seed) for seed in range(4)]
    save_failure(tmp_path, lucky[3], "the loss is NaN")
    others = [make_record(make_trial(name, s), 90 + s - lead) for name, lead in (("a", 0), ("b", 1)) for s in range(4)]
    board = only(built(tmp_path, *(make_record(trial, 95 + trial.seed) for trial in lucky[:3]), *others))
    assert {r.label: (r.rank, r.mark) for r in board.rows} == {
        "lucky": (None, ""),
        "a": ((1, 1), "best"),
        "b": ((2, 2), "second"),
    }
    assert "holds no rank: the others are those that went well" in "\n".join(notes(board))


def test_a_row_with_fewer_seeds_is_not_the_best(tmp_path: Path) -> None:
    tops = {("a", 0): 90.0, ("a", 1): 90.1, ("b", 0): 89.0, ("b", 1): 89.1, ("once", 0): 91.0}
    board = only(built(tmp_path, *(make_record(make_trial(*who), top1) for who, top1 in tops.items())))
    assert {r.label: r.mark for r in board.rows} == {"once": "", "a": "best", "b": "second"}
    assert "fewer seeds than others at its point is marked neither" in "\n".join(notes(board))


def test_who_trains_beyond_the_budget_holds_no_rank(tmp_path: Path) -> None:
    spent = Spent(epochs=200.0, images=10**7, macs=10**15, seconds=9.0)
    records = [
        make_record(make_trial(name, seed), 90 + seed - lead)
        for name, lead in (("a", 0), ("b", 1))
        for seed in range(3)
    ]
    records += [make_record(make_trial("long", seed), 95 + seed, spent=spent) for seed in range(3)]
    board = only(built(tmp_path, *records))
    assert {r.label: (r.rank, r.mark) for r in board.rows} == {
        "long": (None, ""),
        "a": ((1, 1), "best"),
        "b": ((2, 2), "second"),
    }
    said = "\n".join(notes(board))
    assert "more epochs than that, and so hold no rank: long at 50 % (200)" in said and "marked neither" not in said


def test_an_operating_point_alone_keeps_the_dense_network_and_what_cuts_nothing(tmp_path: Path) -> None:
    records = [make_record(make_trial(DENSE)), make_record(make_trial("finetune", keep=None), macs=40_000_000)]
    records += [make_record(make_trial(name, keep=k), macs=int(4e7 * k)) for name in ("a", "b") for k in (0.5, 0.3)]
    records += [make_record(make_trial("rates", keep=None), macs=12_100_000)]
    save(tmp_path, *records, make_record(make_trial(track="paper", keep=0.7)))
    abouts = {name: {"prunes": name != "finetune"} for name in ("finetune", "a", "b", "rates", "l1")}
    write_json(tmp_path / "methods.json", abouts)
    whole = boards(read(tmp_path))
    assert len(whole) == 2 and boards(whole, []) is whole
    (board,) = boards(whole, [0.3])
    assert [(r.label, r.point) for r in board.rows] == [
        ("dense", "dense"), ("finetune", "100 %"), ("a", "30 %"), ("b", "30 %"), ("rates", "30 %"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="no row keeps 90 % of the MACs; there are 30, 50, 70 %"):
        boards(whole, [0.3, 0.9])


def test_hyper_parameters_make_rows_and_only_those_that_differ_are_shown(tmp_path: Path) -> None:
    variants = [{"scope": "global", "p": 1}, {"scope": "layer", "p": 1}]
    board = only(built(tmp_path, *(make_record(make_trial(params=params)) for params in variants)))
    assert sorted(r.label for r in board.rows) == ["l1 (scope=global)", "l1 (scope=layer)"]


def test_a_twin_is_named_by_its_method_over_all_seeds(tmp_path: Path) -> None:
    originals = [make_trial("dcff", seed) for seed in range(3)]
    twins = [make_trial("scratch", t.seed, params={"of": "dcff"}, twin=t.key) for t in originals]
    board = only(built(tmp_path, *map(make_record, originals + twins)))
    assert sorted((r.label, r.n) for r in board.rows) == [("dcff", 3), ("scratch (of=dcff)", 3)]


def test_what_may_not_be_compared_stands_apart(tmp_path: Path) -> None:
    found = built(
        tmp_path,
        make_record(make_trial()),
        make_record(make_trial(track="paper")),
        make_record(make_trial(dataset=DataSpec(name="cifar10", subset=2000))),
        make_record(make_trial(dense=DenseSpec(recipe=Recipe(epochs=80, lr=0.1)))),
        make_record(make_trial(recipe=Recipe(epochs=40, lr=0.01))),
        make_record(make_trial(smoke=True)),
    )
    assert len(found) == 6
    assert [b.title for b in found if b.smoke] == ["SMOKE RUN: cifar10, cifar_resnet20, matched track"]


def test_scratch_methods_stand_beside_those_that_fine_tune(tmp_path: Path) -> None:
    scratch = make_record(make_trial("dcff", recipe=Recipe(epochs=6, lr=0.1)), starts_from="scratch")
    other = make_record(make_trial("random", recipe=Recipe(epochs=6, lr=0.001)))
    assert [sorted(r.label for r in b.rows) for b in built(tmp_path, make_record(), scratch, other)] == [
        ["dcff", "random"], ["dcff", "l1"],
    ]  # fmt: skip


def test_failed_and_missing_trials_are_visible(tmp_path: Path) -> None:
    trials = [make_trial(seed=seed) for seed in range(3)]
    save_failure(tmp_path, trials[1], "the loss is NaN")
    save_failure(tmp_path, make_trial("random"), "out of memory")
    save_plan(tmp_path, *trials)
    board = only(built(tmp_path, make_record(trials[0])))
    assert cell(row(board, "l1"), "seeds") == "1 of 3 (1 failed)"
    assert cell(row(board, "random"), "top1") == "failed" and cell(row(board, "random"), "seeds") == "0 of 1 (1 failed)"


def test_a_control_that_cuts_nothing_stands_at_the_whole_network_before_it_has_run(tmp_path: Path) -> None:
    trials = [make_trial("finetune", keep=None), make_trial(), make_trial("rates", keep=None)]
    save_plan(tmp_path, *trials)
    (tmp_path / "methods.json").write_text(
        '{"finetune": {"prunes": false, "start": "pretrained"}, "l1": {}, "rates": {"prunes": true}}'
    )
    rows = only(built(tmp_path)).rows
    assert [(r.label, r.point) for r in rows] == [("finetune", "100 %"), ("l1", "50 %"), ("rates", "own widths")]
    assert [r.starts_from for r in rows] == ["pretrained", "", ""] and cell(rows[0], "seeds") == "0 of 1"


def test_far_off_the_target_is_marked(tmp_path: Path) -> None:
    near, far = make_record(macs=20_400_000), make_record(make_trial("random"), macs=20_404_000)
    board = only(built(tmp_path, near, far))
    assert cell(row(board, "l1"), "macs") == "20.40 (−49.0 %)"
    assert cell(row(board, "random"), "macs") == "20.40 (−49.0 %)†"
    assert any(note.startswith("†") for note in notes(board))


def test_given_weights_are_stated_and_their_cost_is_not_guessed(tmp_path: Path) -> None:
    dense = DenseSpec(weights=WeightsSpec(file="a.pt", sha256="ab" * 32))
    record = make_record(make_trial(dense=dense), spent_dense=Spent())
    moved = make_record(make_trial(seed=1, dense=DenseSpec(weights=WeightsSpec(file="b.pt", sha256="ab" * 32))))
    board = only(built(tmp_path, record, moved))
    assert cell(board.rows[0], "epochs_in_all") == "6 + ?"
    assert any("noise of fine-tuning that one checkpoint" in note for note in notes(board))


def test_without_a_dense_network_nothing_is_compared_with_it(tmp_path: Path) -> None:
    trial = make_trial("dcff", keep=None, dense=None, track="paper")
    board = only(built(tmp_path, make_record(trial, dense=None, spent_dense=None, starts_from="scratch")))
    assert [cell(board.rows[0], name) for name in ("change", "macs", "epochs_in_all")] == ["", "20.00", "6"]
    assert board.rows[0].point == "20.0 M"


def test_mixed_machines_and_notes_are_stated(tmp_path: Path) -> None:
    records = [
        make_record(),
        make_record(make_trial(seed=1), machine=machine(precision="bf16"), notes=["hold-out seen"]),
    ]
    text = "\n".join(notes(only(built(tmp_path, *records))))
    assert "Training precision differs between the runs: bf16, fp32." in text and "hold-out seen" in text
    alike = built(tmp_path / "b", make_record(machine=machine(precision="bf16")))
    assert "Training precision: bf16." in notes(only(alike))


@pytest.mark.parametrize(
    ("value", "digits", "sign", "expected"),
    [(-0.004, 2, True, "0.00"), (-0.5, 1, True, "−0.5"), (0.5, 1, True, "+0.5"), (1.005, 1, False, "1.0")],
)
def test_numbers(value: float, digits: int, sign: bool, expected: str) -> None:
    assert number(value, digits, sign) == expected


def test_spread_of_one_value() -> None:
    assert spread(Stat(1.0, None, 1)) == "1.00"


def test_accuracy_among_the_classes_that_are_there_has_a_column_and_a_note(tmp_path: Path) -> None:
    values = make_trial().model_dump()
    values["dataset"] |= {"name": "imagefolder", "classes": "imagenet-1k"}
    trial = Trial(**values)
    result = make_record(trial).result.model_copy(update={"top1": 61.4, "present_top1": 88.2})
    board = only(built(tmp_path, make_record(trial, result=result)))
    assert board.rows[0].present_top1 is not None and board.rows[0].present_top1.mean == 88.2
    assert any("all classes of imagenet-1k" in note for note in notes(board))


def test_a_method_that_starts_elsewhere_on_another_board_changes_nothing_here(tmp_path: Path) -> None:
    records = [
        make_record(make_trial(name, recipe=Recipe(epochs=6, lr=lr))) for name in ("l1", "fpgm") for lr in (0.01, 0.05)
    ]
    elsewhere = make_record(make_trial("l1", dataset=DataSpec(name="cifar100")), starts_from="scratch")
    boards_here = [b for b in built(tmp_path, *records, elsewhere) if b.trial.dataset.name == "cifar10"]
    assert [sorted(r.label for r in b.rows) for b in boards_here] == [["fpgm", "l1"], ["fpgm", "l1"]]


def test_twins_of_two_variants_carry_two_labels(tmp_path: Path) -> None:
    originals = [make_trial("dcff", params={"steepness": value}) for value in (1.0, 1.0000001)]
    twins = [make_trial("scratch", params={"of": "dcff"}, twin=t.key) for t in originals]
    board = only(built(tmp_path, *map(make_record, originals + twins)))
    assert sorted(r.label for r in board.rows) == [
        "dcff (steepness=1)", "dcff (steepness=1.0000001)",
        "scratch (of=dcff, of.steepness=1)", "scratch (of=dcff, of.steepness=1.0000001)",
    ]  # fmt: skip


def test_a_twin_without_its_original_is_still_one_row(tmp_path: Path) -> None:
    twins = [make_trial("scratch", seed, params={"of": "dcff"}, twin=make_trial("dcff", seed).key) for seed in range(3)]
    board = only(built(tmp_path, *map(make_record, twins)))
    assert [(r.label, r.n) for r in board.rows] == [("scratch (of=dcff)", 3)]


def test_points_stand_in_the_order_of_what_is_kept(tmp_path: Path) -> None:
    kept = (0.095, 0.1, 0.104, 0.5)
    board = only(built(tmp_path, *(make_record(make_trial(keep=keep)) for keep in kept)))
    assert [r.point for r in board.rows] == ["50 %", "10.4 %", "10 %", "9.5 %"]
    assert board.rows[0].heading == "50 % of the MACs kept"


def test_only_twins_of_one_method_are_told_apart_by_its_settings(tmp_path: Path) -> None:
    recipes = Recipe(epochs=6, lr=0.1), Recipe(epochs=6, lr=0.01)
    originals = [make_trial(name, recipe=recipe) for name, recipe in zip(("dcff", "l1"), recipes, strict=True)]
    twins = [make_trial("scratch", params={"of": t.method.name}, twin=t.key) for t in originals]
    records = [make_record(t, starts_from="scratch") for t in [*originals, *twins, make_trial("scratch")]]
    board = only(built(tmp_path, *records))
    assert [r.label for r in board.rows if r.method == "scratch"] == [
        "scratch", "scratch (of=dcff)", "scratch (of=l1)",
    ]  # fmt: skip


def test_twins_of_variants_that_are_not_here_stay_apart(tmp_path: Path) -> None:
    variants = [make_trial("dcff", params={"steepness": value}).key for value in (5.0, 10.0)]
    twins = [make_trial("scratch", params={"of": "dcff"}, twin=key) for key in variants]
    results = read(save(tmp_path, *map(make_record, twins)))
    assert sorted(r.label for r in only(boards(results)).rows) == sorted(f"scratch (of={key})" for key in variants)
    assert results.problems == []
