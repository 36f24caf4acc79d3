"""What the harness itself needs to find the cut that meets a MACs target, and to make it."""

from __future__ import annotations

from collections.abc import Iterator

import timm
import torch

from bench import channels, cost
from bench.channels import budget
from benchmarks.turns import Figure, in_turn, taken


def pruning(rounds: int, steps: int) -> Iterator[Figure]:
    """Seconds to meet half of ResNet-50's MACs at 224 pixels, with the groups at hand and from nothing."""
    model, example = timm.create_model("resnet50"), torch.zeros(1, 3, 224, 224)
    groups, half = channels.groups(model, example), cost.count(model, example).macs / 2
    generator = torch.Generator().manual_seed(0)
    scores = {group.name: torch.rand(group.size, generator=generator) for group in groups}
    cases = {
        "select": lambda: budget.select(
            budget.Counter(cost.per_layer(model, example), groups), groups, scores, macs=half, scope="global"
        ),
        "groups": lambda: channels.groups(model, example),
    }
    times = in_turn(cases, rounds)
    yield taken("meeting a MACs target on ResNet-50", times["select"], "< 1 s")
    yield taken("finding ResNet-50's groups", times["groups"])
