"""What a run folder is about: plan.json, its trials, and methods.json, what a table says of their methods."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from bench import registry, sources
from bench.errors import UserError
from bench.jsonfile import read_object
from bench.lease import holder
from bench.method import Method
from bench.onlyone import alone
from bench.record import write_json, write_text
from bench.spec import DENSE, Trial

if TYPE_CHECKING:
    from bench.suite import Suite


def write(out: Path, wanted: Suite, path: Path, trials: Sequence[Trial]) -> None:
    """Note what is to run; trials of an earlier plan stay in it where they have a record.

    All of them stay while one of them that is not to run here runs: another driver's plan is carried out.
    """
    out.mkdir(parents=True, exist_ok=True)
    with alone(out / "plan.lock"):
        _write(out, wanted, path, _entries(trials))


def _write(out: Path, wanted: Suite, path: Path, entries: dict[str, dict[str, Any]]) -> None:
    plan = out / "plan.json"
    if plan.exists():
        try:
            earlier = {
                key: {"key": key, "trial": entry["trial"]}
                for entry in json.loads(plan.read_bytes())["trials"]
                if (key := Trial.model_validate(entry["trial"]).key) not in entries
            }
            shared = any(holder(out / "trials" / key) for key in earlier)
            done = (key for key in earlier if shared or (out / "trials" / key / "record.json").exists())
            entries |= {key: earlier[key] for key in done}
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # a damaged plan is written anew; the records do not depend on it
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    values = {"suite": wanted.name, "smoke": wanted.smoke, "source": str(path), "sha256": digest}
    tracking = {"project": wanted.tracking.project, "entity": wanted.tracking.entity}
    write_json(plan, {**values, "tracking": tracking, "trials": list(entries.values())})
    write_text(out / "suite.yaml", text)  # for readers of the tables: what asked for these trials
    _describe(out)


def add(out: Path, suite: str, entity: str, project: str, trials: Iterable[Trial]) -> None:
    """Add trials of a W&B project to the plan that is there, or begin one. Raises UserError where it is damaged."""
    path = out / "plan.json"
    plan: dict[str, Any] = {"suite": suite, "smoke": False, "source": f"W&B {entity}/{project}", "sha256": ""}
    plan |= {"tracking": {"project": project, "entity": entity}, "trials": []}
    if path.exists():
        try:
            plan = json.loads(path.read_bytes())
            known = {entry["key"] for entry in plan["trials"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError(f"{path} is damaged: move it away and do this again") from None
    else:
        known = set()
    new = [entry for key, entry in _entries(trials).items() if key not in known]
    if new or not path.exists():
        write_json(path, {**plan, "trials": [*plan["trials"], *new]})
    _describe(out)


def changed(out: Path, keys: Iterable[str]) -> list[str]:
    """One line for each method whose file is no longer what made its records here, of the trials with these keys."""
    made: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        record = read_object(out / "trials" / key / "record.json")
        with suppress(KeyError, TypeError):
            made[record["trial"]["method"]["name"]].append(record["method_source"])
    lines = []
    for name, cls in registry.methods().items():
        now = sources.digest_of(cls) if name in made else None
        if n := sum(old not in (None, now) for old in made.get(name, ())):
            lines.append(
                f"{sources.file_of(cls)} has changed since {n} of {name}'s records here were made; these stay: raise "
                "its `version` to run the trials anew"
            )
    return lines


def _entries(trials: Iterable[Trial]) -> dict[str, dict[str, Any]]:
    return {trial.key: {"key": trial.key, "trial": trial.model_dump(mode="json")} for trial in trials}


def _describe(out: Path) -> None:
    """Bring methods.json up to date; what is installed no more keeps its entry."""
    path = out / "methods.json"
    write_json(path, read_object(path) | _descriptions())


def _descriptions() -> dict[str, Any]:
    """What a table says of each method, so that making it needs no torch."""
    return {
        name: {
            "summary": cls.summary,
            "start": cls.start,
            "control": cls.control or name == DENSE,
            "prunes": cls.prunes,
            "defaults": _defaults(cls),
            "paper": vars(cls.paper) if cls.paper else None,
        }
        for name, cls in registry.methods().items()
    }


def _defaults(method: type[Method]) -> dict[str, Any]:
    """Hyper-parameters that have a default, as a record would hold them."""
    fields = dataclasses.fields(method)
    given = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    return dict(to_jsonable_python(given, fallback=repr))
