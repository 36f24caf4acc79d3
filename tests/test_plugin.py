"""A package of its own, and what `prunebench new-method` writes, installed as a user installs them and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli, registry, template
from bench.errors import UserError
from bench.record import read_record
from bench.testing import check_method

EXAMPLE = Path(__file__).parent / "example_plugin"
SUITE = """
name: plugins
smoke: true
dataset: {name: digits, subset: 320}
backbone: cifar_resnet20
dense:
  recipe: {epochs: 1, lr: 0.1}
keep_macs: [0.5]
methods:
  - random
  - spread: {power: 2}
  - my_method
recipe: {epochs: 1, lr: 0.02}
resources: {cpus: 1}
tracking: {mode: disabled}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with both packages, to be put on PYTHONPATH, so that the environment stays as it is."""
    root = tmp_path_factory.mktemp("plugins")
    example = shutil.copytree(EXAMPLE, root / "example")  # a build leaves files where it is done
    template.write("my_method", root)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", root / "site", example, root / "prunebench-my-method"], check=True)
    return root / "site"


def prunebench(installed, folder, *arguments, safe=()):
    path = os.pathsep.join([str(installed), str(Path(cli.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, *safe, "-W", "ignore", "-m", "bench.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_an_installed_method_gets_a_row(installed, tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    done = prunebench(installed, tmp_path, "run", "suite.yaml", "--scheduler", "inline", "--out", "out")
    assert done.returncode == 0, done.stderr
    records = [read_record(path) for path in (tmp_path / "out").glob("trials/*/record.json")]
    by_method = {record.trial.method.name: record for record in records}
    assert set(by_method) == {"dense", "random", "spread", "my_method"}
    assert by_method["spread"].trial.method.params == {"scope": "global", "power": 2.0}
    assert by_method["spread"].widths != by_method["my_method"].widths
    table = (tmp_path / "out" / "report" / "table.md").read_text()
    for text in (done.stdout, table.replace("\\", "")):  # Markdown escapes the underscore
        assert "spread" in text and "my_method" in text


def test_a_folder_of_the_same_name_hides_no_plugin_from_ray(installed, tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE.replace("  - random\n  - spread: {power: 2}\n", ""))
    for name in ("bench", "methods", "my_method"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is none of ours')\n")
    # -P, as for the installed command: the folder where it is typed is not searched for modules
    done = prunebench(installed, tmp_path, "run", "suite.yaml", "--out", "my_method", safe=["-P"])
    assert done.returncode == 0 and "2 trials done" in done.stdout, done.stdout + done.stderr


def test_installed_methods_are_listed(installed, tmp_path):
    listed = prunebench(installed, tmp_path, "list", "methods").stdout.splitlines()
    assert any(line.startswith("spread ") and "cuts the filters whose weights vary least" in line for line in listed)
    assert any(line.startswith("my_method ") for line in listed)
    assert any(line.startswith("l1 ") for line in listed)


def test_a_plugin_that_was_changed_or_broken_is_told_of(installed, tmp_path):
    site = shutil.copytree(installed, tmp_path / "site")
    own = site / "my_method.py"
    (tmp_path / "suite.yaml").write_text(SUITE.replace("  - random\n  - spread: {power: 2}\n", ""))
    run = ("run", "suite.yaml", "--scheduler", "inline", "--out", "out")
    first = prunebench(site, tmp_path, *run)
    assert first.returncode == 0 and "changed" not in first.stderr
    own.write_text(own.read_text() + "\n# another score\n")
    again = prunebench(site, tmp_path, *run)
    assert again.returncode == 0 and "2 trials done (0 now)" in again.stdout
    assert f"{own} has changed since 1 of my_method's records here were made" in again.stderr
    own.write_text("def (\n")
    refused = prunebench(site, tmp_path, *run)
    assert refused.returncode == 2 and "unknown method 'my_method'" in refused.stderr
    assert "does not load: SyntaxError" in refused.stderr and refused.stderr.count("\n") == 1
    listed = prunebench(site, tmp_path, "list", "methods")
    assert listed.returncode == 0 and "\nspread " in listed.stdout and "does not load" in listed.stderr


def test_they_keep_the_contract(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    registry._load.cache_clear()
    try:
        for name in ("spread", "my_method"):
            check_method(registry.methods()[name], images=128, epochs=2)
    finally:
        registry._load.cache_clear()


def test_the_command_tells_in_one_line_what_is_broken(installed, tmp_path):
    site = shutil.copytree(installed, tmp_path / "site")
    kept = prunebench(site, tmp_path, "check-method", "my_method", "--set", "power=1", "--epochs", "2")
    assert (kept.returncode, kept.stdout, kept.stderr) == (0, "my_method keeps the contract\n", "")
    own = site / "my_method.py"
    own.write_text(own.read_text().replace("rows.norm(p=self.power, dim=1)", "torch.rand(len(rows))"))
    broken = prunebench(site, tmp_path, "check-method", "my_method", "--epochs", "2")
    assert broken.returncode == 1 and broken.stderr.count("\n") == 1
    assert (
        broken.stderr.startswith("prunebench: my_method breaks the rule ")
        and "global random generator" in broken.stderr
    )
    for words, why in (
        (["my_methd"], "did you mean 'my_method'"),
        (["l1", "--set", "scope=3"], "l1: scope: Input should be"),
        (["l1", "--set", "scope"], "--set wants KEY=VALUE"),
        (["l1", "--backbone", "resnet500"], "unknown backbone 'resnet500'; did you mean"),
    ):
        refused = prunebench(site, tmp_path, "check-method", *words)
        assert refused.returncode == 2 and why in refused.stderr and refused.stderr.count("\n") == 1


def test_the_documentation_shows_what_is_written(installed):
    text = (Path(__file__).parents[1] / "docs" / "adding-a-method.md").read_text()
    shown = text.split("```python\n", 1)[1].split("```", 1)[0]
    assert shown == (installed / "my_method.py").read_text()


def test_the_start_is_short_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new-method", "edge_of_chaos"]) == 0
    method = tmp_path / "prunebench-edge-of-chaos" / "edge_of_chaos.py"
    assert len(method.read_text().splitlines()) < 40
    assert "class EdgeOfChaos(OneShot):" in method.read_text()
    method.write_text("mine")
    assert cli.main(["new-method", "edge_of_chaos"]) == 2
    assert method.read_text() == "mine"
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Mine", "lower-case"),
        ("my-method", "lower-case"),
        ("class", "lower-case"),
        ("l1", "already"),
        ("json", "already"),
    ],
)
def test_a_name_that_cannot_be_had(tmp_path, name, reason):
    with pytest.raises(UserError, match=reason):
        template.write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_broken_file_of_a_package_does_not_take_the_others_away(tmp_path):
    inside = tmp_path / "own_methods"
    inside.mkdir()
    (inside / "__init__.py").write_text("")
    (inside / "broken.py").write_text("import nothing_of_that_name\n")
    (inside / "good.py").write_text(
        "from bench import OneShot\n\n\nclass Fine(OneShot):\n    name = 'fine'\n\n"
        "    def score(self, model, run):\n        return {}\n"
    )
    info = tmp_path / "own-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: own\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[prunebench.methods]\nown = own_methods\n")
    listed = prunebench(tmp_path, tmp_path, "list", "methods")
    assert listed.returncode == 0 and "\nfine " in listed.stdout
    why = "'own_methods.broken' does not load: ModuleNotFoundError: No module named 'nothing_of_that_name'"
    assert listed.stderr == f"prunebench: the method plugin {why}\n"
