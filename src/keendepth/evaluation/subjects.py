"""Who is scored on what: the models of a plan, its pictures, and the rules that follow from both."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keendepth import __version__, pipeline
from keendepth.core import registry
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.data import registry as datasets
from keendepth.evaluation import rendered  # noqa: F401  (registers the rendered scenes)
from keendepth.evaluation.plan import DataPlan, slug, spread_out
from keendepth.evaluation.protocol import (
    METRES,
    NOMINAL,
    RESIZE,
    VALID,
    Protocol,
    effective_alignment,
    facts_of,
    nominal,
    pictures_of,
)
from keendepth.evaluation.tables import ScoreFile, Table
from keendepth.pipeline import Pipeline
from keendepth.predictors import Predictor
from keendepth.predictors import specs as specs_

Step = Callable[[str, int, int], None]  # (what is done, how much of it, of how much)


@dataclass(frozen=True)
class Place:
    """Where pictures come from and results go to; `plugins` are the user's own Python files."""

    out: Path
    data: Path | None = None
    plugins: tuple[Path, ...] = ()
    jobs: int = 1


# Models: those that share a predictor ask it once per picture.


class _Remembering:
    """A predictor that keeps its last answer, so that `a`, `a+median` and `a+guided` run the network once per picture."""

    def __init__(self, predictor: Predictor) -> None:
        self.kind = predictor.kind
        self._predictor = predictor
        self._last: tuple[Image, DepthMap] | None = None

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        if size is not None:
            return self._predictor.predict(image, size)
        if self._last is None or self._last[0] is not image:
            self._last = (image, self._predictor.predict(image))
        return self._last[1]


@functools.lru_cache(maxsize=4)
def models_of(specs: tuple[str, ...]) -> dict[str, Pipeline]:
    """The pipelines by their specs; raises UnknownNameError with the nearest names."""
    shared: dict[str, Predictor] = {}
    made = {}
    for spec in specs:
        loaded = pipeline.load(spec)
        base, _ = specs_.metric_of(specs_.split(spec)[0])
        shared.setdefault(base, _Remembering(loaded.predictor))
        made[spec] = replace(loaded, predictor=shared[base])
    return made


@functools.lru_cache(maxsize=64)
def fingerprint(spec: str, plugins: tuple[Path, ...] = ()) -> str:
    """Eight digits that change with the model's weights, this package's version, and the user's own files."""
    made = pipeline.load(spec)
    card = getattr(made.predictor, "card", None)
    parts = [spec, __version__, getattr(card, "sha256", "")]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in plugins]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


# Data


@dataclass(frozen=True)
class Work:
    """One data set of a plan, opened by its worker: hashable, so that every process opens it once."""

    data: DataPlan
    specs: tuple[str, ...]
    place: Place

    def store(self, spec: str) -> Path:
        return self.place.out / "predictions" / self.data.key / f"{slug(spec)}-{fingerprint(spec, self.place.plugins)}"


@functools.lru_cache(maxsize=8)
def opened(data: DataPlan, folder: Path | None) -> Any:
    """The data set; raises ValueError where it needs a folder and none was given."""
    options: dict[str, Any] = dict(data.options)
    if data.root is not None:
        if folder is None:
            raise ValueError(f"the data set {data.title!r} lies in a folder: say where with --data")
        options["root"] = folder / data.root
    return datasets.build(data.name, **options)


def chosen(data: DataPlan, folder: Path | None) -> list[str]:
    """The ids of the pictures to score."""
    there = list(opened(data, folder).ids)
    absent = [identity for identity in data.ids if identity not in there]
    if absent:
        raise ValueError(f"{data.title} has no picture {', '.join(absent)}; it has {', '.join(there[:20])}")
    return spread_out(list(data.ids) or there, data.limit)


