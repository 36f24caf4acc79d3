"""One trial from its dense network to its record, and every way in which a method can spoil it."""

import os
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file

import bench
from bench import data, lease, registry, sources
from bench.lease import LeasedError
from bench.method import Method, OneShot
from bench.record import Failure, Record, read_failures, read_record
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial, WeightsSpec
from bench.training.journal import Journal
from bench.trial import run_trial

DENSE = Trial(
    dataset=DataSpec(name="digits", subset=400),
    backbone=BackboneSpec(name="cifar_resnet20"),
    dense=DenseSpec(recipe=Recipe(epochs=1, lr=0.05)),
    method=MethodSpec(name="dense"),
    recipe=Recipe(epochs=1, lr=0.05),
    smoke=True,
)


def pruned(method: str, **changes) -> Trial:
    values = {"method": MethodSpec(name=method), "baseline": DENSE.key, "keep_macs": 0.5, **changes}
    return DENSE.model_copy(update=values)


def course(body):
    """A registered method called "probe" whose `compress` is `body(model, run)`."""

    @dataclass(frozen=True)
    class Probe(Method):
        name = "probe"

        def compress(self, model, run):
            return body(model, run)

    return {**registry.methods(), "probe": Probe}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert isinstance(run_trial(DENSE, folder, suite="t", threads=1), Record)
    return folder


def outcome(out, monkeypatch, body, seed):
    known = course(body)
    monkeypatch.setattr(registry, "methods", lambda: known)
    return run_trial(pruned("probe", seed=seed), out, suite="t", threads=1)


def cut(model, run):
    scores = {g.name: torch.arange(g.size).float() for g in run.groups(model)}
    return run.shrink(model, run.select(model, scores, scope="layer"))


def test_a_dense_record_tells_all_there_is(out):
    record = read_record(out / "trials" / DENSE.key / "record.json")
    assert record.starts_from == "scratch" and record.dense is None and record.off_target is None
    assert record.spent.epochs == 1 and record.spent.images == 384
    assert record.result.test_images == 360
    assert record.machine.threads == 1 and torch.__version__.startswith(record.machine.versions["torch"])
    assert record.widths == record.dense_widths
    assert (out / "trials" / DENSE.key / "log.txt").read_text().count("\n") >= 3


def test_a_trial_that_goes_on_started_when_it_first_did(tmp_path):
    wanted = {"threads": 1, "precision": "fp32", "started": "2020-01-01T00:00:00+00:00"}
    Journal(tmp_path / "trials" / DENSE.key / "journal").settings(wanted)
    record = run_trial(DENSE, tmp_path, suite="t", threads=1)
    assert record.started == wanted["started"] < record.finished


def test_a_pruned_record_stands_beside_its_dense_one_and_its_model_can_be_had_back(out, monkeypatch):
    def body(model, run):
        model = cut(model, run)
        run.train(model, run.epochs_left, name="fine-tune")
        return model

    record = outcome(out, monkeypatch, body, seed=0)
    dense = read_record(out / "trials" / DENSE.key / "record.json")
    assert record.dense == dense.result and record.spent_dense == dense.spent
    assert abs(record.off_target) < 1.0
    assert record.cut_top1 is not None
    model = bench.load_compact(out / "trials" / record.key / "model.safetensors")
    assert sum(p.numel() for p in model.parameters()) == record.result.params


def test_a_finished_trial_is_returned_as_it_stands(out):
    path = out / "trials" / DENSE.key / "record.json"
    before = path.read_bytes()
    assert run_trial(DENSE, out, suite="other", threads=2).suite == "t"
    assert path.read_bytes() == before


def raises(model, run):
    raise ZeroDivisionError("division by zero")


def nan(model, run):
    run.train(model, 1, penalty=lambda m: torch.tensor(float("nan")))


def does_nothing(model, run):
    return model


def leaves_a_hook(model, run):
    model = cut(model, run)
    model.conv1.register_forward_hook(lambda *a: None)
    return model


def leaves_a_mask(model, run):
    model = cut(model, run)
    torch.nn.utils.parametrize.register_parametrization(model.conv1, "weight", torch.nn.Identity())
    return model


