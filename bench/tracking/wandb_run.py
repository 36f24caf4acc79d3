"""One W&B run as this project writes it: how it starts, its epochs, its result, its files.

While trials run, track.py does it; afterwards wandb_sync.py. pull.py reads it back.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.record import failure_files
from bench.spec import Trial

if TYPE_CHECKING:
    from wandb import Artifact, Run

NETWORK_S = 20
"""Seconds that the start of a run may wait for W&B's server."""

FILES = {"record": "record.json", "failure": "failure.json", "model": "model.safetensors"}
"""Type of an artifact -> the one file in it. The artifact of a trial is called TYPE-KEY."""


@dataclass(frozen=True)
class Place:
    """Where runs go. `entity`: None is the account's own; `folder`/wandb holds W&B's files on this machine.

    `finish_s`: seconds that the end of a run, or one file of it, may take before TimeoutError.
    """

    project: str
    folder: Path
    mode: Literal["offline", "online"]
    finish_s: float
    entity: str | None = None


def absent() -> str:
    """Why wandb cannot be imported, in one line; nothing where it can."""
    try:
        import wandb  # noqa: F401
    except ModuleNotFoundError as error:
        return "wandb is not installed" if error.name == "wandb" else f"wandb cannot be imported ({line(error)})"
    except Exception as error:  # another version of a package that it needs may break it in any way
        return f"wandb cannot be imported ({line(error)})"
    return ""


def refused() -> str:
    """Why W&B cannot be used online, in one line; nothing where it can. Takes up to 20 s without a network."""
    if why := absent():
        return f"{why} (pip install wandb)"
    import wandb

    if (mode := os.environ.get("WANDB_MODE", "online")) not in ("online", "run", "shared"):
        return f"the environment variable WANDB_MODE is {mode} (unset it)"
    try:
        if wandb.login(prompt=False):
            return ""
        return "W&B has no API key (run `wandb login`, or set WANDB_API_KEY)"
    except wandb.Error as error:
        return f"W&B does not answer ({line(error)})"


def start(place: Place, id: str, name: str, job_type: str, group: str, **more: Any) -> Run:
    """A new run, or the one of this id again. Raises wandb.Error or TimeoutError where the server is not reached."""
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_git=True,
        disable_job_creation=True,
        init_timeout=NETWORK_S,
        finish_timeout=place.finish_s,
        finish_timeout_raises=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    place.folder.mkdir(parents=True, exist_ok=True)
    begin = partial(
        wandb.init,
        project=place.project,
        entity=place.entity,
        id=id,
        name=name,
        job_type=job_type,
        group=group,
        dir=place.folder,
        reinit="create_new",
        settings=settings,
        **more,
    )
    if place.mode == "online":
        return begin(mode="online", resume="allow")
    # An offline run cannot be resumed: this one holds all of it, and takes the place of an earlier part.
    drop_offline(place.folder, id)
    return begin(mode="offline")


def drop_offline(folder: Path, id: str) -> None:
    """Take away the offline files of a run that W&B has in whole, or that is written anew."""
    for earlier in folder.glob(f"wandb/offline-run-*-{id}"):
        shutil.rmtree(earlier, ignore_errors=True)


def start_trial(place: Place, trial: Trial, suite: str) -> tuple[Run, int]:
    """The run of a trial, and the epochs that W&B has of it: more than 0 where an earlier part is there."""
    keep = [] if trial.keep_macs is None else [f"keep {100 * trial.keep_macs:g}%"]
    tags = [trial.backbone.name, trial.dataset.name, trial.track, *keep, *(["smoke"] if trial.smoke else [])]
    config = {**trial.model_dump(mode="json"), "key": trial.key, "suite": suite}
    named = {"tags": [tag[:64] for tag in tags], "config": config}
    run = start(place, trial.key, trial.label, trial.method.name, suite, **named)
    return run, run.starting_step


def log(run: Run, rows: Sequence[Mapping[str, Any]], logged: int) -> int:
    """Send the epochs after the first `logged`; how many are sent now."""
    for step in range(logged, len(rows)):
        run.log(_plain(rows[step]), step=step)
    return max(logged, len(rows))


