"""The contract of a pruning method: `Method`, `OneShot`, and `Run`, what the harness offers to one.

A method owns its control flow; the harness owns data, training, measuring, metering and resuming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.spec import Recipe

Keep = Mapping[str, Tensor]
"""Group name -> sorted ids of the units that stay; a group that is not named stays whole."""


Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
"""Kinds of hyper-parameters, with what a suite may set them to."""


class MethodError(UserError):
    """A method cannot do what was asked; the message is one line for the user."""


@dataclass(frozen=True)
class Paper:
    """Where a method comes from. `bibtex` is the whole entry."""

    title: str
    year: int
    url: str = ""
    bibtex: str = ""


@dataclass(frozen=True, eq=False)
class Member:
    """One layer's share in a group.

    `role`: "filters" (the layer's output channels), "inputs" (its input channels) or "norm" (per-channel
    parameters). `channels` (units, k), on the network's device: row u holds the k channels of this layer that unit u
    owns; k > 1 for grouped convolutions and for linear layers behind a flatten.
    """

    layer: str
    module: Any
    role: Literal["filters", "inputs", "norm"]
    channels: Tensor


@dataclass(frozen=True, eq=False)
class Group:
    """Filters that can only be removed together: `size` units, each cut from all `members` at once.

    `name` is the first layer that makes the channels: it stays the same after a cut. `floor` units always stay
    (10 % of the dense network's). `native` is torch-pruning's own group, for its criteria.
    """

    name: str
    size: int
    floor: int
    members: tuple[Member, ...]
    native: Any = None

    def filters(self) -> list[Tensor]:
        """Weights of every layer that makes these channels, each (size, weights per unit); views keep the graph."""
        return [self._rows(m, m.module.weight) for m in self.members if m.role == "filters"]

    def inputs(self) -> list[Tensor]:
        """Weights of every layer that reads these channels, each (size, weights per unit)."""
        return [self._rows(m, m.module.weight.transpose(0, 1)) for m in self.members if m.role == "inputs"]

    def norms(self) -> list[Member]:
        """The normalisation layers of these channels, in the order of the network."""
        return [m for m in self.members if m.role == "norm"]

    def _rows(self, member: Member, weight: Tensor) -> Tensor:
        return weight.flatten(1)[member.channels].flatten(1)


@dataclass(frozen=True)
class Cost:
    """MACs (1 MAC = 1) of one image in eval mode, and parameters.

    `macs`: convolutions, linear layers and matrix products, the headline; `fvcore_total`: fvcore's own total.
    """

    macs: int
    fvcore_total: int
    params: int


@dataclass(frozen=True)
class Budget:
    """What the compact network may cost.

    `keep_macs`: share of the dense MACs to keep; `macs`: the same in MACs; `widths`: units to keep per group where
    another trial's widths are to be copied, and `twin_epochs` what that trial trained for; `epochs`: training epochs
    this trial may spend in all; `dense_recipe`: what the dense network was trained with, where it was trained here.
    """

    keep_macs: float | None
    macs: float | None
    epochs: float
    widths: Mapping[str, int] | None = None
    twin_epochs: float | None = None
    dense_recipe: Recipe | None = None


class Run(Protocol):
    """What a method may ask of the harness. Every training epoch is metered, every phase can be resumed."""

    recipe: Recipe
    seed: int
    device: torch.device

    @property
    def budget(self) -> Budget:
        """What the compact network may cost."""

    @property
    def epochs_left(self) -> float:
        """Training epochs that the budget still allows."""

    def groups(self, model: nn.Module) -> list[Group]:
        """Coupled filters of the model as it is now, in the order of the network."""

    def cost(self, model: nn.Module) -> Cost:
        """MACs and parameters, counted by fvcore."""

    def scores(self, model: nn.Module, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """`compute()`: scores of the dense network. Trials that differ in their target alone compute them once.

        Computed in each where `compute` alters the model or reads the budget, and where something was trained or cut.
        """

    def select(
        self,
        model: nn.Module,
        scores: Mapping[str, Tensor],
        *,
        scope: Literal["global", "layer"] = "global",
        keep_macs: float | None = None,
    ) -> Keep:
        """Drop the lowest scores until the MACs are as near to the target as they can be.

        `scores`: group name -> (units,); groups without a score stay whole. "global" ranks all units in one list,
        "layer" takes the same share from every group. `keep_macs` (share of the dense MACs) replaces the budget's
        target. Raises MethodError where the floor cannot reach it.
        """

    def shrink(self, model: nn.Module, keep: Keep) -> nn.Module:
        """Cut everything that `keep` does not name; the model is cut in place and returned, plain and smaller."""

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
        """Train in place for `epochs` (may be a fraction) with a new optimiser: one phase.

        `lr`: a constant, or a function of the finished share of the phase (0 to 1) called before each step; None
        takes the recipe's schedule, stretched over the phase. `penalty` is added to the loss. `frozen(name,
        parameter)` says what stands still. `each_epoch(epoch, model)` runs before each epoch, `each_step(model)`
        between backward and the optimiser's step. Whatever they must remember lives in the model's buffers.
        Raises MethodError on a loss that is not finite and when the budget's epochs are spent.
        """

    def batches(self, n: int, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """`n` batches of training images (not augmented) and labels, for scores, the same for the same seed.

        At most one epoch: where the data set has fewer batches, all of them.
        """

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in the trial's precision; call `backward` on it for gradients."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The trial's precision, for a forward pass of the method's own."""

    def evaluate(self, model: nn.Module) -> float:
        """Top-1 in percent on the hold-out split of the training set; never the test set."""

    def recalibrate(self, model: nn.Module, n: int) -> None:
        """Compute the normalisation layers' running statistics afresh from `n` training batches."""

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU random generator that depends on the trial's seed and the purpose alone."""

    def log(self, message: str) -> None:
        """One line into the trial's log."""


@dataclass(frozen=True)
class Method:
    """A pruning method: a frozen dataclass whose fields are its hyper-parameters, settable from a suite file.

    `start`: "pretrained" (the shared dense checkpoint) or "scratch" (fresh weights). `selects`: calls
    `Run.evaluate`, so the suite must set a hold-out aside. `prunes`: has an operating point. `control`: may train
    for longer than the budget's epochs (the table says how long). Raise `version` when a change alters results. A
    hyper-parameter `rates` that is set decides the widths: a suite then gives the trial no MACs target; `of` names a
    method of the suite whose widths are copied.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    paper: ClassVar[Paper | None] = None
    start: ClassVar[Literal["pretrained", "scratch"]] = "pretrained"
    selects: ClassVar[bool] = False
    prunes: ClassVar[bool] = True
    control: ClassVar[bool] = False
    version: ClassVar[int] = 1

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        """Return a plain, dense, smaller model that meets `run.budget`."""
        raise NotImplementedError

    def check(self, model: nn.Module, groups: Iterable[Group]) -> None:
        """Raise MethodError, before any training, where this backbone lacks what the method needs."""


@dataclass(frozen=True)
class OneShot(Method):
    """Score, rank, cut once, fine-tune. A subclass writes `score` alone.

    `scope`: "global" ranks all filters of the network in one list, "layer" takes the same share from every group.
    `by_mean`: a global ranking divides the scores by their group's mean, because layers differ in scale; False where
    a criterion is comparable across layers as it is.
    """

    by_mean: ClassVar[bool] = True

    scope: Literal["global", "layer"] = field(default="global", kw_only=True)

    def score(self, model: nn.Module, run: Run) -> dict[str, Tensor]:
        """Group name -> importance of its units, (units,); the lowest go first."""
        raise NotImplementedError

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        scores = run.scores(model, lambda: self.score(model, run))
        if self.scope == "global" and self.by_mean:
            scores = {name: score / score.mean().clamp_min(1e-12) for name, score in scores.items()}
        model = run.shrink(model, run.select(model, scores, scope=self.scope))
        run.train(model, run.epochs_left, name="fine-tune")
        return model
