"""Carrying without Ray: a worker in a folder of its own, a desk in the driver's, and everything that may go wrong."""

from __future__ import annotations

import errno
import os
import shutil
import time
from hashlib import sha256
from pathlib import Path

import pytest
from test_resume import COMMON, DENSE, timeless

from bench import run_trial
from bench.errors import UserError
from bench.lease import LeasedError, hold, holder
from bench.record import Record, read_record
from bench.running import carry, desk
from bench.running.board import ELSEWHERE
from bench.running.carry import Visit, carried, visit
from bench.running.desk import Desk
from bench.sources import digest
from bench.spec import MethodSpec, Recipe, Trial

KEY, NEED = "0123456789abcdef", "fedcba9876543210"
JOURNAL = "journal/00001-train.epoch-00001-{}.safetensors"


class Counter:
    """`ask` of a visit: a desk in this process, and all that it was asked. `broken`: raised instead, once set."""

    def __init__(self, out: Path) -> None:
        self.desk, self.asked, self.broken = Desk(out), [], None

    def __call__(self, what, *arguments):
        self.asked.append((what, *arguments))
        if self.broken:
            raise self.broken
        return getattr(self.desk, what)(*arguments)


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_SCRATCH", str(tmp_path / "scratch"))
    return make(tmp_path / "run")


def make(out: Path, key: str = KEY, needs: tuple[str, ...] = ()) -> Visit:
    (out / "trials" / key).mkdir(parents=True, exist_ok=True)
    return Visit(out, out / "no-such-mark", key, needs, digest(), {}, Counter(out))


def named(content: bytes, name: str = JOURNAL) -> str:
    return name.format(sha256(content).hexdigest()[:16])


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_a_trial_goes_on_from_the_driver_and_brings_back_what_it_makes(there, monkeypatch):
    monkeypatch.setattr(desk, "PIECE", 4)
    monkeypatch.setattr(carry, "PIECE", 4)
    there = make(there.out, needs=(NEED,))
    folder = there.out / "trials" / KEY
    old, new = named(b"eight by"), named(b"the next epoch")
    put(folder, old, b"eight by")
    put(folder, "log.txt", b"before\n")
    put(folder, "model.safetensors", b"of a try that was cut short")
    put(folder, "measured.txt", b"not ours")
    put(there.out / "trials" / NEED, "record.json", b"{}")
    put(there.out / "trials" / NEED, "model.safetensors", b"dense")

    def work(out: Path, where: str, kept) -> str:
        local = out / "trials" / KEY
        assert out != there.out and "carried to the driver" in where
        found = sorted(p.relative_to(out / "trials").as_posix() for p in out.rglob("*") if p.is_file())
        assert found == [f"{KEY}/{old}", f"{KEY}/log.txt", f"{NEED}/model.safetensors", f"{NEED}/record.json"]
        assert (local / old).read_bytes() == b"eight by"
        assert holder(folder) == f"process {os.getpid()} on {os.uname().nodename}"
        put(local, new, b"the next epoch")
        (local / old).unlink()
        kept()
        assert (folder / new).read_bytes() == b"the next epoch" and not (folder / old).exists()
        put(local, "log.txt", b"before\nafter\n")
        put(local, "model.safetensors", b"compact network")
        put(local, "record.json", b"{}")
        return "said"

    assert visit(there, work) == "said"
    assert (folder / "model.safetensors").read_bytes() == b"compact network"
    assert (folder / "log.txt").read_bytes() == b"before\nafter\n" and (folder / "record.json").exists()
    names = [arguments[1] for what, *arguments in there.ask.asked if what == "write"]
    assert list(dict.fromkeys(names)) == [new, "log.txt", "model.safetensors", "record.json"], "the record is the last"
    assert not list(folder.rglob(".*")) and not list((there.out.parent / "scratch").iterdir())
    there.ask.desk.end(KEY)
    assert holder(folder) == ""


def test_a_node_that_sees_the_folder_works_in_it(there):
    there.mark.touch()
    assert visit(there, lambda out, where, **more: f"{out} {where} {sorted(more)}", rank=0) == (
        f"{there.out} on {os.uname().nodename}, in the shared folder ['rank']"
    )
    assert not there.ask.asked


