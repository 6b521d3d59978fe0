"""Batches for one-step models: pictures, what a metric teacher says of them, and the truth where it was rendered; batch N follows from (seed, N)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage
from torch import Tensor

from keendepth import predictors, refiners
from keendepth.core import geometry
from keendepth.core.types import DepthKind, Image
from keendepth.predictors import Predictor
from keendepth.refiners import Refiner
from keendepth.refiners.restore import Far, Space, Span
from keendepth.refiners.space import Nearness, near_map
from keendepth.refiners.windows import Window
from keendepth.training.degrade import jumps
from keendepth.training.pairs import LOW, PairSet, is_pairs
from keendepth.training.scenes import SceneCache, is_cache
from keendepth.training.views import Jitter, jittered

KEPT = 2048  # answers of the metric teacher that stay in memory (0.3 MB each for scenes of 256 x 320)
ALONG = "median"  # the refiner that puts depth along a photo
EDGE_REACH = 3  # pixels from an occlusion that count as edge


class Picture(NamedTuple):
    """A picture, or a part of it, with nearness (1/m, sky 0) of the metric teacher and exact."""

    rgb: UInt8[np.ndarray, "h w 3"]
    given: Float32[np.ndarray, "h w"] | None
    truth: Float32[np.ndarray, "h w"] | None
    edge: Bool[np.ndarray, "h w"] | None
    along: Float32[np.ndarray, "h w"] | None = (
        None  # `given` along the photo (the weighted median), where it is to be the start
    )
    refined: Float32[np.ndarray, "h w"] | None = (
        None  # what a refiner makes of `given`, where that is to be learned from
    )


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are cut and brought to -1..1."""

    size: tuple[int, int] = (192, 256)  # (height, width) that the network sees
    least: float = 0.5  # a crop has between this share and all of the picture's longer side
    space: Space = "inverse"
    tails: float = 0.02  # of the exact depth, cut off at each end before it becomes -1..1 (Lotus: 2 %)
    jitter: Jitter = field(default_factory=Jitter)


class Sources:
    """Scene caches and stores side by side. `metric`: the teacher that is asked about rendered scenes; stores hold its answer as `low`.

    `refiners`: what more to make of the teacher's answer, by the field of `Picture`.
    """

    def __init__(
        self,
        caches: Sequence[SceneCache],
        pairs: Sequence[PairSet],
        metric: Predictor | None,
        refiners: Mapping[str, Refiner] | None = None,
    ) -> None:
        self.caches, self.pairs, self.metric = list(caches), list(pairs), metric
        self.refiners = dict(refiners or {}) if metric else {}
        sizes = [len(cache) for cache in self.caches] + [len(one) for one in self.pairs]
        self.places = [(k, n) for k, size in enumerate(sizes) for n in range(size)]
        self._asked = lru_cache(KEPT)(self._ask)
        self._refined = lru_cache(KEPT)(self._refine)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, number: int, ask: bool = True) -> Picture:
        """Picture `number` as a whole; `given` None where there is no teacher or it is not to be asked, truth and edge None for photos."""
        source, own = self.places[number]
        if source < len(self.caches):
            scene = self.caches[source].read(own)
            given = self._asked(source, own) if self.metric and ask else None
            return Picture(scene.rgb, given, scene.near, scene.edge, **self._refined(number) if ask else {})
        pair = self.pairs[source - len(self.caches)].read(own)
        edge = None if pair.near is None else jumps(pair.near)
        given = pair.low if self.metric and ask else None
        return Picture(pair.rgb, given, pair.near, edge, **self._refined(number) if ask else {})

    def _refine(self, number: int) -> dict[str, Float32[np.ndarray, "h w"]]:
        source, own = self.places[number]
        if not self.refiners:
            return {}
        if source < len(self.caches):
            image, given = self.caches[source].image(own), self._asked(source, own)
        else:
            pair = self.pairs[source - len(self.caches)].read(own)
            image, given = Image(pair.rgb), pair.low
        return {
            name: Nearness.of(refiner.refine(image, near_map(given))).values for name, refiner in self.refiners.items()
        }

    def _ask(self, source: int, own: int) -> Float32[np.ndarray, "h w"]:
        if self.metric is None:
            raise ValueError("no metric teacher to ask")
        return Nearness.of(self.metric.predict(self.caches[source].image(own))).values


