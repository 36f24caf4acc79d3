"""The web page: one HTML file with its libraries inside, and a file of run details per board. No network is needed."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.labels import plain
from leaderboards.boards import Board
from leaderboards.caveats import incomplete
from leaderboards.columns import FORMS, columns
from leaderboards.curves import Curve
from leaderboards.notes import notes
from leaderboards.provenance import command
from leaderboards.results import Entry
from leaderboards.row import Row
from leaderboards.styles import Style, styles
from leaderboards.tables import relative
from leaderboards.titles import slugs

SCRIPTS = (
    *("vendor/d3.min.js", "vendor/plot.umd.min.js", "vendor/tabulator.min.js"),
    *("pareto.js", "table.js", "detail.js", "page.js"),  # the last one draws, with what is in the others
)

POINTS = 100
"""Points of a training curve on the page; longer ones are thinned."""


def page(boards: list[Board], out: Path) -> dict[str, str]:
    """File name -> content. Links to records are relative to the folder `out`."""
    environment = Environment(loader=PackageLoader("leaderboards"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    style, names = styles(boards), slugs([board.title for board in boards])
    # Not through the template engine, which would read the braces of a minified script as its own.
    index = environment.get_template("page.html").render(
        names=[(name, plain(board.title)) for name, board in zip(names, boards, strict=True)],
        data=Markup(_script([_board(board, style, name) for board, name in zip(boards, names, strict=True)])),
        style=Markup(_asset("vendor/tabulator_simple.min.css") + _asset("page.css")),
        scripts=[Markup(_asset(name)) for name in SCRIPTS],
    )
    details = {f"data/{name}.js": _details(board, name, out) for name, board in zip(names, boards, strict=True)}
    return {"index.html": index, **details}


def _asset(name: str) -> str:
    return (files("leaderboards") / "templates" / name).read_text(encoding="utf-8")


def _script(value: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _board(board: Board, style: dict[str, Style], name: str) -> dict[str, Any]:
    shown = columns("long", board.rows)
    return {
        "name": name,
        "title": plain(board.title),
        "smoke": board.smoke,
        "notes": [plain(note) for note in notes(board)],
        "incomplete": [plain(note) for note in incomplete(board)],
        "machine": plain(board.clock.name) if board.clock else None,
        "floor": board.floor,
        "columns": [
            {"name": c.name, "header": c.header, "numeric": c.numeric, "usual": c.name in FORMS["usual"]} for c in shown
        ],
        "rows": [
            {
                "cells": [plain(column.cell(row)) for column in shown],
                "values": [column.value(row) for column in shown],
                "label": row.label,
                "point": row.point,
                "mark": row.mark,
                "dense": row.is_dense,
                "style": style.get(row.label),
                "top1": [row.top1.mean, row.top1.std] if row.top1 else None,
                "macs": row.macs.mean / 1e6 if row.macs else None,
                "params": row.params.mean / 1e6 if row.params else None,
                "speeds": {s.batch: [s.share.mean, s.share.std] for s in (row.single, row.batched) if s},
                "kept": 100 - row.macs_cut.mean if row.macs_cut else None,
            }
            for row in board.rows
        ],
        "printed": [
            [f.method, f.year, f.dense_top1, f.top1, f.drop, f.macs, f.macs_cut, f.params, f.kind, f.suspect, f.source]
            for f in board.printed
        ],
    }


def _details(board: Board, name: str, out: Path) -> str:
    rows = [
        {
            "runs": [_run(entry, out) for entry in row.entries],
            "unfinished": [[u.trial.seed, u.state, plain(u.reason)] for u in row.unfinished],
            "detail": {plain(name): plain(json.dumps(value)) for name, value in row.detail.items()},
            "asked": _asked(row, out),
            "widths": _widths(row),
        }
        for row in board.rows
    ]
    return f"details({_script(name)}, {_script(rows)});\n"


def _run(entry: Entry, out: Path) -> dict[str, Any]:
    record = entry.record
    trial, machine = record.trial, record.machine
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return {
        "key": record.key,
        "seed": trial.seed,
        "top1": record.result.top1,
        "href": relative(entry.path, out),
        "suite": plain(record.suite),
        "command": plain(command(entry)),
        "machine": plain(f"{machine.device}, {machine.cpu}, {threads}, {machine.precision}"),
        "versions": plain(versions),
        "commit": plain(machine.commit),
        "hours": round(record.spent.seconds / 3600, 2),
        "speeds": [plain(f"{latency} on {latency.name}") for latency in entry.latencies],
        "curve": _thinned(entry.curve),
    }


def _thinned(curve: Curve) -> dict[str, Any]:
    n = len(curve.epochs)
    # Evenly spread, the last epoch always among them.
    chosen = list(range(n)) if n <= POINTS else [round((i + 1) * n / POINTS) - 1 for i in range(POINTS)]
    return {
        "epochs": _rounded(curve.epochs, chosen),
        "loss": _rounded(curve.loss, chosen),
        "top1": _rounded(curve.top1, chosen),
        "on_test": curve.on_test,
    }


def _rounded(values: array[float], chosen: Sequence[int]) -> list[float | None]:
    """Four digits; JSON has no NaN."""
    rounded = np.asarray(values, dtype=np.float64)[chosen].round(4)
    return [value if math.isfinite(value) else None for value in rounded.tolist()]


def _asked(row: Row, out: Path) -> dict[str, Any]:
    """The entry of the suite file that made the row; where no copy of the file is there, how it would read."""
    for entry in row.entries:
        if entry.asked:
            text = "\n".join(map(plain, entry.asked.text.splitlines()))
            return {"text": text, "line": entry.asked.number, "href": relative(entry.asked.path, out)}
    params = {name[7:]: value for name, value in row.detail.items() if name.startswith("params.")}
    return {"text": plain(f"- {row.method}: {json.dumps(params)}" if params else f"- {row.method}")}


def _widths(row: Row) -> list[list[Any]]:
    """[group, units in the dense network, mean units kept over the seeds], in the order of the network."""
    records = [entry.record for entry in row.entries]
    if not records:
        return []
    names = list(records[0].dense_widths or records[0].widths)
    return [
        [
            plain(name),
            records[0].dense_widths.get(name),
            round(sum(r.widths.get(name, 0) for r in records) / len(records), 1),
        ]
        for name in names
    ]
