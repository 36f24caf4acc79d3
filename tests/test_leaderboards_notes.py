"""The small print of a board."""

from __future__ import annotations

from pathlib import Path

from records import DENSE_MACS, make_record, make_trial, save

from bench.record import Record, Spent
from bench.spec import DenseSpec, Recipe, WeightsSpec
from leaderboards.boards import boards
from leaderboards.columns import columns
from leaderboards.notes import ONE_CHECKPOINT, notes
from leaderboards.results import read

RECIPE = Recipe(epochs=300, lr=0.1, milestones=(150, 225))


def text(folder: Path, *records: Record) -> str:
    (board,) = boards(read(save(folder, *records)))
    return "\n".join(notes(board))


def test_what_few_epochs_mean_for_those_that_start_from_scratch(tmp_path: Path) -> None:
    dense = DenseSpec(weights=WeightsSpec(file="a.pt", sha256="ab" * 32))
    scratch = make_trial("dcff", dense=dense, recipe=Recipe(epochs=6, lr=0.1))
    said = text(
        tmp_path,
        make_record(make_trial(dense=dense), notes=[ONE_CHECKPOINT]),
        make_record(make_trial(dense=dense, seed=1), notes=[ONE_CHECKPOINT]),
        make_record(scratch, starts_from="scratch", notes=[ONE_CHECKPOINT]),
    )
    assert "a total of 6 epochs of training after the dense network, whatever a method does with them" in said
    assert "For dcff, 6 epochs are all the training that the network ever gets" in said
    assert "± is the noise of fine-tuning that one checkpoint" in said and ONE_CHECKPOINT not in said


def test_one_seed_has_no_noise_and_one_row_no_best(tmp_path: Path) -> None:
    dense = DenseSpec(weights=WeightsSpec(file="a.pt", sha256="ab" * 32))
    said = text(tmp_path, make_record(make_trial(dense=dense), notes=[ONE_CHECKPOINT]))
    assert "One seed of each row; change, in percentage points, against the dense network." in said
    assert "±" not in said and ONE_CHECKPOINT not in said and "Best top-1" not in said


def test_controls_that_are_not_there_are_named(tmp_path: Path) -> None:
    said = text(tmp_path / "a", make_record(), make_record(make_trial("random")))
    assert "Controls that do not stand here: finetune, scratch." in said
    trial = make_trial("dcff", keep=None, dense=None, track="paper")
    said = text(tmp_path / "b", make_record(trial, dense=None, spent_dense=None, starts_from="scratch"))
    assert "Controls that do not stand here: scratch." in said


def test_what_the_dense_networks_of_papers_reach_is_told(tmp_path: Path) -> None:
    said = text(tmp_path, make_record(make_trial("fpgm", keep=0.46), macs=round(DENSE_MACS * 0.46)))
    assert "and with them the differences: FPGM-only 40% 92.20 %." in said


def test_nothing_is_said_of_scratch_where_nobody_starts_from_it(tmp_path: Path) -> None:
    said = text(tmp_path, make_record(make_trial(recipe=Recipe(epochs=1, lr=0.01))))
    assert "all the training" not in said and "a total of 1 epoch of" in said


def test_a_paper_track_without_a_dense_network(tmp_path: Path) -> None:
    trial = make_trial("dcff", keep=None, dense=None, track="paper", recipe=RECIPE)
    record = make_record(trial, dense=None, spent_dense=None, starts_from="scratch", best_top1=93.4)
    said = text(tmp_path, record)
    assert "dcff: at most 300 epochs, learning rate 0.1 (steps at 150, 225)" in said
    assert "against the dense" not in said and "No row has 3 seeds yet" in said
    assert "Best test epoch: " in said and "never ranks" in said


def test_only_what_stands_in_a_table_is_explained(tmp_path: Path) -> None:
    (board,) = boards(read(save(tmp_path, make_record(best_top1=91.0))))
    brief = "\n".join(notes(board, columns=columns("brief", board.rows)))
    assert (
        "Best test epoch" not in brief and "Epochs in all" not in brief and "Rank: " not in brief
    )  # one row, so no rank
    assert "Best test epoch" in "\n".join(notes(board)) and "Epochs in all" in "\n".join(notes(board))


