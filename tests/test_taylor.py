import pytest
import torch
import torch.nn.functional as F
from fakes import FakeRun, Tiny

from methods.taylor import Taylor


def gates_of(model: Tiny, run: FakeRun) -> list[torch.Tensor]:
    """Gradients of the loss, batch by batch, with a real gate of ones behind norm_a."""
    gradients = []
    for images, labels in run.batches(2):
        gate = torch.ones(4, requires_grad=True)
        x = F.relu(model.norm_a(model.a(images)) * gate[:, None, None])
        logits = model.fc(F.relu(model.norm_b(model.b(x))).mean((2, 3)))
        gradients.append(torch.autograd.grad(F.cross_entropy(logits, labels), gate)[0])
    return gradients


@pytest.mark.parametrize("norm", [True, False])
def test_gate_form_equals_the_gradient_of_a_real_gate(norm):
    model, run = Tiny(norm).eval(), FakeRun()
    expected = sum(gradient.square() for gradient in gates_of(model, run))
    assert torch.allclose(Taylor(batches=2).score(model, run)["a"], expected, rtol=1e-4)


def test_weight_form_by_hand():
    """Loss = 2 a1 + 3 a2 with a1 = (1, 0, ...), a2 = (2, 1, 0, ...): squares of gradient times weight."""
    model, run = Tiny(), FakeRun()
    with torch.no_grad():
        model.a.weight.zero_()
        model.a.weight.view(4, 9)[0, 0] = 1.0
        model.a.weight.view(4, 9)[1, :2] = torch.tensor([2.0, 1.0])
    run.loss = lambda model, images, labels: (
        2 * model.a.weight[0].sum() + 3 * model.a.weight[1].sum() + 0 * model.b.weight.sum()
    )
    score = Taylor(form="weight", batches=2).score(model, run)["a"]
    assert score.tolist() == [2 * 4, 2 * (36 + 9), 0, 0]


def test_leaves_mode_gradients_and_statistics_alone():
    model, run = Tiny().train(), FakeRun()
    mean = model.norm_a.running_mean.clone()
    Taylor(batches=2).score(model, run)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.norm_a.running_mean.equal(mean)


def test_scores_are_compared_between_layers_as_they_are():
    run, asked = FakeRun(), []
    select = run.select
    run.select = lambda model, scores, scope: asked.append((scores, scope)) or select(model, scores, scope=scope)
    model = Tiny()
    expected = Taylor(batches=2).score(model, run)
    Taylor(batches=2).compress(model, run)
    assert asked[0][1] == "global"
    assert asked[0][0]["b"].equal(expected["b"])
