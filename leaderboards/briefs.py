"""Records without their histories, read quickly: of many files, a second process reads half."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from bench.errors import UserError
from bench.record import Record, read_record
from leaderboards.curves import Curve, curve, curve_of

MANY = 2000
"""Files from which on a second process, which takes half a second to start, is worth it."""


def read_brief(path: Path) -> tuple[Record, Curve]:
    """A record with an empty history, and that history as a curve. Raises RecordError as `read_record` does."""
    try:
        values = from_json(path.read_bytes())
        drawn = curve(values.pop("history"))
        record = Record.model_validate({**values, "history": []})
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        drawn = None
    if drawn is None or record.key != record.trial.key:  # whatever is odd is left to the careful reader
        record = read_record(path)
        return record.model_copy(update={"history": []}), curve_of(record.history)
    return record, drawn


def reader(paths: Sequence[Path]) -> Callable[[Path], tuple[Record, Curve]]:
    """`read_brief` for these paths in their order; where they are many, the second half is read meanwhile."""
    later = [str(path) for path in paths[len(paths) // 2 :]]
    child = _child(later) if len(paths) >= MANY and (os.cpu_count() or 1) > 1 else None
    if child is None:
        return read_brief
    theirs = set(later)

    @cache
    def answer() -> dict[str, tuple[bytes, Curve]]:
        process, out = child
        process.wait()
        out.seek(0)
        with out, suppress(EOFError, pickle.UnpicklingError):  # no answer is no harm: we read the files ourselves
            return dict(pickle.load(out))
        return {}

    def read(path: Path) -> tuple[Record, Curve]:
        given = answer().pop(str(path), None) if str(path) in theirs else None
        return (Record.model_validate_json(given[0]), given[1]) if given else read_brief(path)

    return read


def _child(paths: list[str]) -> tuple[subprocess.Popen[bytes], Any] | None:
    """A process that answers into a file: a pipe would be full before anyone reads it."""
    out = tempfile.TemporaryFile()  # noqa: SIM115 (who reads the answer closes it)
    command = [sys.executable, "-P", "-m", "leaderboards.briefs"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        with tempfile.TemporaryFile() as asked:
            asked.write(json.dumps(paths).encode())
            asked.seek(0)
            process = subprocess.Popen(command, stdin=asked, stdout=out, stderr=subprocess.DEVNULL, env=environment)
    except OSError:
        out.close()
        return None
    return process, out


def main() -> None:
    """Read the paths that stand on standard input; a file that is no record is left out of the answer."""
    found = {}
    for path in json.load(sys.stdin):
        with suppress(UserError):
            record, drawn = read_brief(Path(path))
            found[path] = (record.model_dump_json().encode(), drawn)
    pickle.dump(found, sys.stdout.buffer)


if __name__ == "__main__":
    import gc

    gc.disable()
    main()
