import pytest
from fakes import FakeRun, Tiny

from bench import MethodError
from bench.spec import Recipe
from methods.scratch import Scratch

DENSE_MACS = 36 * (36 + 108) + 6  # 6 x 6 positions; a has 4 x 9 weights, b has 3 x 4 x 9, the classifier 3 x 2
TWIN = {"widths": {"a": 1, "b": 2}, "twin_epochs": 7.5}
TWIN_MACS = 36 * (9 + 18) + 4


def test_uniform_widths_and_the_middle_filters():
    run, model = FakeRun(epochs=2, keep=0.5), Tiny()
    before = model.a.weight.clone()
    cut = []
    run.train = lambda model, epochs: cut.append((model.a.weight.clone(), epochs))
    Scratch().compress(model, run)
    assert cut[0][0].equal(before[1:3])
    assert cut[0][1] == 2


def test_copies_the_widths_of_its_twin():
    run = FakeRun(budget=TWIN, epochs=2)
    model = Scratch(of="l1").compress(Tiny(), run)
    assert (model.a.weight.shape[0], model.b.weight.shape[:2]) == (1, (2, 1))


@pytest.mark.parametrize(
    ("epochs", "expected"), [("matched", 2), ("E", 10), ("B", 10 * DENSE_MACS / TWIN_MACS), ("twin", 7.5)]
)
def test_how_long_it_trains(epochs, expected):
    run = FakeRun(budget=TWIN | {"dense_recipe": Recipe(epochs=10, lr=0.1)}, epochs=2)
    Scratch(of="l1", epochs=epochs).compress(Tiny(), run)
    assert run.phases == [("train", pytest.approx(expected))]


def test_what_is_missing_is_said():
    with pytest.raises(MethodError, match="of: METHOD"):
        Scratch(epochs="twin").check(Tiny(), [])
    with pytest.raises(MethodError, match="put it in the same suite"):
        Scratch(of="l1", epochs="twin").compress(Tiny(), FakeRun())
    with pytest.raises(MethodError, match="needs a dense recipe"):
        Scratch(epochs="E").compress(Tiny(), FakeRun())
