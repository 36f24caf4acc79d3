from fakes import FakeRun, Tiny

from methods.dense import Dense


def test_trains_for_the_whole_budget_and_cuts_nothing():
    run, model = FakeRun(epochs=3), Tiny()
    assert Dense().compress(model, run) is model
    assert run.phases == [("train", 3)]
    assert model.a.weight.shape[0] == 4


def test_given_weights_are_left_alone():
    run, model = FakeRun(epochs=0), Tiny()
    before = model.a.weight.clone()
    Dense().compress(model, run)
    assert model.a.weight.equal(before)
