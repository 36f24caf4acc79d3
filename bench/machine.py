"""What a trial runs on: the device's name, its precision, versions of all that counts."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from bench.record import Machine

PACKAGES = ("prunebench", "torch", "torchvision", "timm", "fvcore", "torch-pruning", "numpy")


def precision(wanted: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Resolve "auto": bf16 where the device computes in it natively, and so gains by it."""
    if wanted != "auto":
        return "bf16" if wanted == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    flags = set(_cpuinfo("flags").split()) | set(_cpuinfo("Features").split())
    return "bf16" if flags & {"amx_bf16", "avx512_bf16", "bf16"} else "fp32"


def describe(settings: Mapping[str, Any], device: torch.device, workers: int = 1) -> Machine:
    """The machine, the settings that a trial keeps to the end, and the processes that ran it together."""
    return Machine(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        cpu=_cpuinfo("model name") or platform.processor() or platform.machine(),
        threads=settings["threads"],
        workers=workers,
        precision=settings["precision"],
        memory_format="channels_last",
        platform=platform.platform(),
        versions={
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
        commit=_commit(),
    )


def keep_memory() -> None:
    """Have this process keep the memory that it frees, where its C library is glibc.

    Each step of training on the CPU takes and frees the same large blocks; given back each time, their pages are
    cleared and mapped anew, which took up to a third of a step.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no block is mapped by itself
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: nothing is given back
        mallopt(-2, 2**26)  # M_TOP_PAD: the heap grows by this many bytes at least


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@cache
def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


@cache
def _commit() -> str:
    """The checkout's commit, with a + where files differ from it; empty outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
