"""Damage to files: bytes that flip or go missing, and values that somebody with bad intentions would write."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

DEEP = "a text that stands for ten thousand brackets"
HOSTILE: list[Any] = [
    None, True, -1, 0, 3, 1e308, float("nan"), float("inf"), 10**30, 2**63, -(2**63) - 1, "", "../../../x",
    "/etc/passwd", "..", "a\x00b", "a" * 10_000, "<script>alert(1)</script>", "\\input{/etc/passwd}", "$(touch x)",
    "\u202e\ud7ff",
    "(a+", [], {}, [[]], [None], {"": None}, {"../x": 1}, ["../x"] * 3, DEEP,
]  # fmt: skip


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert some bytes."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 30])):
        i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(5)
        if kind == 0 and i < len(data):
            data[i] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[i:j]
        elif kind == 2:
            del data[i:]
        elif kind == 3:
            data[i:i] = rng.randbytes(rng.randrange(1, 9))
        else:
            data[i:i] = data[i:j][:1000]
    return bytes(data)


def damaged_values(values: Any, rng: random.Random) -> Any:
    """Replace, take away, rename or add something, anywhere in a tree of JSON values."""
    tree = [copy.deepcopy(values)]
    for _ in range(rng.choice([1, 1, 2])):
        parent, key = rng.choice(list(_places(tree)))
        kind = rng.randrange(6)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[str(rng.choice(HOSTILE))] = parent.pop(key)
        elif kind == 2 and isinstance(parent, dict):
            parent[str(rng.choice(HOSTILE))] = rng.choice(HOSTILE)
        else:
            parent[key] = copy.deepcopy(rng.choice(HOSTILE))
        if not tree:
            return None
    return tree[0]


def as_json(values: Any) -> bytes:
    """JSON as Python writes it, with the deep value in it."""
    return json.dumps(values).replace(json.dumps(DEEP), "[" * 10_000 + "]" * 10_000).encode()


def _places(tree: Any) -> Any:
    """Every (container, key) in it."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])
