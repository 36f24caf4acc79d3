"""Where one result comes from: everything that its record says, for a reader who doubts a cell."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from pathlib import Path

from bench import suitefile
from bench.errors import UserError
from bench.jsonfile import read_object
from bench.labels import plain
from bench.record import read_record
from leaderboards.columns import number
from leaderboards.files import PLAN, SUITE, home
from leaderboards.results import Entry, Folders, Results, read

CURVE = 12
"""Epochs of the training history that are printed, evenly spread."""


def show(folders: Folders | Results, key: str) -> str:
    """The record whose key begins with `key`: result, cost, command, trial, machine, history.

    Raises UserError where no trial's key, or more than one, begins so.
    """
    results = folders if isinstance(folders, Results) else read(folders)
    found = {entry.record.key: entry for entry in results.records if entry.record.key.startswith(key)}
    unfinished = {item.trial.key: item for item in results.unfinished if item.trial.key.startswith(key)}
    keys = sorted([*found, *unfinished])
    if not keys:
        raise UserError(f"there is no record whose key begins with '{plain(key)}'")
    if len(keys) > 1:
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise UserError(f"{len(keys)} trials have a key that begins with '{plain(key)}': {', '.join(keys[:5])}{more}")
    if unfinished:
        item = unfinished[keys[0]]
        told = f"{item.trial.key}  {plain(item.trial.label)}\n{item.state}: {plain(item.reason)}\n"
        return told + (f"told in {plain(str(item.path))}, and by `prunebench logs`\n" if item.state == "failed" else "")
    return "\n".join(f"{name:<22} {plain(value)}".rstrip() for name, value in _lines(found[keys[0]])) + "\n"


def command(entry: Entry, here: bool = False) -> str:
    """The command that runs this trial again, with as many threads, in a folder of its own.

    It refuses where the suite, or the method's version, is another by now. `here`: with the suite file where it lies on
    this machine, if it can be found; else a suite that comes along, or a file of its name.
    """
    record = entry.record
    suite = _suite(entry) if here else record.suite if _own(record.suite).is_file() else f"{record.suite}.yaml"
    words = ["prunebench", "run", suite, "--only", record.key, "--seeds", str(record.trial.seed)]
    words += ["--scheduler", "inline", "--out", f"runs/again-{record.key}"]
    return f"OMP_NUM_THREADS={record.machine.threads} {shlex.join(words)}"


def _suite(entry: Entry) -> str:
    """The suite that comes along, the file that the run was started from, or the copy that it keeps.

    The file before its copy, for paths in it are taken from where it lies.
    """
    name, folder = entry.record.suite, home(entry.path)
    copy, own = folder / SUITE, _own(name)
    kept = copy.is_file() and copy.stat().st_size > 0
    if own.is_file() and (not kept or _ask_the_same(copy, own)):
        return name
    source = Path(str(read_object(folder / PLAN).get("source", "")))
    if kept and source.is_file() and _ask_the_same(copy, source):
        return str(source)
    return str(copy) if kept else f"{name}.yaml"


def _ask_the_same(one: Path, other: Path) -> bool:
    """Whether two suite files differ in comments and layout at most."""
    try:
        return suitefile.read(one).values == suitefile.read(other).values
    except UserError:
        return False


def _own(suite: str) -> Path:
    return Path(str(files("bench"))) / "suites" / f"{suite}.yaml"


def _lines(entry: Entry) -> list[tuple[str, str]]:
    record = read_record(entry.path)  # once more, for its whole history
    trial, result, dense = record.trial, record.result, record.dense
    lines = [
        ("key", f"{record.key}  {trial.label}"),
        ("record", str(entry.path)),
        ("suite", record.suite),
        *((("asked for in", f"{a.path}, line {a.number}: {' '.join(a.text.split())}"),) if (a := entry.asked) else ()),
        ("again", command(entry, here=True)),
        ("W&B run id", record.key),
        ("top-1", f"{number(result.top1)} % of {result.test_images:,} test images (top-5 {number(result.top5)} %)"),
    ]
    if dense:
        lines.append(("change against dense", f"{number(result.top1 - dense.top1, sign=True)} points"))
    if record.cut_top1 is not None:
        lines.append(("top-1 after the cut", f"{number(record.cut_top1)} %"))
    if record.best_top1 is not None:
        lines.append(("best test epoch", f"{number(record.best_top1)} % (never ranks)"))
    for name, size, whole in (
        ("MACs", result.macs, dense and dense.macs),
        ("fvcore total", result.fvcore_total, dense and dense.fvcore_total),
        ("params", result.params, dense and dense.params),
    ):
        share = f" ({100 * size / whole:.2f} % of {whole:,})" if whole else ""
        lines.append((name, f"{size:,}{share}"))
    if record.off_target is not None:
        lines.append(("off the target", f"{number(record.off_target, sign=True)} points of dense MACs"))
    for name, spent in (("training", record.spent), ("dense training", record.spent_dense)):
        if spent:
            cost = f"{spent.epochs:g} epochs, {spent.images:,} images, {spent.macs:.4g} MACs, {spent.seconds:.0f} s"
            lines.append((name, cost))
    lines += [(f"speed on {latency.name}", str(latency)) for latency in entry.latencies]
    lines += [("method's file", f"SHA-256 {record.method_source}")] if record.method_source else []
    lines += [("starts from", record.starts_from), ("started, finished", f"{record.started}, {record.finished}")]
    lines += [(f"machine.{name}", _text(value)) for name, value in record.machine.model_dump().items()]
    lines += [(f"trial.{name}", _text(value)) for name, value in trial.model_dump(mode="json").items()]
    kept = (f"{name} {units}/{record.dense_widths.get(name, '?')}" for name, units in record.widths.items())
    lines += [("widths", ", ".join(kept)), *(("note", note) for note in record.notes)]
    n = len(record.history)
    for i in sorted({round(k * (n - 1) / max(CURVE - 1, 1)) for k in range(CURVE)} if n else ()):
        epoch = record.history[i]
        tested = f", test top-1 {number(epoch.top1)} %" if epoch.top1 is not None else ""
        figures = f"loss {epoch.loss:.4f}, training top-1 {number(epoch.train_top1)} %{tested}, lr {epoch.lr:g}"
        done = sum(part.epochs for part in record.history[: i + 1])  # a row may be a part of an epoch
        lines.append((f"after {done:.4g} epochs", f"{epoch.phase}: {figures}"))
    return lines


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
