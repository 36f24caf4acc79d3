import torch
from fakes import FakeRun, Tiny, tiny_groups
from torch import nn

from bench import Group, Member
from methods.hrank import HRank, feature_maps, mean_rank


def test_mean_rank_by_hand():
    """Two images, two units of one channel: ranks 2 and 1 for unit 0, 0 and 3 for unit 1."""
    maps = torch.zeros(2, 2, 1, 3, 3)
    maps[0, 0, 0] = torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    maps[1, 0, 0] = 1.0
    maps[1, 1, 0] = torch.eye(3)
    assert mean_rank(maps).tolist() == [1.5, 1.5]


def test_maps_are_what_the_next_layers_read():
    model = Tiny().train()
    images = FakeRun().images[:2]
    maps = feature_maps(model, tiny_groups(model), images)
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model.eval()
    read = model.norm_a(model.a(images)).relu()
    assert torch.equal(maps["a"][0][:, :, 0], read)
    # the classifier reads single numbers, so the rectified output of the norm stands for group b
    assert torch.equal(maps["b"][0][:, :, 0], model.norm_b(model.b(read)).relu())


def test_a_constant_map_scores_lowest():
    model = Tiny(norm=False)
    with torch.no_grad():
        model.a.weight.abs_()
        model.a.weight[2] = 0
        model.a.bias[2] = 1.0
    scores = HRank(images=8, batch_size=4).score(model, FakeRun())["a"]
    assert scores[2] == 2  # rank 1 in each of the two batches
    assert (scores[[0, 1, 3]] > 2).all()


def test_a_layer_norm_has_its_channels_last():
    """Maps of a norm between (N, H, W, C) tensors, as in ConvNeXt; H, W = 5, 6 and 3 channels."""
    norm = nn.LayerNorm(3)
    model = nn.Sequential(norm, nn.Flatten())
    group = Group("0", 3, 1, (Member("0", norm, "norm", torch.arange(3)[:, None]),))
    images = torch.rand(2, 5, 6, 3)
    (maps,) = feature_maps(model, [group], images)["0"]
    assert torch.equal(maps[:, :, 0], norm(images).relu().permute(0, 3, 1, 2))
