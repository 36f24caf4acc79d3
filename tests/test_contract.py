"""The contract suite over every registered method, with hyper-parameters that are done in seconds."""

from __future__ import annotations

import pytest

from bench import registry
from bench.testing import check_method

SHORT = {
    "chip": {"batches": 1, "batch_size": 4},
    "eagleeye": {"candidates": 2, "batches": 2},
    "gate_decorator": {"ticks": 2, "tick_epochs": 0.5, "tock_epochs": 2, "ticks_per_tock": 3},
    "hessian": {"images": 8},
    "hrank": {"images": 16, "batch_size": 8},
    "sfp": {"batches": 2, "share": 0.67},
    "slimming": {"share": 0.67},
    "growing_reg": {"share": 0.67},
    "taylor": {"batches": 2},
}
EPOCHS = {"gate_decorator": 5}


@pytest.mark.parametrize("name", registry.methods())
def test_contract(name):
    check_method(registry.methods()[name](**SHORT.get(name, {})), images=128, epochs=EPOCHS.get(name, 3))
