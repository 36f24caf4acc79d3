"""The digest of the program: the same for the same files, another for one that differs in name or content."""

import sys

from bench.sources import digest


def test_one_file_more_or_changed_is_another_program(tmp_path, monkeypatch):
    for name in ("bench", "methods"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    file = tmp_path / "methods" / "l1.py"
    seen = [digest()]
    file.write_text("a = 1")
    seen += [digest(), digest()]
    file.write_text("a = 2")
    seen.append(digest())
    file.rename(file.with_name("l2.py"))
    seen.append(digest())
    assert seen[1] == seen[2] and len(set(seen)) == 4
    (tmp_path / "methods" / "notes.txt").write_text("no program")
    assert digest() == seen[-1]
