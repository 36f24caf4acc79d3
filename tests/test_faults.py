"""Whose fault a failed trial is."""

import errno

import pytest
import torch

from bench.compact import CompactError
from bench.data import DataError
from bench.errors import UserError
from bench.faults import of_machine
from bench.method import MethodError
from bench.registry import RegistryError


@pytest.mark.parametrize(
    ("error", "machines"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (DataError("cifar10 is not here"), True),
        (RegistryError("the method 'mine' is not installed here"), True),
        (MethodError("the loss is not finite"), False),
        (CompactError("not such a file"), False),
        (UserError("whatever"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_disk_memory_and_what_is_missing_are_the_machines(error, machines):
    assert of_machine(error) is machines
