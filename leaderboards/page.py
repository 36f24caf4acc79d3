"""The web page: one HTML file with its style and script inside, viewable without a network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaderboards.boards import Board
from leaderboards.columns import COLUMNS, Column, columns, notes, number, title
from leaderboards.escape import plain
from leaderboards.plot import accuracy_against_macs, shape, styles
from leaderboards.rows import Row


def page(boards: list[Board], out: Path) -> str:
    """The whole page; its links to records are relative to the folder `out`."""
    environment = Environment(loader=PackageLoader("leaderboards"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    style = styles(boards)
    compact = {column.name for column in COLUMNS if column.form == "compact"}
    return environment.get_template("page.html").render(
        boards=[_board(board, style, out, f"board{i}") for i, board in enumerate(boards)], compact=compact
    )


def _board(board: Board, style: dict[str, tuple[str, str]], out: Path, name: str) -> dict[str, Any]:
    shown = columns("long", board.rows)
    labels = list(dict.fromkeys(row.label for row in board.rows if row.label in style and row.top1))
    return {
        "id": name,
        "title": plain(title(board)),
        "smoke": board.smoke,
        "notes": [plain(note) for note in notes(board)],
        "plot": Markup(accuracy_against_macs(board, style)),
        "legend": [(plain(label), style[label][0], Markup(shape(style[label][1], 8, 8))) for label in labels],
        "points": list(dict.fromkeys(row.point for row in board.rows)),
        "columns": shown,
        "rows": [_row(row, shown, out) for row in board.rows],
        "suites": [plain(suite) for suite in board.suites],
    }


def _row(row: Row, shown: list[Column], out: Path) -> dict[str, Any]:
    return {
        "row": row,
        "cells": [(column, plain(column.cell(row)), _sort_value(column.value(row))) for column in shown],
        "detail": [(plain(name), plain(json.dumps(value, default=str))) for name, value in row.detail.items()],
        "records": [
            {
                "key": entry.record.key,
                "seed": entry.record.trial.seed,
                "top1": number(entry.record.result.top1),
                "href": quote(os.path.relpath(entry.path, out)),
                "suite": plain(entry.record.suite),
                "machine": plain(f"{entry.record.machine.device}, {entry.record.machine.precision}"),
            }
            for entry in row.entries
        ],
        "unfinished": [(u.trial.seed, u.state, plain(u.reason)) for u in row.unfinished],
    }


def _sort_value(value: float | str | None) -> str:
    return "" if value is None else plain(value) if isinstance(value, str) else repr(value)
