"""What stands in a table: one list of columns, shared by every format.

Texts are plain Unicode; each format escapes them in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from leaderboards.row import Row, Speed
from leaderboards.stats import Stat

Form = Literal["brief", "compact", "usual", "long"]


@dataclass(frozen=True)
class Column:
    """A column: its header, its cell, the value it is sorted by, and whether figures stand in it."""

    name: str
    header: str
    cell: Callable[[Row], str]
    value: Callable[[Row], float | str | None]
    numeric: bool = True


def columns(form: Form, rows: Sequence[Row]) -> list[Column]:
    """The columns of a form; one that would be empty in all rows is left out.

    "brief" fits a column of a two-column paper, "compact" a narrow terminal, "usual" a page, "long" has all.
    """
    wanted = BRIEF if form == "brief" else [column for column in LONG if form == "long" or column.name in FORMS[form]]
    return [column for column in wanted if not rows or any(column.cell(row) for row in rows)]


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """Fixed digits, a true minus, no minus before a rounded zero."""
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def spread(stat: Stat | None, sign: bool = False) -> str:
    """`mean ± std`, or the mean alone where n = 1."""
    if stat is None:
        return ""
    mean = number(stat.mean, sign=sign)
    return mean if stat.std is None else f"{mean} ± {number(stat.std)}"


def _top1(row: Row) -> str:
    if row.top1 is None:
        return "failed" if row.failed else "refused" if row.refused else "missing"
    return spread(row.top1)


def _seeds(row: Row) -> str:
    counts = ((row.failed, "failed"), (row.refused, "refused"))
    why = ", ".join(f"{n} {state}" for n, state in counts if n)
    return f"{row.n} of {row.n + len(row.unfinished)}{f' ({why})' if why else ''}" if row.unfinished else str(row.n)


def _seeds_briefly(row: Row) -> str:
    return f"{row.n}/{row.n + len(row.unfinished)}" if row.unfinished else str(row.n)


def _macs(row: Row) -> str:
    return _size(row.macs, row.macs_cut, row.is_dense) + ("†" if row.off_target else "")


def _params(row: Row) -> str:
    return _size(row.params, row.params_cut, row.is_dense, 2 if row.params and row.params.mean >= 1e6 else 3)


def _size(size: Stat | None, cut: Stat | None, is_dense: bool, digits: int = 2) -> str:
    if size is None:
        return ""
    text = number(size.mean / 1e6, digits)
    return f"{text} ({number(-cut.mean, 1, sign=True)} %)" if cut and not is_dense else text


def _cut(cut: Stat | None, mark: bool = False) -> str:
    return f"{number(-cut.mean, 1, sign=True)}{'†' if mark else ''}" if cut else ""


def _epochs_in_all(row: Row) -> str:
    if row.epochs is None:
        return ""
    return _count(row.epochs_in_all) if row.epochs_in_all else f"{_count(row.epochs)} + ?"


def _count(stat: Stat | None) -> str:
    return "" if stat is None else f"{stat.mean:.1f}".removesuffix(".0")


def _tera(own: Stat | None) -> str:
    return "" if own is None else f"{own.mean / 1e12:.3g}" if own.mean < 1e15 else f"{own.mean / 1e12:.0f}"


def _training(row: Row) -> str:
    return "?" if row.is_dense and row.n and not row.training_macs_in_all else _tera(row.training_macs)


def _speedup(speed: Speed | None) -> str:
    return f"{spread(speed.speedup)}×{'‡' if speed.loaded else ''}" if speed and speed.speedup else ""


def _rank(row: Row) -> str:
    return "–".join(map(str, dict.fromkeys(row.rank))) if row.rank else ""


def _start(row: Row) -> str:
    return {"pretrained": "dense"}.get(row.starts_from, row.starts_from)


def _printed(row: Row) -> str:
    if row.printed is None or row.printed.top1 is None:
        return ""
    cut = row.printed.macs_cut
    return number(row.printed.top1) + (f" ({number(-cut, 1, sign=True)} %)" if cut is not None else "")


def _less_printed(stat: Stat | None, row: Row) -> float | None:
    return stat.mean - row.printed.top1 if stat and row.printed and row.printed.top1 is not None else None


def _signed(value: float | None) -> str:
    return "" if value is None else number(value, sign=True)


def _mean(name: str) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        stat: Stat | None = getattr(row, name)
        return stat.mean if stat else None

    return value


METHOD = Column("method", "Method", lambda r: r.label, lambda r: r.label, numeric=False)
TOP1 = Column("top1", "Top-1 (%)", _top1, _mean("top1"))
RANK = Column("rank", "Rank", _rank, lambda r: r.rank.best + r.rank.worst / 1000 if r.rank else None)
LONG = [
    METHOD,
    Column("keep", "MACs kept", lambda r: r.point, lambda r: r.kept),
    TOP1,
    Column("seeds", "n", _seeds, lambda r: r.n),
    Column("change", "Δ dense", lambda r: spread(r.change, sign=True), _mean("change")),
    RANK,
    Column("macs", "MACs (M)", _macs, _mean("macs")),
    Column("params", "Params (M)", _params, _mean("params")),
    Column("starts_from", "Starts from", _start, _start, numeric=False),
    Column(
        "speedup",
        "Speed-up",
        lambda r: _speedup(r.single),
        lambda r: r.single.speedup.mean if r.single and r.single.speedup else None,
    ),
    Column(
        "batch_speedup",
        "Speed-up in batches",
        lambda r: _speedup(r.batched),
        lambda r: r.batched.speedup.mean if r.batched and r.batched.speedup else None,
    ),
    Column("epochs", "Epochs", lambda r: _count(r.epochs), _mean("epochs")),
    Column("epochs_in_all", "Epochs in all", _epochs_in_all, _mean("epochs_in_all")),
    Column("best_top1", "Best test epoch (%)", lambda r: spread(r.best_top1), _mean("best_top1")),
    Column("printed", "Printed (%)", _printed, lambda r: r.printed.top1 if r.printed else None),
    Column(
        "less_printed",
        "Last epoch − printed",
        lambda r: _signed(_less_printed(r.top1, r)),
        lambda r: _less_printed(r.top1, r),
    ),
    Column(
        "best_less_printed",
        "Best epoch − printed",
        lambda r: _signed(_less_printed(r.best_top1, r)),
        lambda r: _less_printed(r.best_top1, r),
    ),
    Column("present_top1", "Top-1 of classes here (%)", lambda r: spread(r.present_top1), _mean("present_top1")),
    Column("top5", "Top-5 (%)", lambda r: spread(r.top5), _mean("top5")),
    Column("cut_top1", "After the cut (%)", lambda r: spread(r.cut_top1), _mean("cut_top1")),
    Column(
        "fvcore_total",
        "fvcore total (M)",
        lambda r: number(r.fvcore_total.mean / 1e6) if r.fvcore_total else "",
        _mean("fvcore_total"),
    ),
    Column("training_macs", "Training (TMACs)", _training, _mean("training_macs")),
    Column(
        "training_macs_in_all",
        "Training in all (TMACs)",
        lambda r: _tera(r.training_macs_in_all),
        _mean("training_macs_in_all"),
    ),
]
BRIEF = [
    METHOD,
    TOP1,
    Column("seeds", "n", _seeds_briefly, lambda r: r.n),
    Column("change", "Δ dense", lambda r: number(r.change.mean, sign=True) if r.change else "", _mean("change")),
    Column("macs_cut", "MACs (%)", lambda r: "" if r.is_dense else _cut(r.macs_cut, r.off_target), _mean("macs_cut")),
    Column("params_cut", "Params (%)", lambda r: "" if r.is_dense else _cut(r.params_cut), _mean("params_cut")),
    RANK,
]
_COMPACT = {"method", "keep", "top1", "seeds", "change", "rank", "macs", "params"}
FORMS = {
    "compact": _COMPACT,
    "usual": _COMPACT
    | {"speedup", "batch_speedup", "starts_from", "epochs", "epochs_in_all", "printed", "less_printed"}
    | {"best_top1", "best_less_printed", "present_top1"},
}
