import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from bench import backbones, channels
from bench.channels.coupling import trace, trace_with_whole
from bench.method import MethodError
from bench.spec import BackboneSpec


def network(name: str, size: int = 32, **kwargs) -> tuple[nn.Module, Tensor]:
    """In float64 and eval mode, with normalisation layers that do something, and one random image."""
    torch.manual_seed(0)
    model = backbones.create(BackboneSpec(name=name, kwargs=kwargs), num_classes=10).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return model, torch.randn(1, 3, size, size, dtype=torch.double)


def random_keep(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """About 60 % of every group, other units in each."""
    generator = torch.Generator().manual_seed(1)
    return {
        group.name: torch.randperm(group.size, generator=generator)[: max(group.floor, int(0.6 * group.size))].sort()[0]
        for group in channels.groups(model, example)
    }


@torch.no_grad()
def masked(model: nn.Module, example: Tensor, keep: dict[str, Tensor]) -> nn.Module:
    """A copy of the same widths in which every unit that would go gives zero."""
    model = copy.deepcopy(model)
    for coupling in trace(model, example):
        gone = torch.ones(coupling.size, dtype=torch.bool)
        gone[keep[coupling.first.layer]] = False
        for part in coupling.parts:
            ids = part.channels[gone].flatten()
            if part.parameter:
                part.module.get_parameter(part.parameter).movedim(part.dim, 0)[ids] = 0
            elif isinstance(part.module, backbones.resnet.PadShortcut):
                if part.side == "out":
                    part.module.index[ids] = part.module.n_in
            elif part.side != "in":
                for parameter in part.module.parameters():
                    parameter[ids] = 0
    return model


def assert_exact(model: nn.Module, example: Tensor) -> nn.Module:
    keep = random_keep(model, example)
    names = [group.name for group in channels.groups(model, example)]
    expected = masked(model, example, keep)(example)
    full = model(example)
    small = channels.shrink(model, example, keep)
    assert small is model
    error = (small(example) - expected).abs().max() / expected.abs().max()
    assert error < 1e-12
    assert (full - expected).abs().max() > 1e-6 * expected.abs().max()  # what went did something before
    sizes = {group.name: group.size for group in channels.groups(small, example)}
    assert list(sizes) == names and sizes == {name: len(keep[name]) for name in names}
    return small


@pytest.mark.parametrize(
    ("name", "kwargs", "groups"),
    [
        ("cifar_resnet20", {"shortcut": "A"}, 12),
        ("cifar_resnet20", {"shortcut": "B"}, 12),
        ("cifar_vgg16", {}, 13),
        ("cifar_googlenet", {}, 64),
        ("resnet18", {}, 12),
        ("mobilenetv2_050", {}, 25),
        ("regnetx_002", {}, 18),
        ("efficientnet_b0", {}, 40),
        ("ghostnet_050", {}, 31),
    ],
)
def test_cut_equals_masked(name, kwargs, groups):
    model, example = network(name, **kwargs)
    assert len(channels.groups(model, example)) == groups
    assert_exact(model, example)


def test_cut_equals_masked_where_features_are_concatenated():
    torch.manual_seed(0)
    model = timm.create_model("densenet121", block_config=(2, 2), growth_rate=8, num_classes=10).double().eval()
    assert_exact(model, torch.randn(1, 3, 32, 32, dtype=torch.double))


class Assorted(nn.Module):
    """A grouped convolution, a layer scale in the middle of a shape, channels side by side, and a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1) + 0.5)
        self.side = nn.Conv2d(8, 6, 1)
        self.act = nn.PReLU(14)
        self.fc1 = nn.Linear(14 * 16, 20)
        self.fc2 = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        x = torch.cat([self.grouped(x) * self.scale, self.side(x)], 1)
        return self.fc2(self.fc1(self.act(x).flatten(1)).relu())


def test_groups_by_hand():
    model, example = Assorted(), torch.randn(1, 3, 4, 4)
    first, second, third = channels.groups(model, example)
    assert (first.name, first.size, first.floor) == ("stem", 4, 2)
    assert (second.name, second.size, second.floor) == ("side", 6, 1)
    assert (third.name, third.size, third.floor) == ("fc1", 20, 2)
    assert [(m.layer, m.role, m.channels.shape[1]) for m in first.members] == [
        ("stem", "filters", 2),
        ("norm", "norm", 2),
        ("grouped", "filters", 2),
        ("side", "inputs", 2),
        ("fc1", "inputs", 32),
    ]
    assert first.members[0].channels.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert second.members[-1].channels[1].tolist() == list(range(9 * 16, 10 * 16))
    stem, grouped = first.filters()
    assert torch.equal(stem[1], model.stem.weight[2:4].flatten()) and grouped.shape == (4, 2 * 2 * 9)
    assert [rows.shape for rows in first.inputs()] == [(4, 2 * 6), (4, 32 * 20)]
    assert [member.layer for member in first.norms()] == ["norm"]
    floors = {"stem": 3, "side": 2, "fc1": 1}
    assert [group.floor for group in channels.grouped(trace(model, example), floors, example.device)] == [
        3,
        2,
        1,
    ]


def test_assorted_layers_are_cut_exactly():
    torch.manual_seed(0)
    small = assert_exact(Assorted().double().eval(), torch.randn(1, 3, 4, 4, dtype=torch.double))
    assert (small.grouped.groups, small.grouped.in_channels, small.grouped.out_channels) == (2, 4, 4)
    assert small.scale.shape == (1, 4, 1, 1) and small.act.num_parameters == 7 and small.fc1.in_features == 7 * 16


def test_what_has_to_survive_tracing_and_cutting():
    model, example = network("cifar_resnet20")
    model = model.float().to(memory_format=torch.channels_last).train()
    example = example.float()
    model.layer1.eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("conv" not in name)
    mean = model.bn1.running_mean.clone()
    model(example.expand(2, -1, -1, -1)).sum().backward()
    gradient = model.layer2[1].bn1.weight.grad.clone()
    mean = model.bn1.running_mean.clone()
    with torch.no_grad():
        channels.groups(model, example)
    assert torch.equal(model.bn1.running_mean, mean)
    kept = torch.arange(5, 20)
    channels.shrink(model, example, {"layer2.1.conv1": kept})
    assert model.training and model.layer2.training and not model.layer1[0].bn1.training
    assert all(parameter.requires_grad == ("conv" not in name) for name, parameter in model.named_parameters())
    assert model.layer2[1].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.layer2[1].bn1.weight.grad, gradient[kept])
    assert not any(module._forward_hooks for module in model.modules())


class Gate(nn.Module):
    """A gate per channel with a mask: what Gate Decorator hangs on a norm's weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(channels))

    def forward(self, gate: Tensor) -> Tensor:
        return gate * self.mask


def test_parametrised_norms_are_cut_to_their_originals():
    model, example = network("cifar_resnet20", shortcut="B")
    for module in list(model.modules()):
        if isinstance(module, nn.BatchNorm2d):
            register_parametrization(module, "weight", Gate(module.num_features).double())
            register_parametrization(module, "bias", Gate(module.num_features).double())
    keep = {group.name: torch.arange(group.size // 3, group.size) for group in channels.groups(model, example)}
    for group in channels.groups(model, example):
        for member in group.norms():
            ids = member.channels[: group.size // 3].flatten()
            for name in ("weight", "bias"):
                member.module.parametrizations[name][0].mask[ids] = 0
    expected = model(example)
    original = model.bn1.parametrizations.weight.original.detach().clone()
    channels.shrink(model, example, keep)
    assert (model(example) - expected).abs().max() < 1e-12 * expected.abs().max()
    assert torch.equal(model.bn1.parametrizations.weight.original, original[5:])
    assert model.bn1.parametrizations.weight[0].mask.shape == (11,) == model.bn1.weight.shape
    model.train()(example.expand(2, -1, -1, -1)).sum().backward()
    assert model.bn1.parametrizations.weight.original.grad.shape == (11,)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"conv9": torch.arange(3)}, "there is no group conv9: the groups are conv1, "),
        ({"conv1": torch.arange(0)}, "group conv1 would keep 0 of its 16 units: at least 1 must stay"),
        ({"conv1": torch.tensor([3, 2])}, "must be sorted ids"),
        ({"conv1": torch.tensor([3, 16])}, "from 0 to 15"),
        ({"conv1": torch.tensor([-1, 3])}, "from 0 to 15"),
        ({"conv1": torch.tensor([True, False])}, "must be sorted ids"),
    ],
)
def test_ids_that_cannot_be_kept(keep, message):
    model, example = network("cifar_resnet20")
    with pytest.raises(MethodError, match=message):
        channels.shrink(model, example, keep)


