"""What the harness promises to a method: metering, limits, seeds, resuming."""

import json

import pytest
import torch

from bench import backbones, cost, data
from bench.method import Budget, MethodError
from bench.session import Session
from bench.spec import BackboneSpec, DataSpec, Recipe

CPU = torch.device("cpu")
EXAMPLE = torch.zeros(1, 1, 8, 8)


def network():
    torch.manual_seed(0)
    return backbones.create(BackboneSpec(name="cifar_resnet20"), num_classes=10, in_chans=1, image_size=8)


def session(folder, *, epochs=4, seed=0, holdout=0, keep=0.5, precision="fp32", **changes):
    folder.mkdir(exist_ok=True)
    loaded = data.load(DataSpec(name="digits", subset=400, holdout=holdout), seed=seed, device=CPU)
    budget = Budget(keep, keep * cost.count(network(), EXAMPLE).macs, epochs)
    recipe = Recipe(epochs=epochs, lr=0.05, batch_size=100)
    wanted = {"threads": 1, "precision": precision}
    return Session(
        network(), loaded, budget=budget, recipe=recipe, seed=seed, device=CPU, folder=folder, wanted=wanted, **changes
    )


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_epochs_images_and_macs_are_metered(tmp_path):
    run, model = session(tmp_path), network()
    macs = cost.count(model, EXAMPLE).macs
    run.train(model, 1)
    run.train(model, 0.5)
    assert run.meter.spent.epochs == 1.5 and run.epochs_left == 2.5
    assert run.meter.spent.images == 600
    assert run.meter.spent.macs == pytest.approx(3 * macs * 600)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["epochs"] for row in rows] == [1.0, 0.5]


def test_more_epochs_than_the_budget_are_refused_before_they_start(tmp_path):
    run, model = session(tmp_path, epochs=1), network()
    before = weights(model)
    with pytest.raises(MethodError, match="wants 2 epochs, but only 1 of the trial's 1 are left"):
        run.train(model, 2)
    assert torch.equal(weights(model), before)


def test_a_control_may_train_longer(tmp_path):
    run = session(tmp_path, epochs=1, limited=False)
    run.train(network(), 2)
    assert run.meter.spent.epochs == 2


def test_the_seed_decides_every_bit(tmp_path):
    results = []
    for name, seed, noise in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        model, run = network(), session(tmp_path / name, seed=seed)
        torch.manual_seed(noise)  # what happened in the process before must not matter
        run.train(model, 1)
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dies_in", [1, 2, 4])
def test_a_run_that_dies_and_goes_on_ends_with_the_same_bits(tmp_path, precision, dies_in):
    """Two phases and a cut between them; the run dies at the start of the n-th epoch of all."""

    class Died(Exception):
        pass

    def course(folder, die_at=None):
        run, model, begun = session(folder, precision=precision), network(), [0]

        def each_epoch(epoch, model):
            begun[0] += 1
            if begun[0] == die_at:
                raise Died

        run.train(model, 2, each_epoch=each_epoch)
        scores = {g.name: torch.stack([w.abs().sum(1) for w in g.filters()]).mean(0) for g in run.groups(model)}
        model = run.shrink(model, run.select(model, scores))
        run.train(model, 2, each_epoch=each_epoch, name="fine-tune")
        return weights(model), run

    whole, first = course(tmp_path / "whole")
    with pytest.raises(Died):
        course(tmp_path / "killed", die_at=dies_in)
    again, second = course(tmp_path / "killed")
    assert torch.equal(whole, again)
    assert first.cut_top1 == second.cut_top1
    strip = {"seconds", "images_per_s"}
    assert [r.model_dump(exclude=strip) for r in first.meter.history] == [
        r.model_dump(exclude=strip) for r in second.meter.history
    ]


def test_frozen_parameters_stand_still_and_are_thawed(tmp_path):
    run, model = session(tmp_path), network()
    before = model.conv1.weight.clone()
    run.train(model, 0.5, frozen=lambda name, parameter: name.startswith("conv1"))
    assert torch.equal(model.conv1.weight, before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_loss_that_is_not_finite_ends_the_trial(tmp_path):
    run = session(tmp_path)
    with pytest.raises(MethodError, match="the loss was not finite in epoch 1 of 'train'"):
        run.train(network(), 1, penalty=lambda model: torch.tensor(float("nan")))


def test_evaluate_needs_a_hold_out_and_never_sees_the_test_set(tmp_path):
    with pytest.raises(MethodError, match=r"set dataset\.holdout"):
        session(tmp_path / "without").evaluate(network())
    run = session(tmp_path / "with", holdout=100)
    run.data.test = None
    assert 0 <= run.evaluate(network()) <= 100


def test_recalibration_is_the_mean_over_batches(tmp_path):
    run, model = session(tmp_path), network()
    run.recalibrate(model, 2)
    model.eval()  # the passes below must not move the statistics
    outputs = []
    model.conv1.register_forward_hook(lambda module, args, output: outputs.append(output))
    with torch.no_grad():
        for images, _ in run.batches(2):
            model(images)
    means = torch.stack([output.mean((0, 2, 3)) for output in outputs[-2:]])
    torch.testing.assert_close(model.bn1.running_mean, means.mean(0))
    assert model.bn1.momentum == 0.1


def test_settings_of_the_first_start_are_kept(tmp_path):
    session(tmp_path, precision="bf16")
    assert session(tmp_path, precision="fp32").settings["precision"] == "bf16"


def test_a_target_is_needed_to_select(tmp_path):
    run, model = session(tmp_path, keep=0.5), network()
    run._budget = Budget(None, None, 4)
    with pytest.raises(MethodError, match="give keep_macs"):
        run.select(model, {})
