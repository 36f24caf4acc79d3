"""Trials in this process: how many threads they get."""

import os

import pytest

from bench.resources import Resources
from bench.running.inline import Inline


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("4,2", 4), ("0", 1), ("", None), ("all", None)])
def test_threads_are_asked_for_or_the_cores_that_this_process_may_use(tmp_path, monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert Inline(Resources(), tmp_path, lambda: None).threads == (threads or 3)
    assert Inline(Resources(cpus=2), tmp_path, lambda: None).threads == 2
