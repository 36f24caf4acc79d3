"""The journal of a trial that several processes may run: the first one's, read out to all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.training.journal import Entry, Journal
from bench.training.ranks import Ranks


class SharedJournal(Journal):
    """As `Journal`, but only the first process touches the folder. Where it cannot, all of them stop."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self._ranks = ranks
        if ranks.first:
            super().__init__(folder)
        self._number = 0

    def settings(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return self._ranks.broadcast(partial(super().settings, wanted))

    def finished(self, event: str) -> Entry | None:
        return self._ranks.broadcast(partial(super().finished, event))

    def finish(self, event: str, tensors: Mapping[str, Tensor], values: Any) -> None:
        self._ranks.broadcast(partial(super().finish, event, tensors, values))

    def checkpoint(self, event: str, epoch: int, tensors: Mapping[str, Tensor], values: Any) -> None:
        self._ranks.broadcast(partial(super().checkpoint, event, epoch, tensors, values))

    def last_checkpoint(self, event: str) -> tuple[int, Entry] | None:
        return self._ranks.broadcast(partial(super().last_checkpoint, event))
