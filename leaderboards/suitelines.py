"""Where a result was asked for: the copy of the suite file that a run keeps, and the method's entry in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from bench import suitefile
from bench.errors import UserError
from bench.record import RecordError
from bench.spec import MethodSpec


@dataclass(frozen=True, slots=True)
class SuiteLine:
    """An entry under `methods`: its file, its first line counted from 1, its text, and the seeds of the suite."""

    path: Path
    number: int
    text: str
    seeds: tuple[int, ...] = ()


class SuiteCopy:
    """The suite file of a run folder; what made a record is looked up in it."""

    def __init__(self, path: Path) -> None:
        """Raises RecordError, naming the file, where it is no suite."""
        try:
            self._file = suitefile.read(path)
        except UserError as error:
            raise RecordError(str(error)) from error
        self.path = path
        self._lines = path.read_text(encoding="utf-8").splitlines()
        self._known: dict[str, SuiteLine | None] = {}

    def line(self, suite: str, method: MethodSpec) -> SuiteLine | None:
        """The entry that this method with these hyper-parameters comes from; None where there is none in the file."""
        key = f"{suite} {method.model_dump_json()}"
        if key not in self._known:
            self._known[key] = self._find(method) if self._file.values.get("name") == suite else None
        return self._known[key]

    def methods(self) -> list[tuple[str, bool, int]]:
        """The names under `methods`, whether widths are given there (`rates`, or `of` another), and their lines."""
        return [
            (name, any(key in ("rates", "of") for key, _ in _pairs(given)), node.start_mark.line + 1)
            for name, given, node in self._items()
            if isinstance(name, str)
        ]

    def points(self) -> list[float]:
        """Its targets, shares of the MACs to keep."""
        given = self._file.values.get("keep_macs")
        points = given if isinstance(given, list) else [given]
        return [float(point) for point in points if isinstance(point, int | float) and 0 < point <= 1]

    def _seeds(self) -> tuple[int, ...]:
        given = self._file.values.get("seeds")
        return tuple(seed for seed in (given if isinstance(given, list) else [given]) if isinstance(seed, int))

    def _find(self, method: MethodSpec) -> SuiteLine | None:
        for name, given, node in self._items():
            if name == method.name and all(_asks_for(v, method.params.get(k)) for k, v in _pairs(given)):
                first = node.start_mark.line
                text = "\n".join(_entry(self._lines[first:]))
                return SuiteLine(self.path, first + 1, text, self._seeds())
        return None

    def _items(self) -> Iterator[tuple[Any, Any, Any]]:
        """Name, hyper-parameters and YAML node of each entry."""
        root, items = self._file.root, self._file.values.get("methods")
        pairs = root.value if isinstance(root, yaml.MappingNode) else []
        nodes: list[Any] = next((value.value for key, value in pairs if key.value == "methods"), [])
        for item, node in zip(items if isinstance(items, list) else [], nodes, strict=False):
            name, given = next(iter(item.items())) if isinstance(item, dict) and item else (item, None)
            yield name, given, node


def _pairs(given: Any) -> list[tuple[Any, Any]]:
    return list(given.items()) if isinstance(given, dict) else []


def _asks_for(given: Any, resolved: Any) -> bool:
    """A value, or a list of choices with it; numbers that YAML takes for text, such as 1e-4, are numbers."""
    return _same(given, resolved) or (isinstance(given, list) and any(_same(choice, resolved) for choice in given))


def _same(given: Any, resolved: Any) -> bool:
    if isinstance(given, list) and isinstance(resolved, list):
        return len(given) == len(resolved) and all(map(_same, given, resolved))
    try:
        return bool(given == resolved or float(given) == float(resolved))
    except (TypeError, ValueError, OverflowError):
        return False


def _entry(lines: list[str]) -> list[str]:
    """The first line and those indented further, without comments and the first one's margin."""
    margin = len(lines[0]) - len(lines[0].lstrip())
    inside = takewhile(lambda line: line[: margin + 1].isspace(), lines[1:])
    return [line[margin:].split(" #")[0].rstrip() for line in [lines[0], *inside]]
