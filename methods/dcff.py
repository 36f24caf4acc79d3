"""DCFF: each epoch every convolution is fused from its full filter bank, and the fused network is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench import Group, Member, Method, MethodError, Paper, Run


@dataclass(frozen=True)
class DCFF(Method):
    """Training Compact CNNs for Image Classification using Dynamic-coded Filter Fusion (Lin et al., TPAMI 2023).

    Before each epoch, per convolution with filters W (n, ...): D = Euclidean distances between the filters,
    P = softmax of -T * D over rows, KL_jk = mean over i of P_ji log(P_ji / P_ki), score_j = sum over k of KL_jk. The
    convolution uses P[kept] @ W, where `kept` are the filters with the highest scores; gradients reach W through the
    constant P. Normalisation layers have the compact width. After the last epoch the fused filters are the network.

    `rates`: share of the filters that go, in the order of the authors' code: kept = int(filters * (1 - rate)). Layers
    that nothing is added to come first (in residual networks all first convolutions of the blocks, then all second
    ones; otherwise the order of the network), then one rate per stage for all its block outputs. `rates` stand in for
    a MACs target. Without them one share is taken from every layer, so that the target is met.

    `t_start`, `t_end`, `steepness` k: T = t_start + (t_end - t_start) * tanh(k * epoch / 2) / tanh(k * epochs / 2).
    **The authors' schedule, which is the default, saturates at once: T is 1 in epoch 0 and 4622 in epoch 1.** From
    then on each row of P is one-hot in float32, the divergence is not a number, and their code keeps the scores of
    epoch 0. In effect filters are picked by their initial weights, fused for one epoch, and the compact network is
    then trained as usual: compare with `scratch: {of: dcff}`. Lower values (such
    as `t_end: 20` and `steepness: 0.02`) go on coding all along.

    `arithmetic`: "reference" has the authors' float32 P and their 1e-7 in the divergence; "exact" works with
    float64 logarithms, so that the ranking goes on changing.

    As in the authors' networks, grouped and depthwise convolutions and the projections of shortcuts are plain, at
    compact width; convolutions whose outputs are added keep a selection each. Two things differ: the banks have the
    backbone's own initial weights, restricted to the inputs that are left, and fused filters stand in the order of
    their ids.
    """

    name = "dcff"
    summary = "fuses each layer's full filter bank into fewer filters before every epoch, training from scratch"
    paper = Paper(
        title="Training Compact CNNs for Image Classification using Dynamic-coded Filter Fusion",
        year=2023,
        url="https://arxiv.org/abs/2107.06916",
        bibtex="""@article{lin2023dcff,
  title = {Training Compact {CNNs} for Image Classification using Dynamic-coded Filter Fusion},
  author = {Lin, Mingbao and Chen, Bohong and Chao, Fei and Ji, Rongrong},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {45},
  number = {8},
  pages = {10478--10487},
  year = {2023}
}""",
    )
    start = "scratch"

    rates: tuple[float, ...] | None = None
    t_start: float = 1.0
    t_end: float = 10_000.0
    steepness: float = 1.0
    arithmetic: Literal["reference", "exact"] = "reference"

    def __post_init__(self) -> None:
        if min(self.t_start, self.t_end, self.steepness) <= 0:
            raise ValueError("dcff: t_start, t_end and steepness must be above 0")
        if any(not 0 <= rate < 1 for rate in self.rates or ()):
            raise ValueError("dcff: each of rates is the share of the filters that goes, from 0 to below 1")

    def check(self, model: nn.Module, groups: Iterable[Group]) -> None:
        groups = list(groups)
        if not any(True for group in groups for _ in _fused(group)):
            raise MethodError("dcff fuses the filters of plain convolutions, and this backbone has none to prune")
        wanted = rated(groups)
        if self.rates is not None and len(self.rates) != len(wanted):
            raise MethodError(
                f"dcff: rates has {len(self.rates)} values, this backbone needs {len(wanted)}, one for each of "
                + ", ".join(group.name for group in wanted)
            )

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        groups = run.groups(model)
        self.check(model, groups)
        epochs = run.epochs_left
        if epochs <= 0:
            raise MethodError("dcff trains from scratch: give it epochs in the suite's recipe")
        # The middle units stay, so that zero-padded shortcuts go on joining the centres of their stages.
        wide = self._widths(model, run, groups)
        keep = {g.name: torch.arange(wide[g.name]) + (g.size - wide[g.name]) // 2 for g in groups if g.name in wide}
        banks = {m.layer: _bank(m.module, m.layer, groups, keep) for g in groups for m in _fused(g)}
        model = run.shrink(model, keep)
        for layer, bank in banks.items():
            attach(model.get_submodule(layer), *bank)
        self.recode(0, epochs, model)
        run.train(model, epochs, each_epoch=lambda epoch, net: self.recode(epoch, epochs, net), name="fuse and train")
        for conv, _ in coded(model):
            for name in list(conv.parametrizations):
                parametrize.remove_parametrizations(conv, name, leave_parametrized=True)
        return model

    def temperature(self, epoch: int, epochs: float) -> float:
        """T before `epoch` (from 0) of `epochs`; the paper's own temperature is t = 1 / T."""
        done = math.tanh(self.steepness * epoch / 2) / math.tanh(self.steepness * epochs / 2)
        return self.t_start + (self.t_end - self.t_start) * done

    @torch.no_grad()
    def recode(self, epoch: int, epochs: float, model: nn.Module) -> None:
        """Choose the filters of every bank anew and set the P that fuses them."""
        temperature = self.temperature(epoch, epochs)
        for conv, fuse in coded(model):
            p, score = code(conv.parametrizations.weight.original, temperature, self.arithmetic)
            # where one is no number the scores of an earlier epoch stand; no `if`, a GPU would have to be waited for
            fuse.score.copy_(score if epoch == 0 else torch.where(score.isfinite().all(), score, fuse.score))
            rows = p[fuse.kept()]
            for name in conv.parametrizations:
                conv.parametrizations[name][0].p.copy_(rows)

    def _widths(self, model: nn.Module, run: Run, groups: list[Group]) -> Mapping[str, int]:
        if run.budget.widths is not None:
            return run.budget.widths
        if self.rates is not None:
            if run.budget.macs is not None:
                raise MethodError("dcff: rates and a MACs target exclude each other: give one of them")
            return widths(groups, self.rates)
        scores = {group.name: torch.arange(group.size).float() for group in groups}
        return {name: len(ids) for name, ids in run.select(model, scores, scope="layer").items()}


