"""docs/suites.md lists every key of a suite with its default, and its examples are valid."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined

from bench import MethodError, backbones, suite
from bench.spec import BackboneSpec, DataSpec, DenseSpec, Recipe, WeightsSpec
from bench.suite import Resources, Suite, Tracking
from bench.weights import load_weights

SHARED = Path(os.environ.get("PRUNEBENCH_SHARED", Path(__file__).parents[2] / "shared"))

TEXT = (Path(__file__).parents[1] / "docs" / "suites.md").read_text()
PARTS = {
    "The file": Suite,
    "dataset": DataSpec,
    "dense": DenseSpec,
    "dense.weights": WeightsSpec,
    "recipe": Recipe,
    "resources": Resources,
    "tracking": Tracking,
}
COMPUTED = {"fingerprint", "sha256"}  # filled in when the file is read


@pytest.mark.parametrize("heading", PARTS)
def test_every_key_with_its_default(heading):
    part = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", part[1], re.M))
    expected = {key: shown(field) for key, field in PARTS[heading].model_fields.items() if key not in COMPUTED}
    assert documented == expected


def shown(field):
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    assert default is not PydanticUndefined
    if default is None:
        return "not set"
    if hasattr(default, "model_dump"):
        default = default.model_dump(exclude_defaults=True)
    text = list(default) if isinstance(default, tuple) else default
    return f"`{str(text).lower() if isinstance(text, bool) else text}`"


def test_the_example_multiplies_out_as_it_says(tmp_path):
    example = re.search(r"```yaml\n(name: .*?)```", TEXT, re.S)[1]
    (tmp_path / "suite.yaml").write_text(example)
    found = [trial.method.name for trial in suite.trials(suite.load(tmp_path / "suite.yaml"))]
    counts = {name: found.count(name) for name in set(found)}
    nine = dict.fromkeys(("random", "l1", "eagleeye", "dcff", "scratch"), 9)
    assert counts == {"dense": 3, "finetune": 3, "taylor": 18} | nine


@pytest.mark.parametrize(
    ("file", "block"),
    [
        ("cifar10_resnet56_A_akamaster.pth", 0),
        ("cifar10_resnet20_A_akamaster.pth", 0),
        ("cifar10_resnet56_B_gate_decorator_baseline.pth", 1),
    ],
)
def test_published_checkpoints_load_as_documented(file, block):
    path = SHARED / "weights" / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    values = yaml.safe_load(re.findall(r"```yaml\n(backbone: .*?)```", TEXT, re.S)[block])
    kwargs = {key: value for key, value in values["backbone"].items() if key != "name"}
    spec = BackboneSpec(name="cifar_" + file.split("_")[1], kwargs=kwargs)
    model = backbones.create(spec, num_classes=10)
    before = model.fc.weight.clone()
    load_weights(model, WeightsSpec.model_validate(values["dense"]["weights"] | {"file": str(path)}))
    assert not model.fc.weight.equal(before)


def test_the_published_vgg16_is_refused_as_documented():
    path = SHARED / "weights" / "cifar10_vgg16_gate_decorator_0.3M.pth"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    values = yaml.safe_load(re.findall(r"```yaml\n(backbone: .*?)```", TEXT, re.S)[2])
    with pytest.raises(MethodError) as caught:
        load_weights(
            backbones.create(BackboneSpec(name=values["backbone"]), num_classes=10),
            WeightsSpec.model_validate(values["dense"]["weights"] | {"file": str(path)}),
        )
    assert re.search(r"refused as one: `(.*?)`", TEXT)[1] in str(caught.value)
