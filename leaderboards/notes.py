"""What stands below a table: what a reader must know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.labels import as_text
from bench.spec import Recipe, Trial
from leaderboards.boards import Board
from leaderboards.caveats import incomplete, mixtures, settings, sources, told_by_runs
from leaderboards.columns import LONG, Column, number
from leaderboards.names import CONTROLS
from leaderboards.row import OFF_TARGET, Row
from leaderboards.stats import ALPHA, MIN_SEEDS

ONE_CHECKPOINT = "one dense checkpoint for all seeds: the spread is that of the training after it"
"""What records say of given weights; the board says it in its own words."""

EXPLAINED = {
    "fvcore_total": "fvcore total: MACs and all else that fvcore counts, such as norms and pooling.",
    "starts_from": "Starts from: the dense network, or fresh weights (scratch).",
    "epochs_in_all": "Epochs in all: with the dense network's, where a method starts from it.",
    "training_macs": (
        "Training: MACs of all forward and backward passes (3 x forward, of the network as it was at the time); in "
        "all: with the dense network's. What a method computes to choose filters is not counted. ? = not known."
    ),
    "cut_top1": (
        "After the cut: top-1 between the last cut and the fine-tuning, where a method has these two; some (eagleeye, "
        "sfp) compute batch norm statistics anew before it, which alone can be worth tens of points."
    ),
}
"""What a header cannot say, by column."""

SHOWN = {column.name: column for column in LONG}


def notes(
    board: Board, best: str = "in bold", second: str = "underlined", columns: Iterable[Column] | None = None
) -> list[str]:
    """What a reader must know to read the table, one sentence or two each; how the best two are marked.

    `columns`: of the table (default: all), so that nothing is explained that does not stand in it.
    """
    shown = None if columns is None else {column.name for column in columns}

    def has(column: str) -> bool:
        return shown is None or column in shown

    trial, records = board.trial, [entry.record for entry in board.entries]
    lines = ["Smoke run: it shows that everything works, not what a method is worth."] if board.smoke else []
    lines += incomplete(board)
    lines += _data(trial)
    lines.append(f"Dense network: {_dense_source(trial)}")
    if trial.dense and records and not any(row.is_dense for row in board.rows):
        lines.append("The dense network's own record is not here: what the others say of it stands unproved.")
    lines += _recipes(board)
    lines += _controls(board)
    lines += settings(board)
    sizes = " or ".join(f"{n:,}" for n in sorted({record.result.test_images for record in records}))
    several = any(row.n > 1 for row in board.rows)
    if records:
        spread = "Mean ± sample standard deviation over n seeds" if several else "One seed of each row"
        lines.append(f"Top-1 on {sizes} test images at the last epoch, evaluated in fp32. {spread}{_change(trial)}.")
    if any(row.present_top1 for row in board.rows):
        lines.append(
            f"Top-1 and top-5 are among all classes of {trial.dataset.classes}; top-1 of classes here lets only those "
            "compete that the test images have."
        )
    lines += _few_seeds(board)
    if trial.dense and trial.dense.recipe is None and several:
        lines.append(
            "One dense checkpoint for all seeds: ± is the noise of fine-tuning that one checkpoint, for methods that "
            "start from it, and says nothing of others; what it cost to train is not known."
        )
    if has("rank") and any(row.rank for row in board.rows):
        lines.append(
            "Rank: the places that a row may hold among those with the same MACs kept: 1 + the number of rows that are "
            "significantly better, to the number of rows less those that are significantly worse (two-sided paired "
            f"t-test by seed, Holm's correction over all pairs at that point, α = {ALPHA}); none under {MIN_SEEDS} "
            "seeds. A wide range says that the seeds are too few or spread too widely to tell."
        )
    if any(row.mark for row in board.rows):
        lines.append(f"Best top-1 of each point {best}, second best {second}, whether or not it can be told apart.")
    lines += _unmarked(board)
    lines.append(
        "MACs: convolutions, linear layers and matrix products of one image (fvcore, 1 MAC = 1)"
        f"{'; changes in % are against the dense network' if trial.dense else ''}."
    )
    lines += [text for column, text in EXPLAINED.items() if has(column) and any(map(SHOWN[column].cell, board.rows))]
    lines += _speed(board) if has("speedup") or has("batch_speedup") else []
    if has("printed") and any(row.printed for row in board.rows):
        lines.append(
            "Printed: the authors' own figure at the nearest share of MACs cut, the best of several there, as reported "
            "in their convention (often the best test epoch, another counter of MACs, a longer schedule); it never "
            "ranks. Differences to it are in percentage points." + _their_dense(board.rows)
        )
    if has("best_top1") and any(row.best_top1 for row in board.rows):
        lines.append(
            "Best test epoch: the highest test top-1 of an epoch after the last cut, recorded because papers print it. "
            "It was chosen on the test set, so it compares with printed figures only and never ranks; top-1 is the "
            "last epoch's."
        )
    if any(row.off_target for row in board.rows):
        lines.append(f"† More than {OFF_TARGET:g} percentage point of dense MACs off the target in some seed.")
    lines += mixtures(board)
    lines += sources(board)
    lines += told_by_runs(board, known=[ONE_CHECKPOINT])
    lines.append(f"Protocol version {trial.protocol}.")
    return lines


def _their_dense(rows: Iterable[Row]) -> str:
    """What the papers' own dense networks reach: a part of each difference to a printed figure is theirs."""
    figures = {row.printed.method: row.printed.dense_top1 for row in rows if row.printed and row.printed.dense_top1}
    named = ", ".join(f"{name} {number(top1)}" for name, top1 in figures.items())
    return f" Their dense networks differ, and with them the differences: {named} %." if named else ""


