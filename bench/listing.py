"""What there is (methods, backbones, data sets, suites), and what one backbone costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from bench.errors import UserError


def rows(what: str) -> list[dict[str, Any]]:
    """One mapping per entry, for `prunebench list`."""
    if what == "methods":
        from bench.registry import methods

        return [
            {
                "name": name,
                "starts from": cls.start,
                "year": cls.paper.year if cls.paper else "",
                "paper": cls.paper.title if cls.paper else "",
                "how": cls.summary,
            }
            for name, cls in methods().items()
        ]
    if what == "backbones":
        from bench import backbones

        return [{"name": name} for name in backbones.names()]
    if what == "datasets":
        from bench import data

        return [{"name": name} for name in data.names()]
    from bench import suite

    found = {name: yaml.safe_load((suite.BUILTIN / f"{name}.yaml").read_text()) for name in suite.names()}
    return [
        {
            "name": name,
            "dataset": _name(values["dataset"]),
            "backbone": _name(values["backbone"]),
            "track": values.get("track", "matched"),
            "needs": ", ".join(_paths(values)),
        }
        for name, values in found.items()
    ]


def table(entries: list[dict[str, Any]]) -> str:
    """Plain columns; the last one as long as it is."""
    if not entries:
        return ""
    columns = list(entries[0])
    widths = [max(len(str(entry[column])) for entry in [*entries, {column: column}]) for column in columns]
    lines = [columns, *([str(entry[column]) for column in columns] for entry in entries)]
    if len(columns) == 1:
        lines = lines[1:]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def profile(backbone: str, kwargs: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """MACs and parameters of a backbone for a data set's images and classes, layer by layer."""
    import torch

    from bench import backbones, cost, data
    from bench.spec import BackboneSpec

    if backbone not in (known := backbones.names()):
        from bench.suitefile import nearest

        raise UserError(f"unknown backbone '{backbone}'{nearest(backbone, known)}")
    values = dict(kwargs)
    classes, channels, size = (
        data.shape(dataset) if dataset else ((10, 3, 32) if backbone.startswith("cifar_") else (1000, 3, 224))
    )
    spec = BackboneSpec(name=backbone, kwargs=values)
    model = backbones.create(spec, num_classes=classes, in_chans=channels, image_size=size)
    example = torch.zeros(1, channels, size, size)
    counted = cost.count(model, example)
    return {
        "backbone": backbone,
        "kwargs": values,
        "input": [channels, size, size],
        "classes": classes,
        "macs": counted.macs,
        "fvcore_total": counted.fvcore_total,
        "params": counted.params,
        "layers": [row._asdict() for row in cost.per_layer(model, example)],
    }


def profile_table(counted: Mapping[str, Any]) -> str:
    """The profile for people; MACs and parameters in millions."""
    layers = [
        {
            "layer": row["layer"],
            "output": "x".join(map(str, row["shape"])),
            "MACs (M)": f"{row['macs'] / 1e6:.3f}",
            "params": f"{row['params']:,}",
        }
        for row in counted["layers"]
    ]
    size = "x".join(map(str, counted["input"]))
    head = f"{counted['backbone']} on {size} images, {counted['classes']} classes"
    total = (
        f"conv + linear {counted['macs'] / 1e6:.2f} M MACs, fvcore total {counted['fvcore_total'] / 1e6:.2f} M, "
        f"{counted['params']:,} parameters"
    )
    return f"{head}\n{table(layers)}\n{total}"


def _name(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return ", ".join(str(item["name"] if isinstance(item, dict) else item) for item in values)


def _paths(values: Mapping[str, Any]) -> list[str]:
    """The files and folders of one's own that a suite names: images, and the weights of its dense network."""

    def field(value: Any, name: str) -> Any:
        return value.get(name) if isinstance(value, dict) else None

    weights = field(values.get("dense"), "weights")
    paths = [field(values["dataset"], "root"), weights if isinstance(weights, str) else field(weights, "file")]
    return [path for path in paths if path]
