"""A benchmark as data: the TOML file that says which models, pictures, rules and corruptions."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from keendepth.data import corruptions
from keendepth.data.sample import CROPS
from keendepth.evaluation.protocol import CROP_ALIASES
from keendepth.evaluation.scoring import ALIGNMENTS

PRESETS = Path(__file__).parent.parent / "presets"
ALIGNMENT_NAMES = ("natural", "affine", *ALIGNMENTS)
PICTURE_FAMILIES = ("accuracy", "sharpness")


@dataclass(frozen=True)
class DataPlan:
    """One data set, and how its pictures are scored. `root` is relative to --data; no root: the data set needs none."""

    name: str  # in the registry of data sets
    label: str = ""  # in the report; by default the name
    root: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    families: tuple[
        str, ...
    ] = ()  # none named: accuracy, and sharpness where the set's depth edges are good to a pixel
    alignment: tuple[str, ...] = ("natural",)  # the first is that of sharpness too
    crop: str = ""  # empty: the data set's own
    cap: tuple[float, float] | None = None  # metres; None: the data set's own
    clip: bool = False
    longest: int = 0  # pictures are shrunk to this longer side before prediction; 0: as they are
    ids: tuple[str, ...] = ()  # only these pictures
    limit: int = 0  # at most so many pictures, evenly spread; 0: all
    nominal: bool = False  # whether the reference is disparity of unknown scale and offset (`protocol.nominal`)
    optional: bool = False  # left out, with the reason in the report, where it cannot be read
    published: tuple[str, ...] = ()  # names of data sets in `published` to show in a table of their own

    @property
    def title(self) -> str:
        return self.label or self.name

    @property
    def key(self) -> str:
        """Name and a hash of all that changes a prediction: where its store lies."""
        inputs = json.dumps([self.name, self.root, self.options, self.longest], sort_keys=True, default=str)
        return f"{slug(self.title)}-{hashlib.sha256(inputs.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class CorruptionPlan:
    """Corrupted copies of one data set's pictures, scored by DEE against a baseline model."""

    dataset: str  # title of a data set of the plan
    baseline: str = ""  # the model whose mCE is 100; by default the first
    types: tuple[str, ...] = corruptions.KITTI_C
    severities: tuple[int, ...] = corruptions.SEVERITIES
    alignment: str = "natural"
    longest: int = corruptions.REFERENCE_WIDTH
    ids: tuple[str, ...] = ()  # only these pictures
    limit: int = 0


@dataclass(frozen=True)
class Plan:
    """A whole benchmark."""

    name: str
    models: tuple[str, ...]
    datasets: tuple[DataPlan, ...]
    corruptions: tuple[CorruptionPlan, ...] = ()
    about: str = ""
    seed: int = 0
    resamples: int = 10_000
    worst: int = 3  # pictures of the worst cases, per model and data set

    def limited(self, limit: int) -> Plan:
        """At most `limit` pictures of every data set (0: as it is)."""
        if limit <= 0:
            return self
        fewer = [replace(data, limit=min(limit, data.limit or limit)) for data in self.datasets]
        spoilt = [replace(plan, limit=min(limit, plan.limit or limit)) for plan in self.corruptions]
        return replace(self, datasets=tuple(fewer), corruptions=tuple(spoilt))


def presets() -> dict[str, Path]:
    """The benchmarks that ship, by name without "bench-" too."""
    files = {path.stem: path for path in sorted(PRESETS.glob("bench-*.toml"))}
    return files | {name.removeprefix("bench-"): path for name, path in files.items()}


