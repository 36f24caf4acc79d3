"""docs/clusters.md: its batch scripts run, with stand-ins for what only a cluster has; its launcher file is valid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

TEXT = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text()
SCRIPTS = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", TEXT, re.S)

STUBS = {
    "srun": 'while [ $# -gt 0 ] && [ $1 != ray ]; do shift; done; exec "$@"',
    "ray": 'echo "ray $*" >> "$SEEN"; case "$*" in *--block) exec sleep 60;; esac',
    "scontrol": 'echo "scontrol $*" >> "$SEEN"',
    # 130 for SIGUSR1, after a moment, as the real one
    "prunebench": 'trap "sleep 0.3; exit 130" USR1; echo "prunebench $*" >> "$SEEN"; '
    'for i in $(seq 600); do sleep 0.1; [ -e "$DONE" ] && exit 3; done',
}


@pytest.fixture
def job(tmp_path):
    """Starts one of the scripts as Slurm would; what its commands are given goes to `seen`."""
    for name, body in STUBS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    (tmp_path / "seen").touch()
    variables = {
        "SLURM_JOB_ID": "4711",
        "SLURM_NNODES": "3",
        "SEEN": str(tmp_path / "seen"),
        "DONE": str(tmp_path / "done"),
    }
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def start(script: str) -> subprocess.Popen:
        (tmp_path / "job.sh").write_text(script)
        process = subprocess.Popen(
            ["bash", str(tmp_path / "job.sh")],
            env=os.environ | variables | {"PATH": path, "HOME": str(tmp_path)},
            cwd=tmp_path,
            start_new_session=True,
        )
        processes.append(process)
        deadline = time.monotonic() + 60
        while len((tmp_path / "seen").read_text().splitlines()) < 1 + script.count("ray start"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)  # for the trap
        return process

    processes: list[subprocess.Popen] = []
    yield start
    for process in processes:
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", range(2))
def test_a_warned_job_is_requeued_and_a_finished_one_is_not(job, tmp_path, number):
    process = job(SCRIPTS[number])
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == 130
    lines = (tmp_path / "seen").read_text().splitlines()
    assert lines[-1] == "scontrol requeue 4711"
    address = f" --address {os.uname().nodename}:24711" if number else ""
    assert f"prunebench run my.yaml --out runs/my{address}" in lines
    assert {line.split(" --")[1] for line in lines if "ray start" in line} == (
        {"head", address[3:]} if number else set()
    )


@pytest.mark.parametrize("number", range(2))
def test_a_finished_job_keeps_its_status(job, tmp_path, number):
    process = job(SCRIPTS[number])
    (tmp_path / "done").touch()
    assert process.wait(timeout=30) == 3
    assert "requeue" not in (tmp_path / "seen").read_text()


def test_the_launchers_file_is_one():
    pytest.importorskip("ray")
    from ray.autoscaler._private.util import validate_config

    values = yaml.safe_load(re.search(r"```yaml\n(cluster_name: .*?)```", TEXT, re.S)[1])
    values["cluster_synced_files"] = []  # `ray up` fills it in
    validate_config(values)
    with pytest.raises(Exception, match="max_workers|schema|type"):
        validate_config(values | {"max_workers": "four"})