def freezes(model, run):
    return cut(model, run).requires_grad_(False)


def spoils_weights(model, run):
    model = cut(model, run)
    with torch.no_grad():
        model.fc.bias[0] = float("inf")
    return model


BROKEN = [
    (raises, "ZeroDivisionError: division by zero"),
    (nan, "the loss was not finite in epoch 1 of 'train'"),
    (does_nothing, "further off than one filter group"),
    (leaves_a_hook, "left a hook on conv1"),
    (leaves_a_mask, "left a parametrisation on conv1"),
    (freezes, "left conv1.weight frozen"),
    (spoils_weights, "left values in fc.bias that are not finite"),
    (lambda model, run: None, "returned NoneType"),
]


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_a_method_that_breaks_the_contract_fails_with_its_reason(out, monkeypatch, place):
    body, reason = BROKEN[place]
    failure = outcome(out, monkeypatch, body, seed=100 + place)
    assert isinstance(failure, Failure) and failure.kind == "method"
    assert reason in failure.reason and "\n" not in failure.reason
    folder = out / "trials" / failure.key
    assert read_failures(folder) == [failure] and not (folder / "record.json").exists()
    assert reason in (folder / "log.txt").read_text()


def test_a_full_disk_and_exhausted_memory_are_the_machines_failures(out, monkeypatch):
    def full(model, run):
        raise OSError(28, "No space left on device")

    def memory(model, run):
        raise MemoryError

    def allocation(model, run):
        torch.empty(2**60)

    def killed(model, run):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    for seed, body in enumerate((full, memory, allocation, killed), 70):
        assert outcome(out, monkeypatch, body, seed=seed).kind == "machine"


@pytest.mark.parametrize("name", ["model.safetensors", "record.json"])
def test_a_dense_network_that_is_not_whole_is_not_the_methods_fault(out, tmp_path, name):
    folder = tmp_path / "trials" / DENSE.key
    shutil.copytree(out / "trials" / DENSE.key, folder)
    (folder / name).write_bytes(b"{")
    failure = run_trial(pruned("l1"), tmp_path, suite="t", threads=1)
    assert isinstance(failure, Failure) and failure.kind == "machine" and name in failure.reason


def test_a_network_that_is_another_when_it_is_loaded_is_the_methods_failure(out, monkeypatch):
    def body(model, run):
        model = cut(model, run)
        model.layer3[2].relu2 = model.layer3[2].act2 = torch.nn.Identity()
        for name, module in model.layer3[2].named_children():
            if isinstance(module, torch.nn.ReLU):
                setattr(model.layer3[2], name, torch.nn.Identity())
        return model

    failure = outcome(out, monkeypatch, body, seed=43)
    assert isinstance(failure, Failure) and "saved and loaded again, computes something else" in failure.reason
    assert not (out / "trials" / failure.key / "record.json").exists()


def test_a_standard_deviation_alone_replaces_the_data_sets(tmp_path):
    torch.save(bench.backbones.create(DENSE.backbone, num_classes=10, in_chans=1).state_dict(), tmp_path / "w.pth")
    dense = DenseSpec(weights=WeightsSpec(file=str(tmp_path / "w.pth"), std=(0.1,)))
    trial = DENSE.model_copy(update={"dense": dense, "recipe": Recipe(epochs=0, lr=0.1)})
    record = run_trial(trial, tmp_path, suite="t", threads=1)
    about = bench.compact.describe(tmp_path / "trials" / record.key / "model.safetensors")
    assert about.std == (0.1,) and about.mean == data.load(trial.dataset, seed=0, device=torch.device("cpu")).mean


@pytest.mark.parametrize("name", ["test", "data", "meter", "cut_top1"])
def test_the_test_set_is_out_of_a_methods_reach(out, monkeypatch, name):
    failure = outcome(out, monkeypatch, lambda model, run: getattr(run, name), seed=40)
    assert failure.reason == f"AttributeError: run.{name} is not part of bench.Run"


