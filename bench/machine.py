"""What a trial runs on: the device's name, its precision, versions of all that counts."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from bench.record import Machine

CODE = (".", "../methods")
"""Folders whose new files count as changes of the code, from this one."""

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
        cpu=_cpu(),
        threads=settings["threads"],
        workers=workers,
        precision=settings["precision"],
        memory_format="channels_last",
        platform=platform.platform(),
        versions={
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
        commit=commit(),
    )


def forget_peak() -> None:
    """From here on `peak` tells of what comes, not of what this process did before."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not every kernel, nor every container, lets us
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> dict[str, float]:
    """The two peaks of memory in a record's Machine, in MiB, as far as they can be known."""
    most = _field("/proc/self/status", "VmHWM")  # such as "524288 kB"
    found = {"memory_mb": int(most.split()[0]) / 1024} if most else {}
    if device.type == "cuda":
        found["gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


GPU_SHARE = "PRUNEBENCH_GPU_SHARE"
"""Environment variable: the part of a GPU that is this process's, from 0 to 1."""


def device() -> torch.device:
    """The GPU, where there is one. A process that shares it is held to its part of the memory, and runs out alone."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    share = float(os.environ.get(GPU_SHARE) or 1)
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share)
    return torch.device("cuda")


KEPT = 2**25
"""Bytes: glibc keeps freed blocks that are smaller with the process; 32 MiB is the most that it accepts."""


def prepare() -> None:
    """Settings of this process: fp32 is fp32 on a GPU too, and training on a CPU is faster, with no other result.

    torch's own default rounds the factors of a GPU's convolutions to 10 bits (TF32), also where fp32 is asked for.
    Numbers too small for the normal format count as zero: in vanishing gradients they slow a loop tenfold. And where
    the C library is glibc, freed memory is kept: each step takes and frees the same large blocks, whose pages would
    have to be cleared and mapped anew. Blocks over 32 MB stay apart, or the heap would fall into pieces.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = False
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, KEPT)  # M_MMAP_THRESHOLD
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: nothing is given back
        mallopt(-2, 2**26)  # M_TOP_PAD: the heap grows by this many bytes at least


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    """The processor, with its family and model: clouds sell unlike ones under one name, such as "AMD EPYC"."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    family, model = _cpuinfo("cpu family"), _cpuinfo("model")
    return f"{name} (family {family}, model {model})" if family and model else name


@cache
def _cpuinfo(field: str) -> str:
    return _field("/proc/cpuinfo", field)


def _field(file: str, field: str) -> str:
    """The value behind the first line "field: value"; empty where there is none."""
    lines = Path(file).read_text().splitlines() if Path(file).exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


@cache
def commit() -> str:
    """The checkout's commit, with a + where files differ from it, or code is new; empty outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # A virtual environment may lie in another project's checkout.
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = [*git, "status", "--porcelain", "-uno"], [*git, "ls-files", "--others", "--exclude-standard", *CODE]
        dirty = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in changed]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if any(dirty) else "")
