"""Suite files: what multiplies out, and one clear line for each mistake."""

import itertools
import re
from pathlib import Path

import pytest

from bench import suite
from bench.suitefile import SuiteError

GOOD = """\
name: tiny
dataset: digits
backbone: {name: cifar_resnet20, shortcut: B}
dense: {recipe: {epochs: 3, lr: 1e-1}}
keep_macs: [0.7, 0.5]
seeds: [0, 1]
methods: [finetune, l1, dcff, {scratch: {of: dcff}}]
recipe: {epochs: 2, lr: 0.01}
"""


def load(tmp_path: Path, text: str) -> suite.Suite:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return suite.load(path)


def test_lists_multiply_out_and_baselines_are_shared(tmp_path):
    trials = suite.trials(load(tmp_path, GOOD))
    names = [trial.method.name for trial in trials]
    assert [names.count(name) for name in ("dense", "finetune", "l1", "dcff", "scratch")] == [2, 2, 4, 4, 4]
    keys = {trial.key for trial in trials if trial.method.name == "dense"}
    assert {trial.baseline for trial in trials if trial.method.name != "dense"} == keys


def test_a_twin_is_the_same_operating_point_and_seed_and_runs_first(tmp_path):
    trials = suite.trials(load(tmp_path, GOOD))
    places = {trial.key: place for place, trial in enumerate(trials)}
    for trial in trials:
        if trial.method.name == "scratch":
            twin = next(t for t in trials if t.key == trial.twin)
            assert (twin.method.name, twin.keep_macs, twin.seed) == ("dcff", trial.keep_macs, trial.seed)
            assert places[twin.key] < places[trial.key]


def test_an_exponent_without_a_point_is_a_number_where_nothing_else_says_so(tmp_path):
    backbone = "{name: resnet50_v1, norm_eps: 1e-3}"
    assert load(tmp_path, GOOD.replace("{name: cifar_resnet20, shortcut: B}", backbone)).backbone[0].kwargs == {
        "norm_eps": 0.001
    }


def test_a_string_that_yaml_makes_of_1e_1_is_a_number(tmp_path):
    assert load(tmp_path, GOOD).dense.recipe.lr == 0.1


def test_from_scratch_the_dense_recipe_is_used_for_as_long_as_the_others_train(tmp_path):
    trials = suite.trials(load(tmp_path, GOOD))
    recipes = {trial.method.name: trial.recipe for trial in trials}
    assert (recipes["dcff"].lr, recipes["dcff"].epochs) == (0.1, 2)
    assert (recipes["l1"].lr, recipes["l1"].epochs) == (0.01, 2)


def test_a_list_of_hyper_parameters_multiplies_out_but_not_one_that_is_a_list(tmp_path):
    text = GOOD.replace("l1,", "{l1: {scope: [global, layer]}},")
    assert [m.params["scope"] for m in load(tmp_path, text).methods if m.name == "l1"] == ["global", "layer"]


