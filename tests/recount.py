"""The cells of a table once more, from the records' JSON alone: another author's code, for one board of one run folder.

It knows nothing of `leaderboards`: pandas for the sums, and ranks for exactly three seeds by the closed form of
Student's t with two degrees of freedom, P(|T| >= t) = 1 - t / sqrt(t^2 + 2).
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

NAMES = (
    "top1",
    "top5",
    "change",
    "macs",
    "params",
    "macs_cut",
    "params_cut",
    "epochs",
    "epochs_in_all",
    "fvcore_total",
)


def frame(folder: Path) -> pd.DataFrame:
    """One line per record."""
    lines = []
    for path in folder.glob("trials/*/record.json"):
        r = json.loads(path.read_text(encoding="utf-8"))
        dense, result, before = r["dense"], r["result"], r["spent_dense"]
        base = result if r["trial"]["method"]["name"] == "dense" else dense
        lines.append({
            "method": r["trial"]["method"]["name"], "keep": r["trial"]["keep_macs"], "seed": r["trial"]["seed"],
            "key": r["key"], "top1": result["top1"], "top5": result["top5"], "macs": result["macs"],
            "params": result["params"], "fvcore_total": result["fvcore_total"],
            "change": result["top1"] - dense["top1"] if dense else math.nan,
            "macs_cut": 100 - 100 * result["macs"] / base["macs"],
            "params_cut": 100 - 100 * result["params"] / base["params"],
            "epochs": r["spent"]["epochs"], "epochs_in_all": r["spent"]["epochs"] + (before["epochs"] if before else 0),
            "off": abs(r["off_target"] or 0.0) > 1,
        })  # fmt: skip
    return pd.DataFrame(lines)


def rows(folder: Path) -> dict[tuple[str, float | None], dict[str, Any]]:
    """(method, share of MACs to keep) -> mean and deviation of each figure, n, keys, mark, rank."""
    table: dict[tuple[str, float | None], dict[str, Any]] = {}
    for (method, keep), group in frame(folder).groupby(["method", "keep"], dropna=False):
        row: dict[str, Any] = {"n": len(group), "keys": sorted(group["key"]), "off": bool(group["off"].any())}
        for name in NAMES:
            values = group[name].dropna()
            row[name] = values.mean() if len(values) else None
            row[f"{name}_std"] = values.std(ddof=1) if len(values) > 1 else None
        row["seeds"] = dict(zip(group["seed"], group["top1"], strict=True))
        table[method, None if pd.isna(keep) else keep] = row
    for keep in {keep for _, keep in table if keep is not None}:
        _mark([row for (_, k), row in table.items() if k == keep])
    return table


def _mark(point: list[dict[str, Any]]) -> None:
    for row in point:
        row["mark"], row["rank"], row["rank_worst"] = "", None, None
    whole = [row for row in point if row["n"] == max(other["n"] for other in point)]
    shown = sorted({f"{row['top1']:.2f}" for row in whole}, key=float, reverse=True)
    for row in whole if len(whole) > 1 else []:
        place = shown.index(f"{row['top1']:.2f}")
        row["mark"] = ["best", "second"][place] if place < 2 else ""
    ranked = [row for row in point if row["n"] == 3]
    pairs = []
    for a, b in itertools.combinations(range(len(ranked)), 2):
        lead = [ranked[a]["seeds"][s] - ranked[b]["seeds"][s] for s in sorted(ranked[a]["seeds"])]
        mean = sum(lead) / 3
        error = math.sqrt(sum((x - mean) ** 2 for x in lead) / 2 / 3)
        if error < 1e-12:
            p = 0.0 if abs(mean) > 1e-12 else 1.0
        else:
            t = abs(mean) / error
            p = 1 - t / math.sqrt(t * t + 2)
        pairs.append((p, a if mean > 0 else b, b if mean > 0 else a))
    better, worse = [0] * len(ranked), [0] * len(ranked)
    for i, (p, winner, loser) in enumerate(sorted(pairs)):
        if p > 0.05 / (len(pairs) - i):
            break
        better[loser] += 1
        worse[winner] += 1
    for row, above, below in zip(ranked, better, worse, strict=True):
        row["rank"], row["rank_worst"] = (1 + above, len(ranked) - below) if len(ranked) > 1 else (None, None)
