"""Each board of a report has a title and a name of its own."""

from __future__ import annotations

from pathlib import Path

from records import make_record, make_trial, save

from bench.record import Record
from bench.spec import BackboneSpec, DataSpec, DenseSpec, Recipe, WeightsSpec
from leaderboards.boards import boards
from leaderboards.notes import notes
from leaderboards.results import read
from leaderboards.tables import flat_rows
from leaderboards.titles import slugs

USUAL = "cifar10, cifar_resnet20, matched track"


def found(folder: Path, *records: Record) -> list[str]:
    return [board.title for board in boards(read(save(folder, *records)))]


def test_a_board_alone_needs_no_more_than_data_backbone_and_track(tmp_path: Path) -> None:
    assert found(tmp_path, make_record()) == [USUAL]


def test_boards_that_would_be_called_the_same_say_what_differs(tmp_path: Path) -> None:
    held = DataSpec(name="cifar10", holdout=5000)
    longer = Recipe(epochs=12, lr=0.01)
    titles = found(
        tmp_path,
        make_record(),
        make_record(make_trial(dataset=held)),
        make_record(make_trial(recipe=longer)),
        make_record(make_trial(track="paper")),
    )
    assert sorted(titles) == [
        "cifar10, cifar_resnet20, matched track (holdout=0, epochs=12)",
        "cifar10, cifar_resnet20, matched track (holdout=0, epochs=6)",
        "cifar10, cifar_resnet20, matched track (holdout=5000, epochs=6)",
        "cifar10, cifar_resnet20, paper track",
    ]
    rows = flat_rows(boards(read(tmp_path)))
    assert len({row["board"] for row in rows}) == 4
    assert any("5,000 of the training images" in note for board in boards(read(tmp_path)) for note in notes(board))


def test_dense_networks_tell_boards_apart(tmp_path: Path) -> None:
    given = [DenseSpec(weights=WeightsSpec(file=f"{c}.pt", sha256=c * 64)) for c in "ab"]
    trained = [DenseSpec(recipe=Recipe(epochs=160, lr=lr)) for lr in (0.1, 0.2)]
    of_two = {n: found(tmp_path / n, *(make_record(make_trial(dense=dense)) for dense in two)) for n, two in (
        ("given", given), ("trained", trained), ("either", [given[0], trained[0]]),
    )}  # fmt: skip
    assert of_two["given"] == [f"{USUAL} (dense={c * 16})" for c in "ab"]
    assert of_two["trained"] == [f"{USUAL} (dense.lr={lr})" for lr in (0.1, 0.2)]
    assert sorted(of_two["either"]) == [f"{USUAL} (dense={source})" for source in ("a" * 16, "trained")]


def test_no_two_names_are_the_same() -> None:
    assert slugs(["A, b (c=1)", "a b c 1", "A-2", "a", "a", "A"]) == ["a-b-c-1", "a-b-c-1-2", "a-2", "a", "a-3", "a-4"]


def test_no_two_titles_are_the_same(tmp_path: Path) -> None:
    tags = [DenseSpec(pretrained=f"fb_in22k_ft_in1k{more}") for more in ("", "_384")]
    assert found(tmp_path / "tags", *(make_record(make_trial(dense=dense)) for dense in tags)) == [
        f"{USUAL} (dense=fb_in22k_ft_in1k)", f"{USUAL} (dense=fb_in22k_ft_in1k_384)",
    ]  # fmt: skip
    alike = [make_trial(backbone=BackboneSpec(name="cifar_resnet20", kwargs={"a": value})) for value in (1, "1")]
    assert found(tmp_path / "kwargs", *map(make_record, alike)) == [
        "cifar10, cifar_resnet20 (a=1), matched track", "cifar10, cifar_resnet20 (a=1), matched track (2)",
    ]  # fmt: skip
