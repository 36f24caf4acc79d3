"""Records into tables: terminal, Markdown, LaTeX, CSV, a web page, and a pandas DataFrame. Never imports torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leaderboards.build import check, report, rows, text
    from leaderboards.frame import load
    from leaderboards.results import Results, check_publishable, read

_HOME = {
    **dict.fromkeys(("check", "report", "rows", "text"), "leaderboards.build"),
    "load": "leaderboards.frame",
    **dict.fromkeys(("Results", "check_publishable", "read"), "leaderboards.results"),
}

__all__ = ["Results", "check", "check_publishable", "load", "read", "report", "rows", "text"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leaderboards' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)
