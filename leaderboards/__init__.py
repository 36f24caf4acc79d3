"""Records into tables: terminal, Markdown, LaTeX, CSV, a web page, figures, a pandas DataFrame. Never imports torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leaderboards.build import check, check_place, report, rows, text
    from leaderboards.figures import draw
    from leaderboards.frame import load
    from leaderboards.provenance import show
    from leaderboards.results import Results, check_publishable, read

_HOME = {
    **dict.fromkeys(("check", "check_place", "report", "rows", "text"), "build"),
    "draw": "figures",
    "load": "frame",
    "show": "provenance",
    **dict.fromkeys(("Results", "check_publishable", "read"), "results"),
}

__all__ = [
    "Results",
    "check",
    "check_place",
    "check_publishable",
    "draw",
    "load",
    "read",
    "report",
    "rows",
    "show",
    "text",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leaderboards' has no attribute '{name}'")
    return getattr(importlib.import_module(f"leaderboards.{_HOME[name]}"), name)
