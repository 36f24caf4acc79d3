"""Methods that break one rule each, on a network of two convolutions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from fakes import Tiny
from timm.models import register_model
from torch import nn

from bench import Method, MethodError, OneShot
from bench.testing import check_method


@register_model
def contract_tiny(pretrained=False, num_classes=10, in_chans=1, **kwargs):
    model = Tiny()
    model.a, model.norm_a = nn.Conv2d(in_chans, 12, 3, padding=1), nn.BatchNorm2d(12)
    model.b, model.norm_b = nn.Conv2d(12, 10, 3, padding=1), nn.BatchNorm2d(10)
    model.fc = nn.Linear(10, num_classes)
    return model


def check(method, **kwargs):
    check_method(method, **{"backbone": "contract_tiny", "epochs": 3, "keep_macs": 0.6} | kwargs)


class Good(OneShot):
    name = "good"

    def score(self, model, run):
        return {group.name: group.filters()[0].detach().abs().sum(1) for group in run.groups(model)}


def test_a_method_that_keeps_all_rules():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    check(Good)
    check(Good(scope="layer"), keep_macs=0.4)
    assert torch.get_num_threads() == threads
    assert torch.get_rng_state().equal(state)


def breaks(method, *words):
    with pytest.raises(AssertionError) as caught:
        check(method)
    message = str(caught.value)
    assert message.startswith((method if isinstance(method, type) else type(method)).name)
    assert "\n" not in message
    for word in words:
        assert word in message


class Bad(Good):
    """Compresses as it should, then spoils the result."""

    name = "bad"

    def compress(self, model, run):
        model = super().compress(model, run)
        self.spoil(model)
        return model

    def spoil(self, model):
        raise NotImplementedError


def test_what_comes_back_is_plain():
    class Nothing(Good):
        name = "nothing"

        def compress(self, model, run):
            super().compress(model, run)

    class Hook(Bad):
        def spoil(self, model):
            model.a.register_forward_hook(lambda *_: None)

    class Parametrised(Bad):
        def spoil(self, model):
            nn.utils.parametrize.register_parametrization(model.a, "weight", nn.Identity())

    class Frozen(Bad):
        def spoil(self, model):
            model.a.weight.requires_grad_(False)

    class Buffer(Bad):
        def spoil(self, model):
            model.register_buffer("mask", torch.ones(3))

    class Mask(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 2

    class Masked(Bad):
        def spoil(self, model):
            model.norm_a.__class__ = Mask

    class Other(Bad):
        def spoil(self, model):
            model.forward = lambda x: Tiny.forward(model, x) + 1

    breaks(Nothing, "a plain network comes back", "it must return the compact model")
    breaks(Hook, "left a hook on a")
    breaks(Parametrised, "left a parametrisation on a")
    breaks(Frozen, "left a.weight frozen")
    breaks(Buffer, "mask")
    breaks(Masked, "norm_a is a Mask, not one of the backbone's modules")
    breaks(Other, "saved and loaded it gives other outputs")


def test_the_budget():
    class Whole(Method):
        name = "whole"

        def compress(self, model, run):
            run.train(model, 1)
            return model

    breaks(Whole, "the MACs target is met", "further off than one filter group")


def test_training_is_metered_and_limited():
    class Secret(Good):
        name = "secret"

        def compress(self, model, run):
            optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
            for images, labels in run.batches(3):
                run.loss(model, images, labels).backward()
                optimiser.step()
            return super().compress(model, run)

    class Long(Good):
        name = "long"

        def compress(self, model, run):
            run.train(model, 1)
            model = super().compress(model, run)
            run.train(model, 1)
            return model

    breaks(Secret, "all training goes through run.train", "15 optimiser steps were taken, 12 of them metered")
    breaks(Long, "wants 1 epochs, but only 0 of the trial's 3 are left")


def test_the_global_generators_are_left_alone():
    class Drawn(Good):
        name = "drawn"

        def score(self, model, run):
            return {group.name: torch.rand(group.size) for group in run.groups(model)}

    breaks(Drawn, "the same seed gives the same weights", "take run.generator(purpose)")


def test_nothing_is_left_from_an_earlier_run():
    class Counting(Good):
        name = "counting"
        calls: ClassVar = itertools.count()

        def score(self, model, run):
            turn = next(self.calls)
            return {name: score.roll(turn) for name, score in super().score(model, run).items()}

    breaks(Counting, "the same seed gives the same weights", "on an earlier run")


class Remembering(Good):
    """Decays its gradients by the number of epochs begun, which it keeps in the wrong place."""

    name = "remembering"

    def compress(self, model, run):
        begun = []
        run.train(
            model, 2, each_epoch=lambda epoch, _: begun.append(epoch), penalty=lambda net: self.penalty(net, begun)
        )
        return super().compress(model, run)

    def penalty(self, model, begun):
        return 0.1 * len(begun) * model.a.weight.square().sum()


def test_what_a_callback_remembers_outside_of_the_model_is_lost_when_killed():
    breaks(Remembering, "killed and resumed is the same", "epoch 2 of 'train' has another loss", "the model's buffers")


class InBuffer(Remembering):
    name = "in_buffer"

    def compress(self, model, run):
        model.register_buffer("begun", torch.zeros(()))
        run.train(model, 2, each_epoch=lambda epoch, net: net.begun.fill_(epoch + 1), penalty=self.decay)
        del model.begun
        return Good.compress(self, model, run)

    def decay(self, model):
        return 0.1 * model.begun * model.a.weight.square().sum()


def test_what_is_in_a_buffer_is_not():
    check(InBuffer)


def test_a_method_that_never_gets_further():
    class Restless(Good):
        name = "restless"
        calls: ClassVar = itertools.count()

        def compress(self, model, run):
            if next(self.calls) >= 2:  # after the two runs that compare seeds
                for images, labels in run._session.data.train(8, torch.Generator(), augment=True):
                    run.loss(model, images, labels)
            return super().compress(model, run)

    breaks(Restless, "killed and resumed", "it does not get further when it is called again")


def test_the_test_set_is_out_of_reach():
    class Peeking(Good):
        name = "peeking"

        def compress(self, model, run):
            run.test(model)
            return super().compress(model, run)

    class Selecting(Good):
        name = "selecting"

        def compress(self, model, run):
            run.evaluate(model)
            return super().compress(model, run)

    class Allowed(Selecting):
        selects = True

    breaks(Peeking, "run.test is not part of bench.Run")
    breaks(Selecting, "set dataset.holdout in the suite")
    check(Allowed)


def test_hyper_parameters():
    class Forgotten(Good):
        name = "forgotten"
        power: float = 1.0

    @dataclass(frozen=True)
    class Rounded(Good):
        name = "rounded"
        power: float = 1.0

        def __post_init__(self):
            object.__setattr__(self, "power", self.power + 1)

    class Nameless(OneShot):
        pass

    breaks(Forgotten, "power is not a field: put @dataclass(frozen=True) above the class")
    breaks(Rounded, "can be set in a suite", "power=2.0")
    with pytest.raises(AssertionError, match="Nameless has no name"):
        check(Nameless)


def test_the_shared_dense_network(monkeypatch):
    from bench import compact

    read, seen = compact.load_compact, []
    monkeypatch.setattr(compact, "load_compact", lambda path: (seen.append(path), read(path))[1])

    class Vandal(Good):
        name = "vandal"

        def compress(self, model, run):
            model = super().compress(model, run)
            with seen[0].open("r+b") as file:
                file.seek(-1, 2)
                file.write(b"\x00")
            return model

    breaks(Vandal, "the dense network that others share is left alone")


def test_errors_of_the_method_are_told_with_its_name():
    class Broken(Good):
        name = "broken"

        def score(self, model, run):
            raise KeyError("no such\nlayer")

    class Picky(Good):
        name = "picky"

        def check(self, model, groups):
            raise MethodError("picky needs layer norms")

    breaks(Broken, "it compresses a small network", "KeyError")
    breaks(Picky, "picky needs layer norms")