def load(name: str | Path) -> Plan:
    """The benchmark in a TOML file, or the preset of that name; ValueError says what is wrong with it and where."""
    shipped = presets()
    path = shipped.get(str(name), Path(name))
    if not path.is_file():
        raise ValueError(
            f"no benchmark file or preset is called {str(name)!r}; presets: {', '.join(n for n in shipped if n.startswith('bench-'))}"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: not a TOML file ({error})") from error
    return parse(tables, path.name)


def parse(tables: Mapping[str, Any], source: str = "benchmark") -> Plan:
    """A plan from TOML tables: [benchmark], [[dataset]], [[corruptions]]. Unknown keys are errors."""
    _known(tables, ("benchmark", "dataset", "corruptions"), source)
    head = dict(tables.get("benchmark", {}))
    datasets = tuple(_entry(DataPlan, table, f"{source}: dataset {i}") for i, table in _numbered(tables, "dataset"))
    spoilt = tuple(
        _entry(CorruptionPlan, table, f"{source}: corruptions {i}") for i, table in _numbered(tables, "corruptions")
    )
    plan = _entry(Plan, {**head, "datasets": datasets, "corruptions": spoilt}, f"{source}: benchmark")
    _check(plan, source)
    return plan


def with_models(plan: Plan, models: Sequence[str]) -> Plan:
    """The same benchmark for other models; where a baseline of mCE is not among them, the first takes its place."""
    spoilt = [replace(c, baseline=c.baseline if c.baseline in models else "") for c in plan.corruptions]
    return replace(plan, models=tuple(dict.fromkeys(models)), corruptions=tuple(spoilt))


def _numbered(tables: Mapping[str, Any], name: str) -> list[tuple[int, Any]]:
    found = tables.get(name, [])
    if not isinstance(found, Sequence) or not all(isinstance(table, Mapping) for table in found):
        raise ValueError(f"[[{name}]]: write it with two brackets, it may come several times")
    return list(enumerate(found, 1))


def _known(table: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in table:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
            raise ValueError(
                f"{where}: unknown key {name!r}; "
                + (f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}")
            )


def _entry(cls: Any, table: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a table; lists become tuples, what has no default must be there, what has one must be of its type."""
    known = {item.name: item for item in fields(cls)}
    _known(table, list(known), where)
    missing = [name for name, item in known.items() if name not in table and item.default is MISSING]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} is missing")
    return cls(**{name: _value(value, known[name].default, f"{where}: {name}") for name, value in table.items()})


def _value(value: Any, default: Any, where: str) -> Any:
    if where.endswith("alignment") and isinstance(value, str) and isinstance(default, tuple):
        return (value,)
    if where.endswith(": types") and value in ("kitti-c", "depth-aware", "all"):
        return {"kitti-c": corruptions.KITTI_C, "depth-aware": corruptions.DEPTH_AWARE}.get(
            value, tuple(corruptions.CORRUPTIONS)
        )
    if isinstance(value, Mapping):
        return tuple(sorted((name, _frozen(entry)) for name, entry in value.items()))
    value = _frozen(value)
    if where.endswith(": cap") and not (isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))):
        raise ValueError(f"{where}: expected [near, far] in metres, found {value!r}")
    if where.endswith(": root") and not isinstance(value, str):
        raise ValueError(f"{where}: expected a text, found {value!r}")
    expected = type(default) if default is not None else object
    if expected in (str, bool, int, tuple) and (not isinstance(value, expected) or (expected is int and value is True)):
        raise ValueError(f"{where}: expected {_NAMES[expected]}, found {value!r}")
    return value


_NAMES = {str: "a text", bool: "true or false", int: "a whole number", tuple: "a list"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _check(plan: Plan, source: str) -> None:
    titles = [data.title for data in plan.datasets]
    if not plan.datasets or not plan.models or not isinstance(plan.models, tuple):
        raise ValueError(f"{source}: expected a list of models and at least one [[dataset]]")
    if len(set(titles)) < len(titles):
        raise ValueError(f"{source}: two data sets are called {max(titles, key=titles.count)!r}; give each a label")
    for data in plan.datasets:
        where = f"{source}: {data.title}"
        _among(data.families, PICTURE_FAMILIES, f"{where}: families")
        _among(data.alignment, ALIGNMENT_NAMES, f"{where}: alignment")
        _among((data.crop,), ("", *CROPS, *CROP_ALIASES), f"{where}: crop")
    for spoilt in plan.corruptions:
        _among((spoilt.dataset,), tuple(titles), f"{source}: corruptions: dataset")
        _among((spoilt.alignment,), ALIGNMENT_NAMES, f"{source}: corruptions: alignment")
        _among(spoilt.severities, corruptions.SEVERITIES, f"{source}: corruptions: severities")
        for name in spoilt.types:
            corruptions.find(name)


def _among(values: Sequence[Any], known: Sequence[Any], where: str) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"{where}: expected one of {', '.join(map(str, known))}, found {value!r}")


def slug(name: str) -> str:
    """A name that every file system takes; two names that differ only in what it replaces get different ones."""
    plain = "".join(letter if letter.isalnum() or letter in "._+-" else "-" for letter in name).strip("-.")[-80:]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def spread_out(ids: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of the ids, evenly over their order, so that a small run still sees every part of the set."""
    if limit <= 0 or len(ids) <= limit:
        return list(ids)
    return [ids[int((i + 0.5) * len(ids) / limit)] for i in range(limit)]
