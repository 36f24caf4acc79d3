"""Trials run by several processes of this machine, without Ray: for tests of what they agree on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from torch import nn

PROGRAM = """
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

import ranks
from bench.training.ranks import Group

name, rank, size, out, meet = sys.argv[1:]
dist.init_process_group(
    "gloo", init_method=f"file://{meet}", rank=int(rank), world_size=int(size), timeout=timedelta(minutes=5)
)
getattr(__import__(name.partition(":")[0]), name.partition(":")[2])(Group(), Path(out))
dist.destroy_process_group()  # else the threads that reduce may outlive the interpreter, which aborts
"""


def start(function: str, out: Path, size: int = 2) -> list[subprocess.Popen[bytes]]:
    """Processes that call `module:function` of this folder with their ranks and `out`."""
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{folder.parent}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    meet = out / f"meet-{os.urandom(4).hex()}"
    return [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, function, str(rank), str(size), str(out), str(meet)],
            env=environment,
        )
        for rank in range(size)
    ]


def together(function: str, out: Path, size: int = 2) -> list[Any]:
    """What `module:function` left in `answer-RANK.json` in each of `size` processes."""
    workers = start(function, out, size)
    try:
        assert [worker.wait(timeout=240) for worker in workers] == [0] * size
    finally:
        for worker in workers:
            worker.kill()
    return [json.loads((out / f"answer-{rank}.json").read_bytes()) for rank in range(size)]


def digest(model: nn.Module) -> str:
    """Of all values, bit by bit."""
    state = model.state_dict()
    return hashlib.sha256(b"".join(key.encode() + state[key].numpy().tobytes() for key in state)).hexdigest()[:16]
