"""Which method works on which backbone: `prunebench coverage` fills a table of cells, each in a process of its own.

Finished cells are kept in a JSON file after each one, so that a long job can be stopped and goes on.
"""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any

import timm

from bench import cell as cells
from bench.backbones import OWN, names
from bench.cell import Cell
from bench.errors import UserError
from bench.registry import methods

BACKBONES = """
cifar_resnet20 cifar_resnet56 cifar_vgg16 cifar_googlenet resnet18 resnet50 resnext50_32x4d vgg16_bn densenet121
mobilenetv2_100 mobilenetv3_large_100 efficientnet_b0 regnetx_002 regnety_002 convnext_atto convnext_tiny
hrnet_w18_small ghostnet_100 inception_v3 dla34 dpn68 ese_vovnet19b_dw repvgg_a0 cspresnet50 legacy_xception
mobileone_s0
"""
"""Where none are named."""

FAMILIES = """
byobnet convmixer convnext cspnet cspnext densenet dla dpn efficientnet fasternet fastvit focalnet ghostnet hardcorenas
hgnet hrnet inception_next inception_resnet_v2 inception_v3 inception_v4 lcnetv2 mambaout metaformer mobilenetv3 nasnet
nfnet pnasnet rdnet regnet repghost repvit res2net resnest resnet resnetv2 rexnet selecsls senet sknet starnet tresnet
vgg vovnet xception xception_aligned
"""
"""timm's modules of convolutional networks."""

SHORT: dict[str, dict[str, Any]] = {
    "chip": {"batches": 1, "batch_size": 2},
    "eagleeye": {"candidates": 2, "batches": 2},
    "gate_decorator": {"ticks": 2, "tick_epochs": 0.5, "tock_epochs": 0.5},
    "hessian": {"images": 2},
    "hrank": {"images": 2, "batch_size": 2},
    "sfp": {"batches": 2},
    "taylor": {"batches": 2},
}
"""Hyper-parameters that make a method short. What is cut differs, not how."""


def fill(
    wanted_methods: Sequence[str],
    backbones: Sequence[str],
    file: Path,
    *,
    keep_macs: float = 0.5,
    max_params: float | None = None,
    limit: float = 60,
    minutes: float = math.inf,
    again: bool = False,
) -> list[Cell]:
    """The cells of all methods on all backbones, those in `file` as they stand and the others run one after the other.

    `max_params`: millions; larger networks are left out, and so are those with self-attention. `limit`: seconds of CPU
    time for a cell. `minutes`: when to stop; the cells of which none began are "not run". `again`: run the cells that
    failed anew. Raises UserError for an unknown method or backbone.
    """
    known, began = methods(), perf_counter()
    _check_names("method", wanted_methods, known)
    _check_names("backbone", backbones, names())
    done = {(cell.method, cell.backbone, cell.keep_macs): cell for cell in read(file)}
    if again:
        done = {key: cell for key, cell in done.items() if cell.status != "failed"}
    wanted = [(method, name, keep_macs) for name in backbones for method in wanted_methods]
    for method, name, keep in wanted:
        started = perf_counter()
        if (method, name, keep) in done or started - began > 60 * minutes:
            continue
        short = known[method](**SHORT.get(method, {}))
        found = cells.isolated(partial(cells.check, short, name, keep_macs=keep, max_params=max_params), limit)
        if isinstance(found, str):
            found = Cell(method, name, "failed", found, keep, seconds=perf_counter() - started)
        done[method, name, keep] = found
        print(f"{method} {name}: {found.status} {found.note}".rstrip(), file=sys.stderr, flush=True)
        write(file, done.values())
    return [done.get(key, Cell(*key[:2], "not run", keep_macs=keep_macs)) for key in wanted]


def prunable() -> list[str]:
    """The methods that a MACs target is set for."""
    return [name for name, method in methods().items() if method.prunes]


def cnns() -> list[str]:
    """All of timm's convolutional networks: the first of each family, then the second of each, and so on."""
    turns = zip_longest(*(timm.list_models(module=family) for family in FAMILIES.split()))
    return [name for name in chain.from_iterable(turns) if name and name not in OWN]


def read(file: Path) -> list[Cell]:
    """The finished cells. Raises UserError for a file that holds something else."""
    if not file.exists():
        return []
    try:
        return [Cell(**values) for values in json.loads(file.read_text())]
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} does not hold the cells of `prunebench coverage`: name another --json") from error


def write(file: Path, found: Iterable[Cell]) -> None:
    """Replace the file at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text("[\n" + ",\n".join(json.dumps(asdict(cell)) for cell in found) + "\n]\n")
    temporary.replace(file)


def table(found: Sequence[Cell], command: str) -> str:
    """The cells as a page of Markdown: a row per backbone, a column per method, and a note for each reason."""
    shown = [cell for cell in found if cell.status in ("ok", "failed")]
    columns = list(dict.fromkeys(cell.method for cell in shown))
    notes = {note: n for n, note in enumerate(dict.fromkeys(cell.note for cell in shown if cell.note), 1)}
    rows: dict[str, dict[str, str]] = {}
    for cell in shown:
        text = "ok" if cell.status == "ok" else "**no**"
        rows.setdefault(cell.backbone, {})[cell.method] = f"{text} ({notes[cell.note]})" if cell.note else text
    lines = [
        "# Which method works on which backbone",
        "",
        f"Made by `{command}`; not to be edited. Each cell is a method's whole course on a backbone, with "
        f"{100 * found[0].keep_macs:g} % of the MACs to keep, on a few random images: forward, backward, cut, "
        "training, a plain network, MACs as near to the target as they come, every cut equal to setting the same "
        "channels to zero (to 1e-9, in double precision), saved and loaded with equal outputs. Some methods have "
        "short hyper-parameters.",
        "",
        _summary(found),
        "",
        *_markdown(["backbone", *columns], ([name, *map(row.get, columns)] for name, row in rows.items())),
        "",
        *(f"{n}. {note}" for note, n in notes.items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _summary(found: Sequence[Cell]) -> str:
    count = Counter(cell.status for cell in found)
    sentences = [f"**{count['ok']} of {count['ok'] + count['failed']} cells work.**"]
    if offs := [abs(cell.off) for cell in found if cell.off is not None]:
        sentences.append(f"The farthest from its target is off by {max(offs):.2f} percentage points of the dense MACs.")
    for note, n in Counter(cell.note for cell in found if cell.status == "left out").items():
        sentences.append(f"Left out: {n} with {note}.")
    if count["not run"]:
        sentences.append(f"Cells not run yet: {count['not run']}.")
    return " ".join(sentences)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str | None]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(text or '' for text in row)} |"


def _check_names(what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise UserError(f"no {what} is named {name}: did you mean {near[0]}?")