def test_given_weights_make_one_baseline_for_all_seeds(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    trials = suite.trials(load(tmp_path, GOOD.replace("{recipe: {epochs: 3, lr: 1e-1}}", "{weights: w.pth}")))
    dense = [trial for trial in trials if trial.method.name == "dense"]
    assert len(dense) == 1 and dense[0].recipe.epochs == 0
    assert dense[0].dense.weights.sha256.startswith("9a129038d9a0")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("seeds:", "seed:", 6, "unknown key 'seed'; did you mean 'seeds'?"),
        ("lr: 0.01", "lr: 0.01, epoch: 3", 8, "unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs: 2", "epochs: two", 8, "valid integer"),
        ("[finetune, l1", "[finetune, l2", 7, "unknown method 'l2'; did you mean 'l1'?"),
        ("l1,", "{l1: {scop: layer}},", 7, "unknown key 'scop'; did you mean 'scope'? (known: scope)"),
        ("l1,", "{l1: {scope: sideways}},", 7, "'sideways'"),
        ("digits", "digit", 2, "unknown dataset 'digit'; did you mean 'digits'?"),
        ("cifar_resnet20", "cifar_resnet_20", 3, "unknown backbone 'cifar_resnet_20'; did you mean 'cifar_resnet20'?"),
        ("lr: 1e-1}", "lr: 0.1, milestones: [.nan]}", 4, "finite number"),
        ("0.5]", "1.5]", 5, "less than or equal to 1"),
        ("0.5]", "0]", 5, "greater than 0"),
        ("of: dcff", "of: dcf", 7, "'dcf' is not among this suite's methods that choose widths; did you mean 'dcff'?"),
        ("of: dcff", "of: finetune", 7, "of: 'finetune' leaves the network whole: name a method that prunes"),
        ("of: dcff", "of: scratch", 7, "of: 'scratch' is not among this suite's methods that choose widths"),
        ("keep_macs: [0.7, 0.5]", "", 7, "needs a target: add keep_macs"),
        ("dense:", "#", 7, "starts from a dense network: add a `dense` entry"),
        ("{recipe: {epochs: 3, lr: 1e-1}}", "{weights: none.pth}", 4, "there is no weights file"),
        ("[finetune,", "[dense,", 7, "the dense baseline runs by itself"),
        ("name: tiny", "name: ../tiny", 1, "letters, digits, dots, _ and - only, at most 100 in all, not"),
        ("methods: [", "methods: [[", 8, "this is not YAML"),
        ("name: tiny", "name: tiny\nseeds: [0]\nseeds: [1]", 3, "the key 'seeds' stands here a second time"),
        ("recipe: {epochs: 2, lr: 0.01}", "", 1, "recipe: is missing"),
        ("dataset: digits", "dataset: {name: digits, subset: many}", 2, "2: dataset.subset: input should be a valid"),
        ("dataset: digits", "dataset: [digits, {name: digits, subset: many}]", 2, "2: dataset.1.subset: input"),
        ("digits", "{name: imagefolder, root: nowhere}", 2, "there is no folder"),
        ("l1,", "{taylor: {batches: 0}},", 7, "greater than or equal to 1, not 0"),
        ("l1,", "{sfp: {share: 5}},", 7, "less than or equal to 1"),
        ("l1,", "{slimming: {sparsity: .nan}},", 7, "not nan"),
        ("l1,", "{growing_reg: {every: 0}},", 7, "greater than or equal to 1"),
        ("methods:", "method:", 7, "unknown key 'method'; did you mean 'methods'?"),
        ("recipe: {epochs: 2", "recipe: {epoch: 2", 8, "unknown key 'epoch'; did you mean 'epochs'?"),
        ("dataset: digits", "dataset: []", 2, "at least 1 item"),
        ("lr: 0.01", "lr: .inf", 8, "finite number"),
        ("lr: 0.01", "lr: 0.01, milestones: [80, 120]", 8, "80, 120 should rise, and lie between 0 and the 2 epochs"),
        ("lr: 0.01", "lr: 0.01, milestones: [1, 0.5]", 8, "recipe.milestones: 1, 0.5 should rise"),
        ("lr: 1e-1}", "lr: 0.1, warmup: 4}", 4, "dense.recipe.warmup: 4 is longer than the 3 epochs"),
        ("lr: 0.01", "lr: 0.01, nesterov: true, momentum: 0", 8, "it needs a momentum above 0"),
        (
            "recipe: {epochs: 2",
            "compile: true\nresources: {workers: 2}\nrecipe: {epochs: 2",
            8,
            "several workers train",
        ),
    ],
)
def test_a_mistake_gets_one_line_with_its_place(tmp_path, old, new, line, words):
    assert old in GOOD
    with pytest.raises(SuiteError) as error:
        load(tmp_path, GOOD.replace(old, new))
    message = str(error.value)
    assert words in message and "\n" not in message
    assert message.startswith(f"{tmp_path / 'tiny.yaml'}:{line}: "), message


def test_a_suite_that_is_no_mapping(tmp_path):
    with pytest.raises(SuiteError, match="a suite is a mapping"):
        load(tmp_path, "- 1\n")


