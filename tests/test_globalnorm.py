"""Batch norm over the batches of two processes, against torch's own over both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import together
from timm.layers import BatchNormAct2d
from torch import nn

from bench.data import part
from bench.training.globalnorm import GlobalNorm
from bench.training.ranks import Ranks

KINDS = {
    "torch": lambda: nn.BatchNorm2d(5),
    "no scale": lambda: nn.BatchNorm2d(5, affine=False),
    "no statistics": lambda: nn.BatchNorm2d(5, track_running_stats=False),
    "with an activation": lambda: BatchNormAct2d(5),
    "of features": lambda: nn.BatchNorm1d(5, momentum=None),
}


def compare(ranks: Ranks, out: Path) -> None:
    """Largest differences between this process's part and the same part of the whole batch's."""
    answer = {}
    for name, make in KINDS.items():
        generator = torch.Generator().manual_seed(0)
        shape = (7, 5) if name == "of features" else (7, 5, 4, 4)
        images = (3 * torch.randn(shape, generator=generator) + 100).double()  # a mean that would drown the variance
        slope = torch.randn(shape, generator=generator).double()
        mine = part(7, ranks.shard["shard"])
        whole, shared = make().double(), make().double()
        for norm in (whole, shared):
            if norm.weight is not None:
                with torch.no_grad():
                    norm.weight.copy_(torch.arange(5) + 0.5)
                    norm.bias.fill_(0.1)
        x, own = images.clone().requires_grad_(), images[mine].clone().requires_grad_()
        expected = whole(x)
        with GlobalNorm():
            found = shared(own)
        expected.backward(slope)
        found.backward(slope[mine])
        pairs = [(expected[mine], found), (x.grad[mine], own.grad)]
        pairs += zip(whole.buffers(), shared.buffers(), strict=True)
        for parameter, other in zip(whole.parameters(), shared.parameters(), strict=True):
            dist.all_reduce(other.grad)
            pairs.append((parameter.grad, other.grad))
        answer[name] = [float((a - b).abs().max()) for a, b in pairs]
    (out / f"answer-{ranks.rank}.json").write_text(json.dumps(answer))


def test_it_is_torchs_own_over_the_whole_batch(tmp_path):
    for answer in together("test_globalnorm:compare", tmp_path):
        assert answer.keys() == KINDS.keys()
        for name, differences in answer.items():
            assert differences == pytest.approx([0] * len(differences), abs=1e-10), name


def test_in_eval_mode_nothing_changes():
    norm, images = nn.BatchNorm2d(3).eval(), torch.randn(2, 3, 4, 4)
    with GlobalNorm():  # no processes are asked
        assert norm(images).equal(norm(images))
        assert torch.nn.functional.relu(images).equal(images.relu())
