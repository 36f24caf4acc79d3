"""On a device as strict as a GPU: no method mixes what lies there with what lies on the CPU, or waits in an epoch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

from bench import registry

END = ["aten::_local_scalar_dense"] * 2  # of an epoch: its loss and its accuracy


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices written in Python",
)
def test_every_method_could_run_on_a_gpu(tmp_path):
    names = ["dense", *(name for name in registry.methods() if name != "dense"), "mixes", "waits"]
    command = [sys.executable, Path(__file__).parent / "strict_trials.py", tmp_path, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "mixes the device's with the CPU's [(16,)]" in found.pop("mixes")["end"]
    assert "aten::index" in found.pop("waits")["waits"][0]
    for name, trial in found.items():
        assert trial["end"] == "done", name
        assert trial["waits"] and all(epoch == END for epoch in trial["waits"]), name
