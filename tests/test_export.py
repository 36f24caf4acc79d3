"""A cut ResNet-20 written as ONNX and as a torch.export program, and run from there."""

from __future__ import annotations

import pytest
import torch

from bench import backbones, channels, cli, compact, export
from bench.errors import UserError
from bench.spec import BackboneSpec


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The file of a ResNet-20 that has lost every second filter, with parameters and statistics drawn at random."""
    torch.manual_seed(0)
    spec, example = BackboneSpec(name="cifar_resnet20"), torch.zeros(1, 1, 8, 8)
    model = backbones.create(spec, num_classes=10, in_chans=1, image_size=8)
    keep = {group.name: torch.arange(0, group.size, 2) for group in channels.groups(model, example)}
    model = channels.shrink(model, example, keep)
    for name, value in model.state_dict().items():
        if "bn" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    compact.save(path, model, spec, num_classes=10, in_chans=1, image_size=8, mean=(0.3,), std=(0.4,))
    return path


def test_onnx_for_any_batch(network, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    path, difference = export.export(network, tmp_path / "new" / "network.onnx", "onnx")
    assert difference is not None and difference < 1e-4
    assert [p.name for p in path.parent.iterdir()] == ["network.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = torch.randn(7, 1, 8, 8)
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        expected = compact.load_compact(network)(images)
    assert expected.abs().max() > 0.1  # so that the comparison says something
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)


def test_torch_export_by_the_command(network, tmp_path, monkeypatch, capsys):
    key = "0123456789abcdef"
    folder = tmp_path / "runs" / "suite" / "trials" / key
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(network.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "0123", "--to", "torch"]) == 0
    assert "(batch, 1, 8, 8), mean (0.3,), std (0.4,)" in capsys.readouterr().out
    images = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        loaded = torch.export.load(folder / "model.pt2").module()(images)
        assert loaded.equal(compact.load_compact(network)(images))


def test_a_wrong_export_is_refused_and_not_left_behind(network, tmp_path, monkeypatch):
    right = export._torch
    monkeypatch.setattr(export, "_torch", lambda *given: right(*given) + 2e-4)
    with pytest.raises(UserError, match="logits differ by 2.0e-04; nothing was written"):
        export.export(network, tmp_path / "network.pt2", "torch")
    assert list(tmp_path.iterdir()) == []


def test_bad_input(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no network")
    assert cli.main(["export", "model.safetensors"]) == 2
    assert cli.main(["export", "missing.safetensors"]) == 2
    assert cli.main(["export", "0123"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "model.safetensors cannot be read" in lines[0]
    assert "missing.safetensors" in lines[1]
