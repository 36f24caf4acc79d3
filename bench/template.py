"""The start of a method of one's own: one file that works, the package around it, and a suite to try it with."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from bench.errors import UserError

METHOD = '''"""What {title} does, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import OneShot, Run


@dataclass(frozen=True)
class {cls}(OneShot):
    """Importance of a filter = the norm of its weights. Change `score` to what you have found.

    power: which norm.
    """

    name: ClassVar[str] = "{name}"
    summary: ClassVar[str] = "cuts the filters with the smallest norm"

    power: float = 2.0

    @torch.no_grad()
    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        """Group name -> importance of its filters, (filters,); the lowest go first."""
        return {{
            group.name: torch.stack([rows.norm(p=self.power, dim=1) for rows in group.filters()]).mean(0)
            for group in run.groups(model)
        }}
'''

PYPROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1.0"

[project.entry-points."prunebench.methods"]
{name} = "{name}"

[tool.setuptools]
py-modules = ["{name}"]
"""

SUITE = """name: {name}
smoke: true                       # a trial run: its records can enter no leaderboard
dataset: digits
backbone: cifar_resnet20
dense:
  recipe: {{epochs: 12, lr: 0.1}}
keep_macs: [0.5]
seeds: [0, 1]
methods: [random, l1, {name}]   # the first two cut each layer alike, as does {{{name}: {{scope: layer}}}}
recipe: {{epochs: 4, lr: 0.02}}
resources: {{cpus: 1}}
"""


def write(name: str, folder: Path) -> list[Path]:
    """Write `folder/prunebench-name/`: the method, its pyproject.toml and a suite. Nothing is overwritten.

    Returns the paths. The folder's name is not the module's, or `import name` beside it would find the folder.
    Raises UserError for a name that cannot be a module's, is taken, or whose folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(f"'{name}' cannot name a method: take lower-case letters, digits and _, such as my_method")
    package = f"prunebench-{name.replace('_', '-')}"
    root = folder / package
    if root.exists():
        raise UserError(f"{root} is already there, and nothing is overwritten: take another name, or move it away")
    _free(name)
    title = name.replace("_", " ")
    words = {"name": name, "package": package, "title": title, "cls": title.title().replace(" ", "")}
    files = {f"{name}.py": METHOD, "pyproject.toml": PYPROJECT, "suite.yaml": SUITE}
    root.mkdir(parents=True)
    for file, text in files.items():
        (root / file).write_text(text.format(**words), encoding="utf-8")
    return [root / file for file in files]


def _free(name: str) -> None:
    from bench.registry import methods

    if name in methods():
        raise UserError(f"there is a method '{name}' already: take another name")
    if importlib.util.find_spec(name) is not None:
        raise UserError(f"Python has a module '{name}' already: take another name")
