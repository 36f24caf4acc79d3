"""What is known of a network: found once for each of its forms, and never taken for another's."""

import pytest
import torch
from digits import net
from torch import nn
from torch.nn.utils import parametrize

from bench import anatomy, channels, cost
from bench.anatomy import Anatomy

EXAMPLE = torch.zeros(1, 1, 8, 8)


@pytest.fixture
def traced(monkeypatch):
    """How often a network was traced."""
    calls, trace = [], anatomy.trace_with_whole
    monkeypatch.setattr(anatomy, "trace_with_whole", lambda model, example: calls.append(1) or trace(model, example))
    return calls


def test_a_network_is_traced_once_however_its_weights_change(traced):
    model = net()
    known = Anatomy(model, EXAMPLE)
    with torch.no_grad():
        model.first.weight.add_(1)
    groups = known.groups(model.eval())
    assert known.cost(model) == cost.count(model, EXAMPLE) and known.counter(model).macs({}) == known.cost(model).macs
    assert [(g.name, g.size, g.floor) for g in groups] == [("stem", 8, 1), ("first", 12, 1)] and len(traced) == 1
    torch.testing.assert_close(groups[1].filters()[0], model.first.weight.flatten(1))


def test_a_cut_a_new_layer_and_another_network_are_seen(traced):
    model = net()
    known = Anatomy(model, EXAMPLE)
    channels.shrink(model, EXAMPLE, {"first": torch.arange(5)})
    assert [g.size for g in known.groups(model)] == [8, 5] and known.cost(model) == cost.count(model, EXAMPLE)
    parametrize.register_parametrization(model.first, "weight", nn.Identity())
    assert known.groups(model)[1].members[0].module is model.first and len(traced) == 3
    other = net()
    assert known.groups(other)[1].members[0].module is other.first and [g.size for g in known.groups(other)] == [8, 12]
    assert [g.size for g in known.groups(model)] == [8, 5]


def test_the_floors_are_those_of_the_dense_network():
    wide = nn.Sequential(nn.Conv2d(1, 50, 3), nn.ReLU(), nn.Flatten(), nn.Linear(50 * 36, 10))
    known = Anatomy(wide, EXAMPLE)
    channels.shrink(wide, EXAMPLE, {"0": torch.arange(20)})
    assert [g.floor for g in known.groups(wide)] == [5]
