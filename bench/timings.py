"""What `prunebench measure` leaves beside a record: how fast its network is on a named machine. No torch here.

The first machine's file is `latency.json`, a further machine's `latency-MACHINE.json`; the record itself never changes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from bench.record import Machine, RecordError, beside, first_fault


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_Measure = Annotated[float, Field(gt=0, le=1e12)]


class Spread(_Part):
    """Median and quartiles over the rounds."""

    median: _Measure
    q25: _Measure
    q75: _Measure


class Timing(_Part):
    """One batch size: milliseconds of a forward pass of the whole batch, and dense / compact of the same round."""

    batch: PositiveInt
    dense_ms: Spread
    compact_ms: Spread
    speedup: Spread


class Latency(_Part):
    """What was measured for one record on one machine: fp32, eval mode, channels_last."""

    schema_version: Literal[1] = 1
    key: str
    name: str
    """The machine as tables call it."""
    machine: Machine
    load: float
    """Of the machine when the measuring began: processes that wanted to run, this one aside."""
    alone: bool
    """Whether that load was low enough to say that the machine was ours."""
    dense: Literal["baseline", "fresh"]
    """The baseline's own weights, or, where they were not there, fresh ones."""
    rounds: int
    timings: list[Timing]
    measured: str

    def __str__(self) -> str:
        """The speed-ups in one line, with their quartiles."""
        parts = [
            f"{t.speedup.median:.2f}x ({t.speedup.q25:.2f} to {t.speedup.q75:.2f}) at batch {t.batch}"
            for t in self.timings
        ]
        return ", ".join(parts) + ("" if self.alone else f", with other work running (load {self.load:.1f})")


def read_latency(path: Path) -> Latency:
    """Raises RecordError, naming the file, where it is damaged."""
    try:
        return Latency.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(
            f"{path} is no measurement of latency: {first_fault(error)} (delete it and measure again)"
        ) from error


def place(record: Path, name: str) -> Path:
    """Where a machine's measurement of this record lies, or would lie."""
    first = beside(record, "latency.json")
    if not first.exists() or read_latency(first).name == name:
        return first
    return beside(record, f"latency-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.json")
