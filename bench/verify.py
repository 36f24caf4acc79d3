"""Whether a record tells the truth, as far as can be told without training: from its network, its data, its sums."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench import backbones, channels, cost, data, machine, registry
from bench.anatomy import Anatomy
from bench.channels.budget import largest_unit
from bench.compact import describe, load_compact
from bench.errors import UserError
from bench.outcome import farthest
from bench.record import Measured, Record, beside, best_test_epoch, first_fault, read_record
from bench.spec import DENSE, PROTOCOL, starts_from
from bench.training import loop

SAME_KIND, OTHER_KIND = 0.02, 0.1
"""Points by which an honest accuracy may differ: on the same model of CPU or GPU, and on another.

One test image more or less is always allowed. Counts of MACs, parameters and filters have to be exact.
"""

LAST_EPOCH = 1.0
"""Points between the last epoch's test accuracy and the result: a method may still recompute statistics after it."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. "refused": it is wrong, or cannot be believed; "note": no fault."""

    outcome: Literal["ok", "refused", "note"]
    text: str


def verify(path: Path, *, network: Path | None = None, root: str | None = None) -> list[Check]:
    """Check one record: it stands where no outcome is "refused". Never raises for one that is wrong.

    `network`: its compact network (default: beside it). `root`: the folder of an image-folder data set on this machine.
    """
    checks = []
    try:
        record = read_record(path)
        checks += [*_arithmetic(record), *_method(record), *_baseline(path, record), *_twin(path, record)]
        network = network or beside(path, "model.safetensors")
        if not network.exists():
            raise UserError(f"there is no {network}, its compact network (name another place with --network)")
        checks += _counts(record, network)
        checks += _accuracy(record, network, root)
    except UserError as error:
        checks.append(Check("refused", str(error)))
    return checks


def _check(holds: bool, text: str, otherwise: str) -> Check:
    return Check("ok", text) if holds else Check("refused", f"{text}, but {otherwise}")


def _arithmetic(record: Record) -> Iterator[Check]:
    """What the record's own numbers say of each other."""
    trial, result, dense = record.trial, record.result, record.dense
    yield _check(trial.protocol == PROTOCOL, f"protocol {trial.protocol}", f"this is protocol {PROTOCOL}")
    if trial.smoke:
        yield Check("note", "a smoke record cannot enter a leaderboard, true as it may be")
    for name, percent in (("top-1", result.top1), ("top-5", result.top5)):
        correct = percent * result.test_images / 100
        whole = abs(correct - round(correct)) < 1e-6 * result.test_images and 0 <= correct <= result.test_images
        text = f"{name} is a share of {result.test_images} images"
        yield _check(whole, text, f"no number of them is {percent} %")
    epochs = sum(row.epochs for row in record.history)
    text = f"{record.spent.epochs:g} epochs spent"
    yield _check(abs(epochs - record.spent.epochs) < 1e-6, text, f"the history has {epochs:g}")
    best = best_test_epoch(record.history, result.macs)
    of_any = max((row.top1 for row in record.history if row.top1 is not None), default=None)
    if best != record.best_top1 == of_any:  # what it meant before
        yield Check("note", f"best test epoch {of_any} is one before the last cut; after it, {best}")
    else:
        yield _check(record.best_top1 == best, f"best test epoch {record.best_top1}", f"the history says {best}")
    tested = sum(row.top1 is not None for row in record.history)
    text = f"test accuracies of {tested} epochs"
    wanted = len(record.history) if trial.test_each_epoch else 0
    yield _check(tested == wanted, text, f"its trial asks for those of {wanted}")
    last = record.history[-1] if record.history else None
    if last and last.top1 is not None and last.macs == result.macs:  # else it was cut after its last epoch
        text = f"the last epoch's test accuracy {last.top1:.2f} %"
        yield _check(abs(last.top1 - result.top1) <= LAST_EPOCH, text, f"the result is {result.top1:.2f} %")
    if trial.precision != "auto":
        text = f"trained in {record.machine.precision}"
        yield _check(record.machine.precision == trial.precision, text, f"its trial asks for {trial.precision}")
    has_dense = trial.dense is not None and trial.method.name != DENSE
    text = f"{'a' if dense else 'no'} dense network to compare with"
    yield _check((dense is not None) == has_dense, text, f"its trial has {'one' if has_dense else 'none'}")
    text = f"{'a' if trial.baseline else 'no'} dense trial named"
    yield _check((trial.baseline is not None) == has_dense, text, f"its trial has {'one' if has_dense else 'none'}")
    method = registry.methods().get(trial.method.name)
    if dense and trial.keep_macs and (record.off_target is not None or (method is not None and method.prunes)):
        off = 100 * (result.macs / dense.macs - trial.keep_macs)
        text = f"{record.off_target or 0:+.3f} points of dense MACs off the target"
        holds = record.off_target is not None and abs(off - record.off_target) < 1e-6
        yield _check(holds, text, f"its MACs are {off:+.3f} off")


