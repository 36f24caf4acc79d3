import torch
from fakes import FakeRun, Tiny

from methods.sfp import SFP


def weighted(*values: float) -> Tiny:
    model = Tiny()
    with torch.no_grad():
        for i, value in enumerate(values):
            model.a.weight[i] = value
    return model


def test_the_smallest_filters_are_zeroed_after_an_epoch_and_may_grow_again():
    model, run, callbacks = weighted(2.0, -3.0, 0.5, 1.0), FakeRun(epochs=3, keep=0.5), []
    run.train = lambda model, epochs, name, each_epoch=None: callbacks.append(each_epoch)
    run.shrink = lambda model, keep: model
    SFP().compress(model, run)
    callbacks[0](0, model)
    assert model.a.weight[:, 0, 0, 0].tolist() == [2, -3, 0.5, 1]  # nothing has been trained yet
    callbacks[0](1, model)
    assert model.a.weight[:, 0, 0, 0].tolist() == [2, -3, 0, 0]
    with torch.no_grad():
        model.a.weight[3] = 5.0
    callbacks[0](2, model)
    assert model.a.weight[:, 0, 0, 0].tolist() == [0, -3, 0, 5]


def test_score_is_the_l2_norm():
    assert SFP().score(weighted(2.0, -3.0, 0.0, 1.0), FakeRun())["a"].tolist() == [6, 9, 0, 3]


def test_whole_budget_then_cut_then_fresh_statistics():
    run = FakeRun(epochs=3, keep=0.5)
    model = SFP(batches=7).compress(weighted(2.0, -3.0, 0.01, 0.02), run)
    assert run.phases[0] == ("soft pruning", 3)
    assert run.epochs_left == 0
    assert run.recalibrated == [7]
    assert (model.a.weight.shape[0], model.b.weight.shape[0]) == (2, 2)


def test_a_share_of_the_epochs_can_fine_tune():
    run = FakeRun(epochs=4)
    SFP(share=0.75).compress(Tiny(), run)
    assert run.phases == [("soft pruning", 3), ("fine-tune", 1)]
