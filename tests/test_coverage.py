"""A small part of the coverage table, and what becomes of cells that fail, hang or die."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from bench import cell, coverage
from bench.cell import Cell
from bench.errors import UserError
from bench.method import OneShot


def test_a_part_of_the_matrix(tmp_path: Path) -> None:
    backbones = ["cifar_resnet20", "mobilenetv2_035", "skresnet18"]
    found = coverage.fill(["l1", "slimming"], backbones, tmp_path / "cells.json")
    assert [one.status for one in found] == ["ok", "ok", "ok", "ok", "failed", "failed"]
    assert all(abs(one.macs - 0.5) < 0.02 for one in found[:4])
    assert all("not exact" in one.note for one in found[4:])
    text = coverage.table(found, "prunebench coverage")
    assert "**4 of 6 cells work.**" in text
    assert "| skresnet18 | **no** (1) | **no** (1) |" in text


def test_finished_cells_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cells.json"
    coverage.write(file, [Cell("l1", "resnet18"), Cell("l1", "resnet50", "failed", "too slow")])
    ran = []
    monkeypatch.setattr(cell, "isolated", lambda job, limit: ran.append(job.args[1]) or Cell("l1", job.args[1]))
    coverage.fill(["l1"], ["resnet18", "resnet50"], file)
    assert ran == []
    found = coverage.fill(["l1"], ["resnet18", "resnet50"], file, again=True)
    assert ran == ["resnet50"]
    assert coverage.read(file) == found == [Cell("l1", "resnet18"), Cell("l1", "resnet50")]


@dataclass(frozen=True)
class Wide(OneShot):
    """Forgets to cut."""

    name = "wide"

    def compress(self, model, run):
        return model


@dataclass(frozen=True)
class Careless(OneShot):
    """Cuts other filters than it says."""

    name = "careless"

    def compress(self, model, run):
        keep = run.select(model, {g.name: torch.rand(g.size) for g in run.groups(model)}, scope="layer")
        return run.shrink(model, keep)


def test_a_method_that_does_not_cut_is_off_target() -> None:
    with pytest.raises(UserError, match="further off than one filter group"):
        cell.check(Wide(), "cifar_resnet20")


def test_a_cut_that_differs_from_zeroed_channels_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import channels

    right = channels.shrink

    def shifted(model: nn.Module, example: torch.Tensor, keep: dict[str, torch.Tensor]) -> nn.Module:
        name = max(keep, key=lambda name: len(keep[name]))
        ids = keep[name].clone()
        ids[0] = ids[0] - 1 if ids[0] else next(i for i in range(len(ids)) if ids[i] != i) - 1
        return right(model, example, {**keep, name: torch.arange(len(ids))})

    assert cell.check(Careless(), "cifar_resnet20").status == "ok"
    monkeypatch.setattr(channels, "shrink", shifted)
    with pytest.raises(UserError, match="not exact"):
        cell.check(Careless(), "cifar_resnet20")


def test_a_larger_network_is_left_out_without_being_built() -> None:
    assert cell.check(Careless(), "resnet152", max_params=60).status == "left out"


def die() -> Cell:
    os._exit(9)


def spin() -> Cell:
    while True:
        pass


def hang() -> Cell:
    time.sleep(60)
    raise AssertionError


def test_a_cell_that_dies_or_hangs_is_a_reason() -> None:
    assert cell.isolated(die, 60) == "its process died (exit code 9)"
    assert cell.isolated(spin, 0.5) == cell.isolated(hang, 0.5) == "not finished after 0.5 s"


def test_names_are_checked_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no method is named l11: did you mean l1"):
        coverage.fill(["l11"], ["resnet18"], tmp_path / "cells.json")
    with pytest.raises(UserError, match="no backbone is named resnet19: did you mean resnet1"):
        coverage.fill(["l1"], ["resnet19"], tmp_path / "cells.json")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cells.json"
    file.write_text('{"a": 1}')
    with pytest.raises(UserError, match="name another --json"):
        coverage.read(file)


def test_what_is_left_is_counted_and_other_targets_are_other_cells(tmp_path: Path) -> None:
    file = tmp_path / "cells.json"
    left_out = Cell("l1", "vgg19", "left out", "more than 60 M parameters")
    coverage.write(file, [Cell("l1", "resnet18", keep_macs=0.3), Cell("l1", "resnet50", off=-0.25), left_out])
    found = coverage.fill(["l1"], ["resnet18", "resnet50", "vgg19"], file, minutes=-1)
    assert [one.status for one in found] == ["not run", "ok", "left out"]
    text = coverage.table(found, "prunebench coverage")
    assert "**1 of 1 cells work.**" in text
    assert "off by 0.25 percentage points" in text
    assert "Left out: 1 with more than 60 M parameters. Cells not run yet: 1." in text
    assert "| resnet50 | ok |" in text and "resnet18" not in text


def test_timm_cnns_come_family_by_family() -> None:
    first = coverage.cnns()[:46]
    assert len({name.split("_")[0] for name in first}) >= 35
    assert not [name for name in coverage.cnns() if name.startswith(("vit_", "swin"))]
