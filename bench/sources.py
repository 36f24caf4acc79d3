"""Which program this is: digests of its files, equal on two machines that run the same one."""

from __future__ import annotations

import hashlib
import inspect
from importlib.util import find_spec
from pathlib import Path


def digest() -> str:
    """First 12 hex digits of the SHA-256 of the Python files of `bench` and `methods`, names included."""
    total = hashlib.sha256()
    for package in ("bench", "methods"):
        spec = find_spec(package)  # finds it, and does not import it
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).rglob("*.py")):
                total.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def file_of(cls: type) -> Path | None:
    """The file that a class is written in; None for one that was typed in."""
    try:
        path = Path(inspect.getfile(cls))
    except (TypeError, OSError):
        return None
    return path if path.is_file() else None


def digest_of(cls: type) -> str | None:
    """First 12 hex digits of the SHA-256 of that file."""
    path = file_of(cls)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path else None