def _method(record: Record) -> Iterator[Check]:
    """What the record says of its method, against the one that is installed here."""
    spec = record.trial.method
    method = registry.methods().get(spec.name)
    if method is None:
        yield Check("note", f"what the method {spec.name} starts from was not looked at: it is not installed")
        return
    start = starts_from(record.trial, method.start)
    yield _check(record.starts_from == start, f"starts from {record.starts_from}", f"it starts from {start}")
    if spec.version != method.version:
        known = "note" if spec.version < method.version else "refused"
        yield Check(known, f"version {spec.version} of {spec.name}; installed is {method.version}")  # type: ignore[arg-type]
        return
    try:
        registry.build(spec)
    except ValidationError as error:
        yield Check("refused", f"{spec.name} has no such hyper-parameters: {first_fault(error)}")


def _record_of(path: Path, key: str) -> Path:
    """Where the record of another trial lies, if it lies as the one at `path` does."""
    return beside(path, "record.json" if path.name == "record.json" else "json", key)


def _baseline(path: Path, record: Record) -> Iterator[Check]:
    """What the record says of its dense network, against the record of that trial."""
    if record.trial.baseline is None:
        return
    file = _record_of(path, record.trial.baseline)
    if not file.exists():
        yield Check("note", f"the accuracy of its dense network was not looked at: {file} is not there")
        return
    baseline = read_record(file)
    spent = baseline.spent if record.starts_from == "pretrained" else None
    same = record.dense == baseline.result and record.spent_dense == spent
    yield _check(same, f"dense network of trial {baseline.key}", "that trial's own record says something else of it")


def _twin(path: Path, record: Record) -> Iterator[Check]:
    """Widths that are copied, against the record that they come from."""
    if record.trial.twin is None:
        return
    file = _record_of(path, record.trial.twin)
    if not file.exists():
        yield Check("note", f"the widths of its twin were not looked at: {file} is not there")
        return
    yield _check(record.widths == read_record(file).widths, f"the widths of trial {record.trial.twin}", "it has others")


def _counts(record: Record, network: Path) -> Iterator[Check]:
    """MACs, parameters and widths, counted anew from the compact network and from a fresh dense one."""
    about, backbone = describe(network), record.trial.backbone
    yield _check(about.backbone == backbone, f"backbone {backbone.name}", f"the network is a {about.backbone.name}")
    dense = backbones.create(
        backbone, num_classes=about.num_classes, in_chans=about.in_chans, image_size=about.image_size
    )
    example = torch.zeros(1, about.in_chans, about.image_size, about.image_size)
    for name, model, claimed, widths in (
        ("compact", load_compact(network), record.result, record.widths),
        ("dense", dense, record.result if record.trial.method.name == DENSE else record.dense, record.dense_widths),
    ):
        if claimed:
            yield _counted(name, model, example, claimed)
        found = {group.name: group.size for group in channels.groups(model, example)}
        differ = [group for group in found.keys() | widths.keys() if found.get(group) != widths.get(group)]
        group = min(differ, default="")
        text = f"{name} network: widths of {len(widths)} groups"
        yield _check(not differ, text, f"{group} has {found.get(group, 0)} filters, not {widths.get(group, 0)}")
    if record.dense and record.trial.keep_macs and record.off_target is not None:
        compact = load_compact(network)
        known = Anatomy(compact, example)
        unit = largest_unit(known.counter(compact), known.groups(compact))
        most = 100 * farthest(unit, record.dense.macs) / record.dense.macs
        text = f"{record.off_target:+.3f} points off the target"
        yield _check(abs(record.off_target) <= most + 1e-9, text, f"it may be {most:.3f}: one filter group, or 1 %")


