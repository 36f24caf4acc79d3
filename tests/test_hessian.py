import torch
import torch.nn.functional as F
from fakes import FakeRun, Tiny

from methods.hessian import Hessian


def test_half_the_sum_of_fisher_times_squared_weights():
    """Against a loop over the images, with the labels drawn from the same generator."""
    model, run = Tiny().eval(), FakeRun(images=3)
    draw, fisher = run.generator("labels"), torch.zeros_like(model.a.weight)
    for image in run.images:
        logits = model(image[None])
        label = torch.multinomial(logits.detach().softmax(1), 1, generator=draw)[:, 0]
        fisher += torch.autograd.grad(F.cross_entropy(logits, label), model.a.weight)[0] ** 2
    expected = 0.5 * (fisher * model.a.weight.detach() ** 2).sum((1, 2, 3))
    assert torch.allclose(Hessian(images=3).score(model, run)["a"], expected, rtol=1e-4)


def test_a_filter_of_zeros_costs_nothing():
    model = Tiny()
    with torch.no_grad():
        model.a.weight[2] = 0
    score = Hessian(images=4).score(model, FakeRun())["a"]
    assert score[2] == 0
    assert (score[[0, 1, 3]] > 0).all()
