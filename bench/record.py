"""One JSON file per finished trial. That it exists means the trial is done; none is ever overwritten."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import UserError
from bench.spec import SuiteName, Trial


class _Part(BaseModel):
    """Values that tables can reckon with: finite, and none beyond what any network or machine could give."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=10**18)]
Amount = Annotated[float, Field(ge=0, le=1e30)]


class Measured(_Part):
    """One network: accuracy in percent on the test set (fp32, last epoch), MACs of one image, parameters."""

    top1: Percent
    top5: Percent
    test_images: Annotated[int, Field(ge=1, le=10**12)]
    macs: Annotated[int, Field(ge=1, le=10**18)]
    fvcore_total: Count
    params: Count
    present_top1: Percent | None = None
    """Top-1 where only the classes that the test set holds compete, where the network tells more apart."""


class Spent(_Part):
    """Training spent: epochs of the data set as used, images, MACs (3 x forward per image), seconds."""

    epochs: Amount = 0.0
    images: Count = 0
    macs: Amount = 0.0
    seconds: Amount = 0.0


class Epoch(_Part):
    """One epoch (or part of one) of one phase. `top1`: the test set where the trial records it, else None."""

    model_config = ConfigDict(allow_inf_nan=True)  # a loss may diverge, and its log is kept

    phase: str
    epoch: Annotated[int, Field(ge=0)]
    epochs: Amount
    lr: float
    loss: float
    train_top1: float
    top1: Percent | None = None
    macs: Count
    images_per_s: Annotated[float, Field(ge=0)]
    seconds: Amount


class Machine(_Part):
    """Where and with what a trial ran."""

    device: str
    cpu: str
    threads: int
    workers: int = 1
    """Data-parallel processes that ran it, each with such a device and so many threads."""
    precision: Literal["fp32", "bf16"]
    memory_format: str
    platform: str
    versions: dict[str, str]
    commit: str
    memory_mb: Amount | None = None
    """The most that the (first) process held while the trial ran, in MiB, shared pages included; None: not known."""
    gpu_memory_mb: Amount | None = None
    """The most that torch took of the GPU's memory, in MiB; None without a GPU."""


class Record(_Part):
    """All that is known of a finished trial: the truth, of which W&B and the tables are mirrors."""

    schema_version: Literal[1] = 1
    key: str
    suite: SuiteName
    trial: Trial
    starts_from: Literal["pretrained", "scratch"]
    result: Measured
    dense: Measured | None
    """The baseline measured in the same way; None for a dense trial, and where no dense network exists."""
    cut_top1: Percent | None = None
    """Test top-1 right after the last cut, before any further training, where a method cuts and then trains."""
    best_top1: Percent | None = None
    """Best test top-1 of any epoch after the last cut, where recorded, because papers print it. It never ranks."""
    widths: dict[str, Count]
    """Group name -> units kept."""
    dense_widths: dict[str, Annotated[Count, Field(ge=1)]]
    off_target: Annotated[float, Field(ge=-100, le=1e6)] | None
    """Share of dense MACs kept, minus the target, in percentage points."""
    spent: Spent
    spent_dense: Spent | None
    """Training of the dense baseline, which comes on top for methods that start from it."""
    history: list[Epoch]
    machine: Machine
    notes: list[str] = []
    method_source: str | None = None
    """First 12 hex digits of the SHA-256 of the file that the method is written in; None: not known."""
    started: str
    finished: str


class Failure(_Part):
    """A try that did not finish: `failed-N.json`.

    `kind`: "method" is final until asked, "machine" is retried, "blocked" waits for a trial that it needs.
    """

    key: str
    trial: Trial
    kind: Literal["method", "machine", "blocked"]
    reason: str
    when: str
    traceback: str = ""


_FAILED = re.compile(r"failed-([0-9]{1,9})\.json")


class RecordError(UserError):
    """A file that is no record; the message names it."""


def write_json(path: Path, value: BaseModel | dict[str, Any]) -> None:
    """Replace `path` at once: temporary file, fsync, rename."""
    write_text(path, _json(value))


def write_text(path: Path, text: str) -> None:
    """Replace `path` at once, as `write_json` does."""
    os.replace(_temporary(path, text), path)


def write_once(path: Path, value: BaseModel | dict[str, Any]) -> bool:
    """Create `path` at once; False, and nothing changed, where it already exists."""
    temporary = _temporary(path, _json(value))
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def write_failure(folder: Path, failure: Failure) -> Path:
    """Add `failed-N.json` beside the ones that are there."""
    number = 1
    while not write_once(path := folder / f"failed-{number}.json", failure):
        number += 1
    return path


def read_record(path: Path) -> Record:
    """Raises RecordError, naming the file, where it is damaged or its key is not its trial's."""
    try:
        record = Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        hint = " (take it away to run the trial again)" if path.name == "record.json" else ""
        raise RecordError(f"{path} is not a record: {first_fault(error)}{hint}") from error
    if record.key != record.trial.key:
        raise RecordError(
            f"{path} was altered: its key is {record.key}, its trial's is {record.trial.key} (bring the original back)"
        )
    return record


def first_fault(error: Exception) -> str:
    """What is wrong with a file, in one line: of a validation, the first field that is."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def best_test_epoch(history: Iterable[Epoch], macs: int) -> float | None:
    """The best test top-1 of an epoch that trained a network of so many MACs: before its cut, it was another one."""
    return max((row.top1 for row in history if row.top1 is not None and row.macs == macs), default=None)


def find_records(where: Path) -> list[Path]:
    """The record that `where` is, or all beneath that folder: `record.json` of a trial, or `<key>.json`."""
    if not where.is_dir():
        return [where]
    return sorted(path for path in where.rglob("*.json") if re.fullmatch(r"record|[0-9a-f]{16}", path.stem))


def beside(record: Path, name: str, key: str | None = None) -> Path:
    """A file that belongs to a record: `name` in its trial's folder, or `<key>.name` beside `<key>.json`.

    With `key`, the same file of another record, where that record lies in the same way.
    """
    if record.name == "record.json":
        return record.parent / name if key is None else record.parent.parent / key / name
    return record.with_name(f"{key or record.stem}.{name}")


def failure_files(folder: Path) -> list[Path]:
    """`failed-N.json` of one trial, the oldest first."""
    found = [(int(match[1]), p) for p in folder.glob("failed-*.json") if (match := _FAILED.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def read_failures(folder: Path) -> list[Failure]:
    """The failed tries of one trial, oldest first. A damaged file is passed over."""
    failures = []
    for path in failure_files(folder):
        with suppress(OSError, ValidationError):
            failures.append(Failure.model_validate_json(path.read_bytes()))
    return failures


def _json(value: BaseModel | dict[str, Any]) -> str:
    return value.model_dump_json(indent=1) if isinstance(value, BaseModel) else json.dumps(value, indent=1)


def _temporary(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
