"""One trial from its dense network to its record. Needs neither ray nor wandb."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import channels, compact, data, faults, machine, registry, sources, weights
from bench.anatomy import Anatomy
from bench.errors import UserError
from bench.lease import Lease, LeasedError, hold
from bench.method import Budget, Method, MethodError
from bench.onlyrun import only_run
from bench.outcome import check_plain, check_saved, distance_from_target
from bench.record import (
    Failure,
    Measured,
    Record,
    RecordError,
    best_test_epoch,
    read_failures,
    read_record,
    write_failure,
    write_once,
)
from bench.scores import Shared
from bench.session import Session
from bench.spec import DENSE, Trial, starts_from
from bench.training.ranks import ALONE, Ranks


def run_trial(
    trial: Trial,
    out: Path,
    *,
    suite: str,
    threads: int | None = None,
    kept: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> Record | Failure:
    """Run one trial in this process and leave record.json, or failed-N.json, in `out/trials/<key>`.

    A finished trial's record is returned as it stands; a killed one goes on from its last finished epoch. A full disk
    may leave no room for failed-N.json: the Failure is returned all the same. Raises LeasedError where the trial
    runs in another process. `threads`: CPU threads (None = torch's choice); a resumed trial keeps those it began with.
    `kept`: called after each event and epoch that the journal has taken. `ranks`: the processes that run it together,
    each of which calls this; what fails in another than the first raises.
    """
    folder = out / "trials" / trial.key

    def say(line: str) -> None:
        if ranks.first:
            with suppress(OSError), (folder / "log.txt").open("a") as log:
                log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n")

    def find() -> Record | None:
        return read_record(folder / "record.json") if (folder / "record.json").exists() else None

    if (record := ranks.broadcast(find)) is not None:
        return record
    with ExitStack() as holding:
        lease = ranks.broadcast(lambda: holding.enter_context(hold(folder)))
        if (record := ranks.broadcast(find)) is not None:  # written between the two looks
            return record
        say(f"{trial.label} ({trial.key})")
        try:
            found = _run(trial, out, folder, suite, threads, say, lease, kept, ranks)
            ranks.broadcast(lambda: write_once(folder / "record.json", found))
        except LeasedError:
            raise
        except Exception as error:
            if not ranks.first or ranks.lost(error):
                raise
            failure = _failure(trial, error, folder)
            say(f"failed: {failure.reason}\n{failure.traceback}")
            with suppress(OSError):
                write_failure(folder, failure)
            return failure
        say(f"done: {found.result.top1:.2f} % top-1 at {found.result.macs / 1e6:.2f} M MACs")
    return ranks.broadcast(lambda: read_record(folder / "record.json"))


def _run(
    trial: Trial,
    out: Path,
    folder: Path,
    suite: str,
    threads: int | None,
    say: Callable[[str], None],
    lease: Lease,
    kept: Callable[[], None],
    ranks: Ranks,
) -> Record:
    started = _now()
    machine.forget_peak()
    method = registry.build(trial.method)
    device = machine.device()
    threads = threads or torch.get_num_threads()
    # Where a GPU computes, the cores decode images; where they compute themselves, one process decodes beside them.
    decoders = threads if device.type == "cuda" else int(threads > 1)
    model, loaded = _first_model(trial, method, out, device, decoders, ranks)
    baseline, twin = (
        ranks.broadcast(partial(_other, out / "trials" / key / "record.json")) if key else None
        for key in (trial.baseline, trial.twin)
    )
    example = torch.zeros(1, loaded.channels, loaded.image_size, loaded.image_size, device=device)
    anatomy = Anatomy(model, example)
    dense_macs = anatomy.cost(model).macs
    session = Session(
        model,
        loaded,
        budget=Budget(
            keep_macs=trial.keep_macs,
            macs=trial.keep_macs * dense_macs if trial.keep_macs else None,
            epochs=trial.recipe.epochs,
            widths=twin.widths if twin else None,
            twin_epochs=twin.spent.epochs if twin else None,
            dense_recipe=trial.dense.recipe if trial.dense else None,
        ),
        recipe=trial.recipe,
        seed=trial.seed,
        device=device,
        folder=folder,
        wanted={
            "threads": threads,
            "precision": machine.precision(trial.precision, device),
            "started": started,
            "method_source": sources.digest_of(type(method)),
        },
        limited=not method.control,
        compiled=trial.compile,
        test_each_epoch=trial.test_each_epoch,
        say=say,
        shared=lambda settings: Shared(out, trial, method, settings, device),
        anatomy=anatomy,
        ranks=ranks,
    )
    session.journal.guard, session.journal.kept = lease.check, kept
    method.check(model, session.groups(model))
    if method.prunes:
        channels.check(model, example)  # a network that cannot be cut is refused before any training
        if trial.keep_macs:  # and so is a target that the floors put out of reach
            scores = {group.name: torch.zeros(group.size) for group in session.groups(model)}
            session.select(model, scores, keep_macs=trial.keep_macs)
    torch.manual_seed(trial.seed)
    model = method.compress(model, only_run(session))
    check_plain(model)
    ranks.same(model)
    groups = {group.name: group.size for group in session.groups(model)}
    result = _measure(session, model)
    off_target = distance_from_target(session, model, result.macs) if trial.keep_macs and method.prunes else None

    def save() -> None:
        lease.check()
        compact.save(
            folder / "model.safetensors",
            model,
            trial.backbone,
            num_classes=loaded.classes,
            in_chans=loaded.channels,
            image_size=loaded.image_size,
            mean=loaded.mean,
            std=loaded.std,
        )
        check_saved(folder / "model.safetensors", model, example)  # last, for it may take the file away

    ranks.broadcast(save)
    return Record(
        key=trial.key,
        suite=suite,
        trial=trial,
        starts_from=starts_from(trial, method.start),
        result=result,
        dense=baseline.result if baseline else None,
        cut_top1=session.cut_top1,
        best_top1=best_test_epoch(session.meter.history, result.macs),
        widths=groups,
        dense_widths=session.dense_widths,
        off_target=off_target,
        spent=session.meter.spent,
        spent_dense=baseline.spent if baseline and method.start == "pretrained" else None,
        history=session.meter.history,
        machine=machine.describe(session.settings, device, ranks.size).model_copy(update=machine.peak(device)),
        notes=[*_notes(trial, loaded, model), *_past(folder, session.settings, method)],
        method_source=session.settings.get("method_source"),
        started=session.settings.get("started", started),
        finished=_now(),
    )


def _other(path: Path) -> Record:
    try:
        return read_record(path)
    except RecordError as error:  # no fault of this trial's method
        raise data.DataError(str(error)) from error


def _first_model(
    trial: Trial, method: Method, out: Path, device: torch.device, decoders: int, ranks: Ranks
) -> tuple[nn.Module, data.Data]:
    """The network that the method gets, and the data normalised as that network expects."""
    ranks.broadcast(lambda: data.check(trial.dataset))
    loaded = data.load(trial.dataset, seed=trial.seed, device=device, workers=decoders)
    shape: dict[str, Any] = {"classes": loaded.classes, "channels": loaded.channels, "image_size": loaded.image_size}
    trained: list[nn.Module] = []

    def load() -> tuple[bool, Any, Any]:
        model, (mean, std) = _load(trial, method, out, shape)
        trained.append(model)
        return model.training, mean, std

    training, mean, std = ranks.broadcast(load)
    model = (trained[0] if trained else weights.fresh(trial, **shape)).train(training).to(device)
    ranks.same(model)
    wanted = mean or loaded.mean, std or loaded.std
    if wanted != (loaded.mean, loaded.std):
        mean, std = wanted
        loaded = data.load(trial.dataset, seed=trial.seed, device=device, mean=mean, std=std, workers=decoders)
    return model, loaded


def _load(trial: Trial, method: Method, out: Path, shape: dict[str, Any]) -> tuple[nn.Module, weights.Normalisation]:
    if trial.method.name == DENSE:
        model = weights.dense(trial, **shape)
        return model, weights.normalisation(trial, model)
    if method.start != "pretrained":
        return weights.fresh(trial, **shape), (None, None)
    if trial.baseline:
        return weights.baseline(trial, out)
    raise MethodError(f"{method.name} starts from a dense network: give the suite a `dense` entry")


def _measure(session: Session, model: nn.Module) -> Measured:
    model.float().eval()
    top1, top5, images, present_top1 = session.test(model)
    counted = session.cost(model)
    return Measured(
        top1=top1,
        top5=top5,
        test_images=images,
        macs=counted.macs,
        fvcore_total=counted.fvcore_total,
        params=counted.params,
        present_top1=present_top1,
    )


def _notes(trial: Trial, loaded: data.Data, model: nn.Module) -> list[str]:
    notes: list[str] = []
    if trial.method.name == DENSE and trial.dense and trial.dense.pretrained:
        notes += weights.departures(trial, model, classes=loaded.classes, size=loaded.image_size)
    if trial.dense and not trial.dense.recipe:
        notes.append("one dense checkpoint for all seeds: the spread is that of the training after it")
        if loaded.holdout_images:
            notes.append("the dense weights were trained on all training images, the hold-out among them")
    return notes


def _past(folder: Path, settings: dict[str, Any], method: Method) -> Iterator[str]:
    """What went before that the result does not show."""
    if failed := [failure for failure in read_failures(folder) if failure.kind == "method"]:
        times = "once" if len(failed) == 1 else f"{len(failed)} times"
        yield f"finished after the method had failed {times}: {failed[-1].reason}"
    if settings.get("method_source") != sources.digest_of(type(method)):
        yield "the method's file changed while the trial ran: it began with the one that is named"


def _failure(trial: Trial, error: Exception, folder: Path) -> Failure:
    expected = isinstance(error, UserError)
    if isinstance(error, OSError) and faults.of_disk(error):
        reason = f"{error.strerror}: {error.filename or folder}"
    else:
        reason = str(error) if expected else f"{type(error).__name__}: {str(error) or 'no message'}"
    return Failure(
        key=trial.key,
        trial=trial,
        kind="machine" if faults.of_machine(error) else "method",
        reason=" ".join(reason.split())[:500],
        when=_now(),
        traceback="" if expected else traceback.format_exc(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
