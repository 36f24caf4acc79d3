"""What stands above and below a table: its title, and what a reader must know."""

from __future__ import annotations

from bench.spec import Recipe, Trial
from leaderboards.boards import Board
from leaderboards.row import OFF_TARGET, Row
from leaderboards.stats import ALPHA, MIN_SEEDS


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


def notes(board: Board, best: str = "in bold", second: str = "underlined") -> list[str]:
    """What a reader must know to read the table, one sentence or two each; how the best two are marked."""
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
    if any(row.present_top1 for row in board.rows):
        lines.append(
            f"Top-1 and top-5 are among all classes of {trial.dataset.classes}; top-1 of classes here lets only those "
            "compete that the test images have."
        )
    if trial.dense and trial.dense.recipe is None:
        lines.append(
            "One file of dense weights for all seeds: ± is the noise of fine-tuning alone "
            "for methods that start from the dense network; what the file cost to train is not known."
        )
    lines.append(
        "Rank: 1 + the number of rows that are significantly better at the same MACs kept (two-sided paired t-test "
        f"by seed, Holm's correction over all pairs at that point, α = {ALPHA}); none under {MIN_SEEDS} seeds. "
        f"Best top-1 of each point {best}, second best {second}."
    )
    lines.append(
        "MACs: convolutions, linear layers and matrix products of one image (fvcore, 1 MAC = 1). "
        "Epochs in all: with the dense network's, where a method starts from it."
    )
    lines += _speed(board)
    if any(row.printed for row in board.rows):
        lines.append(
            "Printed: the authors' own figure at the nearest share of MACs cut, as reported, in their convention "
            "(often the best test epoch, another counter of MACs, a longer schedule); it never ranks."
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


def _speed(board: Board) -> list[str]:
    clock = board.clock
    if clock is None:
        return []
    batches = " and ".join(map(str, clock.batches))
    machines = "machine are" if clock.others == 1 else "machines are"
    elsewhere = f" Measurements on {clock.others} more {machines} beside the records." if clock.others else ""
    alone = "with other work running where marked ‡" if clock.loaded else "with the machine to itself"
    return [
        f"Speed-up: time of the dense network / time of this one, timed in turn at batch {batches}, in fp32, on "
        f"{clock.name}, {alone}; medians of each network, mean over seeds.{elsewhere}"
    ]


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
