import torch
from fakes import FakeRun, Tiny

from bench import Group, Member
from methods.l1 import L1


def test_sum_of_absolute_weights():
    model = Tiny()
    with torch.no_grad():
        for i, value in enumerate([2.0, -3.0, 0.0, 1.0]):
            model.a.weight[i] = value
    assert L1().score(model, FakeRun())["a"].tolist() == [18, 27, 0, 9]


def test_coupled_layers_share_the_mean():
    run = FakeRun()
    one, two = torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        one.weight.copy_(torch.tensor([1.0, 4.0]).view(2, 1, 1, 1))
        two.weight.copy_(torch.tensor([-3.0, 2.0]).view(2, 1, 1, 1))
    ids = torch.arange(2)[:, None]
    run.groups = lambda model: [
        Group("one", 2, 1, (Member("one", one, "filters", ids), Member("two", two, "filters", ids)))
    ]
    assert L1().score(Tiny(), run)["one"].tolist() == [2, 3]


def test_the_smallest_filters_are_cut_and_the_rest_fine_tuned():
    model, run = Tiny(), FakeRun(epochs=3, keep=0.5)
    with torch.no_grad():
        for i, value in enumerate([2.0, -3.0, 0.0, 1.0]):
            model.a.weight[i] = value
    cut = []
    run.train = lambda model, epochs, name: cut.append((model.a.weight[:, 0, 0, 0].tolist(), epochs, name))
    L1().compress(model, run)
    assert cut == [([2.0, -3.0], 3, "fine-tune")]
