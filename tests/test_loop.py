"""One epoch of training against hand-computed values."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from bench.spec import Recipe
from bench.training import loop


def test_cosine_goes_from_lr_to_zero():
    recipe = Recipe(epochs=10, lr=0.2)
    assert loop.learning_rate(recipe, 0.0) == pytest.approx(0.2)
    assert loop.learning_rate(recipe, 0.5) == pytest.approx(0.1)
    assert loop.learning_rate(recipe, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_steps_fall_on_their_epochs_and_not_one_step_late():
    recipe = Recipe(epochs=300, lr=0.1, milestones=[150, 225])
    per_epoch = 196
    for step, expected in ((150 * per_epoch - 1, 0.1), (150 * per_epoch, 0.01), (225 * per_epoch, 0.001)):
        assert loop.learning_rate(recipe, step / (300 * per_epoch)) == pytest.approx(expected)


def test_warm_up_rises_to_the_schedule():
    recipe = Recipe(epochs=4, lr=0.1, schedule="constant", warmup=2)
    assert loop.learning_rate(recipe, 0.25) == pytest.approx(0.05, rel=0.01)
    assert loop.learning_rate(recipe, 0.5) == pytest.approx(0.1)


def test_a_method_may_bring_its_own_schedule():
    assert loop.schedule(Recipe(epochs=1, lr=0.1), 0.5)(0.3) == 0.5
    assert loop.schedule(Recipe(epochs=1, lr=0.1), lambda share: share)(0.3) == 0.3


def test_one_step_of_sgd_by_hand():
    """Logits [w, 0] for input 1: at w = 0 the cross-entropy of class 0 is ln 2 and its gradient -1/2."""
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    model.weight.register_hook(lambda grad: grad * torch.tensor([[1.0], [0.0]]))
    seen = []
    result = loop.train_epoch(
        model,
        model,
        torch.optim.SGD(model.parameters(), lr=99.0),
        [(torch.ones(1, 1), torch.tensor([0]))],
        lr=lambda step: 0.1,
        autocast=nullcontext,
        penalty=lambda m: m.weight.sum() * 0 + 2,
        each_step=lambda m: seen.append(m.weight.grad.clone()),
    )
    assert result.loss == pytest.approx(math.log(2) + 2)
    assert seen[0].tolist() == [[-0.5], [0.0]]
    assert model.weight.tolist() == [[pytest.approx(0.05)], [0.0]]
    assert (result.images, result.lr) == (1, 0.1)


def test_accuracy_is_correct_over_all_and_not_a_mean_of_batch_means():
    model = nn.Identity()
    model.train()
    logits = torch.eye(10)
    batches = [(logits[:8], torch.arange(8)), (logits[8:], torch.tensor([0, 9]))]
    top1, top5, images, present_top1 = loop.accuracy(model, batches)
    assert (top1, images, present_top1) == (90.0, 10, None)
    assert top5 >= 90.0
    assert model.training


def test_accuracy_among_the_classes_that_are_there():
    logits = torch.tensor([[0.0, 9.0, 1.0, 2.0], [0.0, 9.0, 3.0, 2.0], [5.0, 0.0, 1.0, 2.0]])
    labels = torch.tensor([3, 3, 0])  # of four classes 0, 2 and 3 are there; class 1 wins twice
    found = loop.accuracy(nn.Identity(), [(logits[:2], labels[:2]), (logits[2:], labels[2:])], torch.tensor([0, 2, 3]))
    assert found.top1 == pytest.approx(100 / 3) and found.present_top1 == pytest.approx(200 / 3)


def test_recalibration_without_batches_leaves_the_statistics():
    model = nn.Sequential(nn.BatchNorm2d(2)).eval()
    model[0].running_mean.fill_(3.0)
    loop.recalibrate(model, [])
    assert model[0].running_mean.tolist() == [3, 3] and not model.training
    loop.recalibrate(model, [(torch.ones(4, 2, 1, 1), torch.zeros(4))])
    assert model[0].running_mean.tolist() == [1, 1] and model[0].momentum == 0.1
