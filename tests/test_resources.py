"""Time limits of trials, and a disk that takes no more."""

import errno

import pytest
from trials import make, run, tries

from bench.errors import UserError
from bench.record import read_failures
from bench.running.schedule import Resources


@pytest.mark.parametrize(("given", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (2, 7200), ("2", 7200)])
def test_timeout_is_read_as_hours_or_with_a_unit(given, seconds):
    assert Resources(timeout=given).timeout == seconds


@pytest.mark.parametrize("given", ["soon", "-1h", ".", "1.2.3h", 0, -1, True, float("nan"), float("inf"), [1]])
def test_a_timeout_that_is_none_is_refused(given):
    with pytest.raises(ValueError, match="timeout"):
        Resources(timeout=given)


def test_a_trial_that_takes_too_long_has_failed_and_the_rest_go_on(tmp_path):
    slow = make("slow", "sleep")
    summary = run([slow, make("l1")], tmp_path, resources=Resources(cpus=1, timeout="0.3s"))
    assert tries(tmp_path) == ["slow", "l1"] and len(summary.done) == 1
    assert "took longer than resources.timeout" in summary.failed[slow.key]
    (failure,) = read_failures(tmp_path / "trials" / slow.key)
    assert failure.kind == "method"


def test_a_failure_that_cannot_be_written_ends_its_trial_alone(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.running.board.write_failure", full)
    bug = make("bug", "bug")
    summary = run([bug, make("l1")], tmp_path)
    assert summary.failed == {bug.key: "ValueError: a bug"} and len(summary.done) == 1
    assert not read_failures(tmp_path / "trials" / bug.key)


@pytest.mark.parametrize(
    ("given", "world"),
    [({}, 1), ({"gpus": 0.25}, 1), ({"gpus": 8}, 8), ({"workers": 2}, 2), ({"gpus": 2, "workers": 2}, 2)],
)
def test_a_worker_for_each_gpu_or_as_many_as_asked_for(given, world):
    assert Resources(**given).world == world


@pytest.mark.parametrize("given", [{"gpus": 8, "workers": 4}, {"gpus": 2, "workers": 1}, {"gpus": 0.5, "workers": 2}])
def test_workers_that_do_not_fit_the_gpus_are_refused(given):
    with pytest.raises(ValueError, match="one GPU each"):
        Resources(**given)


def test_several_workers_are_refused_inline(tmp_path):
    with pytest.raises(UserError, match="2 workers need Ray"):
        run([make("l1")], tmp_path, resources=Resources(workers=2))
