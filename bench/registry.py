"""Methods by name, found through the entry point group `prunebench.methods`.

An entry point names a method class, a module, or a package of one-file methods (as this project's own `methods`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter

from bench.errors import UserError
from bench.method import Method
from bench.spec import MethodSpec


class RegistryError(UserError):
    """A plugin cannot be used; the message names it."""


def methods() -> dict[str, type[Method]]:
    """Every registered method by name, sorted. Raises RegistryError on a name taken twice."""
    return _load()[0]


def broken() -> list[str]:
    """Of each plugin that does not load, which and why, in one line; the others can be used all the same."""
    return _load()[1]


@cache
def _load() -> tuple[dict[str, type[Method]], list[str]]:
    found: dict[str, type[Method]] = {}
    bad: list[str] = []
    for point in entry_points(group="prunebench.methods"):
        try:
            classes = list(_classes(point.load()))
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            bad.append(f"the method plugin '{point.value}' does not load: {why}")
            continue
        for cls in classes:
            if found.setdefault(cls.name, cls) is not cls:
                raise RegistryError(
                    f"two methods are called '{cls.name}': {found[cls.name].__module__}, {cls.__module__}"
                )
    return dict(sorted(found.items())), bad


def build(spec: MethodSpec) -> Method:
    """The method with its hyper-parameters. Raises RegistryError where it is not installed in this version."""
    cls = methods().get(spec.name)
    if cls is None:
        raise RegistryError("; ".join([f"the method '{spec.name}' is not installed here", *broken()]))
    if cls.version != spec.version:
        raise RegistryError(f"the trial wants {spec.name} version {spec.version}, installed is {cls.version}")
    return TypeAdapter(cls).validate_python(spec.params)


def _classes(target: Any) -> Iterator[type[Method]]:
    if isinstance(target, type):
        yield target
        return
    modules: list[ModuleType] = [target]
    if hasattr(target, "__path__"):
        names = sorted(info.name for info in pkgutil.iter_modules(target.__path__))
        modules += [importlib.import_module(f"{target.__name__}.{name}") for name in names]
    for module in modules:
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Method)
                and value.name
                and value.__module__ == module.__name__
            ):
                yield value
