"""A Ray cluster of several nodes: one dies while a trial runs on it, and the trial ends on another, the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import add_node, can_hide, head
from test_resume import COMMON, DENSE, timeless
from trials import environment

from bench import run_trial
from bench.errors import UserError
from bench.record import Record, read_failures, read_record
from bench.running import join
from bench.running.schedule import Resources, run_trials
from bench.spec import MethodSpec, Recipe, Trial

ray = pytest.importorskip("ray")

RECIPE = Recipe(epochs=6, lr=0.05, batch_size=16)
L1 = Trial(method=MethodSpec(name="l1"), recipe=RECIPE, keep_macs=0.5, baseline=DENSE.key, **COMMON)
HOST = socket.gethostname()


@pytest.fixture(scope="module")
def head_node():
    with head() as cluster:
        yield cluster


@pytest.fixture
def cluster(head_node):
    """Nodes that a test adds are gone after it."""
    yield head_node
    for node in list(head_node.worker_nodes):
        head_node.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What nobody interrupts."""
    out = tmp_path_factory.mktemp("whole")
    for trial in (DENSE, L1):
        assert isinstance(run_trial(trial, out, suite="cluster", threads=1), Record)
    return out


class Watch:
    """Does something to the cluster, once, when the first epoch of L1 has come; keeps what was said of places."""

    def __init__(self, out: Path, do) -> None:
        self.folder, self.do, self.places, self.states = out / "trials" / L1.key, do, [], []

    def __call__(self, status) -> None:
        now = next(trial for trial in status.trials if trial.key == L1.key)
        self.states.append(now.state)
        self.places += [phase for phase in [str(now.progress.get("phase"))] if phase.startswith("on ")]
        if self.do and any(self.folder.glob("journal/0*.epoch-*")):
            do, self.do = self.do, None
            do()


def run_l1(cluster, out: Path, watch) -> None:
    options = {"suite": "cluster", "scheduler": "ray", "resources": Resources(cpus=1)}
    summary = run_trials([DENSE, L1], out, address=cluster.address, watch=watch, **options)
    assert not summary.failed and set(summary.done) == {DENSE.key, L1.key} and watch.do is None


def same(out: Path, whole: Path) -> None:
    one, two = (place / "trials" / L1.key for place in (whole, out))
    assert "goes on after epoch" in (two / "log.txt").read_text()
    records = [timeless(read_record(folder / "record.json")) | {"machine": None} for folder in (one, two)]
    assert records[0] == records[1]
    assert (two / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    events = [{path.name[:-29] for path in folder.glob("journal/*")} for folder in (one, two)]  # without their digests
    assert events[0] == events[1] and len(events[0]) == 4
    assert not list(out.rglob(".*")) and not list(out.rglob("lease-*"))


def begin(tmp_path: Path, whole: Path) -> Path:
    out = tmp_path / "run"
    shutil.copytree(whole / "trials" / DENSE.key, out / "trials" / DENSE.key)
    return out


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("dies", "takes_over"),
    [
        ("hidden", "shared"),
        pytest.param("shared", "hidden", marks=slow),
        pytest.param("shared", "shared", marks=slow),
        pytest.param("hidden", "hidden", marks=slow),
    ],
)
def test_a_node_dies_and_its_trial_ends_on_another(tmp_path, cluster, whole, dies, takes_over):
    """From a `hidden` node the run folder cannot be seen: the trial is carried. Where that needs root: shared ones."""
    hides, out = can_hide(), begin(tmp_path, whole)

    def add(kind: str):
        hidden = out if kind == "hidden" and hides else None
        return add_node(cluster, hidden, PRUNEBENCH_SCRATCH=str(tmp_path / "scratch"))

    first = add(dies)

    def kill() -> None:
        cluster.remove_node(first, allow_graceful=False)
        add(takes_over)

    watch = Watch(out, kill)
    run_l1(cluster, out, watch)
    same(out, whole)
    (failure,) = read_failures(out / "trials" / L1.key)
    assert (failure.kind, failure.reason) == ("machine", "its node died or was taken away")
    assert "waiting" in watch.states[watch.states.index("running") :], "shown as running for ever"
    assert (tmp_path / "scratch").is_dir() == (hides and "hidden" in (dies, takes_over))  # where it is carried to
    where = {"hidden": f"on {HOST}, carried to the driver", "shared": f"on {HOST}, in the shared folder"}
    assert set(watch.places) <= {where[kind if hides else "shared"] for kind in (dies, takes_over)}


@slow
@pytest.mark.skipif(not can_hide(), reason="hiding a folder needs root")
def test_a_desk_that_dies_stands_up_again(tmp_path, cluster, whole):
    out = begin(tmp_path, whole)
    add_node(cluster, out, PRUNEBENCH_SCRATCH=str(tmp_path / "scratch"))

    def kill() -> None:
        (lease,) = (out / "trials" / L1.key).glob("lease-*.json")
        os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)

    run_l1(cluster, out, Watch(out, kill))
    same(out, whole)
    assert not read_failures(out / "trials" / L1.key)


JOIN = """
import sys, ray
from bench.errors import UserError
from bench.running.join import start
try:
    start(ray, sys.argv[1])
except UserError as error:
    print(error)
"""


def test_a_wrong_token_and_none_are_one_line(head_node):
    modes = {"token": {"RAY_AUTH_TOKEN": "0" * 32}, "disabled": {}}
    joins = {
        mode: subprocess.Popen(
            [sys.executable, "-c", JOIN, head_node.address],
            stdout=-1,
            stderr=-2,
            text=True,
            env=environment() | {"RAY_AUTH_MODE": mode} | more,
        )
        for mode, more in modes.items()
    }
    for mode, process in joins.items():
        said = process.communicate(timeout=240)[0]
        assert said == (
            f"the Ray cluster at {head_node.address} refuses this token (RAY_AUTH_MODE is {mode} here): all nodes and "
            "this command need one RAY_AUTH_MODE, and with `token` one RAY_AUTH_TOKEN or ~/.ray/auth_token\n"
        )


def test_another_version_of_ray_is_one_line(head_node, monkeypatch):
    monkeypatch.setattr(ray._private.utils, "compute_version_info", lambda: ("2.1.0", "3.11.0"))
    with pytest.raises(UserError) as caught:
        join.start(ray, head_node.address)
    ray.shutdown()
    said, here = str(caught.value), f"Ray: {ray.__version__}"
    assert said.startswith(f"Ray or Python differ from the cluster's: The cluster was started with: {here} Python: 3.")
    assert said.endswith("Ray: 2.1.0 Python: 3.11.0 (install the same on every node)")
