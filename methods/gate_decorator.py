"""Gate Decorator: gates on the normalisation layers rank all filters of the network in one list, tick by tick."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from bench import Group, Method, MethodError, Paper, Run
from bench.method import Keep


@dataclass(frozen=True)
class GateDecorator(Method):
    """Gate Decorator: Global Filter Pruning Method for Accelerating Deep CNNs (You et al., NeurIPS 2019).

    A gate g multiplies each channel behind its batch normalisation: g starts as the layer's weight, and the bias
    becomes bias / weight, clamped to +-10 (which changes the network a little where it bites). Filters that are
    removed together share their score. A group without batch normalisation has a gate, starting at 1, on the outputs
    of each layer that makes its channels.

    Tick: with convolutions frozen, gates, biases and classifier are trained for `tick_epochs` at `tick_lr`; each step
    adds |g * dL/dg| to the score, the first-order change of the loss when the gate closes. Then int(left *
    `prune_fraction`) of the filters that are left go, see `survivors`. `eta` charges filters for their cost: score -
    eta * area / smallest area * width of the layer.
    Tock: everything is trained for `tock_epochs` on cross-entropy + `sparsity` * sum |g|; the learning rate runs from
    `tock_lr[0]` up to `tock_lr[1]` and back. One tock comes first and one after every `ticks_per_tock` ticks. The last
    prune takes the filters that bring the MACs nearest to the target.

    `ticks`: reach the target in so many ticks, in equal steps of MACs, whatever `prune_fraction` says; the epochs are
    then known beforehand: tock_epochs * (1 + ticks // ticks_per_tock) + ticks * tick_epochs, and fine-tuning.
    `finetune_epochs`: None trains for all epochs that are left, by the trial's recipe. The authors' (40, 10) are 40
    with a tock's learning rate and no momentum, then 10 at `tick_lr`.

    Filters are cut out between ticks, not masked, which is the same and faster. Unlike in the authors' code every tick
    and tock begins with fresh momentum, and frozen convolutions stand still: there zero gradients go to the optimiser,
    whose weight decay goes on (a quarter of their size over 153 ticks, which a norm behind them takes out again).
    """

    name = "gate_decorator"
    summary = "scores gates on the batch norms by |g * dL/dg|, removing the lowest of the whole network step by step"
    paper = Paper(
        title="Gate Decorator: Global Filter Pruning Method for Accelerating Deep Convolutional Neural Networks",
        year=2019,
        url="https://arxiv.org/abs/1909.08174",
        bibtex="""@inproceedings{you2019gate,
  title = {Gate Decorator: Global Filter Pruning Method for Accelerating Deep Convolutional Neural Networks},
  author = {You, Zhonghui and Yan, Kun and Ye, Jinmian and Ma, Meng and Wang, Ping},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019}
}""",
    )

    prune_fraction: float = 0.002
    ticks: int | None = None
    tick_epochs: float = 1.0
    tick_lr: float = 1e-3
    ticks_per_tock: int = 10
    tock_epochs: float = 10.0
    tock_lr: tuple[float, float] = (1e-3, 1e-2)
    sparsity: float = 1e-3
    eta: float = 0.0
    finetune_epochs: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.prune_fraction < 1:
            raise ValueError("gate_decorator: prune_fraction is a share of the filters, between 0 and 1")
        if self.ticks_per_tock < 1 or (self.ticks is not None and self.ticks < 1):
            raise ValueError("gate_decorator: ticks and ticks_per_tock must be at least 1")
        if self.tick_epochs <= 0 or self.tock_epochs < 0:
            raise ValueError("gate_decorator: tick_epochs must be above 0 and tock_epochs not below it")

    def check(self, model: nn.Module, groups: Iterable[Group]) -> None:
        if not any(gated(group) for group in groups):
            raise MethodError("gate_decorator puts gates on filters, and this backbone has none to prune")

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        groups = run.groups(model)
        self.check(model, groups)
        run.select(model, {group.name: torch.ones(group.size) for group in groups})  # refuses an unreachable target
        ticks = self.ticks or 1
        self._afford(run, ticks * self.tick_epochs + (1 + ticks // self.ticks_per_tock) * self.tock_epochs)
        decorate(groups)
        areas = _areas(model, run) if self.eta else {}
        self._tock(model, run)
        left, done, reached = sum(len(gated(group)) * group.size for group in groups), 0, False
        while not reached:
            self._afford(run, self.tick_epochs, f" after {done} ticks")
            self._tick(model, run)
            done += 1
            groups = run.groups(model)
            scores = {group.name: self._score(group, areas) for group in groups}
            nearest = run.select(model, scores)
            if self.ticks is None:
                keep: Keep = self._lowest(groups, scores, left)
                left = sum(len(gated(group)) * int((scores[group.name] != 0).sum()) for group in groups)
                reached = sum(map(len, keep.values())) <= sum(map(len, nearest.values()))
            else:
                share = 1 - (1 - (run.budget.keep_macs or 1)) * done / self.ticks
                keep = run.select(model, scores, keep_macs=share)
                reached = done == self.ticks
            model = run.shrink(model, nearest if reached else keep)
            run.log(f"tick {done}: {run.cost(model).macs / 1e6:.2f} M MACs")
            if done % self.ticks_per_tock == 0:
                self._afford(run, self.tock_epochs, f" after {done} ticks")
                self._tock(model, run)
        fold(model)
        if self.finetune_epochs is None:
            run.train(model, run.epochs_left, name="fine-tune")
        else:
            first, last = self.finetune_epochs
            run.train(model, first, lr=self._triangle, momentum=0.0, name="fine-tune")
            run.train(model, last, lr=self.tick_lr, momentum=0.0, name="fine-tune")
        return model

    def _tick(self, model: nn.Module, run: Run) -> None:
        for layer in gates(model):
            layer.gate_score.zero_()
        still = {id(p) for m in model.modules() if _is_still(m) for n, p in m.named_parameters() if n != "gate"}

        def each_step(net: nn.Module) -> None:
            for layer in gates(net):
                gate = gate_of(layer)
                if gate.grad is not None:
                    layer.gate_score += (gate.detach() * gate.grad).abs()

        frozen: Callable[[str, nn.Parameter], bool] = lambda _, parameter: id(parameter) in still  # noqa: E731
        run.train(model, self.tick_epochs, lr=self.tick_lr, frozen=frozen, each_step=each_step, name="tick")

    def _tock(self, model: nn.Module, run: Run) -> None:
        def penalty(net: nn.Module) -> Tensor:
            return self.sparsity * torch.stack([gate_of(layer).abs().sum() for layer in gates(net)]).sum()

        run.train(model, self.tock_epochs, lr=self._triangle, penalty=penalty, name="tock")

    def _triangle(self, share: float) -> float:
        low, high = self.tock_lr
        return low + (high - low) * (1 - abs(2 * share - 1))

    def _score(self, group: Group, areas: Mapping[str, float]) -> Tensor:
        """Summed over the group's gates, (size,)."""
        total = torch.zeros(group.size)
        for member in gated(group):
            score = member.module.gate_score.cpu()
            if self.eta:
                score = score - self.eta * areas[member.layer] / min(areas.values()) * len(score)
            total += score[member.channels.cpu()].sum(1)
        return total

    def _lowest(self, groups: list[Group], scores: Mapping[str, Tensor], left: int) -> dict[str, Tensor]:
        """What stays when `prune_fraction` of `left` goes.

        As in the authors' code, filters count once for each of their gates, and `left` is what was left before the
        prune of the tick before.
        """
        copies = {group.name: len(gated(group)) for group in groups}
        floors = {group.name: group.floor for group in groups}
        masks = survivors(scores, copies, floors, int(left * self.prune_fraction))
        return {name: mask.nonzero().flatten() for name, mask in masks.items()}

    def _afford(self, run: Run, epochs: float, when: str = "") -> None:
        epochs += sum(self.finetune_epochs or ())
        if epochs > run.epochs_left + 0.01:
            raise MethodError(
                f"gate_decorator needs {epochs:g} epochs{when}, and the trial has {run.epochs_left:g} left: "
                "give it more, or fewer and shorter ticks and tocks (ticks, tick_epochs, tock_epochs, finetune_epochs)"
            )