@functools.lru_cache(maxsize=2)
def sample_of(data: DataPlan, folder: Path | None, identity: str) -> tuple[Image, DepthMap]:
    """Picture (shrunk to the plan's longest side) and METRIC reference (at its own size), or a nominal one where the plan says so."""
    sample = opened(data, folder).load(identity)
    if data.nominal and sample.depth is not None:
        return shrunk(sample.image, data.longest), nominal(sample.depth)
    if sample.depth is None or sample.depth.kind is not DepthKind.METRIC:
        found = "none" if sample.depth is None else f"{sample.depth.kind} depth"
        raise ValueError(
            f"{data.title}, picture {identity}: scoring needs METRIC ground truth, found {found}"
            + ("; nominal = true scores disparity in 1/z" if "disparity" in found else "")
        )
    return shrunk(sample.image, data.longest), sample.depth


def shrunk(image: Image, longest: int) -> Image:
    """The picture with at most `longest` pixels on its longer side (0: as it is); never enlarged."""
    height, width = image.size
    factor = longest / max(height, width) if longest else 1.0
    return image if factor >= 1 else image.resized(max(1, round(height * factor)), max(1, round(width * factor)))


def protocol_of(data: DataPlan, folder: Path | None, kind: DepthKind, family: str, alignment: str) -> Protocol:
    """The rules for single pictures of this data set and a model of this kind; the plan's word goes before the data set's."""
    facts = dict(opened(data, folder).protocol_facts())
    before = f"picture to at most {data.longest} px; " if data.longest else ""
    return Protocol(
        dataset=str(facts.get("dataset", data.name)),
        split=str(facts.get("split", "all")),
        family=family,  # type: ignore[arg-type]
        alignment=effective_alignment(kind, alignment),
        crop=data.crop or str(facts.get("crop", "none")),
        cap=_cap(data, facts) if family != "sharpness" else None,
        clip=data.clip and family != "sharpness",
        resize=before + RESIZE,
        valid=f"{VALID} (unknown: {facts['unknown']})" if facts.get("unknown") else VALID,
        reference=NOMINAL if data.nominal else METRES,
        seed=int(facts.get("seed", 0)),
        facts=facts_of({**facts, **{name: value for name, value in data.options if name != "count"}}),
    )


def _cap(data: DataPlan, facts: Mapping[str, Any]) -> tuple[float, float] | None:
    if data.cap is not None:
        return float(data.cap[0]), float(data.cap[1])
    return None if facts.get("cap") is None else (float(facts.get("nearest", 0.0)), float(facts["cap"]))


def families_of(data: DataPlan, folder: Path | None) -> tuple[str, ...]:
    """Those the plan names, else accuracy, and sharpness where the data set says that its edges are good to a pixel."""
    sharp = dict(opened(data, folder).protocol_facts()).get("sharp", True)
    return data.families or (("accuracy", "sharpness") if sharp else ("accuracy",))


def tables_of(
    title: str,
    ids: Sequence[str],
    rules: Mapping[str, Iterable[Protocol]],
    files: Mapping[Protocol, ScoreFile],
    prints: Mapping[str, str],
) -> list[Table]:
    """One table per protocol, with every model that was scored under it."""
    made: dict[Protocol, Table] = {}
    for spec, protocols in rules.items():
        for each in protocols:
            protocol = replace(each, pictures=pictures_of(ids))
            scores = tuple(files[each].get((spec, prints[spec], identity)) for identity in ids)
            table = Table(title, protocol, tuple(ids), {spec: scores})
            made[protocol] = made[protocol].joined(table) if protocol in made else table
    return list(made.values())


def mapped(work: Callable[[Any], Any], tasks: Sequence[Any], place: Place) -> Iterator[Any]:
    """work(task) for each task, in order; in `jobs` processes when that is more than one."""
    if place.jobs <= 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the runtime's threads in an unknown state
    pool = ProcessPoolExecutor(place.jobs, context, initializer=_begin, initargs=(place.plugins,))
    try:
        yield from pool.map(work, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(plugins: Sequence[Path]) -> None:
    registry.load_plugins()
    for path in plugins:
        registry.load_file(path)
