"""A trial's random numbers: stable, and independent of one another."""

import subprocess
import sys

import torch

from bench.training import seeds


def test_a_seed_is_the_same_in_every_process_and_release():
    # sha256(b"(0, 'batches')"), its first six bytes: another value would change the results of trials already published
    assert seeds.mix(0, "batches") == 0x254E1A109968
    code = "from bench.training import seeds; print(seeds.mix(0, 'batches'))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == f"{0x254E1A109968}\n"


def test_each_seed_phase_and_epoch_has_numbers_of_its_own():
    places = [(seed, "train", phase, epoch) for seed in range(3) for phase in range(3) for epoch in range(3)]
    places += [(seed, "data", *rest) for seed, *rest in places]  # the data's are not the weights' either
    assert len({seeds.mix(*place) for place in places}) == len(places)


def test_a_place_can_be_gone_back_to():
    first = seeds.begin(1, "train", 0, 2), torch.rand(3)
    torch.rand(5)
    again = seeds.begin(1, "train", 0, 2), torch.rand(3)
    assert torch.equal(first[1], again[1])
    assert torch.equal(torch.rand(3, generator=first[0]), torch.rand(3, generator=again[0]))
    assert not torch.equal(torch.rand(3, generator=seeds.begin(1, "train", 0, 2)), first[1])