def history(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a trial that its record holds or, without one, that it has written so far."""
    if (folder / "record.json").exists():
        return list(json.loads((folder / "record.json").read_bytes())["history"])
    path = folder / "history.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []  # after the last newline: not written out yet
    return [json.loads(text) for text in lines]


def complete(run: Run, folder: Path, key: str, suite: str, reason: str = "") -> None:
    """Send the result of a trial that is done, or has failed for `reason`, and end its run.

    Returns when all of it has arrived; offline, when it is written. Raises what wandb does, and ValueError for a file
    that the server does not take; the run is ended all the same.
    """
    done = (folder / "record.json").exists()
    with _ending(run, 0 if done else 1):
        if done:
            run.summary.update(_plain(_summary(json.loads((folder / "record.json").read_bytes()))))
            files = [("record", folder / "record.json"), ("model", folder / "model.safetensors")]
        else:
            run.summary.update({"failure": reason})
            files = [("failure", path) for path in failure_files(folder)[-1:]]
        # A record and a model never change, so that W&B need not copy them.
        sent = [
            attach(run, type, key, [(FILES[type], path)], "immutable", {"key": key, "suite": suite})
            for type, path in files
            if path.exists()
        ]
        for artifact in sent:
            arrive(run, artifact)


@contextmanager
def _ending(run: Run, exit_code: int = 0) -> Iterator[None]:
    """End a run, whatever happens: one that stays open could not be started again."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            run.finish(exit_code=1)
        raise
    run.finish(exit_code=exit_code)


def attach(
    run: Run,
    type: str,
    name: str,
    files: Iterable[tuple[str, Path]],
    policy: Literal["mutable", "immutable"],
    metadata: dict[str, Any] | None = None,
) -> Artifact:
    """Add the artifact TYPE-NAME to a run: pairs of a name in it and a file."""
    import wandb

    artifact = wandb.Artifact(f"{type}-{name}", type=type, metadata=metadata)
    for inside, path in files:
        artifact.add_file(str(path.resolve()), name=inside, policy=policy, skip_cache=True)
    run.log_artifact(artifact)
    return artifact


def arrive(run: Run, artifact: Artifact) -> None:
    """Wait until the server has an artifact: the end of the run says nothing of one that it refused."""
    import wandb

    if not run.offline:
        try:
            artifact.wait(timeout=int(run.settings.finish_timeout))
        except wandb.errors.Error as error:
            raise TimeoutError(f"{artifact.name} did not arrive: {line(error)}") from error


def send_report(place: Place, suite: str, rows: Sequence[Mapping[str, Any]], page: Path | None) -> None:
    """The leaderboard as tables of a report run, one of all rows and one per board, and the page as its artifact."""
    run = start(place, f"report-{suite}", f"{suite} leaderboard", "report", suite)
    boards = dict.fromkeys(str(row["board"]) for row in rows if row.get("board"))
    tables = {"leaderboard": list(rows)}
    if len(boards) > 1:
        tables |= {_slug(board): [row for row in rows if row.get("board") == board] for board in boards}
    with _ending(run):
        run.log({name: _table(part) for name, part in tables.items()})
        if page is not None:
            root, paths = (page, sorted(page.rglob("*"))) if page.is_dir() else (page.parent, [page])
            files = [(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
            arrive(run, attach(run, "leaderboard", suite, files, "mutable"))


def line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    import wandb

    columns = list(dict.fromkeys(column for row in rows for column in row))
    data = [[_cell(row.get(column)) for column in columns] for row in rows]
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a record, nested ones by path: `result/top1`, `dense/macs`, `spent/epochs`."""
    flat = {name: record[name] for name in ("cut_top1", "best_top1", "off_target")}
    for part in ("result", "dense", "spent", "spent_dense"):
        flat |= {f"{part}/{name}": value for name, value in (record[part] or {}).items()}
    return flat


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B can chart: no nulls, and a number that is not finite becomes its name, as JSON has none for it."""
    return {name: _cell(value) for name, value in values.items() if value is not None}


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)
