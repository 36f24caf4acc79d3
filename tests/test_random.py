from fakes import FakeRun, Tiny

from methods.random import Random


def test_scores_depend_on_the_run_alone():
    first, second = Random().score(Tiny(), FakeRun()), Random().score(Tiny(), FakeRun())
    assert {name: len(score) for name, score in first.items()} == {"a": 4, "b": 3}
    assert all(first[name].equal(second[name]) for name in first)


def test_scores_are_distinct_and_follow_the_generator():
    run, other = FakeRun(), FakeRun()
    other.generator = lambda purpose: FakeRun.generator(run, purpose + " of another seed")
    scores, others = Random().score(Tiny(), run), Random().score(Tiny(), other)
    assert len(set(scores["a"].tolist())) == 4
    assert not scores["a"].equal(others["a"])
    assert all(0 <= value < 1 for value in scores["a"].tolist())


def test_every_layer_loses_the_same_share():
    model = Random().compress(Tiny(), FakeRun(keep=0.5))
    assert (model.a.weight.shape[0], model.b.weight.shape[0]) == (2, 2)
