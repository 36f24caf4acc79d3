"""Reads the file of an offline W&B run."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path


def read(path: Path) -> dict:
    """A finished offline run. wandb's own process writes the file, and may end a moment after `finish` returns."""
    for _ in range(100):
        if (found := _read(path))["exit"] is not None:
            break
        time.sleep(0.05)
    return found


def _read(path: Path) -> dict:
    """What an offline run's file holds: a LevelDB log, blocks of 32 KiB of records: crc, length, type, payload."""
    from wandb.proto import wandb_internal_pb2

    data, messages, part, at = path.read_bytes(), [], b"", 7  # 7 bytes of header
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            messages.append(wandb_internal_pb2.Record.FromString(part))
            part = b""
    found: dict = {"history": [], "summary": {}, "artifacts": {}, "exit": None, "config": {}}

    def name(item) -> str:
        return item.key or ".".join(item.nested_key)

    for message in messages:
        kind = message.WhichOneof("record_type")
        if kind == "run":
            found["run"] = message.run
            found["config"] |= {name(item): json.loads(item.value_json) for item in message.run.config.update}
        elif kind == "history":
            found["history"].append({name(item): json.loads(item.value_json) for item in message.history.item})
        elif kind == "summary":
            found["summary"] |= {name(item): json.loads(item.value_json) for item in message.summary.update}
        elif kind == "request" and message.request.HasField("log_artifact"):
            artifact = message.request.log_artifact.artifact
            found["artifacts"][artifact.name] = artifact
        elif kind == "artifact":
            found["artifacts"][message.artifact.name] = message.artifact
        elif kind == "exit":
            found["exit"] = message.exit.exit_code
    return found
