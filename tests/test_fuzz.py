"""Files that are damaged, or were written to do harm: one clear line each time, or set aside; no trace outside."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from damage import DEEP, as_json, damaged_bytes, damaged_values
from pydantic import ValidationError
from records import make_record, make_trial, save, save_failure, save_plan
from safetensors.torch import save as to_safetensors

import leaderboards
from bench import backbones, compact, suite, weights
from bench.errors import UserError
from bench.record import read_failures, read_record
from bench.running import board, status
from bench.running.schedule import Resources, run_trials
from bench.spec import BackboneSpec, WeightsSpec
from bench.training.journal import Journal

RESNET20 = BackboneSpec(name="cifar_resnet20", kwargs={"shortcut": "A"})


@pytest.fixture
def place(tmp_path):
    """A folder to work in; whatever appears beside it is a path that escaped."""
    (tmp_path / "a" / "b" / "out").mkdir(parents=True)
    yield tmp_path / "a" / "b" / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["out"]


def attempt(action: Callable[[], Any]) -> Any:
    """A UserError of one readable line is an answer; any other exception fails the test."""
    try:
        return action()
    except UserError as error:
        assert 0 < len(str(error)) < 3000 and "\n" not in str(error).strip(), str(error)
        return None


SUITE = {
    "name": "fuzz",
    "dataset": {"name": "digits", "subset": 64, "holdout": 8},
    "backbone": {"name": "cifar_resnet20", "shortcut": "A"},
    "dense": {"recipe": {"epochs": 2, "lr": 0.1, "milestones": [1], "weight_decay": 5e-4}},
    "keep_macs": [0.5, 0.3],
    "seeds": [0, 1],
    "methods": ["l1", {"gate_decorator": {"ticks": 2}}, {"scratch": {"of": "l1"}}],
    "recipe": {"epochs": 1, "lr": 0.01},
    "track": "matched",
    "resources": {"cpus": 1, "gpus": 0.5, "timeout": "2h"},
    "tracking": {"mode": "offline", "project": "p"},
    "smoke": True,
}


@pytest.mark.parametrize("seed", range(2))
def test_suites(place, seed):
    rng, path = random.Random(seed), place / "suite.yaml"
    text = yaml.safe_dump(SUITE, sort_keys=False).encode()
    for case in range(50):
        values = yaml.safe_dump(damaged_values(SUITE, rng)).replace(DEEP, "[" * 1500 + "]" * 1500).encode()
        path.write_bytes(values if case % 2 else damaged_bytes(text, rng))
        wanted = attempt(lambda: suite.load(path))
        if wanted is not None:
            attempt(lambda wanted=wanted: suite.trials(wanted))
            assert Path(wanted.name).name == wanted.name


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch x]",
        "name: !!python/name:os.system",
        "a: &a [x, x]\n"
        + "".join(f"{c}: &{c} [*{p}, *{p}, *{p}, *{p}]\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)),
        "name: &x {y: *x}",
        "? {a: b}\n: c",
        "name: 2020-02-30",
        "\x00",
        "{" * 1500,
    ],
)
def test_a_hostile_suite(place, text):
    (place / "suite.yaml").write_text(text)
    with pytest.raises(UserError):
        suite.load(place / "suite.yaml")


@pytest.mark.parametrize("seed", range(2))
def test_run_folders(place, seed):
    """Records, plans, failures and progress: read by tables, by `status` and by the scheduler."""
    rng = random.Random(seed)
    dense, l1, other = make_trial("dense"), make_trial("l1"), make_trial("fpgm")
    save(place, make_record(dense), make_record(l1))
    save_failure(place, other, "no reason")
    save_plan(place, dense, l1, other)
    zero = {"phase": "train", "epoch": 0.5, "epochs": 2.0, "images_per_s": 1.0, "eta_s": 1.0, "updated": 1e10}
    waiting = place / "trials" / make_trial("random").key
    waiting.mkdir()
    (waiting / "progress.json").write_text(json.dumps(zero))
    (place / "methods.json").write_text(json.dumps({"l1": {"summary": "s", "start": "pretrained"}}))
    files = sorted(path for path in place.rglob("*.json"))
    for case in range(25):
        path = rng.choice(files)
        whole = path.read_bytes()
        path.write_bytes(as_json(damaged_values(json.loads(whole), rng)) if case % 2 else damaged_bytes(whole, rng))
        attempt(lambda: read_record(place / "trials" / l1.key / "record.json"))
        read_failures(place / "trials" / other.key)
        attempt(lambda: status.text(place))
        trials = [dense, l1, other, make_trial("random")]
        for state in board.survey(trials, place).trials:
            board.running(state)
        found = leaderboards.read(place)
        leaderboards.text(found)
        leaderboards.report(found, place / "report")
        path.write_bytes(whole)


def test_keys_in_a_plan_are_no_paths(place):
    (place / "plan.json").write_text(json.dumps({"trials": [{"key": "../../../x", "trial": {}}, {"key": 3}, 4]}))
    assert attempt(lambda: status.text(place)) is None


@pytest.mark.parametrize("field", ["baseline", "twin"])
def test_a_trial_names_others_by_key_alone(field):
    with pytest.raises(ValidationError, match=field):
        make_trial(**{field: "../../../x"})


def test_journals(place):
    """Also a file whose name has the digest of what it holds."""
    rng = random.Random(0)
    tensors = {"model.w": torch.arange(6.0), "momentum.w": torch.ones(6)}
    for case in range(60):
        folder = place / str(case)
        journal = Journal(folder)
        journal.settings({"threads": 1})
        journal.finish("00001-train", tensors, [{"loss": 0.5}])
        for epoch in (1, 2):
            journal.checkpoint("00002-train", epoch, tensors, [epoch])
        path = rng.choice(sorted(folder.iterdir()))
        content = damaged_bytes(path.read_bytes(), rng)
        forged = Journal(folder)._path(path.name.split(".safetensors")[0][:-17], content)
        path.write_bytes(content)
        if case % 2:
            path.rename(forged)
        again = Journal(folder)
        assert again.settings({"threads": 1}).get("threads") is not None or case % 2
        again.finished("00001-train")
        again.last_checkpoint("00002-train")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    model = backbones.create(RESNET20, num_classes=10, in_chans=1)
    compact.save(path, model, RESNET20, num_classes=10, in_chans=1, image_size=8, mean=(0.5,), std=(0.2,))
    return path


def test_compact_networks(place, network):
    rng, path = random.Random(0), place / "model.safetensors"
    whole = network.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, rest = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    about = json.loads(header["__metadata__"]["prunebench"])
    for case in range(50):
        if case % 2:
            damaged = as_json(damaged_values(about, rng)).decode(errors="replace")
            head = json.dumps({**header, "__metadata__": {"prunebench": damaged}}).encode()
        else:
            head = damaged_bytes(whole[8 : 8 + length], rng)
        path.write_bytes(len(head).to_bytes(8, "little") + head + rest)
        attempt(lambda: compact.load_compact(path))


def test_weights(place, network):
    rng, model = random.Random(0), backbones.create(RESNET20, num_classes=10, in_chans=1)
    state = model.state_dict()
    torch.save(state, place / "w.pth")
    (place / "w.safetensors").write_bytes(to_safetensors(state))
    contents = {name: (place / name).read_bytes() for name in ("w.pth", "w.safetensors")}
    for case in range(120):
        name = ("w.pth", "w.safetensors")[case % 2]
        start = contents[name]
        cut = start[:20_000] + damaged_bytes(start[20_000:], rng) if case % 3 else damaged_bytes(start, rng)
        (place / name).write_bytes(cut)
        attempt(lambda name=name: weights.load_weights(model, WeightsSpec(file=str(place / name))))
    looped: dict[str, Any] = {"x": 1}
    looped["state_dict"] = looped
    strange = [looped, {1: torch.ones(1)}, [1], {"fc.weight": torch.ones(2).to_sparse()}, {"a": {"b": {"c": {}}}}]
    for value in [*strange, {**state, "fc.bias": state["fc.bias"].to(torch.complex64)}, {**state, 3: torch.ones(1)}]:
        torch.save(value, place / "w.pth")
        attempt(lambda: weights.load_weights(model, WeightsSpec(file=str(place / "w.pth"))))


def test_pickles_run_no_code(place):
    class Harm:
        def __reduce__(self):
            return Path.touch, (place.parent / "harm",)

    model = backbones.create(RESNET20, num_classes=10)
    torch.save({"fc.weight": Harm()}, place / "w.pth")
    with pytest.raises(UserError, match="cannot be read as weights"):
        weights.load_weights(model, WeightsSpec(file=str(place / "w.pth")))


@pytest.mark.parametrize("rename", [("(a+", "b"), ("fc", r"\9"), ("fc", r"\g<x>")])
def test_patterns_that_are_none(place, network, rename):
    model = backbones.create(RESNET20, num_classes=10, in_chans=1)
    with pytest.raises((UserError, ValidationError), match="cannot replace|is no regular expression"):
        weights.load_weights(model, WeightsSpec(file=str(network), rename=(rename,)))


def test_a_trial_with_a_damaged_progress_is_shown(place):
    from trials import fake_trial, make

    def run_trial(trial, out, **more):
        (out / "trials" / trial.key / "progress.json").write_text('{"phase": [], "epoch": "x"}')
        fake_trial(trial, out, **more)

    from bench.running.progress import counts, doing, eta

    def watch(state):
        counts(state), eta(state), [doing(t) for t in state.trials]

    summary = run_trials(
        [make("l1", "sleep")], place, suite="s", scheduler="inline", resources=Resources(), watch=watch,
        run_trial=run_trial,
    )  # fmt: skip
    assert len(summary.done) == 1