def test_a_record_tells_of_the_failures_before_it(out, monkeypatch):
    for body in (raises, nan):
        assert isinstance(outcome(out, monkeypatch, body, seed=41), Failure)
    record = outcome(out, monkeypatch, cut, seed=41)
    assert record.notes[-1].startswith("finished after the method had failed 2 times: the loss was not finite")


def test_a_method_whose_file_changed_on_the_way_is_told_of(out, monkeypatch):
    def body(model, run):
        monkeypatch.setattr(sources, "digest_of", lambda cls: "another")
        return cut(model, run)

    record = outcome(out, monkeypatch, body, seed=42)
    assert record.method_source != "another" and "the method's file changed while the trial ran" in record.notes[-1]


def test_a_second_failure_does_not_replace_the_first(out, monkeypatch):
    first = outcome(out, monkeypatch, raises, seed=9)
    second = outcome(out, monkeypatch, nan, seed=9)
    assert read_failures(out / "trials" / first.key) == [first, second]


def test_a_method_never_sees_the_baselines_file(out, monkeypatch):
    path = out / "trials" / DENSE.key / "model.safetensors"
    before = load_file(path)
    outcome(out, monkeypatch, lambda model, run: cut(model, run), seed=10)
    assert all(torch.equal(before[key], value) for key, value in load_file(path).items())


def test_weights_of_another_network_fail_before_training(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    dense = DenseSpec.model_validate({"weights": {"file": str(tmp_path / "w.pth")}})
    failure = run_trial(DENSE.model_copy(update={"dense": dense}), tmp_path, suite="t", threads=1)
    assert isinstance(failure, Failure) and "does not fit the backbone" in failure.reason and not failure.traceback


def test_a_one_shot_method_is_score_and_nothing_else(out, monkeypatch):
    @dataclass(frozen=True)
    class Probe(OneShot):
        name = "probe"

        def score(self, model, run):
            return {g.name: torch.arange(g.size).float() for g in run.groups(model)}

    known = {**registry.methods(), "probe": Probe}
    monkeypatch.setattr(registry, "methods", lambda: known)
    record = run_trial(pruned("probe", seed=11), out, suite="t", threads=1)
    assert isinstance(record, Record) and [row.phase for row in record.history] == ["fine-tune"]


def silent(folder):
    """The lease's holder has not been heard of for a minute; another process takes it."""
    (mine,) = folder.glob("lease-*.json")
    os.utime(mine, (0, 0))
    return lease.hold(folder)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_who_lost_the_lease_writes_nothing_more(out, tmp_path, monkeypatch, after):
    """`after` so many entries of the journal: its settings, the cut, an epoch, the phase."""
    shutil.copytree(out / "trials" / DENSE.key, tmp_path / "trials" / DENSE.key)
    trial = pruned("l1", seed=3, recipe=Recipe(epochs=2, lr=0.05))
    folder, entries, taken = tmp_path / "trials" / trial.key, [], ExitStack()
    monkeypatch.setattr(lease, "RENEW_S", 1e6)

    def kept():
        entries.append({path.name for path in folder.rglob("*.safetensors")})
        if len(entries) == after:
            taken.enter_context(silent(folder))

    with taken, pytest.raises(LeasedError, match="taken its trial over"):
        run_trial(trial, tmp_path, suite="t", threads=1, kept=kept)
    assert len(entries) == after and {path.name for path in folder.rglob("*.safetensors")} <= entries[-1]
    assert not (folder / "record.json").exists() and read_failures(folder) == []


def test_who_finds_a_record_once_the_lease_is_his_trains_nothing(out, tmp_path, monkeypatch):
    """Another driver finished the trial between the first look and the lease."""

    @contextmanager
    def held_late(folder):
        shutil.copytree(out / "trials" / DENSE.key, folder)
        with lease.hold(folder) as mine:
            yield mine

    monkeypatch.setattr(bench.trial, "hold", held_late)
    monkeypatch.setattr(bench.trial, "_run", lambda *_: pytest.fail("it was trained a second time"))
    assert run_trial(DENSE, tmp_path, suite="other", threads=1).suite == "t"