class Pictures:
    """Training batches; a pure function of (seed, number)."""

    def __init__(self, sources: Sources, options: PictureOptions, batch_size: int, seed: int) -> None:
        self.sources, self.options, self.batch_size, self.seed = sources, options, batch_size, seed

    def batch(self, number: int) -> dict[str, Tensor]:
        """rgb [b 3 h w] in 0..1; depth [b 1 h w] in -1..1; given and truth (nearness, NaN: none) and edge [b 1 h w]."""
        rngs = [np.random.default_rng([self.seed, number, k]) for k in range(self.batch_size)]
        return collate([self.view(rng) for rng in rngs], self.options)

    def view(self, rng: np.random.Generator, ask: bool = True) -> Picture:
        """A part of a picture at the network's size, in other light, flipped or not; `ask`: with what the metric teacher says."""
        whole = self.sources.read(int(rng.integers(len(self.sources))), ask)
        part = cut(whole, self.options, rng)
        part = part._replace(rgb=jittered(part.rgb, self.options.jitter, rng))
        if rng.random() < 0.5:
            return part
        turned = {name: np.ascontiguousarray(x[:, ::-1]) for name, x in part._asdict().items() if x is not None}
        return part._replace(**turned)


def cut(whole: Picture, options: PictureOptions, rng: np.random.Generator | None) -> Picture:
    """A window of the network's shape, resized to its size: drawn with `rng`, or the largest in the middle."""
    h, w = whole.rgb.shape[:2]
    height, width = options.size
    scale = min(h / height, w / width) * (1 if rng is None else rng.uniform(options.least, 1))
    side = min(h, max(1, round(height * scale))), min(w, max(1, round(width * scale)))
    room = h - side[0], w - side[1]
    top, left = (n // 2 if rng is None else int(rng.integers(n + 1)) for n in room)
    at = Window(top, left, *side).at
    rgb = np.clip(np.rint(geometry.resize(whole.rgb[at], options.size)), 0, 255).astype(np.uint8)
    given = None if whole.given is None else geometry.resize(whole.given[at], options.size)
    # A truth is one surface's and never a mean of two.
    truth = None if whole.truth is None else geometry.resize(whole.truth[at], options.size, "nearest")
    edge = None if whole.edge is None else geometry.resize(whole.edge[at].astype(np.float32), options.size) > 0.1
    sharp = (
        None if x is None else geometry.resize(x[at], options.size, "nearest") for x in (whole.along, whole.refined)
    )
    return Picture(rgb, given, truth, edge, *sharp)


def collate(views: Sequence[Picture], options: PictureOptions) -> dict[str, Tensor]:
    """Views as tensors. `depth`: the teacher's (along the photo, where that was asked for), min-max normalised (SharpDepth); where
    there is none, the truth's, cut at its tails. `along` in nearness, and what is `refined` in the -1..1 of `depth`, where there are such.
    """
    rgb = np.stack([view.rgb for view in views]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    nothing = np.full(options.size, np.nan, np.float32)
    edges = [np.zeros(options.size, bool) if view.edge is None else _widened(view.edge) for view in views]
    more = {}
    if all(view.refined is not None for view in views):
        more["refined"] = _planes([_refined_unit(view, options) for view in views])
    if all(view.along is not None for view in views):
        more["along"] = _planes([view.along for view in views])
    return more | {
        "rgb": torch.from_numpy(rgb),
        "depth": _planes([_unit(view, options) for view in views]),
        "given": _planes([nothing if view.given is None else view.given for view in views]),
        "truth": _planes([nothing if view.truth is None else view.truth for view in views]),
        "edge": _planes(edges),
    }


def _unit(view: Picture, options: PictureOptions) -> Float32[np.ndarray, "h w"]:
    near, tails = (view.truth, options.tails) if view.given is None else (started(view), 0.0)
    if near is None:
        raise ValueError("a picture with neither a teacher's depth nor the truth cannot be learned from")
    far = Far.of(near_map(near), options.space).values
    span = Span.of(np.quantile(far, [tails, 1 - tails]).astype(np.float32)[None] if tails else far) or Span.of(far)
    return np.zeros_like(far) if span is None else span.unit(far)


def _refined_unit(view: Picture, options: PictureOptions) -> Float32[np.ndarray, "h w"]:
    """What a refiner made of the teacher's depth, in the -1..1 of what the sharpener starts from."""
    start, goal = (Far.of(near_map(x), options.space).values for x in (started(view), view.refined) if x is not None)
    span = Span.of(start)
    return np.zeros_like(start) if span is None else span.beyond(goal)


def started(view: Picture) -> Float32[np.ndarray, "h w"] | None:
    """The nearness that a sharpener starts from."""
    return view.given if view.along is None else view.along


def _widened(edge: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    return ndimage.maximum_filter(edge, 2 * EDGE_REACH + 1)


def _planes(maps: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(maps)[:, None]))


def held_out(sources: Sources, options: PictureOptions, count: int, size: int) -> list[dict[str, Tensor]]:
    """About `count` fixed pictures with truth, evenly spread over `sources`, uncut but for their shape, `size` in a batch."""
    step = max(1, len(sources) // max(count, 1))
    numbers = range(0, len(sources), step)[:count]
    views = [cut(picture, options, None) for picture in map(sources.read, numbers) if picture.truth is not None]
    return [collate(views[k : k + size], options) for k in range(0, len(views), size)]


def find(
    data: Sequence[Path],
    metric: str,
    name: str,
    along: bool = False,
    refiner: str = "",
    kinds: Sequence[str] = (),
) -> tuple[Sources, Sources]:
    """(to learn from, held out) of scene caches and stores with low and high maps. `metric` "": exact depth only, so stores need truth.

    `along`: what the metric teacher says is also put along the photo. `refiner`: name of one whose answers are learned from; "": none.
    `kinds`: of rendered scenes that count; all, where none is named.
    A fifth of a cache, at most 64 scenes, is set apart where no folder is held out. ValueError for other folders, for a store whose
    model is not metric, and where nothing is left to learn from.
    """
    caches, pairs = [], []
    for folder in map(Path, data):
        if is_cache(folder):
            caches.append(SceneCache(folder).only(kinds))
        elif is_pairs(folder):
            pairs.append(_checked(PairSet(folder), folder, metric))
        else:
            raise ValueError(
                f"--data {folder}: expected a cache of rendered scenes or a store (keendepth store), found neither"
            )
    teacher = predictors.registry.build(metric) if metric else None
    if teacher is not None and teacher.kind is not DepthKind.METRIC:
        raise ValueError(f"{name}.metric: expected a metric model, {metric} gives {teacher.kind} depth")
    scenes, kept = [c for c in caches if not c.held_out], [c for c in caches if c.held_out]
    if scenes and not kept and len(scenes[0]) > 1:
        kept = [scenes[0].set_apart(min(64, max(1, len(scenes[0]) // 5)))]
    start = {"along": refiners.build(ALONG)} if along else {}
    learned = Sources(scenes, pairs, teacher, start | ({"refined": refiners.build(refiner)} if refiner else {}))
    if not len(learned):
        raise ValueError(f"{name} learns from data: give --data with rendered scenes or a store (keendepth store)")
    return learned, Sources(kept, [], teacher, start)


def _checked(pairs: PairSet, folder: Path, metric: str) -> PairSet:
    if not metric and not pairs.exact:
        raise ValueError(f"--data {folder}: a store of photos has no exact depth, which this recipe learns from")
    if metric and len(pairs) and pairs.store.get(pairs.ids[0], LOW).kind is not DepthKind.METRIC:
        raise ValueError(f"--data {folder}: {pairs.model} is not metric; make the store with a metric model")
    return pairs