def test_an_unknown_suite_name_has_the_nearest():
    with pytest.raises(SuiteError, match="did you mean 'quickstart'"):
        suite.find("quickstat")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A home with one ImageNet picture, and empty files for the weights: a suite is read, not run."""
    home = tmp_path_factory.mktemp("home")
    for folder, split in itertools.product(("imagenet", "imagenet10"), ("train", "val")):
        (home / folder / split / "n01440764").mkdir(parents=True)
        (home / folder / split / "n01440764" / "0.JPEG").write_bytes(b"")
    for name in suite.names():
        for weights in re.findall(r"\$PRUNEBENCH_WEIGHTS/(\S+)", suite.find(name).read_text()):
            (home / weights).touch()
    return home


@pytest.mark.parametrize("name", suite.names())
def test_the_suites_that_come_along_are_valid(name, stand_ins, monkeypatch):
    for variable in ("HOME", "PRUNEBENCH_IMAGES", "PRUNEBENCH_WEIGHTS"):
        monkeypatch.setenv(variable, str(stand_ins))
    assert suite.trials(suite.load(suite.find(name)))


def test_a_path_may_have_a_variable_which_must_be_set(tmp_path, monkeypatch):
    text = GOOD.replace("{recipe: {epochs: 3, lr: 1e-1}}", "{weights: $HERE/w.pth}")
    with pytest.raises(SuiteError, match="set the environment variable HERE"):
        load(tmp_path, text)
    (tmp_path / "w.pth").write_bytes(b"weights")
    monkeypatch.setenv("HERE", str(tmp_path))
    weights = load(tmp_path, text).dense.weights
    assert weights.file == "$HERE/w.pth"  # as written: the record travels
    assert weights.path == tmp_path / "w.pth"


def test_a_squeezed_recipe_has_a_shorter_warm_up_too(tmp_path):
    text = GOOD.replace("{epochs: 3, lr: 1e-1}", "{epochs: 30, lr: 0.1, warmup: 6, milestones: [15, 24]}")
    recipe = next(t.recipe for t in suite.trials(load(tmp_path, text)) if t.method.name == "dcff")
    assert (recipe.epochs, recipe.warmup, recipe.milestones) == (2, pytest.approx(0.4), (1, 1.6))
    text = GOOD.replace("{epochs: 3, lr: 1e-1}", "{epochs: 180, lr: 0.1, milestones: [90.0]}").replace(
        "epochs: 2", "epochs: 26"
    )
    recipe = next(t.recipe for t in suite.trials(load(tmp_path, text)) if t.method.name == "dcff")
    assert [(m, type(m)) for m in recipe.milestones] == [(13, int)]
    text = GOOD.replace("{epochs: 3, lr: 1e-1}", "{epochs: 0, lr: 0.1, milestones: [1]}")
    assert next(t.recipe for t in suite.trials(load(tmp_path, text)) if t.method.name == "dcff").milestones == (1,)


def test_explicit_rates_are_a_target_of_their_own_and_so_for_their_twin(tmp_path):
    trials = suite.trials(load(tmp_path, GOOD.replace("dcff,", "{dcff: {rates: [0.5]}},")))
    targets = {name: [t.keep_macs for t in trials if t.method.name == name] for name in ("l1", "dcff", "scratch")}
    assert targets == {"l1": [0.7, 0.5] * 2, "dcff": [None] * 2, "scratch": [None] * 2}


def test_each_variant_has_a_twin_of_its_own(tmp_path):
    trials = suite.trials(load(tmp_path, GOOD.replace("dcff,", "{dcff: {steepness: [5.0, 10.0]}},")))
    originals = [t.key for t in trials if t.method.name == "dcff"]
    assert len(originals) == 8 and [t.twin for t in trials if t.method.name == "scratch"] == originals


def test_a_pin_refuses_other_weights_and_other_images(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    pinned = GOOD.replace("{recipe: {epochs: 3, lr: 1e-1}}", "{weights: {file: w.pth, sha256: 9a12}}")
    with pytest.raises(SuiteError, match=r"tiny.yaml:4: dense.weights.sha256: the SHA-256 of .*w.pth is 9a129038d9a0"):
        load(tmp_path, pinned)
    (tmp_path / "train").mkdir()
    with pytest.raises(SuiteError, match=r"tiny.yaml:2: dataset.fingerprint: that of .* it holds other files"):
        load(tmp_path, GOOD.replace("digits", "{name: imagefolder, root: ., fingerprint: 0123}"))
