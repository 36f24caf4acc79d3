"""What a method gets to see of its trial: what `bench.Run` promises, and so nothing of the test set."""

from __future__ import annotations

from typing import Any, cast

from bench.method import Run
from bench.session import Session

PROMISED = {*Run.__annotations__, *(name for name in vars(Run) if not name.startswith("_"))}


class _OnlyRun:
    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        if name not in PROMISED:
            raise AttributeError(f"run.{name} is not part of bench.Run")
        return getattr(self._session, name)


def only_run(session: Session) -> Run:
    """`session`, of which a method can use `Run` alone: anything else raises AttributeError."""
    return cast(Run, _OnlyRun(session))