def _data(trial: Trial) -> Iterator[str]:
    if trial.dataset.holdout:
        yield f"{trial.dataset.holdout:,} of the training images, by seed, are held out for what selects on them."
    if trial.dataset.crop:
        yield f"Test images: the middle {100 * trial.dataset.crop:g} % of the resized image's side."


def _change(trial: Trial) -> str:
    if trial.dense is None:
        return ""
    return (
        f"; change, in percentage points, against the dense network{' of the same seed' if trial.dense.recipe else ''}"
    )


def _few_seeds(board: Board) -> list[str]:
    points: dict[str, list[Row]] = {}
    for row in board.rows:
        if row.n and not row.is_dense:
            points.setdefault(row.point, []).append(row)
    enough = {point: sum(row.n >= MIN_SEEDS for row in rows) for point, rows in points.items()}
    few = [point for point, n in enough.items() if n == 0]
    apart = [point for point, n in enough.items() if n > 1 and not any(row.rank for row in points[point])]
    lines = []
    for where, lack in ((few, f"no row has {MIN_SEEDS} seeds yet"), (apart, f"no two rows share {MIN_SEEDS} seeds")):
        if where:
            at = lack.capitalize() if len(where) == len(points) else f"At {' and '.join(where)} {lack}"
            lines.append(f"{at}: which of two rows is the better one cannot be told.")
    return lines


def _unmarked(board: Board) -> Iterator[str]:
    """Why a row that has a result holds no rank, or is not marked."""
    if any(row.n and (row.failed or row.refused) for row in board.rows if not row.is_dense):
        yield "A row with a seed that failed or is refused holds no rank: the others are those that went well."
    compared = [row for row in board.rows if row.comparable]
    most = {row.point: row.n for row in sorted(compared, key=lambda row: row.n)}  # the last one stays
    if any(row.n < most[row.point] for row in compared):
        yield "A row with fewer seeds than others at its point is marked neither best nor second best."


