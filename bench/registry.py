"""Methods by name, found through the entry point group `prunebench.methods`.

An entry point names a method class, a module, or a package of one-file methods (as this project's own `methods`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any

from pydantic import TypeAdapter

from bench.errors import UserError
from bench.method import Method
from bench.spec import MethodSpec
from bench.suitefile import nearest


class RegistryError(UserError):
    """A plugin cannot be used; the message names it."""

    of_machine = True


def methods() -> dict[str, type[Method]]:
    """Every registered method by name, sorted. Raises RegistryError on a name taken twice."""
    return _load()[0]


def broken() -> list[str]:
    """Of each module that does not load, which and why, in one line; the others can be used all the same."""
    return _load()[1]


@cache
def _load() -> tuple[dict[str, type[Method]], list[str]]:
    found: dict[str, type[Method]] = {}
    bad: list[str] = []
    for point in entry_points(group="prunebench.methods"):
        for cls in _classes(point.load, point.value, bad):
            if found.setdefault(cls.name, cls) is not cls:
                raise RegistryError(
                    f"two methods are called '{cls.name}': {found[cls.name].__module__}, {cls.__module__}"
                )
    return dict(sorted(found.items())), bad


def unknown(name: str) -> str:
    """What to say of a name that no method has: the nearest, and what does not load."""
    near = nearest(name, methods()) or ": `prunebench list methods` shows those that are installed"
    return "; ".join([f"unknown method '{name}'{near}", *broken()])


def find(name: str) -> type[Method]:
    """The method of that name. Raises RegistryError where it is not installed."""
    if (cls := methods().get(name)) is None:
        raise RegistryError("; ".join([f"the method '{name}' is not installed here", *broken()]))
    return cls


def build(spec: MethodSpec) -> Method:
    """The method with its hyper-parameters. Raises RegistryError where it is not installed in this version."""
    cls = find(spec.name)
    if cls.version != spec.version:
        raise RegistryError(f"the trial wants {spec.name} version {spec.version}, installed is {cls.version}")
    return TypeAdapter(cls).validate_python(spec.params)


def _classes(load: Callable[[], Any], name: str, bad: list[str]) -> Iterator[type[Method]]:
    """The methods of what `load` gives. Notes in `bad` what does not load, and goes on with the rest of a package."""
    try:
        target = load()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        bad.append(f"the method plugin '{name}' does not load: {why}")
        return
    if isinstance(target, type):
        yield target
        return
    for module in sorted(info.name for info in pkgutil.iter_modules(getattr(target, "__path__", ()))):
        inner = f"{target.__name__}.{module}"
        yield from _classes(partial(importlib.import_module, inner), inner, bad)
    for value in vars(target).values():
        if isinstance(value, type) and issubclass(value, Method) and value.name and value.__module__ == target.__name__:
            yield value
