"""What stands in a table: one list of columns and the notes below it, shared by every format.

Texts are plain Unicode; each format escapes them in its own way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.spec import Recipe, Trial
from leaderboards.boards import Board
from leaderboards.rows import OFF_TARGET, Row
from leaderboards.stats import ALPHA, MIN_SEEDS, Stat

Form = Literal["compact", "usual", "long"]
_FORMS: tuple[Form, ...] = ("compact", "usual", "long")


@dataclass(frozen=True)
class Column:
    """A column: its header, its cell, the value it is sorted by, and the shortest form of the table that shows it."""

    name: str
    header: str
    cell: Callable[[Row], str]
    value: Callable[[Row], float | str | None]
    form: Form = "usual"
    numeric: bool = True


def columns(form: Form, rows: list[Row]) -> list[Column]:
    """The columns of a form; one that would be empty in all rows is left out."""
    wanted = [c for c in COLUMNS if _FORMS.index(c.form) <= _FORMS.index(form)]
    return [c for c in wanted if not rows or any(c.cell(row) for row in rows)]


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """Fixed digits, a true minus, no minus before a rounded zero."""
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def spread(stat: Stat | None, digits: int = 2, sign: bool = False) -> str:
    """`mean ± std`, or the mean alone where n = 1."""
    if stat is None:
        return ""
    mean = number(stat.mean, digits, sign)
    return mean if stat.std is None else f"{mean} ± {number(stat.std, digits)}"


def _top1(row: Row) -> str:
    if row.top1 is None:
        return "failed" if row.failed else "missing"
    return spread(row.top1)


def _seeds(row: Row) -> str:
    notes = [f"{row.failed} failed"] * bool(row.failed) + [f"{row.missing} missing"] * bool(row.missing)
    return f"{row.n} ({', '.join(notes)})" if notes else str(row.n)


def _macs(row: Row) -> str:
    mark = "†" if row.off_target else ""
    return _size(row.macs, row.macs_cut, row.is_dense) + mark


def _size(size: Stat | None, cut: Stat | None, is_dense: bool, digits: int = 2) -> str:
    if size is None:
        return ""
    text = number(size.mean / 1e6, digits)
    return f"{text} ({number(-cut.mean, 1, sign=True)} %)" if cut and not is_dense else text


def _params(row: Row) -> str:
    return _size(row.params, row.params_cut, row.is_dense, 2 if row.params and row.params.mean >= 1e6 else 3)


def _epochs(row: Row) -> str:
    return _count(row.epochs)


def _epochs_in_all(row: Row) -> str:
    if row.epochs is None:
        return ""
    return _count(row.epochs_in_all) if row.epochs_in_all else f"{_count(row.epochs)} + ?"


def _count(stat: Stat | None) -> str:
    return "" if stat is None else f"{stat.mean:.1f}".removesuffix(".0")


def _tera(own: Stat | None) -> str:
    return "" if own is None else f"{own.mean / 1e12:.3g}"


def _start(row: Row) -> str:
    return {"pretrained": "dense", "": ""}.get(row.starts_from, row.starts_from)


def _mean(stat: Stat | None) -> float | None:
    return stat.mean if stat else None


def _kept(row: Row) -> float | None:
    if row.is_dense:
        return 100.0
    if row.keep_macs is not None:
        return 100 * row.keep_macs
    return 100 - row.macs_cut.mean if row.macs_cut else None


COLUMNS = [
    Column("method", "Method", lambda r: r.label, lambda r: r.label, "compact", numeric=False),
    Column("keep", "MACs kept", lambda r: r.point, _kept, "compact"),
    Column("starts_from", "Starts from", _start, _start, "usual", numeric=False),
    Column("top1", "Top-1 (%)", _top1, lambda r: _mean(r.top1), "compact"),
    Column("seeds", "n", _seeds, lambda r: r.n, "compact"),
    Column("change", "Δ dense", lambda r: spread(r.change, sign=True), lambda r: _mean(r.change), "compact"),
    Column("rank", "Rank", lambda r: str(r.rank or ""), lambda r: r.rank, "compact"),
    Column("top5", "Top-5 (%)", lambda r: spread(r.top5), lambda r: _mean(r.top5), "long"),
    Column("cut_top1", "After the cut (%)", lambda r: spread(r.cut_top1), lambda r: _mean(r.cut_top1), "long"),
    Column("best_top1", "Best test epoch (%)", lambda r: spread(r.best_top1), lambda r: _mean(r.best_top1), "long"),
    Column("macs", "MACs (M)", _macs, lambda r: _mean(r.macs), "compact"),
    Column(
        "fvcore_total",
        "fvcore total (M)",
        lambda r: number(r.fvcore_total.mean / 1e6) if r.fvcore_total else "",
        lambda r: _mean(r.fvcore_total),
        "long",
    ),
    Column("params", "Params (M)", _params, lambda r: _mean(r.params), "compact"),
    Column("epochs", "Epochs", _epochs, lambda r: _mean(r.epochs), "usual"),
    Column("epochs_in_all", "Epochs in all", _epochs_in_all, lambda r: _mean(r.epochs_in_all), "usual"),
    Column(
        "training_macs", "Training (TMACs)", lambda r: _tera(r.training_macs), lambda r: _mean(r.training_macs), "long"
    ),
    Column(
        "training_macs_in_all",
        "in all (TMACs)",
        lambda r: _tera(r.training_macs_in_all),
        lambda r: _mean(r.training_macs_in_all),
        "long",
    ),
]


def title(board: Board) -> str:
    """Data set, backbone, track; and that a smoke run is one."""
    trial = board.trial
    kwargs = ", ".join(f"{name}={value}" for name, value in trial.backbone.kwargs.items())
    backbone = f"{trial.backbone.name} ({kwargs})" if kwargs else trial.backbone.name
    data = trial.dataset.name
    if trial.dataset.subset:
        data += f" ({trial.dataset.subset:,} training images)"
    if trial.dataset.image_size:
        data += f" at {trial.dataset.image_size} px"
    text = f"{data}, {backbone}, {trial.track} track"
    return f"SMOKE RUN: {text}" if board.smoke else text


def notes(board: Board) -> list[str]:
    """What a reader must know to read the table, one sentence or two each."""
    trial, records = board.trial, [entry.record for entry in board.entries]
    lines = ["Smoke run: it shows that everything works, not what a method is worth."] if board.smoke else []
    lines.append(f"Dense network: {_dense_source(trial)}")
    lines += _recipes(board)
    sizes = " or ".join(f"{n:,}" for n in sorted({record.result.test_images for record in records}))
    if records:
        lines.append(
            f"Top-1 on {sizes} test images at the last epoch, evaluated in fp32. Mean ± sample standard deviation "
            "over n seeds; change against the dense network of the same seed."
        )
    if trial.dense and trial.dense.recipe is None:
        lines.append(
            "One file of dense weights for all seeds: ± is the noise of fine-tuning alone "
            "for methods that start from the dense network; what the file cost to train is not known."
        )
    lines.append(
        "Rank: 1 + the number of rows that are significantly better at the same MACs kept (two-sided paired t-test "
        f"by seed, Holm's correction over all pairs at that point, α = {ALPHA}); none under {MIN_SEEDS} seeds. "
        "Best top-1 of each point in bold, second best underlined."
    )
    lines.append(
        "MACs: convolutions, linear layers and matrix products of one image (fvcore, 1 MAC = 1). "
        "Epochs in all: with the dense network's, where a method starts from it."
    )
    if any(row.off_target for row in board.rows):
        lines.append(f"† More than {OFF_TARGET:g} percentage point of dense MACs off the target in some seed.")
    lines += _mixtures(board)
    lines += [line for row in board.rows for line in _unfinished(row)]
    for note in sorted({note for record in records for note in record.notes}):
        rows = sum(any(note in e.record.notes for e in row.entries) for row in board.rows)
        lines.append(note if rows == len(board.rows) else f"{note} ({rows} of {len(board.rows)} rows)")
    lines.append(f"Protocol version {trial.protocol}.")
    return lines


def _recipes(board: Board) -> list[str]:
    if board.trial.track == "paper":
        return ["Paper track: each method trains with the schedule of its own paper."]
    lines = ["Matched track: all methods share the dense network, the data and a total of training epochs."]
    for start, what in (("pretrained", "From the dense network"), ("scratch", "From scratch")):
        recipes = {
            _recipe(e.record.trial.recipe)
            for row in board.rows
            for e in row.entries
            if not row.is_dense and e.record.starts_from == start
        }
        lines += [f"{what}: {recipe}." for recipe in sorted(recipes)]
    return lines


def _unfinished(row: Row) -> list[str]:
    who = row.label if row.is_dense else f"{row.label} at {row.point}"
    seeds: dict[tuple[str, str], list[str]] = {}
    for u in row.unfinished:
        seeds.setdefault((u.state, u.reason), []).append(str(u.trial.seed))
    return [f"{who}, seed {', '.join(which)}: {state} ({reason})" for (state, reason), which in seeds.items()]


def _mixtures(board: Board) -> list[str]:
    machines = [entry.record.machine for entry in board.entries]
    lines = []
    for what, values in (
        ("Training precision", {m.precision for m in machines}),
        ("Device", {m.device if m.device != "cpu" else m.cpu for m in machines}),
    ):
        if len(values) > 1:
            lines.append(f"{what} differs between the runs: {', '.join(sorted(values))}.")
    return lines


def _dense_source(trial: Trial) -> str:
    dense = trial.dense
    if dense is None:
        return "none; changes against it are left empty."
    if dense.recipe:
        return f"trained once per seed, {_recipe(dense.recipe)}."
    if dense.weights:
        return f"published weights, SHA-256 {dense.weights.sha256[:16] or 'not stated'}."
    return f"timm's pretrained weights{f' {dense.pretrained}' if isinstance(dense.pretrained, str) else ''}."


def _recipe(recipe: Recipe) -> str:
    schedule = f"steps at {', '.join(map(str, recipe.milestones))}" if recipe.milestones else recipe.schedule
    return (
        f"{recipe.epochs} epochs, learning rate {recipe.lr:g} ({schedule}), "
        f"batch {recipe.batch_size}, weight decay {recipe.weight_decay:g}"
    )
