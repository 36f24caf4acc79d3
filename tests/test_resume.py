"""kill -9 in the middle of a phase; the same call goes on and ends with the weights of an uninterrupted run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import run_trial
from bench.record import Epoch, Record
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial

RUN = """
import sys
from pathlib import Path
from bench import run_trial
from bench.spec import Trial

run_trial(Trial.model_validate_json(sys.argv[1]), Path(sys.argv[2]), suite="resume", threads=1)
"""

COMMON: dict[str, Any] = {
    "dataset": DataSpec(name="digits", subset=320),
    "backbone": BackboneSpec(name="cifar_resnet20"),
    "dense": DenseSpec(recipe=Recipe(epochs=1, lr=0.1, batch_size=32)),
    "smoke": True,
}
DENSE = Trial(method=MethodSpec(name="dense"), recipe=Recipe(epochs=1, lr=0.1, batch_size=32), **COMMON)
GATE_DECORATOR = {"ticks": 2, "tick_epochs": 2.0, "tock_epochs": 2.0, "ticks_per_tock": 1}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A run folder with nothing but the dense baseline."""
    out = tmp_path_factory.mktemp("start")
    assert isinstance(run_trial(DENSE, out, suite="resume", threads=1), Record)
    return out


@pytest.mark.parametrize(
    ("method", "epochs", "kills"),
    [
        (MethodSpec(name="dcff", params={"steepness": 0.5}), 4, [("fuse and train", 2)]),
        # tock, tick, tock, tick, tock, fine-tune: two epochs each
        (MethodSpec(name="gate_decorator", params=GATE_DECORATOR), 12, [("tick", 3), ("tock", 5), ("fine-tune", 11)]),
    ],
    ids=["dcff", "gate_decorator"],
)
def test_killed_and_resumed(tmp_path, start, method, epochs, kills):
    recipe = Recipe(epochs=epochs, lr=0.05, batch_size=32)
    trial = Trial(method=method, recipe=recipe, keep_macs=0.5, baseline=DENSE.key, **COMMON)
    whole, broken = shutil.copytree(start, tmp_path / "whole"), shutil.copytree(start, tmp_path / "broken")
    expected = run_trial(trial, whole, suite="resume", threads=1)
    folder = broken / "trials" / trial.key
    for phase, after in kills:
        assert kill_after(trial, broken, after) == phase
        assert not (folder / "record.json").exists()
    record = run_trial(trial, broken, suite="resume", threads=2)  # it keeps the one thread that it began with

    log = (folder / "log.txt").read_text()
    assert all(f"'{phase}' goes on after epoch" in log for phase, _ in kills)
    weights = (whole / "trials" / trial.key / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == weights
    assert timeless(record) == timeless(expected)
    assert len(record.history) == epochs


def test_an_image_folder_goes_on_with_the_same_images(tmp_path):
    """Random crops, flips and colours too, although another process decodes after the kill."""
    numbers = np.random.RandomState(0)
    for i in range(96):
        folder = tmp_path / "images" / ("val" if i % 3 == 2 else "train") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.randint(0, 256, (40, 48, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    dataset = DataSpec(name="imagefolder", root=str(tmp_path / "images"), image_size=32)
    recipe = Recipe(epochs=4, lr=0.05, batch_size=16)
    dense = Trial(
        **{**COMMON, "dataset": dataset, "dense": DenseSpec(recipe=recipe)}, method=DENSE.method, recipe=recipe
    )
    expected = run_trial(dense, tmp_path / "whole", suite="resume", threads=1)
    kill_after(dense, tmp_path / "broken", 2)
    record = run_trial(dense, tmp_path / "broken", suite="resume", threads=2)
    assert "goes on after epoch" in (tmp_path / "broken" / "trials" / dense.key / "log.txt").read_text()
    assert timeless(record) == timeless(expected)


def kill_after(trial: Trial, out: Path, epochs: int) -> str:
    """Run the trial in a process of its own, kill it in the epoch after so many, return the last's phase."""
    folder = out / "trials" / trial.key
    history = folder / "history.jsonl"
    history.unlink(missing_ok=True)
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, trial.model_dump_json(), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    lines: list[str] = []
    while worker.poll() is None and time.monotonic() < deadline:
        lines = history.read_text().splitlines() if history.exists() else []
        if len(lines) >= epochs and any(folder.glob("journal/[0-9]*.epoch-*.safetensors")):
            break
        time.sleep(0.005)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL, "it ended before it could be killed"
    return Epoch.model_validate_json(lines[epochs - 1]).phase


def timeless(record: Record) -> dict[str, Any]:
    """The record without dates, times, speeds and memory."""
    values = record.model_dump(exclude={"started": True, "finished": True, "machine": {"memory_mb"}})
    for row in [*values["history"], values["spent"], values["spent_dense"] or {}]:
        row.pop("seconds", None)
        row.pop("images_per_s", None)
    return values
