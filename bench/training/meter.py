"""What a trial's training has cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.record import Epoch, Spent


class Meter:
    """Adds up the epochs of one trial, and mirrors them in history.jsonl, where trackers look.

    `images`: of one epoch, as trained. `file`: None where another process writes it.
    """

    def __init__(self, images: int, file: Path | None) -> None:
        self.epochs = 0.0
        self.history: list[Epoch] = []
        self._images, self._file = images, file
        if file:
            file.write_text("")

    def add(self, rows: Sequence[Epoch]) -> None:
        self.history += rows
        self.epochs += sum(row.epochs for row in rows)
        if self._file:
            with self._file.open("a") as file:
                file.writelines(row.model_dump_json() + "\n" for row in rows)

    @property
    def spent(self) -> Spent:
        """All training so far: MACs are 3 x forward (one forward, about two for the backward) per image."""
        return Spent(
            epochs=self.epochs,
            images=sum(round(row.epochs * self._images) for row in self.history),
            macs=sum(3.0 * row.macs * row.epochs * self._images for row in self.history),
            seconds=sum(row.seconds for row in self.history),
        )
