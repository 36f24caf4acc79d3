"""What a trial may use of a machine, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from bench.spec import Spec


class Resources(Spec):
    """What one trial gets. They do not count in its key.

    `cpus`: cores, and threads, of a trial (of each of its workers); None means one core on Ray and all cores inline.
    `gpus`: GPUs, or a share of one; 0 hides the GPUs from a trial on Ray. Inline trials use what this process sees.
    `workers`: processes that run one trial together, see `world`. `timeout`: seconds that one try may take, None for
    ever; a suite gives hours, or a text such as 90s, 30m or 2h.
    """

    cpus: Annotated[float, Field(gt=0)] | None = None
    gpus: Annotated[float, Field(ge=0)] = 0.0
    workers: Annotated[int, Field(ge=1)] | None = None
    timeout: Annotated[float, Field(gt=0, le=1e9)] | None = None

    @field_validator("timeout", mode="before")
    @classmethod
    def _seconds(cls, timeout: Any) -> Any:
        if isinstance(timeout, str):
            match = re.fullmatch(r"([0-9.]+) *([smhd]?)", timeout)
            if match is None or match[1].count(".") > 1 or match[1] == ".":
                raise ValueError("give hours, or a text such as 90s, 30m, 2h or 1d")
            return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 3600}[match[2]]
        if isinstance(timeout, bool):
            raise ValueError("give hours, or a text such as 90s, 30m, 2h or 1d")
        return timeout * 3600 if isinstance(timeout, int | float) else timeout

    @field_validator("gpus")
    @classmethod
    def _whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("more than one GPU must be a whole number")
        return gpus

    @model_validator(mode="after")
    def _one_each(self) -> Resources:
        if max(self.gpus, self.world) > 1 and self.gpus not in (0, self.world):
            raise ValueError("several workers take one GPU each, so give as many gpus as workers, or none")
        return self

    @property
    def world(self) -> int:
        """Processes of one trial: `workers`, or where that is not set one for each GPU, and one without any."""
        return self.workers or max(1, int(self.gpus))

    @property
    def late(self) -> str:
        """What is said of a trial that took too long."""
        seconds = self.timeout or 0
        told = f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
        return f"it took longer than resources.timeout, {told}"
