"""Compact networks for other programs: ONNX, and torch.export's .pt2. What is written is run and compared first."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim

from bench.compact import describe, load_compact
from bench.errors import UserError

SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-4
"""Largest difference of a logit that is put down to rounding."""


def export(path: Path, out: Path | None = None, format: Literal["onnx", "torch"] = "onnx") -> tuple[Path, float | None]:
    """Write a saved compact network for other programs; the file, and by how much its logits differ at most.

    Input `images` (batch, channels, size, size), normalised as in training, float32, any batch; output `logits`
    (batch, classes). `out`: the new file (default: beside `path`). What was written is loaded and run; None stands for
    the difference where onnxruntime is not installed to do so. Raises UserError where `path` is no compact network,
    a package is missing, or a logit differs by `TOLERANCE` or more: then nothing is written.
    """
    path = Path(path)
    model, about = load_compact(path), describe(path)
    out = path.with_suffix(SUFFIX[format]) if out is None else Path(out)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, about.in_chans, about.image_size, about.image_size, generator=generator)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        written = Path(folder) / f"network{SUFFIX[format]}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own deprecations
            logits = (_onnx if format == "onnx" else _torch)(model, images, written)
        difference = None
        if logits is not None:
            with torch.no_grad():
                difference = float((logits - model(images)).abs().max())
            if not difference < TOLERANCE:
                raise UserError(
                    f"{path}: the exported network's logits differ by {difference:.1e}; nothing was written"
                )
        os.replace(written, out)
    return out, difference


def _onnx(model: nn.Module, images: Tensor, written: Path) -> Tensor | None:
    """Export, and the file's logits for `images`, one more than it is traced with; None without onnxruntime."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"export to ONNX needs the package {error.name}: pip install 'prunebench[export]'") from error
    torch.onnx.export(
        model,
        (images[:2],),
        written,
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    return torch.from_numpy(logits)


def _torch(model: nn.Module, images: Tensor, written: Path) -> Tensor:
    """Export, and the reloaded program's logits for `images`."""
    program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(program, written)
    with torch.no_grad():
        logits: Tensor = torch.export.load(written).module()(images)
    return logits
