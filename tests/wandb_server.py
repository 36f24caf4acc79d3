"""A W&B server on loopback, as far as this project's calls need one: the real client of wandb 0.31 speaks to it.

Runs (RunResumeStatus, UpsertBucket, file_stream), their files, and artifacts both ways: creating (CreateArtifact,
CreateArtifactManifest, CreateArtifactFiles, CommitArtifact, each upload a PUT) and reading (ProjectArtifactTypes,
ArtifactTypeArtifactCollections, ProjectArtifacts, FetchArtifactManifest, ArtifactByID, each download a GET). It keeps
one project, gives one page per query, and dedupes an artifact by its digest as the real server does.
"""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

WHEN = "2026-01-01T00:00:00Z"
PROJECT = {"id": "UA==", "internalId": "UA==", "name": "p", "entity": {"id": "RQ==", "name": "team"}}
PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


@dataclass
class Run:
    """What a run was given: each start's values, the history rows by step, the summary, and how it ended."""

    starts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit: int | None = None


@dataclass
class Version:
    """One version of an artifact."""

    id: str
    name: str
    type: str
    digest: str
    metadata: str
    state: str = "PENDING"


class Server(http.server.ThreadingHTTPServer):
    """Listens on a port of its own until `stop`. `broken` operations answer with an error; `hang` answers nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, Run] = {}
        self.versions: list[Version] = []
        self.files: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.broken: set[str] = set()
        self.awake = threading.Event()
        self.awake.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        """Nobody listens on the port any more."""
        self.awake.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is none of the test's business."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; a method below for each GraphQL operation, of its name."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_PUT(self) -> None:
        self.server.files[self.path] = self._body()
        self._answer(b"")

    def do_GET(self) -> None:
        path = self.path
        if path.startswith("/artifactsV2/"):
            path = f"/stored/{path.split('/')[-2]}"
        found = self.server.files.get(path)
        self._answer(found or b"", 200 if found is not None else 404)

    def do_POST(self) -> None:
        body = self._body()
        self.server.awake.wait()
        if self.path.endswith("/file_stream"):
            self._stream(self.path.split("/")[-2], json.loads(body))
            self._answer({})
        elif self.path == "/graphql":
            asked = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])[1]
            self.server.operations.append(name)
            if name in self.server.broken or not hasattr(self, name):
                self._answer({"errors": [{"message": f"{name} is not to be had"}]}, 400)
            else:
                self._answer({"data": getattr(self, name)(asked.get("variables") or {})})
        else:
            self._answer({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, value: Any, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, name: str, values: dict[str, Any]) -> None:
        run, files = self.server.runs[name], values.get("files", {})
        run.rows += map(json.loads, files.get("wandb-history.jsonl", {}).get("content", []))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            run.summary = json.loads(line)
        run.exit = values.get("exitcode", run.exit)

    def Viewer(self, given: dict[str, Any]) -> Any:
        account = {"id": "VQ==", "entity": "team", "username": "me", "email": "", "flags": "{}"}
        return {"viewer": {**account, "teams": {"edges": []}}}

    def GetDefaultEntity(self, given: dict[str, Any]) -> Any:
        return self.Viewer(given)

    def ServerFeaturesQuery(self, given: dict[str, Any]) -> Any:
        return {"serverInfo": {"features": []}}

    def RunResumeStatus(self, given: dict[str, Any]) -> Any:
        bucket = None
        if run := self.server.runs.get(given["name"]):
            counts = {"logLineCount": 0, "historyLineCount": len(run.rows), "eventsLineCount": 0}
            tails = {"historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]), "eventsTail": "[]"}
            texts = {"summaryMetrics": json.dumps(run.summary), "config": "{}", "wandbConfig": '{"t": 1}', "notes": ""}
            bucket = {"id": "Ug==", "name": given["name"], "displayName": "", "tags": [], **counts, **tails, **texts}
        return {"model": {**PROJECT, "bucket": bucket}}

    def UpsertBucket(self, given: dict[str, Any]) -> Any:
        inserted = given["name"] not in self.server.runs
        self.server.runs.setdefault(given["name"], Run()).starts.append(given)
        texts = {"displayName": "", "description": "", "config": "{}", "sweepName": None}
        bucket = {"id": "Ug==", "name": given["name"], **texts, "project": PROJECT, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def CreateRunFiles(self, given: dict[str, Any]) -> Any:
        files = [{"name": f, "uploadUrl": f"{self.server.url}/run/{given['run']}/{f}"} for f in given["files"]]
        return {"createRunFiles": {"runID": "Ug==", "uploadHeaders": [], "files": files}}

    def ArtifactType(self, given: dict[str, Any]) -> Any:
        return {"project": None}  # the client asks whether the name is taken by another type

    def CreateArtifact(self, given: dict[str, Any]) -> Any:
        asked = given["input"]
        name, digest = asked["artifactCollectionName"], asked["digest"]
        others = [version for version in self.server.versions if version.name == name]
        found = next((version for version in others if version.digest == digest), None)
        if found is None:
            id = base64.b64encode(f"{name}:{len(others)}".encode()).decode()
            found = Version(id, name, asked["artifactTypeName"], digest, asked["metadata"] or "{}")
            self.server.versions.append(found)
        latest = {"id": others[-1].id} if others else None
        artifact = {"id": found.id, "state": found.state, "artifactSequence": {"latestArtifact": latest}}
        return {"createArtifact": {"artifact": artifact}}

    def CreateArtifactManifest(self, given: dict[str, Any]) -> Any:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(given["artifactID"])}}

    def UpdateArtifactManifest(self, given: dict[str, Any]) -> Any:
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(given["artifactManifestID"])}}

    def _manifest(self, id: str) -> Any:
        file = {"id": "Rg==", "uploadUrl": f"{self.server.url}/manifest/{id}", "uploadHeaders": []}
        return {"id": id, "file": file}

    def CreateArtifactFiles(self, given: dict[str, Any]) -> Any:
        nodes = []
        for file in given["input"]["artifactFiles"]:
            digest = base64.b64decode(file["md5"]).hex()
            url = f"{self.server.url}/stored/{digest}"
            parts = {"uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
            nodes.append({"storagePath": digest, **parts, "artifact": {"id": file["artifactID"]}})
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def CommitArtifact(self, given: dict[str, Any]) -> Any:
        version = self._version(given["artifactID"])
        version.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": version.id, "digest": version.digest}}}

    def ArtifactByID(self, given: dict[str, Any]) -> Any:
        return {"artifact": self._fragment(self._version(given["id"]))}

    def ProjectArtifactTypes(self, given: dict[str, Any]) -> Any:
        names = dict.fromkeys(version.type for version in self.server.versions)
        found = {"__typename": "ArtifactType", "id": "VA==", "description": "", "createdAt": WHEN}
        edges = [{"node": {**found, "name": name}} for name in names]
        return {"project": {"artifactTypes": {"edges": edges, "pageInfo": PAGE}}}

    def ArtifactTypeArtifactCollections(self, given: dict[str, Any]) -> Any:
        names = dict.fromkeys(version.name for version in self.server.versions if version.type == given["type"])
        texts = {"id": "Qw==", "description": "", "createdAt": WHEN, "updatedAt": WHEN, "type": {"name": given["type"]}}
        rest = {"__typename": "ArtifactSequence", "project": PROJECT, "tags": {"edges": []}}
        edges = [{"node": {"name": name, **texts, **rest}} for name in names]
        found = {"totalCount": len(edges), "pageInfo": PAGE, "edges": edges}
        return {"project": {"artifactType": {"artifactCollections": found}}}

    def ProjectArtifacts(self, given: dict[str, Any]) -> Any:
        found = [v for v in self.server.versions if v.name == given["collection"] and v.state == "COMMITTED"]
        edges = [{"version": f"v{i}", "node": self._fragment(version)} for i, version in enumerate(found)]
        page = {"totalCount": len(edges), "pageInfo": PAGE, "edges": edges[::-1]}  # the newest first
        return {
            "project": {"artifactType": {"artifactCollection": {"__typename": "ArtifactSequence", "artifacts": page}}}
        }

    def FetchArtifactManifest(self, given: dict[str, Any]) -> Any:
        file = {"directUrl": f"{self.server.url}/manifest/{given['id']}"}
        return {"artifact": {"currentManifest": {"file": file}}}

    def _version(self, id: str) -> Version:
        return next(version for version in self.server.versions if version.id == id)

    def _fragment(self, version: Version) -> Any:
        names = [other.id for other in self.server.versions if other.name == version.name]
        return {
            "__typename": "Artifact", "id": version.id, "versionIndex": names.index(version.id),
            "artifactSequence": {"__typename": "ArtifactSequence", "name": version.name, "project": PROJECT},
            "artifactType": {"name": version.type}, "description": "", "metadata": version.metadata,
            "ttlDurationSeconds": -2, "ttlIsInherited": False, "tags": [], "historyStep": None,
            "state": version.state, "size": 1000, "digest": version.digest, "commitHash": "", "fileCount": 1,
            "createdAt": WHEN, "updatedAt": WHEN, "aliases": [],
        }  # fmt: skip


def use(monkeypatch: Any, tmp_path: Path, url: str) -> None:
    """Point wandb's client at a server, with a key, and away from this account's own settings."""
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    wandb.teardown()  # its process of earlier tests had another server
