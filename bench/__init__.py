"""prunebench: filter-pruning methods compared honestly.

Names load when they are first used, so that the command's help does not pay for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.compact import load_compact
    from bench.launch import run_suite
    from bench.method import Amount, Budget, Cost, Count, Group, Member, Method, MethodError, OneShot, Paper, Run, Share
    from bench.trial import run_trial

_HOME = {"load_compact": "bench.compact", "run_suite": "bench.launch", "run_trial": "bench.trial"}
"""Where a name is made, if not in bench.method."""

__all__ = [
    "Amount",
    "Budget",
    "Cost",
    "Count",
    "Group",
    "Member",
    "Method",
    "MethodError",
    "OneShot",
    "Paper",
    "Run",
    "Share",
    "load_compact",
    "run_suite",
    "run_trial",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME.get(name, "bench.method")), name)
