"""Trained weights from a file: renamed, checked, refused in one line."""

import pytest
import torch

from bench import backbones, weights
from bench.method import MethodError
from bench.spec import BackboneSpec, WeightsSpec


def network():
    return backbones.create(BackboneSpec(name="cifar_resnet20"), num_classes=10)


def saved(path, state):
    torch.save(state, path)
    return str(path)


def test_keys_are_renamed_in_order_and_a_wrapping_mapping_is_opened(tmp_path):
    source = network()
    state = {"module." + key.replace("fc.", "linear."): value for key, value in source.state_dict().items()}
    file = saved(tmp_path / "w.pth", {"state_dict": state, "epoch": 3})
    model = network()
    weights.load_weights(model, WeightsSpec(file=file, rename=((r"^module\.", ""), (r"^linear\.", "fc."))))
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_other_keys_are_named(tmp_path):
    file = saved(tmp_path / "w.pth", {"linear.weight": torch.zeros(10, 64)})
    with pytest.raises(MethodError, match=r"lacks bn1.bias and \d+ more; it has the unknown linear.weight and 0 more"):
        weights.load_weights(network(), WeightsSpec(file=file))


def test_another_architecture_is_refused(tmp_path):
    state = network().state_dict()
    state["fc.weight"] = torch.zeros(100, 64)
    with pytest.raises(MethodError, match=r"fc.weight is \(100, 64\), the backbone's \(10, 64\)"):
        weights.load_weights(network(), WeightsSpec(file=saved(tmp_path / "w.pth", state)))


def test_a_file_that_changed_since_the_suite_was_read_is_refused(tmp_path):
    file = saved(tmp_path / "w.pth", network().state_dict())
    with pytest.raises(MethodError, match="has changed since the suite was read"):
        weights.load_weights(network(), WeightsSpec(file=file, sha256="0" * 64))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_weights_is_refused(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(MethodError, match="cannot be read as weights"):
        weights.load_weights(network(), WeightsSpec(file=str(tmp_path / "w.pth")))


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"a": Evil()}, tmp_path / "w.pth")
    with pytest.raises(MethodError, match="cannot be read as weights"):
        weights.load_weights(network(), WeightsSpec(file=str(tmp_path / "w.pth")))
    assert not (tmp_path / "ran").exists()