class Odd(nn.Module):
    """One thing that cannot be pruned between two convolutions."""

    def __init__(self, middle) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.middle = middle
        self.fc = nn.Linear(8, 5)
        if isinstance(middle, nn.Identity):
            self.extra = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.middle(self.conv1(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (nn.Identity(), "filters of extra are in no group: it is not used in eval mode"),
        (lambda x: x.detach(), "filters of conv1 are in no group: not in its graph"),
        (lambda x: x.flatten(99), "its graph cannot be traced"),
    ],
)
def test_never_a_silent_no_op(middle, message):
    with pytest.raises(MethodError, match=f"Odd cannot be pruned: .*{message}"):
        channels.groups(Odd(middle), torch.zeros(1, 3, 9, 9))


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda x: torch.cat(x.split(4, 1)[::-1], 1), "its channels are split by fixed sizes"),
        (lambda x: torch.cat([x[:, 4:], x[:, :4]], 1), "its channels are sliced by fixed sizes"),
        (nn.GroupNorm(2, 8), "middle normalises channels in groups"),
        (nn.ConvTranspose2d(8, 8, 1), "middle is a transposed convolution"),
    ],
)
def test_what_cannot_be_cut_stays_whole_and_is_named(middle, reason):
    model, example = Odd(middle), torch.zeros(1, 3, 9, 9)
    assert trace_with_whole(model, example)[1]["conv1"] == reason
    assert [group.name for group in channels.groups(model, example)] == ["conv2"]
    channels.check(model, example)
    model.conv2 = nn.Identity()
    with pytest.raises(MethodError, match=f"Odd cannot be pruned: filters of conv1: {reason}"):
        channels.groups(model, example)


def test_a_wrong_graph_is_found_before_training():
    """The graph takes shuffled channels for channels in order."""
    shuffle = Odd(lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))
    with pytest.raises(MethodError, match="outputs are not those with the same channels at zero"):
        channels.check(shuffle, torch.zeros(1, 3, 9, 9))


def test_a_number_of_channels_written_into_the_code_is_found_before_training():
    model, example = Odd(lambda x: x.view(1, 8, -1).view(1, 8, 7, 7)), torch.zeros(1, 3, 9, 9)
    with pytest.raises(MethodError, match="Odd does not run any more after the cut: shape"):
        channels.check(model, example)
    assert model.conv1.out_channels == 8
    plain, example = network("cifar_resnet20")
    channels.check(plain, example)
    assert plain.conv1.out_channels == 16


def test_a_network_without_filters():
    with pytest.raises(MethodError, match="no filters but those of its outputs"):
        channels.groups(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(1, 3, 2, 2))


def test_outputs_of_a_convolutional_classifier_stay():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert [group.name for group in channels.groups(model, torch.zeros(1, 3, 8, 8))] == ["0"]
