"""The journal: what is finished stays finished, what is damaged is done again."""

import torch

from bench.training.journal import Journal


def test_a_finished_event_is_answered_after_a_restart(tmp_path):
    first = Journal(tmp_path)
    event = first.next("train")
    assert first.finished(event) is None
    first.finish(event, {"w": torch.arange(3.0)}, [{"loss": 0.5}])
    again = Journal(tmp_path)
    tensors, values = again.finished(again.next("train"))
    assert tensors["w"].tolist() == [0, 1, 2] and values == [{"loss": 0.5}]
    assert again.finished(again.next("train")) is None


def test_an_event_may_hold_values_alone(tmp_path):
    Journal(tmp_path).finish("00001-evaluate", {}, 91.5)
    assert Journal(tmp_path).finished("00001-evaluate") == ({}, 91.5)


def test_the_newest_checkpoint_counts_and_a_damaged_one_gives_way_to_the_one_before(tmp_path):
    journal = Journal(tmp_path)
    for epoch in (1, 2, 3):
        journal.checkpoint("00001-train", epoch, {"w": torch.tensor([float(epoch)])}, epoch)
    files = sorted(tmp_path.glob("00001-train.epoch-*.safetensors"))
    assert len(files) == 2
    epoch, (tensors, values) = journal.last_checkpoint("00001-train")
    assert (epoch, tensors["w"].item(), values) == (3, 3.0, 3)
    files[-1].write_bytes(files[-1].read_bytes()[:-1])
    assert journal.last_checkpoint("00001-train")[0] == 2
    assert list(tmp_path.glob("*.damaged"))


def test_finishing_an_event_drops_its_checkpoints(tmp_path):
    journal = Journal(tmp_path)
    journal.checkpoint("00001-train", 1, {}, None)
    journal.finish("00001-train", {}, None)
    assert journal.last_checkpoint("00001-train") is None


def test_settings_are_those_of_the_first_start(tmp_path):
    assert Journal(tmp_path).settings({"threads": 1}) == {"threads": 1}
    assert Journal(tmp_path).settings({"threads": 2}) == {"threads": 1}
