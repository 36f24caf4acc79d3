"""A few kills at random moments in each `make test`; tests/chaos.py runs hundreds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that have loaded torch")
def test_killed_at_random_moments_and_resumed():
    script = Path(__file__).with_name("chaos.py")
    command = [sys.executable, "-W", "ignore", script, "--methods", "dcff,slimming", "--kills", "6", "--images", "128"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^6 kills, \d+ finished runs; of 2 methods 0 differ", run.stdout, re.MULTILINE)
