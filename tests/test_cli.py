"""The command as a user types it: exit codes, one clear line for a mistake, and quick answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli

SUITE = """\
name: tiny
smoke: true
dataset: {name: digits, subset: 300}
backbone: cifar_resnet20
dense: {recipe: {epochs: 1, lr: 0.05}}
keep_macs: [0.5]
methods: [l1, {gate_decorator: {ticks: 9, tick_epochs: 1}}]
recipe: {epochs: 1, lr: 0.01}
tracking: {mode: disabled}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the suite has run: dense and l1 are done, gate_decorator has too few epochs and fails."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(SUITE)
    done = prunebench(folder, "run", "tiny.yaml", "--scheduler", "inline")
    assert done.returncode == 1, done.stdout + done.stderr
    return folder


def prunebench(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "bench.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_run_leaves_records_tables_and_a_reason_for_what_failed(folder):
    records = sorted((folder / "runs/tiny/trials").glob("*/record.json"))
    assert len(records) == 2
    (failed,) = (folder / "runs/tiny/trials").glob("*/failed-1.json")
    assert "gate_decorator needs" in json.loads(failed.read_text())["reason"]
    table = (folder / "runs/tiny/report/table.md").read_text()
    assert "SMOKE RUN" in table and "l1" in table and "failed" in table
    for name in ("table.tex", "table.csv", "index.html"):
        assert (folder / "runs/tiny/report" / name).stat().st_size > 200


def test_a_second_run_trains_nothing_and_prints_the_same_table(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs/tiny/trials").glob("*/record.json")}
    assert cli.main(["run", "tiny.yaml", "--scheduler", "inline"]) == 1
    shown = capsys.readouterr().out
    assert "2 trials done (0 now), 1 failed" in shown and "SMOKE RUN" in shown and "--retry-failed" in shown
    assert "the page is runs/tiny/report/index.html" in shown
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_status_logs_and_report_answer_from_the_folder(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert cli.main(["status", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "2 done, 1 failed of 3 trials" in shown
    key = next(line.split()[0] for line in shown.splitlines() if "l1" in line)
    assert cli.main(["logs", key[:6]]) == 0
    assert "l1 50% seed 0" in capsys.readouterr().out
    assert cli.main(["report", "tiny"]) == 0
    assert "50.0" in capsys.readouterr().out


def test_help_status_and_report_never_import_torch(folder):
    for command in (["--help"], ["status", "tiny"], ["report", "tiny"]):
        code = f"import sys; from bench import cli\ntry: cli.main({command})\nexcept SystemExit: pass\n"
        code += "sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True).returncode == 0, command


def test_a_dry_run_tells_the_cost_and_starts_nothing(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert cli.main(["run", "tiny.yaml", "--dry-run", "--out", "other"]) == 0
    shown = capsys.readouterr().out
    assert "3 trials" in shown and "TMACs" in shown
    assert not Path("other").exists()


def test_only_runs_the_named_methods_and_what_they_need(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert cli.main(["run", "tiny.yaml", "--only", "l1", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "dense" in shown and "l1" in shown and "gate_decorator" not in shown


def test_profile_counts_what_the_papers_count(capsys):
    assert cli.main(["profile", "cifar_resnet56", "--set", "shortcut=B", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["macs"], counted["params"]) == (125_747_840, 855_770)
    assert sum(layer["macs"] for layer in counted["layers"]) == counted["macs"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--seeds", "-1"), ("--seeds", "0-2"), ("--seeds", ""), ("--keep", "50"), ("--keep", "50%"), ("--only", "l1,")],
)
def test_a_list_that_is_none_is_refused_in_words(capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "quickstart", f"{option}={value}"])
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert f"argument {option}: '{value}'" in complaint and "for example" in complaint


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("measure", "--rounds", "0"), ("measure", "--threads", "-1"), ("measure", "--batch", "1,0"),
        ("check-method", "--epochs", "-1"),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_refused_in_words(capsys, command, option, value):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "x", f"{option}={value}"])
    assert ended.value.code == 2 and "is no whole number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["methods", "backbones", "datasets", "suites"])
def test_everything_can_be_listed(what, capsys):
    assert cli.main(["list", what, "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert (
        names
        >= {
            "methods": {"dcff", "gate_decorator", "l1", "random"},
            "backbones": {"cifar_resnet56", "resnet50"},
            "datasets": {"cifar10", "digits"},
            "suites": {"quickstart"},
        }[what]
    )


def test_suites_say_which_files_of_your_own_they_need(capsys):
    assert cli.main(["list", "suites", "--json"]) == 0
    needs = {row["name"]: row["needs"] for row in json.loads(capsys.readouterr().out)}
    assert needs["quickstart"] == needs["gate_decorator_cifar_vgg16"] == ""  # data sets that `fetch` brings
    assert needs["dcff_imagenet_mobilenetv2"] == "~/imagenet"
    weights = "$PRUNEBENCH_WEIGHTS/imagenet_resnet50_v1.safetensors"
    assert needs["imagenet10_resnet50"] == f"$PRUNEBENCH_IMAGES/imagenet10, {weights}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], "there is no such file"),
        (["run", "quikstart"], "did you mean 'quickstart'"),
        (
            ["run", "tiny.yaml", "--out", "/dev/null/runs"],
            "cannot be made (Not a directory): name another",
        ),
        (["run", "tiny.yaml", "--only", "l2"], "'l2' is not in this suite"),
        (["run", "tiny.yaml", "--scheduler", "inline", "--address", "auto"], "leave one of them out"),
        (["status", "never"], "there is no 'never', here or in runs/"),
        (["report", "never"], "there is no 'never', here or in runs/"),
        (["verify", "never"], "there is no 'never', here or in runs/"),
        (["profile", "cifar_resnet56", "--set", "shortcut"], "--set wants KEY=VALUE"),
        (["logs", "zzzz"], "no trial's key begins with 'zzzz'"),
        (["profile", "cifar_resnet55"], "did you mean 'cifar_resnet56'"),
        (["profile", "cifar_resnet56", "--set", "shortcut=C"], "shortcut"),
        (["profile", "cifar_resnet56", "--set", "shortcut=[A"], "--set: this is no value"),
        (["fetch", "cifar11"], "cifar10"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(folder, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(folder)
    assert cli.main(arguments) == 2
    complaint = capsys.readouterr().err.strip()
    assert complaint.startswith("prunebench: ") and words in complaint and "\n" not in complaint
