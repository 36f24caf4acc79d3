"""What a reader must know of a board's rows: what is missing, settings that are not a method's own, mixed machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.labels import as_text
from leaderboards.boards import Board
from leaderboards.row import Row

NAMED = 6
"""Rows that a note names one by one; more are counted."""


def incomplete(board: Board) -> Iterator[str]:
    """Trials that have not run, in one sentence however many they are, and those that failed, by reason."""
    missing = sum(row.missing for row in board.rows)
    if missing:
        planned = sum(row.n + len(row.unfinished) for row in board.rows)
        rows = [row for row in board.rows if row.missing]
        where = f": {_named(rows, 'missing', 'not run yet')}" if len(rows) <= NAMED else ""
        yield (
            f"Incomplete: {missing} of {planned} trials {'has' if missing == 1 else 'have'} not run yet, "
            f"and n says how many seeds of how many each row has{where}."
        )
    run = {trial.seed for row in board.rows for trial in row.trials if not row.is_dense}
    asked = {seed for entry in board.entries if entry.asked for seed in entry.asked.seeds}
    if asked - run and not board.smoke:
        yield f"The suite asks for seeds {_listed(asked)}: {_listed(asked - run)} did not take part."
    troubles = {(u.state, u.reason): None for row in board.rows for u in row.unfinished if u.state != "missing"}
    for state, reason in troubles:
        rows = [row for row in board.rows if any((u.state, u.reason) == (state, reason) for u in row.unfinished)]
        yield f"{state.capitalize()} ({reason}): {_named(rows, state, reason)}."


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _named(rows: list[Row], state: str, reason: str) -> str:
    named = []
    for row in rows[:NAMED]:
        seeds = [str(u.trial.seed) for u in row.unfinished if (u.state, u.reason) == (state, reason)]
        who = row.label if row.is_dense else f"{row.label} at {row.point}"
        named.append(f"{who} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})")
    more = [f"and {len(rows) - NAMED} more rows"] if len(rows) > NAMED else []
    return ", ".join(named + more)


def settings(board: Board) -> Iterator[str]:
    """Hyper-parameters that are not the method's defaults; all of them where the run did not say what these are."""
    told: dict[str, None] = {}
    unknown = False
    for row in board.rows:
        defaults = row.about.get("defaults")
        unknown = unknown or (not isinstance(defaults, dict) and not row.is_dense)
        params = {name[7:]: value for name, value in row.detail.items() if name.startswith("params.")}
        if "twin" in row.detail:
            params.pop("of", None)
        own = [
            f"{name}={as_text(value)}"
            for name, value in params.items()
            if (value != defaults.get(name, ...) if isinstance(defaults, dict) else value is not None)
        ]
        if own:
            told.setdefault(f"{row.method} ({', '.join(own)})")
    if told:
        what = "Settings" if unknown else "Settings other than a method's own defaults"
        more = f"; and {len(told) - NAMED} more, which `show KEY` tells" if len(told) > NAMED else ""
        yield f"{what}: {'; '.join(list(told)[:NAMED])}{more}."


def mixtures(board: Board) -> Iterator[str]:
    """Precisions and devices, where the runs of a board differ in them; a precision other than fp32 in any case."""
    machines = [entry.record.machine for entry in board.entries]
    for what, values in (
        ("Training precision", {m.precision for m in machines}),
        ("Device", {m.device if m.device != "cpu" else m.cpu for m in machines}),
    ):
        if len(values) > 1:
            yield f"{what} differs between the runs: {', '.join(sorted(values))}."
        elif what == "Training precision" and values - {"fp32"}:
            yield f"Training precision: {min(values)}."


def sources(board: Board) -> Iterator[str]:
    """Methods whose code differs between the runs of one version."""
    found: dict[tuple[str, int], set[str]] = {}
    for entry in board.entries:
        method = entry.record.trial.method
        if entry.record.method_source:
            found.setdefault((method.name, method.version), set()).add(entry.record.method_source)
    for (name, version), files in sorted(found.items()):
        if len(files) > 1:
            yield f"{name} (version {version}) ran from {len(files)} states of its file; `show KEY` tells from which."


def told_by_runs(board: Board, known: Iterable[str] = ()) -> Iterator[str]:
    """The notes that records carry, each once, but for those that are `known` already."""
    notes = [{note for entry in row.entries for note in entry.record.notes} for row in board.rows]
    for note in sorted(set().union(*notes) - set(known)):
        rows = sum(note in of_row for of_row in notes)
        of = sum(bool(row.entries) for row in board.rows)
        yield note if rows == of else f"{note} ({rows} of {of} rows)"
