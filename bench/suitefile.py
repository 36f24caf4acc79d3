"""The text of a suite file: its values, and the line on which each of them stands."""

from __future__ import annotations

import difflib
import math
import os
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bench.errors import UserError

MAX_VALUES = 100_000
"""No suite is as long; a few lines of aliases of aliases can be."""


UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a key that is none of a model's, and of a method's."""


class SuiteError(UserError):
    """What is wrong in a suite, where, and how to mend it: one line."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True)
class SuiteFile:
    """A parsed suite file."""

    path: Path
    values: dict[str, Any]
    root: yaml.Node

    def relative(self, path: str) -> Path:
        """A path in the file, its ~ and $VARIABLES replaced, taken from the file's own folder."""
        return (self.path.parent / Path(os.path.expandvars(path)).expanduser()).resolve()

    def line(self, place: tuple[Any, ...]) -> int:
        """Line of the deepest part of `place` that stands in the file."""
        node, line = self.root, self.root.start_mark.line
        for part in place:
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(part)]
                if not found:
                    continue
                (key, node) = found[0]
                line = key.start_mark.line
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line
        return line + 1

    def method_index(self, name: str) -> int:
        """Place of the method's first entry in the list."""
        entries = self.values["methods"]
        return next(i for i, item in enumerate(entries) if item == name or (isinstance(item, dict) and name in item))

    def error(self, place: tuple[Any, ...], message: str) -> SuiteError:
        """`FILE:LINE: PLACE: MESSAGE`."""
        alone = len(place) > 1 and place[1] == 0 and not isinstance(self.values.get(place[0]), list)
        where = ".".join(str(part) for part in (place[:1] + place[2:] if alone else place))
        return SuiteError(f"{self.path}:{self.line(place)}: {where}: {message}")

    def explain(self, error: ValidationError, model: Any, prefix: tuple[Any, ...] = ()) -> SuiteError:
        """The first complaint of pydantic in one line, an unknown key with the nearest valid one."""
        errors = error.errors()
        first = errors[0]
        if first["type"] == "missing":  # it may stand there, misspelt
            near = [e for e in errors if e["type"] in UNKNOWN and e["loc"][:-1] == first["loc"][:-1]]
            first = next((e for e in near if nearest(str(e["loc"][-1]), [str(first["loc"][-1])])), first)
        place = (*prefix, *first["loc"])
        if first["type"] in UNKNOWN:
            key, known = str(first["loc"][-1]), _keys(model, first["loc"][:-1])
            return self.error(place, f"unknown key '{key}'{nearest(key, known)} (known: {', '.join(known)})")
        if first["type"] == "missing":
            return self.error(place, "is missing")
        message = first["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(first["input"], dict) else f", not {reprlib.repr(first['input'])}"
        return self.error(place, f"{message[0].lower()}{message[1:]}{shown}")


class _Loader(yaml.SafeLoader):
    """For which 1e-3 is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+e[-+][0-9]+\Z", re.I), list("-+0123456789")
)


def parse(text: str) -> Any:
    """The value of a YAML text. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


def read(path: Path) -> SuiteFile:
    """Raises SuiteError where the file is no YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, _Loader)
        if root is not None and _size(root, {}) > MAX_VALUES:
            raise SuiteError(f"{path}: with its aliases written out, it has more than {MAX_VALUES} values")
        if root is not None and (twice := _twice(root, set())):
            raise SuiteError(f"{path}:{twice.start_mark.line + 1}: the key '{twice.value}' stands here a second time")
        values = parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", error)).split())
        raise SuiteError(f"{path}{line}: this is not YAML: {reason}") from error
    except (ValueError, TypeError, RecursionError) as error:  # a date that is none, a list as a key, 1500 brackets
        raise SuiteError(f"{path}: this is not a suite: {error}") from error
    if root is None or not isinstance(values, dict):
        raise SuiteError(f"{path}:1: a suite is a mapping of keys such as name, dataset, backbone, methods")
    return SuiteFile(path, values, root)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Number of values below a node, aliases written out; infinite where one holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        known[id(node)] = 1 + sum(_size(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    """The items of a list, the keys and values of a mapping."""
    entries = node.value if isinstance(node, yaml.CollectionNode) else []
    return [part for entry in entries for part in (entry if isinstance(entry, tuple) else [entry])]


def _twice(node: yaml.Node, seen: set[int]) -> yaml.Node | None:
    """A key that its mapping has already: YAML would let the last one win without a word."""
    if id(node) in seen:
        return None
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                return key
            keys.add(str(key.value))
    return next((found for child in _children(node) if (found := _twice(child, seen))), None)


def _keys(model: Any, loc: tuple[Any, ...]) -> list[str]:
    """The keys that are valid at a place, following the model's fields."""
    for part in loc:
        if isinstance(part, int) or not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        annotation = model.model_fields[str(part)].annotation
        model = next(iter(_models(annotation)), None)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return [field.name for field in fields(model)] if is_dataclass(model) else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models(part)]
