"""Several processes that run one trial together hold the same network at every step, and train it as one would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import digits
import pytest
from ranks import digest, together

from bench.ranks import ALONE, Ranks
from bench.registry import build
from bench.spec import MethodSpec

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "l1": ({}, 2),
    "taylor": ({"batches": 2}, 2),
    "dcff": ({"steepness": 0.1, "t_end": 20}, 2),
    "gate_decorator": ({"ticks": 2, "tick_epochs": 0.5, "tock_epochs": 0.5, "ticks_per_tock": 1}, 4),
    "growing_reg": ({"share": 0.5}, 2),
}


def course(ranks: Ranks, out: Path) -> dict[str, Any]:
    """Each method on the small network: digests after every cut and at the end, losses, test accuracy."""
    answer = {}
    for name, (params, epochs) in METHODS.items():
        folder = out / f"{name}-{ranks.size}"
        folder.mkdir(exist_ok=True)
        model = digits.net()
        run = digits.session(folder, model, epochs=epochs, keep_macs=0.5, ranks=ranks)
        digests: list[str] = []
        shrink = run.shrink

        def noted(model, keep, shrink=shrink, digests=digests):
            model = shrink(model, keep)
            digests.append(digest(model))
            return model

        run.shrink = noted  # type: ignore[method-assign]
        model = build(MethodSpec(name=name, params=params)).compress(model, run)
        answer[name] = {
            "digests": [*digests, digest(model)],
            "losses": [row.loss for row in run.history],
            "widths": {group.name: group.size for group in run.groups(model)},
            "test": run.test(model),
        }
    (out / f"answer-{ranks.rank}.json").write_text(json.dumps(answer))
    return json.loads(json.dumps(answer))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return course(ALONE, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("size", [2, 3])  # 3 do not share a batch of 50 out evenly
def test_all_hold_the_same_network_and_train_as_one(tmp_path, alone, size):
    answers = together("test_ranks:course", tmp_path, size)
    for name in METHODS:
        first, *others = (answer[name] for answer in answers)
        assert all(other == first for other in others)
        assert len(first["digests"]) == (1 + 2 if name == "gate_decorator" else 1 + 1)
        assert first["widths"] == alone[name]["widths"]
        assert first["losses"] == pytest.approx(alone[name]["losses"], rel=1e-5)
        assert first["test"] == pytest.approx(alone[name]["test"], abs=0.3)  # one of 360 images
