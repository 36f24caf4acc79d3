"""Printed figures: read whole, matched to rows with care."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import DENSE_MACS, make_record, make_trial, measured, save

from bench.spec import BackboneSpec, DataSpec
from leaderboards.boards import boards
from leaderboards.columns import LONG
from leaderboards.published import _all, own_figure, printed_for
from leaderboards.results import read


def test_all_rows_are_read() -> None:
    figures = [figure for group in _all().values() for figure in group]
    assert len(figures) == 716
    assert sum(figure.suspect for figure in figures) == 29


@pytest.mark.parametrize(
    ("backbone", "methods"),
    [
        ("cifar_resnet56", {"DCFF", "Gate Decorator (GBN, Tick-Tock)"}),
        ("cifar_vgg16", {"DCFF", "CHIP"}),
        ("cifar_resnet20", {"SFP", "FPGM-only 30%"}),
    ],
)
def test_backbones_are_recognised(backbone: str, methods: set[str]) -> None:
    assert methods <= {figure.method for figure in printed_for(make_trial(backbone=BackboneSpec(name=backbone)))}
    assert printed_for(make_trial(backbone=BackboneSpec(name="cifar_resnet7"))) == []


def test_a_part_of_a_data_set_is_compared_with_nothing() -> None:
    assert printed_for(make_trial(dataset=DataSpec(name="cifar10", subset=5000))) == []


def test_the_authors_own_figure_at_the_nearest_point(tmp_path: Path) -> None:
    # FPGM prints 91.09 at -42.2 % and 90.44 at -54 % for ResNet-20.
    near = make_record(make_trial("fpgm", keep=0.55), 90.59, round(DENSE_MACS * 0.45), best_top1=91.0)
    far = make_record(make_trial("fpgm", keep=0.3), 88.0, round(DENSE_MACS * 0.3))
    board = boards(read(save(tmp_path, near, far)))[0]
    cells = {row.point: {column.name: column.cell(row) for column in LONG} for row in board.rows}
    assert cells["55 %"]["printed"] == "90.44 (−54.0 %)"
    assert cells["55 %"]["less_printed"] == "+0.15" and cells["55 %"]["best_less_printed"] == "+0.56"
    assert cells["30 %"]["printed"] == ""


def test_of_several_at_one_point_the_papers_best_is_taken(tmp_path: Path) -> None:
    # FPGM prints 92.93 from fresh weights and 93.49 from trained ones, both at -52.6 %.
    trial = make_trial("fpgm", keep=0.47, backbone=BackboneSpec(name="cifar_resnet56"))
    row = boards(read(save(tmp_path, make_record(trial, macs=round(DENSE_MACS * 0.474)))))[0].rows[0]
    assert row.printed is not None and row.printed.top1 == 93.49


def test_without_a_dense_network_sizes_decide(tmp_path: Path) -> None:
    trial = make_trial("dcff", keep=None, dense=None, track="paper", backbone=BackboneSpec(name="cifar_vgg16"))
    result = measured(93.3, 72_350_000, 1_060_000).model_copy(update={"fvcore_total": 72_630_000})
    record = make_record(trial, result=result, dense=None, spent_dense=None, starts_from="scratch")
    row = boards(read(save(tmp_path, record)))[0].rows[0]
    assert row.printed is not None and row.printed.top1 == 93.47


def test_second_hand_and_suspect_figures_are_never_the_papers_own(tmp_path: Path) -> None:
    trial = make_trial("gate_decorator", keep=0.4, backbone=BackboneSpec(name="cifar_resnet56"))
    row = boards(read(save(tmp_path, make_record(trial, macs=round(DENSE_MACS * 0.398)))))[0].rows[0]
    printed = printed_for(trial)
    assert any(p.method == "Gate Decorator GBN" and p.macs_cut == 60.2 for p in printed)  # second-hand, and suspect
    assert own_figure(row, printed) is None
