"""A suite file: read, checked, and multiplied out into trials."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bench import backbones, data, registry, suitefile, weights
from bench.errors import UserError
from bench.method import Method
from bench.resources import Resources
from bench.spec import DENSE, BackboneSpec, DataSpec, DenseSpec, MethodSpec, Recipe, Spec, SuiteName, Tracked, Trial
from bench.suitefile import SuiteError

BUILTIN = Path(__file__).parent / "suites"


class Tracking(Spec):
    """Where W&B records go. `entity`: a team (None = the account's own)."""

    mode: Tracked = "offline"
    project: str = "prunebench"
    entity: str | None = None


class Suite(Spec):
    """A suite file. `dataset`, `backbone`, `keep_macs`, `seeds`, `methods` and hyper-parameters multiply out."""

    name: SuiteName
    dataset: Annotated[list[DataSpec], Field(min_length=1)]
    backbone: Annotated[list[BackboneSpec], Field(min_length=1)]
    dense: DenseSpec | None = None
    keep_macs: list[Annotated[float, Field(gt=0, le=1)]] = []
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    methods: Annotated[list[MethodSpec], Field(min_length=1)]
    recipe: Recipe
    scratch_recipe: Recipe | None = None
    track: Literal["matched", "paper"] = "matched"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    test_each_epoch: bool = False
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    smoke: bool = False


def find(name: str) -> Path:
    """A suite's file: a path, or a name from `bench/suites/`."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        if not path.is_file():
            raise SuiteError(f"{name}: there is no such file")
        return path
    if (BUILTIN / f"{name}.yaml").is_file():
        return BUILTIN / f"{name}.yaml"
    raise SuiteError(
        f"there is no suite '{name}'{suitefile.nearest(name, names())}; `prunebench list suites` shows all"
    )


def names() -> list[str]:
    """The suites that come along."""
    return sorted(path.stem for path in BUILTIN.glob("*.yaml"))


def load(path: Path) -> Suite:
    """Read and check a suite file. Raises SuiteError: file, line, place, what is wrong and the nearest valid name."""
    file = suitefile.read(path)
    values = dict(file.values)
    for key, known, own in (("dataset", data.names(), DataSpec), ("backbone", backbones.names(), BackboneSpec)):
        if key in values:
            values[key] = [_entry(file, (key, *place), item, known, own) for place, item in _listed(values[key])]
    for key in ("keep_macs", "seeds"):
        if key in values and not isinstance(values[key], list):
            values[key] = [values[key]]
    if isinstance(values.get("dense"), dict) and isinstance(values["dense"].get("weights"), str | dict):
        values["dense"] = {**values["dense"], "weights": _weights(file, values["dense"]["weights"])}
    if isinstance(values.get("methods"), list):
        entries = [_methods(file, i, item) for i, item in enumerate(values["methods"])]
        values["methods"] = list(itertools.chain.from_iterable(entries))
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        raise file.explain(error, Suite) from error
    _check(file, suite)
    return suite


def trials(suite: Suite) -> list[Trial]:
    """All trials, dense baselines first, each twin before the control that copies it."""
    found: dict[str, Trial] = {}
    for dataset, backbone, seed in itertools.product(suite.dataset, suite.backbone, suite.seeds):
        common: dict[str, Any] = {
            "dataset": dataset,
            "backbone": backbone,
            "dense": suite.dense,
            "track": suite.track,
            "precision": suite.precision,
            "compile": suite.compile,
            "test_each_epoch": suite.test_each_epoch,
            "smoke": suite.smoke,
        }
        baseline = None
        if suite.dense is not None:
            baseline = _dense_trial(common, suite.dense, seed)
            found[baseline.key] = baseline
        originals: dict[str, list[Trial]] = defaultdict(list)
        for spec in sorted(suite.methods, key=_is_copy):
            cls = registry.methods()[spec.name]
            for keep, twin in _points(suite, spec, originals):
                trial = Trial(
                    method=spec,
                    recipe=_recipe(suite, cls),
                    keep_macs=keep,
                    seed=seed,
                    baseline=baseline.key if baseline else None,
                    twin=twin,
                    **common,
                )
                found[trial.key] = trial
                if not _is_copy(spec):
                    originals[spec.name].append(trial)
    return list(found.values())


def _is_copy(spec: MethodSpec) -> bool:
    """Whether it takes the widths of another method of the suite."""
    return spec.params.get("of") is not None


def _points(
    suite: Suite, spec: MethodSpec, originals: Mapping[str, list[Trial]]
) -> list[tuple[float | None, str | None]]:
    """Target and twin of each of a method's trials with one seed: explicit rates are a target of their own."""
    if _is_copy(spec):
        return [(trial.keep_macs, trial.key) for trial in originals[spec.params["of"]]]
    whole = not registry.methods()[spec.name].prunes or spec.params.get("rates")
    shares: list[float | None] = [] if whole else [*suite.keep_macs]
    return [(keep, None) for keep in shares or [None]]


def _dense_trial(common: dict[str, Any], dense: DenseSpec, seed: int) -> Trial:
    """One per seed where it is trained here, one for all seeds where its weights are given."""
    method = MethodSpec(name=DENSE, version=registry.find(DENSE).version)
    if dense.recipe is None:
        return Trial(method=method, recipe=Recipe(epochs=0, lr=1.0), seed=0, **common)
    return Trial(method=method, recipe=dense.recipe, seed=seed, **common)


def _recipe(suite: Suite, method: type[Method]) -> Recipe:
    """From scratch, a network trains by the dense recipe's schedule, squeezed into the epochs that every method has."""
    if method.start == "pretrained":
        return suite.recipe
    if suite.scratch_recipe is not None:
        return suite.scratch_recipe
    if suite.dense is None or suite.dense.recipe is None:
        return suite.recipe
    dense, epochs = suite.dense.recipe, suite.recipe.epochs
    whole = dense.epochs or epochs or 1
    milestones = [m * epochs / whole for m in dense.milestones]
    values = {"epochs": epochs, "milestones": milestones, "warmup": dense.warmup * epochs / whole}
    return Recipe.model_validate({**dense.model_dump(), **values})


def _check(file: suitefile.SuiteFile, suite: Suite) -> None:
    """What one value alone does not show."""
    for backbone in suite.backbone:
        try:
            backbones.create(backbone, num_classes=10)
        except UserError as error:
            raise file.error(("backbone",), str(error)) from error
    dense = suite.dense.recipe if suite.dense else None
    _check_recipe(file, ("recipe",), suite.recipe)
    _check_recipe(file, ("scratch_recipe",), suite.scratch_recipe)
    _check_recipe(file, ("dense", "recipe"), dense)
    if suite.compile and suite.resources.world > 1:
        raise file.error(
            ("compile",), "several workers train uncompiled: take compile out, or set resources.workers (and gpus) to 1"
        )
    written = [spec.name for spec in suite.methods if not _is_copy(spec)]
    for spec in suite.methods:
        cls, place = registry.methods()[spec.name], ("methods", file.method_index(spec.name))
        if spec.name == DENSE:
            raise file.error(place, "the dense baseline runs by itself: take 'dense' out (its control is 'finetune')")
        of = spec.params.get("of")
        if of is not None and of not in written:
            near = suitefile.nearest(of, written)
            raise file.error(place, f"of: '{of}' is not among this suite's methods that choose widths{near}")
        if of is not None and not registry.methods()[of].prunes:
            raise file.error(place, f"of: '{of}' leaves the network whole: name a method that prunes")
        if cls.start == "pretrained" and suite.dense is None:
            raise file.error(place, f"{spec.name} starts from a dense network: add a `dense` entry")
        if cls.selects and not all(dataset.holdout for dataset in suite.dataset):
            raise file.error(place, f"{spec.name} selects on a hold-out split: set holdout under `dataset`")
        explicit = any(spec.params.get(name) for name in ("rates", "of"))
        if cls.prunes and not suite.keep_macs and not explicit:
            raise file.error(place, f"{spec.name} needs a target: add keep_macs, such as `keep_macs: [0.5]`")


def _check_recipe(file: suitefile.SuiteFile, place: tuple[str, ...], recipe: Recipe | None) -> None:
    if recipe is None or recipe.epochs == 0:
        return
    ends = [0, *recipe.milestones, recipe.epochs]
    if recipe.milestones and any(one >= other for one, other in itertools.pairwise(ends)):
        reason = f"should rise, and lie between 0 and the {recipe.epochs} epochs"
        raise file.error((*place, "milestones"), f"{', '.join(f'{m:g}' for m in recipe.milestones)} {reason}")
    if recipe.warmup > recipe.epochs:
        raise file.error((*place, "warmup"), f"{recipe.warmup:g} is longer than the {recipe.epochs} epochs")
    if recipe.nesterov and not recipe.momentum:
        raise file.error((*place, "nesterov"), "it needs a momentum above 0")


def _listed(value: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(value, list):
        yield from (((i,), item) for i, item in enumerate(value))
    else:
        yield (), value


def _entry(file: suitefile.SuiteFile, place: tuple[Any, ...], item: Any, known: list[str], spec: type[Spec]) -> Any:
    """`name` or `{name: ..., more}`, the name checked, as a mapping of the specification."""
    mapping = {"name": item} if isinstance(item, str) else item
    if not isinstance(mapping, dict) or not isinstance(mapping.get("name"), str):
        raise file.error(place, "give a name, or a mapping with a name")
    if mapping["name"] not in known:
        raise file.error(place, f"unknown {place[0]} '{mapping['name']}'{suitefile.nearest(mapping['name'], known)}")
    if spec is BackboneSpec:
        kwargs = {key: value for key, value in mapping.items() if key != "name"}
        return {"name": mapping["name"], "kwargs": kwargs}
    if mapping.get("root"):
        root = file.relative(str(mapping["root"]))
        if not root.is_dir():
            raise file.error((*place, "root"), f"there is no folder {_shown(mapping['root'], root)}")
        try:
            content = data.fingerprint(root)
        except data.DataError as error:
            raise file.error((*place, "root"), str(error)) from error
        if mapping.get("fingerprint", content) != content:
            raise file.error((*place, "fingerprint"), f"that of {root} is {content}: it holds other files")
        return {**mapping, "root": _portable(mapping["root"], root), "fingerprint": content}
    return mapping


def _weights(file: suitefile.SuiteFile, value: str | dict[str, Any]) -> dict[str, Any]:
    mapping = {"file": value} if isinstance(value, str) else dict(value)
    path = file.relative(str(mapping.get("file", "")))
    if not path.is_file():
        raise file.error(("dense", "weights"), f"there is no weights file {_shown(mapping.get('file'), path)}")
    digest = weights.file_digest(path)
    if mapping.get("sha256", digest) != digest:
        raise file.error(("dense", "weights", "sha256"), f"the SHA-256 of {path} is {digest}: this is another file")
    return {**mapping, "file": _portable(mapping["file"], path), "sha256": digest}


def _portable(written: Any, path: Path) -> str:
    """What has a variable stays as written, where it means the same from any folder: records travel."""
    return str(written) if Path(os.path.expandvars(str(written))) == path else str(path)


def _shown(written: Any, path: Path) -> str:
    """Where a path leads, or that it has a variable that is not set."""
    variable = next((part for part in str(written).split("/") if part.startswith("$")), "")
    name = variable.strip("${}")
    unset = name and name not in os.environ
    return f"{written}: set the environment variable {name} to the folder it is in" if unset else str(path)


def _methods(file: suitefile.SuiteFile, index: int, item: Any) -> list[MethodSpec]:
    """A method's entry, its lists of hyper-parameters multiplied out, all defaults filled in."""
    mapping = {item: {}} if isinstance(item, str) else item
    if not isinstance(mapping, dict) or len(mapping) != 1 or not isinstance(next(iter(mapping.values())), dict | None):
        raise file.error(("methods", index), "give a method's name, or {name: {hyper-parameters}}")
    ((name, params),) = mapping.items()
    known = registry.methods()
    if name not in known:
        raise file.error(("methods", index), registry.unknown(str(name)))
    adapter: TypeAdapter[Method] = TypeAdapter(known[name])
    choices = [_choices(known[name], key, value) for key, value in (params or {}).items()]
    specs = []
    for values in itertools.product(*choices):
        try:
            built = adapter.validate_python(dict(zip(params or {}, values, strict=True)))
        except ValidationError as error:
            raise file.explain(error, known[name], ("methods", index, name)) from error
        specs.append(MethodSpec(name=name, version=known[name].version, params=adapter.dump_python(built, mode="json")))
    return specs


def _choices(method: type[Method], field: str, value: Any) -> list[Any]:
    """A list given for a field that does not itself take one is a list of choices."""
    annotation = str(method.__dataclass_fields__[field].type) if field in method.__dataclass_fields__ else ""
    sequence = any(word in annotation for word in ("tuple", "list", "Sequence"))
    return value if isinstance(value, list) and value and not sequence else [value]