def test_the_drivers_variables_stand_in_for_those_that_a_node_lacks(there, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_DATA", "the node's")
    monkeypatch.setenv("PRUNEBENCH_WEIGHTS", "")  # so that it is taken away after the test
    monkeypatch.delenv("PRUNEBENCH_WEIGHTS")
    there.mark.touch()
    variables = {"PRUNEBENCH_DATA": "the driver's", "PRUNEBENCH_WEIGHTS": "the driver's"}
    there = Visit(there.out, there.mark, KEY, (), there.sources, variables, there.ask)
    seen = visit(there, lambda out, **_: f"{os.environ['PRUNEBENCH_DATA']}, {os.environ['PRUNEBENCH_WEIGHTS']}")
    assert seen == "the node's, the driver's"


def test_another_program_is_refused(there):
    there = Visit(there.out, there.mark, KEY, (), "0123", {}, there.ask)
    with pytest.raises(UserError, match=r"is not the driver's \(0123\): install the same on every node"):
        visit(there, lambda *_, **__: "")


def test_a_trial_that_is_held_at_the_driver_is_left_alone(there):
    with hold(there.out / "trials" / KEY):
        assert visit(there, lambda *_, **__: pytest.fail("it ran")) == ELSEWHERE


def test_a_worker_that_was_given_up_writes_nothing_more(there):
    folder = there.out / "trials" / KEY
    with carried(there) as (out, carry_now):
        there.ask.desk.end(KEY)
        put(out / "trials" / KEY, "record.json", b"late")
        with pytest.raises(LeasedError):
            carry_now()
    with carried(there) as (out, carry_now):  # and neither does one whose lease another process has taken
        (lease,) = folder.glob("lease-*.json")
        os.utime(lease, (0, 0))
        with hold(folder):
            put(out / "trials" / KEY, "record.json", b"late")
            with pytest.raises(LeasedError):
                carry_now()
    assert not (folder / "record.json").exists()


def test_the_first_record_wins_and_its_network_stays(there):
    folder = there.out / "trials" / KEY
    with carried(there) as (out, carry_now):
        put(folder, "model.safetensors", b"first")
        put(folder, "record.json", b"first")
        put(out / "trials" / KEY, "model.safetensors", b"second")
        put(out / "trials" / KEY, "record.json", b"second")
        carry_now()
    assert (folder / "record.json").read_bytes() == (folder / "model.safetensors").read_bytes() == b"first"


@pytest.mark.parametrize(
    "name",
    ["../x.json", "/etc/x", f"../{NEED}/record.json", "journal/../record.json", "lease-2.json", "journal/x", "a.py", ""]
    + ["journal/00001-train-0123456789ABCDEF.safetensors", "record.json\n", ".log.txt", "failed-x.json"],
)
def test_a_name_that_no_trial_writes_is_refused(there, name):
    token, _ = there.ask.desk.begin(KEY, ())
    with pytest.raises(ValueError, match="may not write"):
        there.ask.desk.write(token, name, 0, b"x", True)
    with pytest.raises(ValueError, match="may not read"):
        there.ask.desk.read(token, name, 0)
    with pytest.raises(ValueError, match="may not delete"):
        there.ask.desk.drop(token, name)
    there.ask.desk.end(KEY)
    assert [p for p in there.out.rglob("*") if p.is_file()] == []


def test_what_arrives_damaged_or_in_part_gets_no_name(there):
    token, _ = there.ask.desk.begin(KEY, ())
    folder, name = there.out / "trials" / KEY, named(b"content")
    with pytest.raises(ValueError, match="damaged"):
        there.ask.desk.write(token, name, 0, b"CONTENT", True)
    there.ask.desk.write(token, name, 0, b"con", False)
    with pytest.raises(ValueError, match="missing"):
        there.ask.desk.write(token, name, 5, b"nt", True)
    there.ask.desk.write(token, "model.safetensors", 0, b"a half", False)
    there.ask.desk.end(KEY)
    assert [p for p in folder.rglob("*") if p.is_file()] == []
    put(folder, f"journal/.x.safetensors.{token}", b"of a desk that was killed")
    there.ask.desk.begin(KEY, ())
    there.ask.desk.end(KEY)
    assert [p for p in folder.rglob("*") if p.is_file()] == []


def test_a_finished_event_and_a_key_are_not_deleted_or_invented(there):
    token, _ = there.ask.desk.begin(KEY, ())
    with pytest.raises(ValueError, match="may not delete"):
        there.ask.desk.drop(token, "journal/00001-train-0123456789abcdef.safetensors")
    with pytest.raises(ValueError, match="no trial's key"):
        there.ask.desk.begin("../elsewhere", ())
    there.ask.desk.end(KEY)


def test_a_full_disk_at_the_driver_is_the_reason(there):
    full = OSError(errno.ENOSPC, "No space left on device", "/runs/x")

    def work(out: Path, kept, **_: object) -> str:
        put(out / "trials" / KEY, "log.txt", b"x")
        there.ask.broken = full
        return ""

    assert visit(there, work) == "No space left on device: /runs/x"


def test_what_killed_workers_left_is_removed(there):
    scratch = there.out.parent / "scratch"
    old, young, other = scratch / "prunebench-carried-1", scratch / "prunebench-carried-2", scratch / "other"
    for folder in (old, young, other):
        put(folder, "trials/x/log.txt", b"x")
    past = time.time() - 2 * carry.LEFT_S
    for folder in (old, other):
        os.utime(folder, (past, past))
    with carried(there):
        pass
    assert not old.exists() and young.exists() and other.exists()


class Gone(BaseException):
    """A node that dies."""


def test_a_carried_trial_loses_at_most_the_running_epoch_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_SCRATCH", str(tmp_path / "scratch"))
    whole = tmp_path / "whole"
    assert isinstance(run_trial(DENSE, whole, suite="carry", threads=1), Record)
    broken = Path(shutil.copytree(whole, tmp_path / "broken"))
    recipe = Recipe(epochs=3, lr=0.05, batch_size=32)
    trial = Trial(method=MethodSpec(name="l1"), recipe=recipe, keep_macs=0.5, baseline=DENSE.key, **COMMON)
    expected = run_trial(trial, whole, suite="carry", threads=1)
    there = make(broken, trial.key, (DENSE.key,))
    one, two = (out / "trials" / trial.key for out in (whole, broken))

    def work(out: Path, where: str, kept, dies: bool = False) -> str:
        def carry_or_die() -> None:
            kept()
            if dies and any(two.glob("journal/*.epoch-00002-*")):
                there.ask.broken = LeasedError("nothing is carried after this")
                raise Gone

        assert isinstance(run_trial(trial, out, suite="carry", threads=1, kept=carry_or_die), Record)
        return ""

    with pytest.raises(Gone):
        visit(there, work, dies=True)
    there.ask.broken = None
    there.ask.desk.end(trial.key)
    assert not (two / "record.json").exists()
    assert visit(there, work) == ""
    assert "goes on after epoch 2" in (two / "log.txt").read_text()
    assert timeless(read_record(two / "record.json")) == timeless(expected)
    assert (two / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    assert not list(two.glob("journal/*.epoch-*")) and len(list(two.glob("journal/*"))) == len(
        list(one.glob("journal/*"))
    )
