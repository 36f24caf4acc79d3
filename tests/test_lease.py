"""Leases: one holder at a time, the dead and the silent give way, and the silent one notices."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import lease
from bench.lease import LeasedError, hold, holder

HOLD = "import sys, time, pathlib\nfrom bench.lease import hold\nwith hold(pathlib.Path(sys.argv[1])): "


def holding(folder: Path) -> subprocess.Popen:
    """Another process that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLD + "print(flush=True); time.sleep(60)", folder], stdout=-1)
    process.stdout.readline()
    return process


def test_a_held_lease_refuses_a_second_holder_and_is_gone_after(tmp_path):
    with hold(tmp_path):
        with pytest.raises(LeasedError, match=f"process {os.getpid()} on "), hold(tmp_path):
            pass
        assert str(os.getpid()) in holder(tmp_path)
    assert holder(tmp_path) == "" and not list(tmp_path.iterdir())


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    other = holding(tmp_path)
    with pytest.raises(LeasedError, match=f"process {other.pid} on "), hold(tmp_path):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    with hold(tmp_path) as mine:
        assert mine.path.name == "lease-2.json" and [p.name for p in tmp_path.iterdir()] == ["lease-2.json"]


def test_a_process_number_that_was_given_again_is_not_the_holder(tmp_path):
    with hold(tmp_path) as mine:
        values = json.loads(mine.path.read_text())
        mine.path.write_text(json.dumps({**values, "born": "1"}))
        assert holder(tmp_path) == ""


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": "x", "machine": 3}', "[" * 100000])
def test_a_damaged_lease_counts_until_it_is_old(tmp_path, content):
    (tmp_path / "lease-7.json").write_text(content)
    with pytest.raises(LeasedError), hold(tmp_path):
        pass
    old = time.time() - lease.STALE_S - 1
    os.utime(tmp_path / "lease-7.json", (old, old))
    with hold(tmp_path) as mine:
        assert mine.path.name == "lease-8.json"


def test_a_silent_holder_loses_its_lease_and_notices(tmp_path):
    with hold(tmp_path) as asleep:
        old = time.time() - lease.STALE_S - 1
        os.utime(asleep.path, (old, old))
        with hold(tmp_path) as awake:
            awake.check()
            with pytest.raises(LeasedError, match="taken its trial over"):
                asleep.check()
        with pytest.raises(LeasedError):
            asleep.check()


def test_another_machine_is_believed_while_it_renews(tmp_path):
    elsewhere = {"host": "node3", "machine": "node3", "pid": os.getpid(), "born": "1", "token": "t"}
    (tmp_path / "lease-1.json").write_text(json.dumps(elsewhere))
    assert holder(tmp_path) == f"process {os.getpid()} on node3"


def test_a_held_lease_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    with hold(tmp_path) as mine:
        os.utime(mine.path, (0, 0))
        deadline = time.monotonic() + 5
        while mine.path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _race(folder: Path, start, winners) -> None:
    start.wait()
    try:
        with hold(folder):
            winners.put(os.getpid())
            time.sleep(1)
    except LeasedError:
        winners.put(0)


def test_of_many_that_take_over_at_once_one_wins(tmp_path):
    (tmp_path / "lease-1.json").write_text("{}")
    os.utime(tmp_path / "lease-1.json", (0, 0))
    context = multiprocessing.get_context("spawn")
    start, winners = context.Barrier(6), context.Queue()
    processes = [context.Process(target=_race, args=(tmp_path, start, winners)) for _ in range(6)]
    for process in processes:
        process.start()
    found = [winners.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(1 for pid in found if pid) == 1


def test_one_error_of_a_file_system_does_not_end_the_renewal(tmp_path, monkeypatch):
    errors, utime = [OSError(116, "Stale file handle")] * 2, os.utime
    monkeypatch.setattr(lease, "RENEW_S", 0.02)

    def fails_twice(path, *times):
        if not times and errors:
            raise errors.pop()
        utime(path, *times)

    with hold(tmp_path) as mine:
        os.utime(mine.path, (0, 0))
        monkeypatch.setattr(lease.os, "utime", fails_twice)
        deadline = time.monotonic() + 5
        while mine.path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not errors


def test_a_lease_that_cannot_be_read_for_a_moment_is_not_lost(tmp_path, monkeypatch):
    with hold(tmp_path) as mine:
        monkeypatch.setattr(lease, "read_object", lambda path: {})
        mine.check()
        monkeypatch.undo()
        mine.path.write_text(json.dumps({"token": "another"}))
        with pytest.raises(LeasedError):
            mine.check()
