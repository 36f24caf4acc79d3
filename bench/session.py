"""`Session`: the harness's side of `Run`. It trains, measures, meters and journals for a method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import channels, machine
from bench.anatomy import Anatomy
from bench.channels import budget as budgets
from bench.data import Data
from bench.method import Budget, Cost, Group, Keep, MethodError
from bench.record import Epoch
from bench.scores import Shared
from bench.spec import Recipe
from bench.training import checkpoint, loop, seeds
from bench.training.heartbeat import Heartbeat
from bench.training.meter import Meter
from bench.training.ranks import ALONE, Ranks
from bench.training.sharedjournal import SharedJournal


class Session:
    """Implements `bench.method.Run` for one trial, on one device or on each of several `ranks`."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        *,
        budget: Budget,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        folder: Path,
        wanted: Mapping[str, Any],
        limited: bool = True,
        compiled: bool = False,
        test_each_epoch: bool = False,
        say: Callable[[str], None] = lambda line: None,
        shared: Callable[[Mapping[str, Any]], Shared] | None = None,
        anatomy: Anatomy | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`model` is the dense network, `folder` the trial's own.

        `wanted`: threads, precision, and when it started; a resumed trial keeps those it began with.
        `limited`: refuse more epochs than the budget's. `shared(settings)`: where to share scores with other trials;
        `anatomy`: of `model`, where it is known already.
        """
        self._budget, self.recipe, self.seed, self.device = budget, recipe, seed, device
        self.data, self.log, self.ranks = data, say, ranks
        ranks.check(data, self._batch)
        self.journal = SharedJournal(folder / "journal", ranks)
        self.meter = Meter(self._epoch_images, folder / "history.jsonl" if ranks.first else None)
        self.cut_top1: float | None = None
        self.settings = self.journal.settings(wanted)
        torch.set_num_threads(self.settings["threads"])
        machine.prepare()
        self._folder, self._limited, self._compiled, self._test_each_epoch = folder, limited, compiled, test_each_epoch
        self._phase, self._fresh_cut, self._budget_read, self._shared = 0, False, False, shared
        self.example = torch.zeros(1, data.channels, data.image_size, data.image_size, device=device)
        self._anatomy = anatomy or Anatomy(model, self.example)
        self.dense_cost = self.cost(model)
        self.dense_widths = {group.name: group.size for group in self.groups(model)}
        self.whole = self._anatomy.whole(model)
        for why in dict.fromkeys(self.whole.values()):
            say(f"cannot be cut, so stay whole: {', '.join(n for n, w in self.whole.items() if w == why)}: {why}")

    @property
    def budget(self) -> Budget:
        self._budget_read = True
        return self._budget

    @property
    def epochs_left(self) -> float:
        return max(0.0, self._budget.epochs - self.meter.epochs)

    def groups(self, model: nn.Module) -> list[Group]:
        return self._anatomy.groups(model)

    def cost(self, model: nn.Module) -> Cost:
        return self._anatomy.cost(model)

    def scores(self, model: nn.Module, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        if self._shared is None or self._phase or self._fresh_cut or self.ranks.size > 1:
            return compute()  # no longer the dense network, or not alone
        before = self.journal.events
        general = lambda: not self._budget_read and self.journal.events == before  # noqa: E731
        return self._shared(self.settings).of(model, compute, general)

    def select(
        self,
        model: nn.Module,
        scores: Mapping[str, Tensor],
        *,
        scope: Literal["global", "layer"] = "global",
        keep_macs: float | None = None,
    ) -> Keep:
        macs = self.budget.macs if keep_macs is None else keep_macs * self.dense_cost.macs
        if macs is None:
            raise MethodError("this trial has no MACs target: give keep_macs, or explicit rates, in the suite")
        groups, counter = self.groups(model), self._anatomy.counter(model)
        return self.ranks.broadcast(lambda: budgets.select(counter, groups, scores, macs=macs, scope=scope))

    def finest(self, model: nn.Module) -> int:
        """MACs of one unit of the most expensive group: how finely a target can be met."""
        return budgets.largest_unit(self._anatomy.counter(model), self.groups(model))

    def shrink(self, model: nn.Module, keep: Keep) -> nn.Module:
        event = self.journal.next("shrink")
        if (done := self.journal.finished(event)) is not None:
            keep = done[0]  # the decision once taken stands, even where a device does not repeat its sums bit for bit
        else:
            keep = self.ranks.broadcast(lambda: keep)
            self.journal.finish(event, keep, None)
        self._fresh_cut = True
        model = channels.shrink(model, self.example, keep)
        self.ranks.same(model)
        return model

    def train(
        self,
        model: nn.Module,
        epochs: float,
        *,
        lr: float | Callable[[float], float] | None = None,
        momentum: float | None = None,
        weight_decay: float | None = None,
        penalty: Callable[[nn.Module], Tensor] | None = None,
        frozen: Callable[[str, nn.Parameter], bool] | None = None,
        each_epoch: Callable[[int, nn.Module], None] | None = None,
        each_step: Callable[[nn.Module], None] | None = None,
        name: str = "train",
    ) -> None:
        recipe = self.recipe
        per_epoch = self.data.steps(recipe.batch_size)
        if epochs <= 0:
            return
        steps = max(1, int(epochs * per_epoch + 1e-6))
        if self._limited and self.meter.epochs + steps / per_epoch > self.budget.epochs + 1 / per_epoch:
            raise MethodError(
                f"'{name}' wants {epochs:g} epochs, but only {self.epochs_left:g} "
                f"of the trial's {self.budget.epochs:g} are left"
            )
        if name == "fine-tune" and self._fresh_cut:
            self.cut_top1 = self._once("cut", lambda: self.test(model)[0])
            self.log(f"after the cut, before training: {self.cut_top1:.2f} % top-1 on the test set")
        self._fresh_cut = False
        self._phase += 1
        event = self.journal.next("train")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        if (done := self.journal.finished(event)) is not None:
            checkpoint.load(model, done[0])
            self.meter.add([Epoch.model_validate(row) for row in done[1]])
        else:
            model.to(memory_format=torch.channels_last)
            with loop.still(model, frozen):
                optimiser = loop.sgd(model, recipe, momentum, weight_decay)
                rate = loop.schedule(recipe, lr)
                rows = self._epochs_of(event, name, model, optimiser, steps, rate, penalty, each_epoch, each_step)
            self.ranks.same(model)
            changed = {k: v for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
            self.journal.finish(event, changed, rows)
        model.zero_grad(set_to_none=True)
        seeds.begin(self.seed, "after", self._phase)

    def batches(self, n: int, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        size = batch_size or self.recipe.batch_size
        return islice(self.data.train(size, self.generator("batches"), augment=False), n)

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with self.autocast():
            return F.cross_entropy(model(images).float(), labels)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings["precision"] == "bf16")

    def evaluate(self, model: nn.Module) -> float:
        if not self.data.holdout_images:
            raise MethodError("the method selects on a hold-out split: set dataset.holdout in the suite")
        return self._once("evaluate", lambda: self._accuracy(model, self.data.holdout)[0])

    def recalibrate(self, model: nn.Module, n: int) -> None:
        with self.autocast():
            loop.recalibrate(model, self.batches(n))
        self.ranks.same(model)

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seeds.mix(self.seed, purpose))

    def test(self, model: nn.Module) -> loop.Accuracy:
        """Accuracy on the test set. Not part of `Run`: a method never sees it."""
        return self._accuracy(model, self.data.test, getattr(self.data, "present", None))

    @property
    def _batch(self) -> int:
        return min(self.recipe.batch_size, self.data.train_images)

    @property
    def _epoch_images(self) -> int:
        return self.data.steps(self.recipe.batch_size) * self._batch

    def _accuracy(
        self, model: nn.Module, images: Callable[..., Iterator[Any]], present: Tensor | None = None
    ) -> loop.Accuracy:
        batch = loop.evaluation_batch(self.data.image_size)
        return loop.accuracy(model, images(batch, **self.ranks.shard), present, self.ranks)

    def _once(self, kind: str, compute: Callable[[], float]) -> float:
        event = self.journal.next(kind)
        if (done := self.journal.finished(event)) is not None:
            return float(done[1])
        value = compute()
        self.journal.finish(event, {}, value)
        return value

    def _epochs_of(
        self,
        event: str,
        name: str,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        steps: int,
        rate: Callable[[float], float],
        penalty: Callable[[nn.Module], Tensor] | None,
        each_epoch: Callable[[int, nn.Module], None] | None,
        each_step: Callable[[nn.Module], None] | None,
    ) -> list[dict[str, Any]]:
        """The epochs of one phase, from the newest checkpoint on; its rows of the history."""
        size, augment = self.recipe.batch_size, self.recipe.augment
        per_epoch, macs, first = self.data.steps(size), self.cost(model).macs, 0
        rows: list[dict[str, Any]] = []
        if (kept := self.journal.last_checkpoint(event)) is not None:
            first, (tensors, rows) = kept
            checkpoint.restore(model, optimiser, tensors)
            self.meter.add([Epoch.model_validate(row) for row in rows])
            self.log(f"'{name}' goes on after epoch {first}")
        forward = self.ranks.parallel(torch.compile(model, dynamic=False) if self._compiled else model)
        total = math.ceil(steps / per_epoch)
        until = self.meter.epochs + steps / per_epoch - first  # some controls train beyond the budget
        heartbeat = Heartbeat(self._folder, max(self._budget.epochs, until), self._epoch_images)
        for epoch in range(first, total):
            generator = seeds.begin(self.seed, "train", self._phase, epoch)
            if each_epoch is not None:
                each_epoch(epoch, model)
            self.ranks.same(model)
            if not self.ranks.first:  # dropout and the like: no two draw the same
                torch.manual_seed(seeds.mix(self.seed, "rank", self.ranks.rank, self._phase, epoch))
            model.train()
            done, share = epoch * per_epoch, min(per_epoch, steps - epoch * per_epoch) / per_epoch
            result = loop.train_epoch(
                model,
                forward,
                optimiser,
                islice(self.data.train(size, generator, augment=augment, **self.ranks.shard), steps - done),
                lr=lambda step, done=done: rate((done + step) / steps),  # type: ignore[misc]
                autocast=self.autocast,
                label_smoothing=self.recipe.label_smoothing,
                penalty=penalty,
                each_step=each_step,
                after_step=heartbeat.teller(name, self.meter.epochs) if self.ranks.first else None,
                ranks=self.ranks,
                weight=self.ranks.weight(self._batch),
            )
            if not math.isfinite(result.loss):
                raise MethodError(f"the loss was not finite in epoch {epoch + 1} of '{name}'")
            row = Epoch(
                phase=name,
                epoch=epoch,
                epochs=share,
                lr=result.lr,
                loss=result.loss,
                train_top1=result.top1,
                top1=self.test(model)[0] if self._test_each_epoch else None,
                macs=macs,
                images_per_s=result.images / result.seconds,
                seconds=result.seconds,
            )
            rows.append(row.model_dump(mode="json"))
            self.meter.add([row])
            self.log(f"{name} {epoch + 1}/{total}: loss {row.loss:.4f}, {row.images_per_s:.0f} images/s")
            if epoch + 1 < total:
                self.journal.checkpoint(event, epoch + 1, checkpoint.state(model, optimiser), rows)
        return rows
