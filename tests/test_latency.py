"""Timing dense and compact networks in turn, and the file that it leaves beside a record."""

from __future__ import annotations

import platform
import resource

import pytest
import torch
from records import make_record, make_trial, save
from torch import nn

from bench import backbones, channels, compact, latency
from bench.errors import UserError
from bench.record import beside, find_records
from bench.timings import place, read_latency


class Waits(nn.Module):
    """A network whose forward pass takes as long as it is told, on a clock of its own."""

    now = 0.0

    def __init__(self, seconds: float, trace: list[float]) -> None:
        super().__init__()
        self.seconds, self.trace = seconds, trace

    def forward(self, x):
        Waits.now += self.seconds
        self.trace.append(self.seconds)
        return x


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(latency.time, "perf_counter", lambda: Waits.now)


@pytest.fixture
def quiet(monkeypatch):
    """An idle machine, and blocks as short as can be."""
    monkeypatch.setattr(latency.os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.setattr(latency, "WARM_UP_S", 0.0)
    monkeypatch.setattr(latency, "BLOCK_S", 0.0)


@pytest.fixture
def folder(tmp_path):
    """One trial, its network a ResNet-20 with every second filter, and its baseline's network; records of both."""
    dense = make_record(make_trial("dense"))
    record = make_record(make_trial(baseline=dense.key))
    save(tmp_path, dense, record)
    spec, example = record.trial.backbone, torch.zeros(1, 3, 32, 32)
    shape = {"num_classes": 10, "in_chans": 3, "image_size": 32}
    model = backbones.create(spec, **shape)
    about = {**shape, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    compact.save(tmp_path / "trials" / dense.key / "model.safetensors", model, spec, **about)
    keep = {group.name: torch.arange(0, group.size, 2) for group in channels.groups(model, example)}
    compact.save(
        tmp_path / "trials" / record.key / "model.safetensors", channels.shrink(model, example, keep), spec, **about
    )
    return tmp_path


def test_medians_and_quartiles_of_alternating_rounds(clock):
    trace: list[float] = []
    timing = latency.compare(Waits(0.04, trace), Waits(0.02, trace), torch.zeros(5, 1, 1, 1), rounds=4)
    assert timing.batch == 5
    assert timing.dense_ms.median == pytest.approx(40) and timing.compact_ms.q75 == pytest.approx(20)
    assert timing.speedup.q25 == pytest.approx(2) and timing.speedup.median == pytest.approx(2)
    per_round = [0.04] * 3 + [0.02] * 5  # as many as fill 0.1 s
    assert trace[-4 * 8 :] == per_round * 4


def test_quartiles_by_hand():
    spread = latency._spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (spread.q25, spread.median, spread.q75) == (2.0, 3.0, 4.0)


def test_a_measurement_lies_beside_the_record_and_the_record_stays(folder, quiet, capsys):
    paths = find_records(folder)
    before = {path: path.read_bytes() for path in paths}
    (written,) = latency.measure(paths, name="My machine", threads=1, batches=(1, 2), rounds=3)
    found = read_latency(written)
    assert written.name == "latency.json" and written.parent.name == found.key
    assert (found.name, found.dense, found.alone, found.rounds) == ("My machine", "baseline", True, 3)
    assert [timing.batch for timing in found.timings] == [1, 2]
    assert all(t.speedup.q25 <= t.speedup.median <= t.speedup.q75 for t in found.timings)
    assert before == {path: path.read_bytes() for path in paths}
    assert "at batch 1" in capsys.readouterr().out
    assert latency.measure(paths, name="My machine", rounds=3) == []
    assert "measured before" in capsys.readouterr().out


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept with glibc's own setting")
def test_a_pass_maps_no_memory_anew(folder, quiet):
    """It would take half of a batch's time, and how much by chance."""
    latency.measure(find_records(folder), name="A", threads=1, batches=(1,), rounds=1)
    convolution, images = nn.Conv2d(16, 16, 3, padding=1), torch.zeros(64, 16, 32, 32)
    latency._block(convolution, images, 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    latency._block(convolution, images, 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000  # a pass's 4 MB are 1,024 pages


def test_another_machine_gets_a_file_of_its_own(folder, quiet):
    paths = find_records(folder)
    (first,) = latency.measure(paths, name="One", batches=(1,), rounds=1)
    (second,) = latency.measure(paths, name="The other (2 GPUs)", batches=(1,), rounds=1)
    assert second == first.with_name("latency-the-other-2-gpus.json")
    assert read_latency(first).name == "One"
    assert place(first.with_name("record.json"), "One") == first


def test_a_loaded_machine_is_refused_or_marked(folder, quiet, monkeypatch):
    paths = find_records(folder)
    monkeypatch.setattr(latency.os, "getloadavg", lambda: (3.0, 1.0, 1.0))
    with pytest.raises(UserError, match="other work is running on this machine .load 3.0."):
        latency.measure(paths)
    (written,) = latency.measure(paths, batches=(1,), rounds=1, loaded=True)
    assert not read_latency(written).alone and read_latency(written).load == 3.0
    monkeypatch.setattr(latency.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    (again,) = latency.measure(paths, batches=(1,), rounds=1)
    assert again == written and read_latency(again).alone


def test_without_its_baseline_a_fresh_dense_network_serves_and_without_a_network_a_record_is_left_out(
    folder, quiet, capsys
):
    for path in find_records(folder):
        if '"name": "dense"' in path.read_text():
            beside(path, "model.safetensors").unlink()
    (written,) = latency.measure(find_records(folder), batches=(1,), rounds=1)
    assert read_latency(written).dense == "fresh"
    written.unlink()
    written.with_name("model.safetensors").unlink()
    assert latency.measure(find_records(folder), batches=(1,), rounds=1) == []
    assert "its network is not beside it" in capsys.readouterr().out


def test_files_beside_a_record_that_is_named_by_its_key(tmp_path):
    record = tmp_path / "0123456789abcdef.json"
    assert beside(record, "latency.json") == tmp_path / "0123456789abcdef.latency.json"
    assert beside(record, "json", "f" * 16) == tmp_path / ("f" * 16 + ".json")
    record.write_text("{}")
    beside(record, "latency.json").write_text("{}")
    assert find_records(tmp_path) == [record]