def survivors(
    scores: Mapping[str, Tensor], copies: Mapping[str, int], floors: Mapping[str, int], num: int
) -> dict[str, Tensor]:
    """Which filters stay when `num` go, as the authors' code has it: group name -> (units,) bool.

    All scores stand in one list, those of a group with k gates (`copies`) k times, without the `floors` best ones of
    each group and without zeros. Its element `num`, counted from 0, is the threshold: filters at or under it go, but
    for the floors'. So `num` = 4 takes at least five elements of the list.
    """
    ranked = {name: score.sort().values for name, score in scores.items()}
    parts = [ranked[name][: -floors[name]] for name in scores for _ in range(copies[name])]
    listed = torch.cat([part[part != 0] for part in parts]).sort().values
    if not len(listed):
        return {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    threshold = listed[min(num, len(listed) - 1)]
    return {name: (score > threshold) | (score >= ranked[name][-floors[name]]) for name, score in scores.items()}


class Scaled(nn.Module):
    """Parametrisation: rows of a layer's tensor times the layer's own gate."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = (layer,)  # in a tuple, since the layer is no part of its own part

    def forward(self, tensor: Tensor) -> Tensor:
        return tensor * gate_of(self.layer[0]).view(-1, *[1] * (tensor.dim() - 1))


def gated(group: Group) -> list[Any]:
    """The members of a group that carry gates: its batch normalisations, or else the layers that make its channels."""
    norms = [m for m in group.norms() if isinstance(m.module, _BatchNorm) and m.module.affine]
    return norms or [m for m in group.members if m.role == "filters"]


def decorate(groups: Iterable[Group]) -> None:
    """Put gates on all groups. The gate of a batch normalisation is its weight, that of another layer a new `gate`."""
    for layer in {id(m.module): m.module for group in groups for m in gated(group)}.values():
        names = ["bias"]
        if isinstance(layer, _BatchNorm):
            with torch.no_grad():
                layer.bias.copy_((layer.bias / layer.weight).clamp(-10, 10).nan_to_num(0.0))
        else:
            names = ["weight"] + names * (layer.bias is not None)
            layer.gate = nn.Parameter(layer.weight.new_ones(len(layer.weight)))
        layer.register_buffer("gate_score", torch.zeros_like(gate_of(layer).detach()))
        for name in names:
            parametrize.register_parametrization(layer, name, Scaled(layer))


def gates(model: nn.Module) -> Iterator[Any]:
    """All layers with gates."""
    return (module for module in model.modules() if "gate_score" in module._buffers)


def gate_of(layer: nn.Module) -> nn.Parameter:
    """A layer's gate, (channels,)."""
    return layer.get_parameter("weight" if isinstance(layer, _BatchNorm) else "gate")


def fold(model: nn.Module) -> None:
    """Multiply the gates into the layers, which are plain afterwards."""
    for layer in list(gates(model)):
        for name in list(layer.parametrizations):
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        del layer.gate_score
        if "gate" in layer._parameters:
            del layer.gate


def _is_still(module: nn.Module) -> bool:
    """Whether a tick leaves the weights of this layer alone: all convolutions, and what has a gate of its own."""
    return isinstance(module, nn.modules.conv._ConvNd) or "gate" in module._parameters


def _areas(model: nn.Module, run: Run) -> dict[str, float]:
    """Positions (height * width) at the outputs of each layer with gates."""
    found: dict[str, float] = {}
    hooks = []
    for name, layer in model.named_modules():
        if "gate_score" in layer._buffers:
            size = len(gate_of(layer))
            hook = lambda _, __, out, name=name, size=size: found.update({name: out[0].numel() / size})  # noqa: E731
            hooks.append(layer.register_forward_hook(hook))
    training = model.training
    with torch.no_grad():
        for images, _ in run.batches(1, 1):
            model.eval()(images)
    for handle in hooks:
        handle.remove()
    model.train(training)
    return found
