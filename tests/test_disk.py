"""A file system that fills up or turns read-only: a line each time, no half-written result, and later all goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_resume import timeless

from bench import run_suite
from bench.cli import main
from bench.record import read_record
from bench.running.part import Part
from bench.running.status import states

SUITE = """
name: disk
smoke: true
dataset: {name: digits, subset: 64}
backbone: cifar_resnet20
dense: {recipe: {epochs: 2, lr: 0.1, batch_size: 32}}
keep_macs: [0.5]
methods: [l1]
recipe: {epochs: 2, lr: 0.02, batch_size: 32}
resources: {cpus: 1}
tracking: {mode: disabled}
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system of 16 MB, which only root can make."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "disk.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def whole(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert len(run_suite(suite, out=out, scheduler="inline").done) == 2
    return records(out)


def records(out: Path) -> dict[str, object]:
    return {path.parent.name: timeless(read_record(path)) for path in out.glob("trials/*/record.json")}


def leave(disk: Path, free: int) -> None:
    """Fill the disk up to so many free bytes."""
    (disk / "filler").unlink(missing_ok=True)
    there = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, there.f_bavail * there.f_frsize - free)))


@pytest.mark.parametrize("kb", [0, 16, 1300, 3600])
def test_a_full_disk(disk, suite, whole, kb, capsys):
    out = disk / f"run-{kb}"
    leave(disk, kb * 1024)
    status = main(["run", str(suite), "--out", str(out), "--scheduler", "inline"])
    printed = "".join(capsys.readouterr())
    assert status in (1, 2) and "No space left on device" in printed and "Traceback" not in printed
    assert not list(out.rglob(".*")), "a temporary file is left"
    for key, record in records(out).items():
        assert record == whole[key]
    if (out / "plan.json").exists():
        assert len(states(out)) == 2
    (disk / "filler").unlink()
    assert main(["run", str(suite), "--out", str(out), "--scheduler", "inline"]) == 0
    assert records(out) == whole
    subprocess.run(["rm", "-r", str(out)], check=True)


def test_a_read_only_disk(disk, suite, whole, capsys):
    def remount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)

    leave(disk, 16 * 2**20)
    out = disk / "run"
    remount("ro")
    assert main(["run", str(suite), "--out", str(out), "--scheduler", "inline"]) == 2
    assert "Read-only file system" in capsys.readouterr().err
    remount("rw")
    run_suite(suite, out=out, part=Part(only=["dense"]), scheduler="inline")
    remount("ro")
    assert main(["run", str(suite), "--out", str(out), "--scheduler", "inline"]) == 2
    assert "Read-only file system" in capsys.readouterr().err
    assert main(["status", "disk", "--out", str(out)]) == 0
    remount("rw")
    assert main(["run", str(suite), "--out", str(out), "--scheduler", "inline"]) == 0
    assert records(out) == whole
