"""Names of trials in lists of them."""

from records import make_trial

from bench.labels import labels


def test_a_name_says_method_target_and_seed():
    trials = [make_trial("l1", seed=2, keep=0.5), make_trial("dcff", keep=None), make_trial("l1", keep=0.475)]
    assert labels([t.model_dump() for t in trials]) == ["l1 50% seed 2", "dcff seed 0", "l1 47.5% seed 0"]
    assert trials[0].label == "l1 50% seed 2"


def test_hyper_parameters_tell_apart_what_would_have_one_name():
    sweep = [{"power": 0.5, "scope": "layer"}, {"power": 1.0, "scope": "layer"}]
    trials = [make_trial("l1", seed, 0.5, params=params) for params in sweep for seed in (0, 1)]
    assert labels([t.model_dump() for t in trials]) == [
        "l1 50% power=0.5 seed 0", "l1 50% power=0.5 seed 1", "l1 50% power=1 seed 0", "l1 50% power=1 seed 1",
    ]  # fmt: skip


def test_a_parameter_that_only_one_has_is_shown_there():
    trials = [make_trial("sfp"), make_trial("sfp", params={"share": 0.5})]
    assert labels([t.model_dump() for t in trials]) == ["sfp 50% seed 0", "sfp 50% share=0.5 seed 0"]


def test_controls_of_two_variants_are_told_apart_by_their_twins():
    def trial(name, params, twin=None):
        return {"method": {"name": name, "params": params}, "keep_macs": 0.5, "seed": 0, "twin": twin}

    variants = [trial("dcff", {"steepness": n}) for n in (5, 10)]
    twins = [trial("scratch", {"of": "dcff"}, key * 16) for key in "ab"]
    assert labels([*variants, *twins])[2:] == [
        "scratch 50% seed 0 (widths of aaaaaa)", "scratch 50% seed 0 (widths of bbbbbb)",
    ]  # fmt: skip
    assert labels([variants[0], twins[0]])[1] == "scratch 50% seed 0"
