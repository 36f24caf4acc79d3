"""A registered method against the contract suite (bench/testing.py), with one line for what it breaks."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from pydantic import TypeAdapter, ValidationError

from bench import backbones, registry
from bench.errors import UserError
from bench.record import first_fault
from bench.suitefile import nearest
from bench.testing import check_method


def broken_rule(name: str, values: Mapping[str, str], *, backbone: str, epochs: int) -> str:
    """The rule that the method breaks, and how, in one line; empty where it keeps them all.

    Raises UserError where there is no such method or backbone, or no such hyper-parameters.
    """
    if name not in (known := registry.methods()):
        raise UserError("; ".join([f"unknown method '{name}'{nearest(name, known)}", *registry.broken()]))
    if backbone not in (networks := backbones.names()):
        raise UserError(f"unknown backbone '{backbone}'{nearest(backbone, networks)}")
    try:
        method = TypeAdapter(known[name]).validate_python({key: yaml.safe_load(value) for key, value in values.items()})
    except ValidationError as error:
        raise UserError(f"{name}: {first_fault(error)}") from error
    try:
        check_method(method, backbone=backbone, epochs=epochs)
    except AssertionError as error:
        return str(error)
    return ""
