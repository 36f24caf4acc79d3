"""The methods that come along, by name: a report must know them without importing them."""

from __future__ import annotations

METHODS = (
    "dcff", "gate_decorator", "l1", "fpgm", "taylor", "lamp", "sfp", "hrank", "chip", "hessian", "group_norm",
    "group_sl", "growing_reg", "slimming", "eagleeye",
)  # fmt: skip
CONTROLS = ("finetune", "random", "scratch")
