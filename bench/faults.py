"""Whose fault a failed trial is: the machine's, so that it is tried again, or its method's."""

from __future__ import annotations

import errno

from bench.errors import UserError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE)
"""Full, over quota, read-only, forbidden, broken, or gone from the network."""

KILLED = ("DefaultCPUAllocator: can't allocate memory", "is killed by signal")
"""In torch's words, as a RuntimeError: the memory of the machine is exhausted, or a process that decodes was killed."""


def of_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in DISK


def of_machine(error: Exception) -> bool:
    """Disk, memory, or what is missing on this machine. torch is not imported: its error goes by its name."""
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    missing = isinstance(error, UserError) and error.of_machine
    return of_disk(error) or memory or missing or any(sign in str(error) for sign in KILLED)
