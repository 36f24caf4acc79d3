import pytest
import torch
from fakes import FakeRun, Tiny, tiny_groups

from bench import MethodError
from methods.eagleeye import EagleEye


def test_the_best_candidate_on_the_hold_out_is_cut():
    run, model = FakeRun(epochs=2, keep=0.5), Tiny()
    run.evaluations = [10.0, 30.0, 20.0]
    cuts, shrink = [], run.shrink
    run.shrink = lambda model, keep: cuts.append({n: k.tolist() for n, k in keep.items()}) or shrink(model, keep)
    EagleEye(candidates=3, batches=5).compress(model, run)
    assert cuts[3] == cuts[1]  # three candidates, then the winner
    assert run.recalibrated == [5] * 4
    assert run.phases == [("fine-tune", 2)]


def test_rates_are_in_proportion_and_the_largest_norms_stay():
    method, norms = EagleEye(max_rate=0.75), {"a": torch.arange(100.0), "b": torch.arange(200.0).flip(0)}
    scores = method.strategy(norms, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    rates = {name: float(torch.rand((), generator=generator)) for name in norms}
    threshold = 0.5
    for name, score in scores.items():
        gone = score < threshold
        assert gone.float().mean().item() == pytest.approx(min(0.75, threshold * rates[name]), abs=0.01)
        assert norms[name][gone].max() < norms[name][~gone].min()
        assert (score > 1e5).float().mean().item() == pytest.approx(0.25)


def test_the_same_run_draws_the_same_candidates():
    method, norms = EagleEye(), {"a": torch.arange(4.0)}
    run = FakeRun()
    first, second = (method.strategy(norms, run.generator("widths"))["a"] for _ in range(2))
    assert first.equal(second)


def test_refuses_a_network_without_batch_norm():
    bare = Tiny(norm=False)
    with pytest.raises(MethodError, match="adapts batch norm"):
        EagleEye().check(bare, tiny_groups(bare))
    EagleEye().check(Tiny(), tiny_groups(Tiny()))
