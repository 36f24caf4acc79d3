"""What is shown while trials run: lines in a pipe, a display on a terminal."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.running.board import Status, TrialStatus
from bench.running.progress import HEARTBEAT, Progress, counts, doing, duration, eta
from bench.spec import BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Trial

RECIPE = Recipe(epochs=10, lr=0.1)
HALF_WAY = {"phase": "tock", "epoch": 4.5, "epochs": 10.0, "images_per_s": 1234.4, "eta_s": 90.0, "updated": 0.0}


def trial(name: str, state: str = "waiting", **more) -> TrialStatus:
    spec = Trial(
        dataset=DataSpec(name="digits"),
        backbone=BackboneSpec(name="cifar_resnet20"),
        dense=DenseSpec(recipe=RECIPE),
        method=MethodSpec(name=name),
        recipe=RECIPE,
        keep_macs=0.5,
    )
    return TrialStatus(spec, spec.label, name + "key", more.pop("folder", Path("nowhere")), state, **more)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_a_line_for_each_change(tmp_path):
    (tmp_path / "record.json").write_text(json.dumps({"result": {"top1": 91.234}}))
    stream, l1, dcff = io.StringIO(), trial("l1", folder=tmp_path), trial("dcff")
    scratch = trial("scratch", "failed", reason="the loss is NaN")
    running = replace(l1, state="running", progress=HALF_WAY)
    with Progress(stream) as progress:
        progress.show(Status((l1, dcff, scratch)))
        progress.show(Status((running, dcff, scratch)))
        progress.show(Status((running, dcff, scratch)))
        progress.show(Status((replace(running, state="done", seconds=65.0), dcff, scratch)))
        progress.show(Status((replace(l1, state="done"), replace(dcff, tries=1, reason="killed"), scratch)))
        blocked = replace(dcff, state="blocked", tries=1, reason="it needs l1")
        progress.show(Status((replace(l1, state="done"), blocked, scratch)))
    assert stream.getvalue().splitlines() == [
        "failed   scratch 50% seed 0 (scratchkey): the loss is NaN",
        "1 failed, 2 waiting of 3 trials",
        "started  l1 50% seed 0 (l1key)",
        "done     l1 50% seed 0: 91.23 % top-1 in 1:05; 1 done, 1 failed, 1 waiting of 3 trials",
        "again    dcff 50% seed 0 (dcffkey): killed",
        "blocked  dcff 50% seed 0 (dcffkey): it needs l1",
    ]


def test_a_cluster_says_where_a_trial_runs():
    stream = io.StringIO()
    progress = {"phase": "on node3, carried to the driver"}
    Progress(stream).show(Status((trial("l1", "running", progress=progress), trial("fpgm", "running"))))
    assert stream.getvalue().splitlines()[:2] == [
        "started  l1 50% seed 0 (l1key): on node3, carried to the driver",
        "started  fpgm 50% seed 0 (fpgmkey)",
    ]


def test_what_was_done_before_is_only_counted():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.show(Status((trial("l1", "done"), trial("dcff", "done"))))
    assert stream.getvalue() == "2 done of 2 trials\n"


def test_a_pipe_gets_a_heartbeat():
    stream, clock = io.StringIO(), Clock()
    status = Status((trial("l1", "running", progress=HALF_WAY, seconds=60.0), trial("dcff")))
    with Progress(stream, clock) as progress:
        progress.show(status)
        before = stream.getvalue()
        clock.now += HEARTBEAT - 1
        progress.show(status)
        assert stream.getvalue() == before
        clock.now += 1
        progress.show(status)
        progress.show(status)
    assert stream.getvalue().removeprefix(before).splitlines() == [
        "running  l1 50% seed 0: tock, epoch 4.5/10, 1234 images/s, ETA 1:30",
        "1 running, 1 waiting of 2 trials; about 4:00 left",
    ]


def test_after_the_last_step_no_time_is_told():
    last = {**HALF_WAY, "epoch": 10.0, "eta_s": 0.2}
    assert doing(trial("l1", "running", progress=last)) == "tock, epoch 10.0/10, 1234 images/s"


def test_a_terminal_gets_a_display(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    stream, l1 = Terminal(), trial("l1", "running", progress=HALF_WAY, seconds=60.0)
    with Progress(stream) as progress:
        progress.show(Status((l1, trial("dcff")), 60.0))
        progress.show(Status((l1, trial("dcff", "failed", reason="[bold] is not markup"))))
    text = stream.getvalue()
    assert "tock, epoch 4.5/10, 1234 images/s, ETA 1:30" in text and "\x1b[" in text
    assert "1 running, 1 waiting of 2 trials; 1:00 so far, about 4:00 left" in text
    assert "failed   dcff 50% seed 0 (dcffkey): [bold] is not markup" in text
    assert "started" not in text


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_ci_and_dumb_terminals_get_lines(monkeypatch, name, value):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    stream = Terminal()
    with Progress(stream) as progress:
        progress.show(Status((trial("l1", "running"),)))
    assert stream.getvalue() == "started  l1 50% seed 0 (l1key)\n1 running of 1 trials\n"


def test_eta():
    a, b = trial("a", "running", progress=HALF_WAY, seconds=60.0), trial("b")
    c = trial("c", "done", seconds=50.0)
    assert eta(Status((a,))) == 90.0
    assert eta(Status((a, b))) == 90.0 + 150.0  # b takes as long as a: 60 s and 90 s more
    assert eta(Status((a, b, c))) == 90.0 + (150.0 + 50.0) / 2
    assert eta(Status((a, replace(a, key="d"), b))) == (90.0 + 90.0 + 150.0) / 2
    assert eta(Status((b,))) is None
    assert eta(Status((trial("a", "running"), b))) is None


def test_words():
    assert counts(Status((trial("a", "running"), trial("b", "done")))) == "1 done, 1 running of 2 trials"
    assert doing(trial("a", "running")) == "starting"
    assert [duration(s) for s in (7.2, 760, 10930)] == ["0:07", "12:40", "3:02:10"]


def test_lines_need_no_rich(tmp_path):
    code = "import sys, bench.running.progress; assert not {'rich', 'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
