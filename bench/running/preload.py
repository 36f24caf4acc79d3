"""All that a trial imports, for the process that trials are forked from (bench/running/apart.py)."""

import gc
from contextlib import suppress

import safetensors.torch  # noqa: F401
import sklearn.datasets  # noqa: F401
import timm  # noqa: F401
import torch_pruning  # noqa: F401

import bench.trial  # noqa: F401
from bench import registry

with suppress(Exception):  # a plugin that cannot be imported: its own trial says so
    registry.methods()
gc.collect()
gc.freeze()  # else each trial's first collection would look at every object here, and so copy every page
