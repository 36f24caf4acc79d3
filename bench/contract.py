"""A registered method against the contract suite (bench/testing.py), with one line for what it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.errors import UserError
from bench.record import first_fault
from bench.spec import MethodSpec
from bench.testing import check_method


def broken_rule(name: str, values: Mapping[str, Any], *, backbone: str, epochs: int) -> str:
    """The rule that the method breaks, and how, in one line; empty where it keeps them all.

    Raises UserError where there is no such method or backbone, or no such hyper-parameters.
    """
    if (cls := registry.methods().get(name)) is None:
        raise UserError(registry.unknown(name))
    try:
        method = registry.build(MethodSpec(name=name, version=cls.version, params=dict(values)))
    except ValidationError as error:
        raise UserError(f"{name}: {first_fault(error)}") from error
    try:
        check_method(method, backbone=backbone, epochs=epochs)
    except AssertionError as error:
        return str(error)
    return ""
