"""Figures: one colour and marker per method everywhere, the same bytes from the same records."""

from __future__ import annotations

import colorsys
from pathlib import Path

import pytest
from records import make_record, make_trial, save

import leaderboards
from leaderboards.boards import boards
from leaderboards.results import read
from leaderboards.styles import COLOURS, MARKERS, styles


def test_no_two_labels_look_alike(tmp_path: Path) -> None:
    found = boards(read(save(tmp_path, *(make_record(make_trial(f"m{i:02}")) for i in range(35)))))
    assert len(set(styles(found).values())) == len(COLOURS) * len(MARKERS) == 35


def test_a_method_keeps_its_style_on_every_board(tmp_path: Path) -> None:
    records = [make_record(make_trial(name, track=track)) for name in ("a", "b") for track in ("matched", "paper")]
    found = boards(read(save(tmp_path, *records)))
    assert len(found) == 2 and len(styles(found)) == 2


def test_colours_differ_in_lightness_or_hue_also_without_red_and_green() -> None:
    # With red and green taken for one, blue and lightness must still tell neighbours apart.
    def seen(colour: str) -> tuple[float, float]:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return (0.3 * red + 0.7 * green, blue)

    pairs = [(a, b) for i, a in enumerate(COLOURS) for b in COLOURS[i + 1 :]]
    assert all(max(abs(x - y) for x, y in zip(seen(a), seen(b), strict=True)) > 0.09 for a, b in pairs)
    assert all(colorsys.rgb_to_hls(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[1] < 0.75 for c in COLOURS)


def test_figures_are_written_and_repeatable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    save(tmp_path, *(make_record(make_trial(name, seed)) for name in ("_$x^2$ & <b>", "l1") for seed in range(2)))
    paths = leaderboards.draw(tmp_path, tmp_path / "first")
    names = sorted(path.name for path in paths)
    stem = "cifar10-cifar-resnet20-matched-track"
    assert names == [f"{stem}-{kind}.{suffix}" for kind in ("accuracy", "widths-50") for suffix in ("pdf", "svg")]
    again = leaderboards.draw(tmp_path, tmp_path / "second")
    assert [a.read_bytes() for a in paths] == [b.read_bytes() for b in again]
    svg = (tmp_path / "first" / f"{stem}-accuracy.svg").read_text()
    assert "_$x^2$ &amp; &lt;b&gt;" in svg and COLOURS[0].lower() in svg.lower()
