"""DCFF's coding step against its formula, written down as it stands in the paper and run one layer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from benchmarks.turns import Figure, compared, in_turn, taken
from methods.dcff import code


def dcff(rounds: int, steps: int) -> Iterator[Figure]:
    """At 512 filters against the formula; at 2048 filters, where that needs 34 GB, alone."""
    bank = torch.randn(512, 512 * 9, generator=torch.Generator().manual_seed(0)).view(512, 512, 3, 3)
    times = in_turn({"formula": lambda: literal(bank, 1.0), "ours": lambda: code(bank, 1.0, "reference")}, rounds)
    detail = f"{min(times['ours']):.3f} s"
    yield compared("512 filters of 512 x 3 x 3: the formula / ours", times["formula"], times["ours"], ">= 30", detail)
    for name, shape in (("512 x 1 x 1", (2048, 512, 1, 1)), ("512 x 3 x 3", (2048, 512, 3, 3))):
        large = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        times = in_turn({"ours": partial(code, large, 1.0, "reference")}, rounds)
        detail = f"{extra(large) / 2**20:.0f} MB beside the filters"
        yield taken(f"2048 filters of {name}", times["ours"], "< 0.5 s, 200 MB", detail)


def literal(filters: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(P, scores) as the formula has it, with a tensor (n, n, n): KL of every pair of distributions."""
    flat = filters.flatten(1).numpy()
    distance = torch.from_numpy(cdist(flat, flat))  # float64, as the authors have it
    p = torch.softmax(-temperature * distance.float(), dim=1).double()
    pairs = p[:, None, :] * (p[:, None, :] / (p[None, :, :] + 1e-7)).log()
    return p.to(filters.dtype), pairs.mean(2).sum(1)


def extra(filters: Tensor) -> int:
    """Bytes that the coding step holds at most, results included: what torch's profiler counts."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        code(filters, 1.0, "reference")
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
