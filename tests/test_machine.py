"""What a trial runs on, and how memory is kept."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from bench import machine


def test_precision_is_resolved_and_a_wish_stands():
    cpu = torch.device("cpu")
    assert machine.precision("auto", cpu) in ("fp32", "bf16")
    assert [machine.precision(wanted, cpu) for wanted in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_processors_of_one_name_are_told_apart(monkeypatch):
    found = {"model name": "AMD EPYC", "cpu family": "26", "model": "2"}
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: found.get(field, ""))
    cpu = torch.device("cpu")
    assert machine.describe({"threads": 1, "precision": "fp32"}, cpu).cpu == "AMD EPYC (family 26, model 2)"
    del found["cpu family"]  # as on ARM
    assert machine.describe({"threads": 1, "precision": "fp32"}, cpu).cpu == "AMD EPYC"


def test_a_field_is_the_first_line_that_starts_so(tmp_path):
    (tmp_path / "cpuinfo").write_text("cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nmodel\t\t: 3\n")
    fields = [machine._field(str(tmp_path / "cpuinfo"), field) for field in ("model", "model name", "cpu family", "no")]
    assert fields == ["2", "AMD EPYC", "26", ""]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library is not glibc")
def test_freed_memory_is_kept():
    """Ten times 20 MB are taken and freed; in a process of its own, since nothing gives them back afterwards."""
    program = (
        "import sys, torch; from bench import machine\n"
        "pages = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        "if sys.argv[1] == 'keep': machine.prepare()\n"
        "before = pages(); blocks = [torch.ones(5_000_000) for _ in range(10)]; del blocks\n"
        "print(pages() - before > 150)"
    )
    kept = [subprocess.check_output([sys.executable, "-c", program, how], text=True).strip() for how in ("keep", "not")]
    assert kept == ["True", "False"]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel tells no peak of memory")
def test_the_peak_of_memory_is_that_of_the_trial():
    """400 MB are freed before it begins, then it takes 200; in a process of its own, where nothing else frees any."""
    program = (
        "import torch; from bench import machine\n"
        "cpu = torch.device('cpu'); torch.ones(100_000_000); machine.forget_peak()\n"
        "before = machine.peak(cpu)['memory_mb']; torch.ones(50_000_000)\n"
        "print(machine.peak(cpu)['memory_mb'] - before)"
    )
    assert 180 < float(subprocess.check_output([sys.executable, "-c", program], text=True)) < 210


def test_who_shares_a_gpu_takes_no_more_than_his_part(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", taken.append)
    assert machine.device().type == "cuda" and taken == []
    monkeypatch.setenv(machine.GPU_SHARE, "0.25")
    assert machine.device().type == "cuda" and taken == [0.25]


def test_fp32_is_no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    machine.prepare()
    assert not torch.backends.cudnn.allow_tf32


def test_another_projects_commit_is_not_ours(tmp_path, monkeypatch):
    own = tmp_path / "venv" / "bench" / "machine.py"
    own.parent.mkdir(parents=True)
    own.write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    monkeypatch.setattr(machine, "__file__", str(own))
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    assert machine.commit.__wrapped__() == ""
    subprocess.run([*git, "add", "venv"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
    assert len(machine.commit.__wrapped__()) == 12
    (own.parent / "plugin.py").write_text("")  # new code that no commit has
    assert machine.commit.__wrapped__()[12:] == "+"
