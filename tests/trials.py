"""Trials that take milliseconds and end as they are told: for tests of what runs them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bench.lease import hold
from bench.record import Failure, write_failure, write_json
from bench.running.schedule import Resources, run_trials
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial

RECIPE = Recipe(epochs=1, lr=0.1)
ONE_CPU = Resources(cpus=1)


def make(name: str, do: str = "ok", **more) -> Trial:
    return Trial(
        dataset=DataSpec(name="digits"),
        backbone=BackboneSpec(name="cifar_resnet20"),
        dense=DenseSpec(recipe=RECIPE),
        method=MethodSpec(name=name, params={"do": do}),
        recipe=RECIPE,
        **more,
    )


def fake_trial(trial: Trial, out: Path, *, suite: str, threads: int, **_: object) -> None:
    """Stands in for bench.trial.run_trial; `do` says how it ends. Each try is a line in tries.txt."""
    folder, do = out / "trials" / trial.key, trial.method.params["do"]
    if do == "lease":
        with hold(folder):
            if not (folder / "record.json").exists():
                with (out / "tries.txt").open("a") as file:
                    file.write(f"{trial.method.name}\n")
                time.sleep(0.2)
                write_json(folder / "record.json", {"key": trial.key})
        return
    with (out / "tries.txt").open("a") as file:
        file.write(f"{trial.method.name} {os.getpid()} {threads} {suite}\n")
    first = not (folder / "tried").exists()
    (folder / "tried").touch()
    write_json(folder / "progress.json", {"phase": "train", "epoch": 0.5, "epochs": 1.0, "updated": time.time()})
    if do == "kill" or (do == "kill once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "method" or (do == "method once" and first):
        failure = Failure(key=trial.key, trial=trial, kind="method", reason="the loss is NaN", when="now")
        write_failure(folder, failure)
        return
    if do == "disk" or (do == "disk once" and first):
        raise OSError("no space left on device")
    if do == "bug":
        raise ValueError("a bug")
    if do == "interrupt":
        raise KeyboardInterrupt
    if do == "four":  # goes on when four trials run at once, and says on which GPU it is
        told = [os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "PRUNEBENCH_GPU_SHARE")]
        (out / f"{trial.method.name}.gpu").write_text(" ".join(told))
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.gpu"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        if trial.method.name == "greedy" and first:
            raise MemoryError("CUDA out of memory")
    if do == "sleep":
        time.sleep(1.2)
    if do == "hang" and (out / "tries.txt").read_text().count(trial.method.name) <= 2:
        time.sleep(600)
    write_json(folder / "record.json", {"key": trial.key})


def run(trials, out, *, scheduler="inline", **more):
    options = {"suite": "s", "resources": ONE_CPU, "run_trial": fake_trial, **more}
    return run_trials(trials, out, scheduler=scheduler, **options)


def tries(out: Path) -> list[str]:
    return [line.split()[0] for line in (out / "tries.txt").read_text().splitlines()]


def environment() -> dict[str, str]:
    tests = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}", "RAY_ADDRESS": "192.0.2.1:6379"}