class Fuse(nn.Module):
    """Parametrisation: compact weight (kept, ...) = p (kept, n) @ full bank (n, ...); `score` (n,) ranks the bank."""

    p: Tensor
    score: Tensor

    def __init__(self, kept: int, bank: Tensor) -> None:
        super().__init__()
        self.register_buffer("p", bank.new_zeros(kept, len(bank)))
        self.register_buffer("score", bank.new_zeros(len(bank), dtype=torch.float64))

    def forward(self, full: Tensor) -> Tensor:
        with torch.autocast(full.device.type, enabled=False):  # in bf16 the fused weights would be off by 1 %
            return torch.tensordot(self.p, full, dims=1)

    def kept(self) -> Tensor:
        """Sorted ids of the filters with the highest scores, (kept,)."""
        return self.score.topk(len(self.p)).indices.sort().values


def code(filters: Tensor, temperature: float, arithmetic: Literal["reference", "exact"]) -> tuple[Tensor, Tensor]:
    """(P, scores) of a filter bank (n, ...): (n, n) in its dtype, (n,) in float64. Memory is O(n^2).

    sum_k mean_i P_ji log(P_ji / Q_ki) = sum_i P_ji log P_ji - mean_i P_ji (sum_k log Q_ki), hence no (n, n, n) tensor.
    Distances are float64, as the authors' are: float32 would leave 1e-3 on the diagonal, which T makes into 5.
    """
    flat = filters.detach().flatten(1).double()
    distance = torch.cdist(flat, flat, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(0)
    if arithmetic == "exact":
        log_q = torch.log_softmax(-temperature * distance, dim=1)
        p = log_q.exp()
        own = (p * log_q).sum(1)
    else:
        p = torch.softmax(-temperature * distance.float(), dim=1).double()
        own = (p * p.log()).sum(1)
        log_q = (p + 1e-7).log_()
    return p.to(filters.dtype), own - p @ log_q.sum(0) / len(p)


def rated(groups: Iterable[Group]) -> list[Group]:
    """The groups in the order of the authors' rates."""
    groups = list(groups)
    added = [group for group in groups if len(list(_convolutions(group))) > 1]
    single = [group for group in groups if group not in added]
    if added:  # a residual network: by place in the block
        places = list(dict.fromkeys(_leaf(group.name) for group in single))
        single.sort(key=lambda group: places.index(_leaf(group.name)))
    return single + added


def widths(groups: Iterable[Group], rates: Iterable[float]) -> dict[str, int]:
    """Group name -> filters kept, with one rate for each of the `rated` groups."""
    return {group.name: max(1, int(group.size * (1 - r))) for group, r in zip(rated(groups), rates, strict=True)}


def attach(conv: Any, weight: Tensor, bias: Tensor | None) -> None:
    """Give a compact convolution its full bank back, fused by a P that `DCFF.recode` sets."""
    for name, bank in (("weight", weight), ("bias", bias)):
        if bank is not None:
            fuse = Fuse(len(getattr(conv, name)), bank)
            setattr(conv, name, nn.Parameter(bank))
            parametrize.register_parametrization(conv, name, fuse, unsafe=True)


def coded(model: nn.Module) -> Iterator[tuple[Any, Fuse]]:
    """Every convolution with a full bank, and the parametrisation of its weight."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            fuse = module.get_submodule("parametrizations.weight.0")
            if isinstance(fuse, Fuse):
                yield module, fuse


def _convolutions(group: Group) -> Iterator[Member]:
    return (
        m for m in group.members if m.role == "filters" and isinstance(m.module, nn.Conv2d) and m.module.groups == 1
    )


def _fused(group: Group) -> Iterator[Member]:
    """The convolutions that are fused; the projections of shortcuts are not, as in the authors' ResNet-50."""
    return (m for m in _convolutions(group) if not {"downsample", "shortcut"} & set(m.layer.split(".")))


def _bank(conv: Any, layer: str, groups: list[Group], keep: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """All filters of a convolution, restricted to the input channels that `keep` leaves, and all biases."""
    weight: Tensor = conv.weight.detach()
    left = torch.ones(weight.shape[1], dtype=torch.bool)
    for group in groups:
        for member in group.members:
            if member.layer == layer and member.role == "inputs" and group.name in keep:
                channels = member.channels.cpu()
                left[channels.flatten()] = False
                left[channels[keep[group.name]].flatten()] = True
    bias = conv.bias
    return weight[:, left.to(weight.device)].clone(), None if bias is None else bias.detach().clone()


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]
