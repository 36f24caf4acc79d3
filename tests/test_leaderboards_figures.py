"""Figures: one colour and marker per method everywhere, the same bytes from the same records."""

from __future__ import annotations

import colorsys
from pathlib import Path

import pytest
from records import make_latency, make_record, make_trial, save, save_latency

import leaderboards
from leaderboards.boards import boards
from leaderboards.figures import pareto
from leaderboards.names import CONTROLS, METHODS
from leaderboards.results import read
from leaderboards.styles import COLOURS, GREY, MARKERS, styles


def test_no_two_labels_look_alike(tmp_path: Path) -> None:
    found = boards(read(save(tmp_path, *(make_record(make_trial(f"m{i:02}")) for i in range(35)))))
    assert len(set(styles(found).values())) == len([*COLOURS, GREY]) * len(MARKERS) == 35


def test_a_method_keeps_its_style_on_every_board(tmp_path: Path) -> None:
    records = [make_record(make_trial(name, track=track)) for name in ("a", "b") for track in ("matched", "paper")]
    found = boards(read(save(tmp_path, *records)))
    assert len(found) == 2 and len(styles(found)) == 2


def test_a_method_keeps_its_style_whatever_is_shown_beside_it(tmp_path: Path) -> None:
    def looks(folder: str, *names: str) -> dict[str, tuple[str, str]]:
        records = [make_record(make_trial(name)) for name in names]
        return styles(boards(read(save(tmp_path / folder, *records))))

    few, many = looks("few", "taylor", "mine"), looks("many", "abc", "mine", *METHODS, *CONTROLS)
    assert few == {name: many[name] for name in ("taylor", "mine")}
    assert {many[name][0] for name in CONTROLS} == {GREY} and len(set(many.values())) == len(many)


def test_every_method_that_comes_along_has_a_style() -> None:
    pytest.importorskip("torch")
    from bench import registry

    own = {name for name, cls in registry.methods().items() if cls.__module__.startswith("methods.")}
    assert own == {*METHODS, *CONTROLS, "dense"}


def test_variants_of_a_method_share_its_colour(tmp_path: Path) -> None:
    records = [make_record(make_trial("l1", params={"scope": scope})) for scope in ("global", "layer")]
    found = styles(boards(read(save(tmp_path, *records))))
    assert len(found) == 2 and len({colour for colour, _ in found.values()}) == 1 and len(set(found.values())) == 2


def test_the_front_holds_what_no_other_point_beats() -> None:
    points = [(50.0, 90.0), (30.0, 85.0), (50.0, 88.0), (60.0, 90.0), (70.0, 89.0), (100.0, 91.0)]
    assert pareto(points) == [(30.0, 85.0), (50.0, 90.0), (100.0, 91.0)]
    assert pareto([]) == []


def test_colours_differ_in_lightness_or_hue_also_without_red_and_green() -> None:
    # With red and green taken for one, blue and lightness must still tell neighbours apart.
    def seen(colour: str) -> tuple[float, float]:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return (0.3 * red + 0.7 * green, blue)

    colours = [*COLOURS, GREY]
    pairs = [(a, b) for i, a in enumerate(colours) for b in colours[i + 1 :]]
    assert all(max(abs(x - y) for x, y in zip(seen(a), seen(b), strict=True)) > 0.09 for a, b in pairs)
    assert all(colorsys.rgb_to_hls(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[1] < 0.75 for c in COLOURS)


def test_figures_are_written_and_repeatable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    records = [make_record(make_trial(name, seed)) for name in ("_$x^2$ & <b>", "l1") for seed in range(2)]
    save_latency(save(tmp_path, *records), make_latency(records[0]))
    paths = leaderboards.draw(tmp_path, tmp_path / "first")
    names = sorted(path.name for path in paths)
    stem = "cifar10-cifar-resnet20-matched-track"
    assert names == [
        f"{stem}-{kind}.{suffix}"
        for kind in ("accuracy", "latency-1", "latency-64", "widths-50")
        for suffix in ("pdf", "svg")
    ]
    again = leaderboards.draw(tmp_path, tmp_path / "second")
    assert [a.read_bytes() for a in paths] == [b.read_bytes() for b in again]
    svg = (tmp_path / "first" / f"{stem}-accuracy.svg").read_text()
    assert "_$x^2$ &amp; &lt;b&gt;" in svg and styles(boards(read(tmp_path)))["l1"][0].lower() in svg.lower()


def test_a_ruined_row_stands_at_the_edge_with_its_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    tops = {"l1": 90.0, "fpgm": 89.0, "taylor": 88.0, "lamp": 87.0, "sfp": 14.2}
    save(tmp_path, *(make_record(make_trial(name), top1) for name, top1 in tops.items()))
    (svg,) = [path for path in leaderboards.draw(tmp_path, tmp_path / "figures") if path.match("*-accuracy.svg")]
    assert "14.20 ↓" in svg.read_text() and ">20<" not in svg.read_text()


def test_an_operating_point_that_was_not_measured_has_no_figure_of_speed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    measured, other = make_record(make_trial(keep=0.7)), make_record(make_trial(keep=0.5))
    save(tmp_path, measured, other)
    save_latency(tmp_path, make_latency(measured))
    half = boards(read(tmp_path), [0.5])
    assert half[0].clock is None and "Speed-up" not in leaderboards.text(half)
    names = {path.name for path in leaderboards.draw(half, tmp_path / "figures")}
    assert names and not any("latency" in name for name in names)
