"""bench.runfolders: which folder a name, a file or a path stands for."""

from pathlib import Path

import pytest

from bench import runfolders
from bench.errors import UserError


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/tiny/plan.json", "results/trials/a/record.json", "other/notes.txt"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text("{}")


@pytest.mark.parametrize("name", ["tiny", "runs/tiny", "suite.yaml"])
def test_a_run_by_its_name_its_folder_or_its_file(name):
    Path("suite.yaml").write_text("name: tiny")
    assert runfolders.find(Path(name)) == Path("runs/tiny")


def test_folders_and_records():
    for name in ("results", "results/trials/a/record.json", "other"):
        assert runfolders.find(Path(name)) == Path(name)


def test_a_folder_that_holds_nothing_does_not_hide_a_run_and_one_that_does_comes_first():
    Path("tiny").mkdir()
    assert runfolders.find(Path("tiny")) == Path("runs/tiny")
    Path("tiny/record.json").write_text("{}")
    assert runfolders.find(Path("tiny")) == Path("tiny")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tinny", "did you mean 'tiny'"),
        ("runs/nosuch", "there is no 'runs/nosuch'"),
        ("no.yaml", "there is no 'no.yaml'"),
    ],
)
def test_what_is_not_there(name, words):
    with pytest.raises(UserError, match=words):
        runfolders.find(Path(name))


@pytest.mark.parametrize("text", ["name: ../elsewhere", "name: [", "- a"])
def test_a_file_that_is_no_suite(text):
    Path("bad.yaml").write_text(text)
    with pytest.raises(UserError, match="bad.yaml"):
        runfolders.find(Path("bad.yaml"))
