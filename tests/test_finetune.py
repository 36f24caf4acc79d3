from fakes import FakeRun, Tiny

from methods.finetune import Finetune


def test_trains_the_whole_network_for_the_budget():
    run, model = FakeRun(epochs=2), Tiny()
    assert Finetune().compress(model, run) is model
    assert run.phases == [("fine-tune", 2)]
    assert model.b.weight.shape == (3, 4, 3, 3)


def test_starts_from_the_dense_checkpoint_and_does_not_prune():
    assert Finetune.start == "pretrained"
    assert not Finetune.prunes
