"""Stands in for `wandb.Api` at its boundary: the calls of wandb 0.31 that bench/tracking/pull.py makes, and no others.

    Api().artifact_types(project=) -> ArtifactType: .name, .collections()
    ArtifactCollection: .name, .artifacts()
    Artifact: .name, .type, .version, .digest, .metadata, .size, .manifest.entries, .get_entry(name)
    ArtifactManifestEntry: .ref, .download(root=, skip_cache=)

test_pull.py holds the signatures against the installed wandb's; test_wandb_sync.py pulls with W&B's own client too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import wandb


@dataclass
class FakeEntry:
    """A file of an artifact."""

    name: str
    content: bytes
    artifact: FakeArtifact
    ref: str | None = None

    def download(self, root: str | None = None, skip_cache: bool | None = None, executor: Any = None) -> str:
        self.artifact.downloads += 1
        if self.artifact.fails:
            raise self.artifact.fails
        path = Path(root or ".") / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return str(path)


@dataclass
class FakeArtifact:
    """One version of an artifact. `ref`: where its files really are; `fails` is raised by a download."""

    collection: str
    type: str
    files: dict[str, bytes]
    version: str = "v0"
    metadata: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    ref: str | None = None
    fails: Exception | None = None
    downloads: int = 0

    @property
    def name(self) -> str:
        return f"{self.collection}:{self.version}"

    @property
    def digest(self) -> str:
        """As W&B computes it."""
        own = wandb.Artifact("x", type="x")
        for name, content in self.files.items():
            with own.new_file(name, mode="wb") as file:
                file.write(content)
        return own.digest

    @property
    def manifest(self) -> SimpleNamespace:
        return SimpleNamespace(entries={name: FakeEntry(name, c, self, self.ref) for name, c in self.files.items()})

    def get_entry(self, name: str) -> FakeEntry:
        return self.manifest.entries[name]


@dataclass
class FakeCollection:
    """All versions of one artifact, the newest first. `fails` is raised when they are asked for."""

    name: str
    versions: list[FakeArtifact]
    fails: Exception | None = None

    def artifacts(self, per_page: int = 50, start: str | None = None) -> list[FakeArtifact]:
        if self.fails:
            raise self.fails
        return self.versions[::-1]


@dataclass
class FakeType:
    """An artifact type of the project."""

    name: str
    found: list[FakeCollection]

    def collections(
        self, filters: Any = None, order: str | None = None, per_page: int = 50, start: str | None = None
    ) -> list[FakeCollection]:
        return self.found


class FakeApi:
    """A project with these artifacts, in the order given."""

    def __init__(self, project: str, *artifacts: FakeArtifact) -> None:
        self.own = project
        self.collections: dict[tuple[str, str], FakeCollection] = {}
        for artifact in artifacts:
            found = self.collections.setdefault(
                (artifact.type, artifact.collection), FakeCollection(artifact.collection, [])
            )
            found.versions.append(artifact)

    def artifact_types(self, project: str | None = None, start: str | None = None) -> list[FakeType]:
        if project != self.own:
            raise ValueError("Unable to parse 'ArtifactTypes' response data")  # as the real one where there is none
        names = dict.fromkeys(type for type, _ in self.collections)
        return [FakeType(name, [c for (type, _), c in self.collections.items() if type == name]) for name in names]
