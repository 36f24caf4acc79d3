"""W&B as a mirror of what lies on disk, kept by the scheduling process.

Trials know nothing of it: they need neither wandb nor a network, and nothing that happens here stops one. The records
are the truth; whatever is missing in W&B is sent again from them when the same command is run again.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from bench.board import Status
from bench.record import write_json
from bench.spec import Trial

if TYPE_CHECKING:
    from wandb import Run

Mode = Literal["offline", "online", "disabled"]

NETWORK_S = 20
"""Seconds to wait for W&B's server at the start of a run; at its end, this many more may go by in the background."""


class Tracker:
    """One W&B run per trial, of the trial's key, in `folder/wandb` where offline.

    "online" becomes "offline", with a note, where there is no API key or no network; without wandb nothing is tracked.
    """

    def __init__(
        self, project: str, mode: Mode, *, group: str, folder: Path, note: Callable[[str], None] = print
    ) -> None:
        self.project, self.group, self.folder, self.note = project, group, folder, note
        self.mode: Mode = _possible(mode, note)
        self._runs: dict[str, tuple[Run, int]] = {}  # key -> its open run and the epochs logged so far
        self._closed: set[str] = set()
        self._finishing = ThreadPoolExecutor(max_workers=4, thread_name_prefix="wandb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, status: Status) -> None:
        """Bring every trial's run up to what its folder holds; for `run_trials(watch=...)`."""
        for trial in status.trials:
            if trial.state == "running":
                self._closed.discard(trial.key)
                self.poll(trial.trial, trial.folder)
            elif trial.state in ("done", "failed") and trial.mine and trial.key not in self._closed:
                self._closed.add(trial.key)
                self.finish(trial.trial, trial.folder, trial.reason)

    def poll(self, trial: Trial, folder: Path) -> None:
        """Log the epochs that a running trial has written since the last call."""
        self._safely(partial(self._log, trial, folder / "history.jsonl"))

    def finish(self, trial: Trial, folder: Path, reason: str = "") -> None:
        """Complete the run of a trial that is done, or has failed for `reason`; once per outcome."""
        self._safely(partial(self._finish, trial, folder, reason))

    def report(self, rows: Sequence[Mapping[str, Any]], page: Path | None = None) -> None:
        """The leaderboard as a table of a report run, and the page (a file or a folder) as its artifact."""
        self._safely(partial(self._report, rows, page))

    def close(self) -> None:
        """Finish what is open: trials that were interrupted get their run again when they go on."""
        runs, self._runs = self._runs, {}
        for run, _ in runs.values():
            self._finishing.submit(self._safely, partial(run.finish, exit_code=1))
        self._finishing.shutdown(wait=True)

    def _safely(self, action: Callable[[], None]) -> None:
        """A mirror is not worth a trial: the first failure is told, and tracking ends."""
        if self.mode == "disabled":
            return
        try:
            action()
        except Exception as error:
            self.mode = "disabled"
            self.note(f"W&B tracking stops ({_line(error)}); the records are complete, run again to track them")

    def _log(self, trial: Trial, history: Path) -> None:
        if not history.exists():
            return
        lines = history.read_text().split("\n")[:-1]  # what follows the last newline is not written out yet
        self._add(trial, [json.loads(line) for line in lines])

    def _add(self, trial: Trial, rows: Sequence[Mapping[str, Any]]) -> Run:
        run, logged = self._runs.get(trial.key) or self._open(trial)
        for step in range(logged, len(rows)):
            run.log(_plain(rows[step]), step=step)
        self._runs[trial.key] = run, max(logged, len(rows))
        return run

    def _open(self, trial: Trial) -> tuple[Run, int]:
        keep = [] if trial.keep_macs is None else [f"keep {100 * trial.keep_macs:g}%"]
        tags = [trial.backbone.name, trial.dataset.name, trial.track, *keep, *(["smoke"] if trial.smoke else [])]
        config = {**trial.model_dump(mode="json"), "key": trial.key, "suite": self.group}
        run = self._start(trial.key, trial.label, trial.method.name, tags=[tag[:64] for tag in tags], config=config)
        return run, run.step  # more than 0 where the server has epochs of an earlier, interrupted run

    def _start(self, id: str, name: str, job_type: str, **more: Any) -> Run:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            disable_job_creation=True,
            init_timeout=NETWORK_S,
            finish_timeout=NETWORK_S,
            finish_timeout_raises=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        start = partial(
            wandb.init,
            project=self.project,
            group=self.group,
            id=id,
            name=name,
            job_type=job_type,
            dir=self.folder,
            reinit="create_new",
            settings=settings,
            **more,
        )
        if self.mode == "online":
            try:
                return start(mode="online", resume="allow")
            except (wandb.Error, TimeoutError) as error:
                self.mode = "offline"
                self.note(
                    f"W&B cannot be reached ({_line(error)}): tracking goes on offline, send it with `wandb sync`"
                )
        # An offline run cannot be resumed: this one holds all of it, and takes the place of an earlier part.
        for earlier in self.folder.glob(f"wandb/offline-run-*-{id}"):
            shutil.rmtree(earlier)
        return start(mode="offline")

    def _finish(self, trial: Trial, folder: Path, reason: str) -> None:
        record = folder / "record.json"
        outcome = "done" if record.exists() else f"failed {len(list(folder.glob('failed-*.json')))}"
        marker, mark = folder / "tracked.json", {"project": self.project, "mode": self.mode, "outcome": outcome}
        if _read(marker) == mark:
            return
        if outcome == "done":
            values = json.loads(record.read_bytes())
            run = self._add(trial, values["history"])
            run.summary.update(_plain(_summary(values)))
            self._attach(run, "record", trial.key, record)
            if (folder / "model.safetensors").exists():
                self._attach(run, "model", trial.key, folder / "model.safetensors")
        else:
            self._log(trial, folder / "history.jsonl")
            run = self._add(trial, ())
            run.summary.update({"failure": reason})
        del self._runs[trial.key]
        mark["mode"] = self.mode

        def complete() -> None:
            run.finish(exit_code=0 if outcome == "done" else 1)
            write_json(marker, mark)

        # In the background: on a slow network this lasts, and the scheduler has other trials to start.
        self._finishing.submit(self._safely, complete)

    def _attach(self, run: Run, kind: str, key: str, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"{kind}-{key}", type=kind)
        root, files = (path, sorted(path.rglob("*"))) if path.is_dir() else (path.parent, [path])
        for file in (file.resolve() for file in files if file.is_file()):
            # A record and a model never change, so W&B need not copy them; a page is written anew each time.
            policy = "mutable" if kind == "leaderboard" else "immutable"
            artifact.add_file(str(file), name=file.relative_to(root.resolve()).as_posix(), policy=policy)
        run.log_artifact(artifact)

    def _report(self, rows: Sequence[Mapping[str, Any]], page: Path | None) -> None:
        import wandb

        run = self._start(f"report-{self.group}", f"{self.group} leaderboard", "report")
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = [[_cell(row.get(column)) for column in columns] for row in rows]
        run.log({"leaderboard": wandb.Table(columns=columns, data=data, allow_mixed_types=True)})
        if page is not None:
            self._attach(run, "leaderboard", self.group, page)
        run.finish()


def _possible(mode: Mode, note: Callable[[str], None]) -> Mode:
    if mode == "disabled":
        return mode
    try:
        import wandb
    except ModuleNotFoundError:
        note("wandb is not installed: tracking is off (pip install wandb)")
        return "disabled"
    if mode == "online":
        try:
            if wandb.login(prompt=False):
                return mode
            note("W&B has no API key: tracking is offline (run `wandb login`, or set WANDB_API_KEY)")
        except wandb.Error as error:
            note(f"W&B does not answer ({_line(error)}): tracking is offline, send it later with `wandb sync`")
        return "offline"
    return mode


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


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]
