"""docs/submitting.md: its command copies what belongs to a result, and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "docs" / "submitting.md").read_text()
WANTED = {"plan.json", "methods.json", "suite.yaml"}
WANTED |= {f"trials/a/{name}" for name in ("record.json", "latency.json", "model.safetensors")}
OTHERS = {f"trials/a/{name}" for name in ("progress.json", "tracked.json", "lease-1.json", "history.jsonl", "log.txt")}
OTHERS |= {"trials/a/journal/settings.json", "wandb/offline.json"}


def test_the_copying_command(tmp_path):
    for name in WANTED | OTHERS:
        file = tmp_path / "runs" / "my-suite" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    large = tmp_path / "runs/my-suite/trials/b/model.safetensors"
    large.parent.mkdir()
    large.write_bytes(bytes(5_000_001))
    command = re.search(r"^## 3\. Copy.*?```sh\n(.*?)```", TEXT, re.M | re.S)[1]
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    copied = tmp_path / "leaderboards" / "results" / "my-suite"
    assert {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()} == WANTED
