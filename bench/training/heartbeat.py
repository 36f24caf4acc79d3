"""progress.json: how far a trial is, told about once a second."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

EVERY_S = 1.0


class Heartbeat:
    """Tells where a trial of `epochs` epochs, with `images` training images each, is. Losing one is harmless."""

    def __init__(self, folder: Path, epochs: float, images: int) -> None:
        self._path, self._epochs, self._images = folder / "progress.json", epochs, images
        self._told = -EVERY_S

    def teller(self, phase: str, epochs_before: float) -> Callable[[int], None]:
        """To be called after each step with the images seen in this epoch, `epochs_before` it being done."""
        started = time.monotonic()

        def tell(images: int) -> None:
            now = time.monotonic()
            if now - self._told < EVERY_S:
                return
            self._told = now
            speed = images / max(now - started, 1e-6)
            epoch = epochs_before + images / self._images
            left = max(0.0, self._epochs - epoch) * self._images / speed
            self._write(
                {
                    "phase": phase,
                    "epoch": epoch,
                    "epochs": self._epochs,
                    "images_per_s": speed,
                    "eta_s": left,
                    "updated": time.time(),
                }
            )

        return tell

    def _write(self, state: dict[str, object]) -> None:
        temporary = self._path.with_name(".progress.json")
        try:
            temporary.write_text(json.dumps(state))
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