def test_ranks_are_explained_where_there_are_any(tmp_path: Path) -> None:
    seeds = [make_record(make_trial(name, seed), 90 + seed) for name in ("a", "b") for seed in range(3)]
    assert "Rank: the places that a row may hold" in text(tmp_path, *seeds)


def test_with_three_seeds_nothing_is_said_of_too_few(tmp_path: Path) -> None:
    assert "seeds yet" not in text(tmp_path, *(make_record(make_trial(seed=seed)) for seed in range(3)))


def test_points_with_too_few_seeds_are_named(tmp_path: Path) -> None:
    records = [make_record(make_trial(seed=seed)) for seed in range(3)]
    said = text(tmp_path, *records, make_record(make_trial(keep=0.7), macs=28_000_000))
    assert "At 70 % no row has 3 seeds yet: which of two rows" in said


def test_rows_that_share_no_seeds_are_told_of(tmp_path: Path) -> None:
    records = [make_record(make_trial(seed=seed)) for seed in range(3)]
    records += [make_record(make_trial("fpgm", seed=seed)) for seed in range(2, 5)]
    assert "\nNo two rows share 3 seeds: which of two rows" in text(tmp_path, *records)
    records += [make_record(make_trial("fpgm", seed=seed)) for seed in range(2)]
    assert "share 3 seeds" not in text(tmp_path / "b", *records)


def test_headers_that_cannot_speak_for_themselves_are_explained(tmp_path: Path) -> None:
    said = text(tmp_path, make_record(cut_top1=50.0))
    for start in ("fvcore total: ", "Starts from: ", "Training: MACs of all", "After the cut: "):
        assert f"\n{start}" in said
    assert "After the cut" not in text(tmp_path / "b", make_record())


def test_what_given_weights_cost_is_not_called_nothing(tmp_path: Path) -> None:
    dense = DenseSpec(weights=WeightsSpec(file="a.pt", sha256="ab" * 32))
    (board,) = boards(read(save(tmp_path, make_record(make_trial("dense", dense=dense), spent=Spent()))))
    assert {c.name: c.cell(board.rows[0]) for c in columns("long", board.rows)}["training_macs"] == "?"


def test_a_dense_network_without_its_record_is_told(tmp_path: Path) -> None:
    record = make_record()
    assert "own record is not here" in text(tmp_path / "a", record)
    assert "own record is not here" not in text(tmp_path / "b", record, make_record(make_trial("dense")))


def test_a_control_that_trains_for_longer_is_named_with_its_epochs(tmp_path: Path) -> None:
    def trained(name: str, epochs: float) -> Record:
        spent = Spent(epochs=epochs, images=1, macs=1e14, seconds=60)
        return make_record(make_trial(name), starts_from="scratch", spent=spent)

    said = text(tmp_path, make_record(), trained("scratch", 160), trained("dcff", 6.01))
    assert "Controls that train for more epochs than that, and so hold no rank: scratch at 50 % (160)." in said
    assert "For dcff, 6 epochs are all the training" in said
    alone = text(tmp_path / "alone", make_record(), trained("scratch", 160))
    assert "all the training" not in alone and "From scratch" not in alone


def test_dense_networks_alone_share_no_total(tmp_path: Path) -> None:
    assert "Matched track" not in text(tmp_path, make_record(make_trial("dense")))


def test_what_is_unusual_in_a_recipe_is_said(tmp_path: Path) -> None:
    recipe = Recipe(epochs=6, lr=0.01, nesterov=True, warmup=1.0, augment=False)
    said = text(tmp_path, make_record(make_trial(recipe=recipe)))
    assert "weight decay 0.0005, nesterov true, warmup 1, augment false." in said


def test_one_checkpoint_is_no_network_of_the_same_seed(tmp_path: Path) -> None:
    given = DenseSpec(weights=WeightsSpec(file="a.pt"))
    assert "points, against the dense network." in text(tmp_path / "given", make_record(make_trial(dense=given)))
    assert "points, against the dense network of the same seed." in text(tmp_path / "trained", make_record())


def test_seeds_made_by_different_code_are_told_of(tmp_path: Path) -> None:
    records = [make_record(make_trial(seed=seed), method_source=f"{seed % 2}" * 12) for seed in range(3)]
    assert "l1 (version 1) ran from 2 states of its file" in text(tmp_path, *records)