def _counted(name: str, model: nn.Module, example: Tensor, claimed: Measured) -> Check:
    found = cost.count(model, example)
    text = (
        f"{name} network: {claimed.macs:,} MACs, {claimed.fvcore_total:,} in fvcore's total, {claimed.params:,} params"
    )
    same = (claimed.macs, claimed.fvcore_total, claimed.params) == (found.macs, found.fvcore_total, found.params)
    return _check(same, text, f"counted anew {found.macs:,}, {found.fvcore_total:,} and {found.params:,}")


def _accuracy(record: Record, network: Path, root: str | None) -> Iterator[Check]:
    """Accuracy on the test set, in fp32, normalised as the network's file says; and what the training data imply."""
    trial, result, about = record.trial, record.result, describe(network)
    device = machine.device()
    spec = trial.dataset.model_copy(update={"root": root}) if root else trial.dataset
    loaded = data.load(spec, seed=trial.seed, device=device, mean=about.mean, std=about.std)
    if spec.root and spec.fingerprint:
        content = data.fingerprint(os.path.expandvars(spec.root))
        text = f"data of fingerprint {spec.fingerprint}"
        yield _check(content == spec.fingerprint, text, f"that of {spec.root} is {content}")
    takes = about.num_classes, about.in_chans, about.image_size
    there = loaded.classes, loaded.channels, loaded.image_size
    yield _check(takes == there, f"{_shape(*takes)}", f"{spec.name} has {_shape(*there)}")
    if takes != there:
        return
    images = loaded.steps(trial.recipe.batch_size) * min(trial.recipe.batch_size, loaded.train_images)
    seen = sum(round(row.epochs * images) for row in record.history)
    yield _check(
        seen == record.spent.images, f"{record.spent.images:,} images of training", f"the history has {seen:,}"
    )
    method, budget = registry.methods().get(trial.method.name), trial.recipe.epochs
    if method and not method.control:
        one_step = trial.recipe.batch_size / images if images else 0.0
        text = f"within its budget of {budget} epochs"
        yield _check(record.spent.epochs <= budget + one_step + 1e-6, text, f"{record.spent.epochs:g} were spent")
    spent = sum(3.0 * row.macs * row.epochs * images for row in record.history)
    text = f"{record.spent.macs:.4g} MACs of training"
    yield _check(abs(spent - record.spent.macs) <= 1e-6 * spent, text, f"history and data give {spent:.4g}")
    machine.prepare()
    model = load_compact(network).to(device).to(memory_format=torch.channels_last)
    top1, top5, tested, present_top1 = loop.accuracy(
        model, loaded.test(loop.evaluation_batch(loaded.image_size)), getattr(loaded, "present", None)
    )
    here = machine.describe({"threads": torch.get_num_threads(), "precision": "fp32"}, device)
    on_cpu = here.device == record.machine.device == "cpu"
    alike = here.cpu == record.machine.cpu if on_cpu else here.device == record.machine.device
    allowed = max(SAME_KIND if alike else OTHER_KIND, 100 / tested)
    kind = "the same" if alike else "another"
    for name, claimed, found in (
        ("top-1", result.top1, top1),
        ("top-5", result.top5, top5),
        ("top-1 among the classes present", result.present_top1, present_top1),
    ):
        if claimed is None and found is None:
            continue
        claimed, found = (float("nan") if value is None else value for value in (claimed, found))
        text = f"{name} {claimed:.2f} % of {result.test_images} images"
        fits = tested == result.test_images and abs(claimed - found) <= allowed + 1e-9
        within = f"{allowed:.2f} points are allowed on {kind} kind of machine"
        if fits:
            yield Check("ok", f"{text}, evaluated anew {found:.2f} % ({within})")
        else:
            yield Check("refused", f"{text}, but evaluated anew it is {found:.2f} % of {tested} ({within})")


def _shape(classes: int, channels: int, size: int) -> str:
    return f"{classes} classes of {channels} x {size} x {size} images"
