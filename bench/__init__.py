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

_HOME = {
    **dict.fromkeys(
        (
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
        ),
        "bench.method",
    ),
    "load_compact": "bench.compact",
    "run_suite": "bench.launch",
    "run_trial": "bench.trial",
}

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
    if name not in _HOME:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)
