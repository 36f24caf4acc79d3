"""Brings records back from the W&B project that several machines send theirs to, for one leaderboard of all.

Everything that comes is a stranger's until it is checked: of each artifact one file of a known name goes into a folder
of its own, is read as what it must be, and only then gets its place, where nothing is ever overwritten.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bench.errors import UserError
from bench.labels import plain
from bench.lease import holder
from bench.record import (
    Failure,
    RecordError,
    failure_files,
    first_fault,
    read_failures,
    read_record,
    write_failure,
    write_once,
)
from bench.spec import DENSE, Trial
from bench.tracking import tracked, wandb_run
from bench.tracking.tracked import Mark
from bench.tracking.wandb_run import FILES, line

if TYPE_CHECKING:
    from wandb import Artifact

LARGEST = 50 * 10**6
"""Bytes of a record: one with 10,000 epochs has 3 MB."""

_NAME = re.compile(r"(record|failure|model)-([0-9a-f]{16}):v([0-9]{1,9})")


class _RefusedError(Exception):
    """Why an artifact is not taken, in a few words."""


class _StoppedError(Exception):
    """W&B does not answer any more."""


@dataclass
class Pulled:
    """How many artifacts were taken, were here already, were refused (or are in conflict with what is here)."""

    taken: int = 0
    there: int = 0
    refused: int = 0
    trials: dict[str, Trial] = field(default_factory=dict)
    """What the plan has to hold."""

    def __str__(self) -> str:
        return f"{self.taken} taken, {self.there} here already, {self.refused} refused"


def pull(
    project: str,
    out: Path,
    *,
    suite: str | None = None,
    models: bool = False,
    note: Callable[[str], None] = print,
) -> Pulled:
    """Bring the records of ENTITY/PROJECT and its failed trials into `out`, and the dense networks they start from.

    `models`: all compact networks too. `suite`: only what belongs to it. `note` gets a line for everything that is
    refused. What is here already is not downloaded again; a record that differs from the one here is a conflict, and
    the one here stays. Raises UserError where W&B does not answer at all.
    """
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", project):
        raise UserError(f"'{project}' is no W&B project: give ENTITY/PROJECT")
    if why := wandb_run.refused():
        raise UserError(why)
    pulled, disputed = Pulled(), set[str]()

    def wanted(type: str, name: str) -> bool:
        trial = pulled.trials.get(name.removeprefix("model-"))
        return type != "model" or models or (trial is not None and trial.method.name == DENSE)

    try:
        for artifact in _artifacts(_types(project), wanted):
            told = artifact.metadata.get("suite")  # a record says itself what it belongs to
            match = _NAME.fullmatch(artifact.name)
            other = suite and told != suite and (told or artifact.type != "record")
            if other or (artifact.type == "model" and not match):
                continue
            try:
                if not match or match[1] != artifact.type:
                    raise _RefusedError("it is no artifact of a trial")
                _take(artifact, match[2], out, suite, disputed, pulled)
            except (_RefusedError, RecordError) as error:
                disputed |= {match[2]} if match and artifact.type == "record" else set()
                pulled.refused += 1
                note(_shown(f"{artifact.name}: {error}"))
    except (_StoppedError, OSError) as error:
        pulled.refused += 1
        note(_shown(f"pulling stops ({error}): what came is kept, pull again for the rest"))
    if pulled.trials:
        from bench.running import plan

        entity, _, name = project.partition("/")
        plan.add(out, suite or name, entity, name, pulled.trials.values())
        for folder in (out / "trials" / key for key in pulled.trials):
            if tracked.outcome(folder) == "done":
                tracked.write(folder, Mark(name, entity, "online", "done"))
    return pulled


def _types(project: str) -> dict[str, Any]:
    """Name -> ArtifactType of a project."""
    import wandb

    try:
        return {found.name: found for found in wandb.Api().artifact_types(project)}
    except Exception as error:  # of W&B's client, whatever it is: its pages raise more than wandb.Error
        raise UserError(f"W&B shows no artifacts of {project} ({line(error)}): is the name right?") from error


def _artifacts(types: dict[str, Any], wanted: Callable[[str, str], bool]) -> Iterator[Artifact]:
    """All versions of all artifacts that are `wanted` (by type and name): records first, of each the oldest first.

    Raises _StoppedError.
    """
    try:
        for type in (types[name] for name in FILES if name in types):
            for collection in type.collections():
                if wanted(type.name, collection.name):
                    yield from sorted(collection.artifacts(), key=lambda found: (len(found.version), found.version))
    except Exception as error:
        raise _StoppedError(line(error)) from error


def _take(artifact: Artifact, key: str, out: Path, suite: str | None, disputed: set[str], pulled: Pulled) -> None:
    """Take one artifact, or find it here. `disputed`: keys that more than one record claims, or a refused one."""
    folder, type = out / "trials" / key, artifact.type
    has_record = (folder / "record.json").exists()
    if type == "failure" and (has_record or holder(folder)):
        return  # it was done after all, or is being tried again
    if type == "model" and not has_record:
        raise _RefusedError("its record is not here")
    if type == "model" and key in disputed:
        raise _RefusedError("its record is refused or in conflict")
    here = failure_files(folder) if type == "failure" else [folder / FILES[type]]
    if any(path.exists() and artifact.digest == _digest(artifact, path) for path in here):
        trial, new = _known(folder, suite), False
    else:
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=_made(out)) as scratch:
            path = _download(artifact, FILES[type], Path(scratch), None if type == "model" else LARGEST)
            trial, new = {"record": _record, "failure": _failure, "model": _model}[type](path, key, folder, suite)
    if trial is not None:
        pulled.trials[key] = trial
        pulled.taken, pulled.there = pulled.taken + new, pulled.there + (not new)


def _known(folder: Path, suite: str | None) -> Trial | None:
    """The trial of a folder that has an outcome; None where that is another suite's."""
    if not (folder / "record.json").exists():
        return read_failures(folder)[-1].trial
    record = read_record(folder / "record.json")
    return None if suite and record.suite != suite else record.trial


