"""What a trial has done so far, on disk, so that a killed trial goes on from its last finished epoch.

`Method.compress` is called again after a crash. Each of its calls that takes time or decides something is an event
with a number: a finished one is answered from here instead of being done again. An event is one safetensors file;
the name holds a digest of the content, so that a damaged file is noticed, set aside, and its work done again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

Entry = tuple[dict[str, Tensor], Any]
"""Tensors, and JSON values beside them."""


class Journal:
    """Events of one trial, in the order of the calls.

    `guard`, called before each write, raises where this process may not write (any more). `kept` is called after it.
    """

    def __init__(self, folder: Path, guard: Callable[[], None] = lambda: None) -> None:
        self.guard = guard
        self.kept: Callable[[], None] = lambda: None
        self._folder = folder
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    def settings(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What must not change on resume (threads, precision): the first call's values, whatever is wanted later."""
        kept = self._read("settings")
        if kept is None:
            self._write("settings", {}, dict(wanted))
            return dict(wanted)
        return kept[1]

    def next(self, kind: str) -> str:
        """Name of the next event; the same calls in the same order get the same names."""
        self._number += 1
        return f"{self._number:05d}-{kind}"

    @property
    def events(self) -> int:
        """How many have been asked for."""
        return self._number

    def finished(self, event: str) -> Entry | None:
        """What `finish` was given for this event, or None."""
        return self._read(event)

    def finish(self, event: str, tensors: Mapping[str, Tensor], values: Any) -> None:
        """Note the event as done; its checkpoints are no longer needed."""
        self._write(event, tensors, values)
        for path in self._folder.glob(f"{event}.epoch-*"):
            path.unlink()

    def checkpoint(self, event: str, epoch: int, tensors: Mapping[str, Tensor], values: Any) -> None:
        """Keep the state after `epoch` finished epochs of an event, and the one before it."""
        self._write(f"{event}.epoch-{epoch:05d}", tensors, values)
        for path in sorted(self._folder.glob(f"{event}.epoch-*.safetensors"))[:-2]:
            path.unlink()

    def last_checkpoint(self, event: str) -> tuple[int, Entry] | None:
        """(finished epochs, entry) of the newest undamaged checkpoint of an event, or None."""
        names = {
            path.name.split(".safetensors")[0].rpartition("-")[0] for path in self._folder.glob(f"{event}.epoch-*")
        }
        for name in sorted(names, reverse=True):
            if (entry := self._read(name)) is not None:
                return int(name.rpartition("-")[2]), entry
        return None

    def _write(self, name: str, tensors: Mapping[str, Tensor], values: Any) -> None:
        self.guard()
        plain = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        content = save(plain or {"": torch.zeros(0)}, metadata={"values": json.dumps(values)})
        path = self._path(name, content)
        temporary = self._folder / f".{path.name}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.kept()

    def _path(self, name: str, content: bytes) -> Path:
        return self._folder / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"

    def _read(self, name: str) -> Entry | None:
        for path in sorted(self._folder.glob(f"{name}-????????????????.safetensors")):
            try:
                if self._path(name, path.read_bytes()) != path:
                    raise ValueError("the digest in the name is of another content")
                with safe_open(path, "pt") as file:
                    values = json.loads(file.metadata()["values"])
                    return {key: file.get_tensor(key) for key in file.keys() if key}, values  # noqa: SIM118
            except (ValueError, KeyError, TypeError, RecursionError, SafetensorError):
                path.rename(path.with_suffix(".damaged"))
        return None