def _speed(board: Board) -> list[str]:
    clock = board.clock
    if clock is None:
        return []
    batches = " and ".join(map(str, clock.batches))
    machines = "machine are" if clock.others == 1 else "machines are"
    elsewhere = f" Measurements on {clock.others} more {machines} beside the records." if clock.others else ""
    alone = "with other work running where marked ‡" if clock.loaded else "with the machine to itself"
    dense = [speed for row in board.rows if row.is_dense for speed in (row.single, row.batched) if speed]
    fresh = " (none is trained: fresh weights)" if board.trial.dense is None else ""
    takes = " and ".join(f"{number(speed.ms.mean)} ms at batch {speed.batch}" for speed in dense)
    return [
        f"Speed-up: time of the dense network{fresh} / time of this one, timed in turn at batch {batches}, in fp32, on "
        f"{clock.name}, {alone}; of each network the median over the rounds, mean over seeds"
        f"{f'; the dense network takes {takes}' if takes else ''}.{elsewhere}"
    ]


def _recipes(board: Board) -> list[str]:
    if board.trial.track == "paper":
        schedules: dict[str, dict[str, None]] = {}
        for row in board.rows:
            for trial in row.trials if not row.is_dense else ():
                schedules.setdefault(_recipe(trial.recipe), {})[row.label] = None
        own = [f"{', '.join(labels)}: at most {recipe}." for recipe, labels in schedules.items()]
        return ["Paper track: each method trains on the schedule of its own paper, as its settings or these say.", *own]
    budget = board.trial.recipe.epochs
    pruned = [row for row in board.rows if not row.is_dense]
    longer = [row for row in pruned if row.over_budget]
    within = [row for row in pruned if row not in longer]
    if not pruned:
        return []
    epochs = _epochs(budget)
    lines = [
        "Matched track: all methods share the dense network, the data and a total of "
        f"{epochs} of training after the dense network, whatever a method does with them."
    ]
    if longer:
        named = ", ".join(f"{row.label} at {row.point} ({row.epochs.mean:.4g})" for row in longer if row.epochs)
        lines.append(f"Controls that train for more epochs than that, and so hold no rank: {named}.")
    for start, what in (("pretrained", "From the dense network"), ("scratch", "From scratch")):
        rows = [row for row in within if row.starts_from == start]
        lines += [f"{what}: {recipe}." for recipe in sorted({_recipe(t.recipe) for row in rows for t in row.trials})]
        if start == "scratch" and rows and len({row.starts_from for row in pruned}) > 1:
            names = " and ".join(dict.fromkeys(row.label for row in rows))
            lines.append(
                f"For {names}, {epochs} are all the training that the network ever gets, where the others start from "
                "one that is trained already: these rows show what so short a training gives, not what the methods "
                "reach with a schedule of their own."
            )
    return lines


def _controls(board: Board) -> list[str]:
    """A table without them does not show what the methods are worth."""
    possible = CONTROLS if board.trial.dense else ("scratch",)  # the others start from a trained network
    absent = [name for name in possible if name not in {row.method for row in board.rows}]
    return [f"Controls that do not stand here: {', '.join(absent)}."] if absent else []


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
    schedule = f"steps at {', '.join(f'{m:g}' for m in recipe.milestones)}" if recipe.milestones else recipe.schedule
    usual = Recipe(epochs=recipe.epochs, lr=recipe.lr)
    rare = ("momentum", "nesterov", "gamma", "warmup", "label_smoothing", "augment")
    own = [name for name in rare if getattr(recipe, name) != getattr(usual, name)]
    return (
        f"{_epochs(recipe.epochs)}, learning rate {recipe.lr:g} ({schedule}), "
        f"batch {recipe.batch_size}, weight decay {recipe.weight_decay:g}"
        + "".join(f", {name.replace('_', ' ')} {as_text(getattr(recipe, name))}" for name in own)
    )


def _epochs(n: int) -> str:
    return f"{n} epoch{'' if n == 1 else 's'}"