def _record(path: Path, key: str, folder: Path, suite: str | None) -> tuple[Trial | None, bool]:
    """(its trial, whether it is new) of a sound record; (None, False) for one of another suite."""
    record = _sound(path)
    if record.key != key:
        raise _RefusedError(f"it holds the record {record.key}")
    if suite and record.suite != suite:
        return None, False
    local = folder / "record.json"
    if not local.exists() and (folder / "model.safetensors").exists():
        raise _RefusedError(f"{folder} holds a network without its record: move that folder away")
    if write_once(local, record):
        return record.trial, True
    if read_record(local) != record:
        raise _RefusedError(f"in conflict with {local}: one key, two results; the one here stays")
    return record.trial, False


def _sound(path: Path) -> Any:
    try:
        return read_record(path)
    except RecordError as error:
        reason = str(error).replace(str(path), "it").partition(" (take it away")[0]
        raise _RefusedError(reason) from error


def _failure(path: Path, key: str, folder: Path, suite: str | None) -> tuple[Trial | None, bool]:
    try:
        failure = Failure.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _RefusedError(f"it is not the record of a failure: {first_fault(error)}") from error
    if not failure.key == failure.trial.key == key:
        raise _RefusedError(f"it was altered: its key is {failure.key}, its trial's is {failure.trial.key}")
    if failure in read_failures(folder):
        return failure.trial, False
    write_failure(folder, failure)
    return failure.trial, True


def _model(path: Path, key: str, folder: Path, suite: str | None) -> tuple[Trial | None, bool]:
    from bench.compact import CompactError, describe

    trial = read_record(folder / "record.json").trial
    try:
        backbone = describe(path).backbone
    except CompactError as error:
        raise _RefusedError(str(error).replace(str(path), "it")) from error
    if backbone != trial.backbone:
        raise _RefusedError(f"it is a {backbone.name}, its record's network a {trial.backbone.name}")
    try:
        os.link(path, folder / "model.safetensors")
    except FileExistsError:
        raise _RefusedError(f"in conflict with {folder / 'model.safetensors'}: the one here stays") from None
    return trial, True


def _digest(artifact: Artifact, local: Path) -> str:
    """The digest that an artifact of this one file has: equal where it need not be downloaded."""
    import wandb

    own = wandb.Artifact(artifact.name.partition(":")[0], type=artifact.type)
    own.add_file(str(local), name=FILES[artifact.type], policy="immutable", skip_cache=True)
    return own.digest


def _download(artifact: Artifact, name: str, scratch: Path, largest: int | None) -> Path:
    """The one file of an artifact, in a folder of its own. OSError: the network is gone, or the disk full."""
    try:
        entries = artifact.manifest.entries
        if list(map(str, entries)) != [name]:
            raise _RefusedError(f"it holds other files than {name}")
        if entries[name].ref is not None:
            raise _RefusedError("it refers to a file elsewhere")
        if largest and artifact.size > largest:
            raise _RefusedError(f"it is larger than {largest // 10**6} MB")
        artifact.get_entry(name).download(root=str(scratch), skip_cache=True)
    except _RefusedError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and getattr(error, "response", None) is None:
            raise
        raise _RefusedError(f"it cannot be downloaded: {line(error)}") from error
    return scratch / name


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _shown(text: str) -> str:
    """One line that does nothing to a terminal: names and messages come from others."""
    return plain(text)[:500]
