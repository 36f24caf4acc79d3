"""SIGTERM and SIGUSR1 end a run cleanly; typed again it goes on and ends as if nothing had been."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_resume import timeless
from trials import environment

from bench import run_suite
from bench.record import read_record
from bench.running.interrupts import SIGNALS, interruptible
from bench.running.join import stop
from bench.running.status import states

SUITE = """
name: interrupted
smoke: true
dataset: {name: digits, subset: 320}
backbone: cifar_resnet20
dense: {recipe: {epochs: 8, lr: 0.1, batch_size: 16}}
keep_macs: [0.5]
methods: [l1]
recipe: {epochs: 1, lr: 0.02, batch_size: 32}
resources: {cpus: 1}
tracking: {mode: disabled}
"""


@pytest.mark.parametrize("one", SIGNALS)
def test_the_first_signal_interrupts_and_the_next_does_not(one):
    before = [signal.getsignal(other) for other in SIGNALS]
    with pytest.raises(KeyboardInterrupt), interruptible(), interruptible():
        try:
            os.kill(os.getpid(), one)
            time.sleep(5)
        finally:
            for other in SIGNALS:  # on the way out
                os.kill(os.getpid(), other)
    assert [signal.getsignal(other) for other in SIGNALS] == before


def test_another_thread_leaves_signals_alone():
    seen = []

    def work() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGUSR1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGUSR1)]


def test_sigterm_keeps_its_meaning_while_ray_goes():
    seen = []

    def core_goes_first() -> None:
        ctypes.CDLL(None).signal(int(signal.SIGTERM), None)  # SIG_DFL, behind Python's back
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("ours"))
    try:
        stop(SimpleNamespace(shutdown=core_goes_first))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["ours"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "interrupted.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def whole(suite, tmp_path_factory):
    return results(suite, tmp_path_factory.mktemp("whole"))


def results(suite: Path, out: Path) -> dict[str, object]:
    """Of a run that goes to its end: records without times, and networks."""
    assert len(run_suite(suite, out=out, scheduler="inline").done) == 2
    folders = list(out.glob("trials/*"))
    return {f.name: (timeless(read_record(f / "record.json")), (f / "model.safetensors").read_bytes()) for f in folders}


@pytest.mark.parametrize(("scheduler", "sent"), [("inline", signal.SIGUSR1), ("ray", signal.SIGUSR1)])
def test_slurms_warning_costs_at_most_the_running_epoch(tmp_path, suite, whole, scheduler, sent):
    if scheduler == "ray":
        pytest.importorskip("ray")
    command = [sys.executable, "-W", "ignore", "-m", "bench.cli", "run", str(suite), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--scheduler", scheduler],
        stdout=-1,
        stderr=-1,
        text=True,
        env=environment() | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 200
    while not any(tmp_path.glob("trials/*/journal/0*.epoch-*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(sent)
    time.sleep(0.8)
    process.send_signal(signal.SIGTERM)  # Slurm's next, at the limit itself
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == "prunebench: interrupted; finished trials are kept, the same command goes on\n"
    assert not list(tmp_path.glob("trials/*/failed-*")) and not list(tmp_path.glob("trials/*/record.json"))
    assert {row.state for row in states(tmp_path)} <= {"running", "interrupted", "waiting"}
    assert results(suite, tmp_path) == whole
    assert "goes on after epoch" in "".join(log.read_text() for log in tmp_path.glob("trials/*/log.txt"))
