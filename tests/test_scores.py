"""Scores of one dense network: computed once for all targets, and only where they are the same for all."""

import copy
import multiprocessing
import shutil
import time
from dataclasses import dataclass

import pytest
import torch
from digits import net

from bench import OneShot, registry
from bench.record import Record
from bench.scores import Shared
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial
from bench.trial import run_trial

RECIPE = Recipe(epochs=1, lr=0.05, batch_size=32)
CPU = torch.device("cpu")


def trial(name="taylor", **more):
    return Trial(
        dataset=DataSpec(name="digits", subset=64),
        backbone=BackboneSpec(name="cifar_resnet20"),
        dense=DenseSpec(recipe=RECIPE),
        method=MethodSpec(name=name),
        recipe=RECIPE,
        smoke=True,
        **more,
    )


def shared(folder, **more):
    settings = {"threads": 1, "precision": "fp32", **more.pop("settings", {})}
    return Shared(folder, trial(**more), more.pop("method", registry.build(MethodSpec(name="taylor"))), settings, CPU)


def counted(calls, value=1.0):
    def compute():
        calls.append(value)
        return {"conv": torch.full((3,), value)}

    return compute


def always():
    return True


def test_another_target_gets_the_same_scores_and_nothing_else_does(tmp_path):
    calls = []
    shared(tmp_path, keep_macs=0.7).of(net(), counted(calls), always)
    again = shared(tmp_path, keep_macs=0.3).of(net(), counted(calls, 2.0), always)
    assert again["conv"].tolist() == [1, 1, 1] and calls == [1.0]
    others = [{"seed": 1}, {"settings": {"threads": 2}}, {"settings": {"precision": "bf16"}}, {"baseline": "0" * 16}]
    for i, other in enumerate(others, 2):
        shared(tmp_path, keep_macs=0.7, **other).of(net(), counted(calls), always)
        assert len(calls) == i, other


def test_what_alters_the_network_or_holds_for_one_target_is_not_kept(tmp_path):
    calls, model = [], net()

    def altering():
        with torch.no_grad():
            model.norm.running_mean += 1
        return counted(calls)()

    shared(tmp_path).of(model, altering, always)
    shared(tmp_path).of(model, counted(calls), lambda: False)
    shared(tmp_path).of(model, counted(calls), always)
    assert len(calls) == 3


def test_a_damaged_file_is_computed_again(tmp_path):
    calls = []
    shared(tmp_path).of(net(), counted(calls), always)
    (file,) = (tmp_path / "scores").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    shared(tmp_path).of(net(), counted(calls), always)
    assert len(calls) == 2


def score_slowly(folder):
    def compute():
        with (folder / "calls").open("a") as file:
            file.write("x")
        time.sleep(0.5)
        return {"conv": torch.ones(3)}

    shared(folder).of(net(), compute, always)


def test_two_at_once_score_once(tmp_path):
    processes = [multiprocessing.get_context("fork").Process(target=score_slowly, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert (tmp_path / "calls").read_text() == "x"


def test_a_dense_network_that_was_trained_anew_is_scored_anew(tmp_path):
    calls, network = [], tmp_path / "trials" / ("0" * 16) / "model.safetensors"
    network.parent.mkdir(parents=True)
    for i, content in enumerate((b"first", b"second", b"first")):
        network.write_bytes(content)
        shared(tmp_path, baseline="0" * 16).of(net(), counted(calls), always)
        assert len(calls) == min(i + 1, 2)


@dataclass(frozen=True)
class Remembering(OneShot):
    """Looks at its target before it scores."""

    name = "remembering"

    def compress(self, model, run):
        object.__setattr__(self, "seen", run.budget.keep_macs)
        return super().compress(model, run)

    def score(self, model, run):
        return {group.name: torch.arange(group.size) * (1.0 + self.seen) for group in run.groups(model)}


@dataclass(frozen=True)
class Peeking(OneShot):
    """Looks at its target while it scores."""

    name = "peeking"

    def score(self, model, run):
        return {group.name: torch.arange(group.size) * (1.0 + run.budget.keep_macs) for group in run.groups(model)}


def run_all(out, method, monkeypatch, *targets):
    """Scorings, and widths by target."""
    calls, build, score = [], registry.build, type(method).score
    monkeypatch.setattr(registry, "build", lambda spec: build(spec) if spec.name == "dense" else method)
    monkeypatch.setattr(type(method), "score", lambda self, model, run: calls.append(1) or score(self, model, run))
    run_trial(dense := Trial(**{**dict(trial()), "method": MethodSpec(name="dense")}), out, suite="s", threads=1)
    widths = {}
    for keep in targets:
        found = run_trial(trial(method.name, keep_macs=keep, baseline=dense.key), out, suite="s", threads=1)
        assert isinstance(found, Record), found
        widths[keep] = found
    monkeypatch.undo()
    return len(calls), widths


@pytest.mark.parametrize("name", ["taylor", "hessian"])
def test_a_method_scores_once_for_all_targets_and_ends_as_if_alone(tmp_path, monkeypatch, name):
    method = registry.build(MethodSpec(name=name))
    calls, found = run_all(tmp_path / "all", method, monkeypatch, 0.7, 0.5)
    assert calls == 1
    calls, alone = run_all(tmp_path / "alone", method, monkeypatch, 0.5)
    assert calls == 1
    models = [tmp_path / place / "trials" / found[0.5].key / "model.safetensors" for place in ("all", "alone")]
    assert models[0].read_bytes() == models[1].read_bytes() and found[0.5].widths == alone[0.5].widths


@pytest.mark.parametrize("method", [Peeking, Remembering])
def test_a_method_that_looks_at_its_target_scores_for_each(tmp_path, monkeypatch, method):
    calls, found = run_all(tmp_path, method(), monkeypatch, 0.7, 0.5)
    assert calls == 2 and found[0.7].widths != found[0.5].widths


@dataclass(frozen=True)
class Trying(OneShot):
    """Cuts a copy while it scores: an event of the trial's own journal."""

    name = "trying"

    def score(self, model, run):
        groups = run.groups(model)
        halves = {group.name: torch.arange(group.size // 2) for group in groups}
        run.shrink(copy.deepcopy(model), halves)
        return {group.name: torch.arange(group.size).float() for group in groups}


def test_scores_that_take_events_of_the_journal_come_again_when_a_trial_is_resumed(tmp_path, monkeypatch):
    known = {**registry.methods(), "trying": Trying}
    monkeypatch.setattr(registry, "methods", lambda: known)
    dense = trial("dense")
    assert isinstance(run_trial(dense, tmp_path / "whole", suite="t", threads=1), Record)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    wanted = trial("trying", keep_macs=0.4, baseline=dense.key)
    expected = run_trial(wanted, tmp_path / "whole", suite="t", threads=1)
    events = 0

    def die():
        nonlocal events
        events += 1
        if events == 3:  # both cuts are made, and the first has half of the filters that the second should keep
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(wanted, tmp_path / "killed", suite="t", threads=1, kept=die)
    assert run_trial(wanted, tmp_path / "killed", suite="t", threads=1).widths == expected.widths
