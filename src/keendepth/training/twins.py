"""Batches for robust training: photos, frames of film and rendered rooms, cut as the network that is made robust sees them; batch N follows from (seed, N)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from keendepth import io
from keendepth.core import geometry
from keendepth.data import folder
from keendepth.refiners.windows import Window
from keendepth.training.scenes import Scene, SceneCache, is_cache
from keendepth.training.triplets import CACHE as TRIPLETS
from keendepth.training.triplets import RenderedTriplets

FARTHEST = 10.0  # metres of truth that count: where NYUv2's Kinect ends


@dataclass(frozen=True)
class TwinOptions:
    """How pictures are cut."""

    size: tuple[int, int] = (224, 224)  # (height, width) that the network sees
    pixel_aspect: float = 1.0  # width / height of its pixels, as its card says
    focal: float = 0.0  # vertical focal length in its pixels for which its metres hold; 0: no truth
    least: float = 0.6  # a crop has between this share and all of the largest window of that shape
    photo_share: float = 0.5  # of pictures, where there are both
    kinds: tuple[str, ...] = ("room", "furnished")  # of rendered scenes


class Whole(NamedTuple):
    """One picture; nearness (1/m, sky 0) and focal length where it was rendered."""

    rgb: UInt8[np.ndarray, "h w 3"]
    near: Float32[np.ndarray, "h w"] | None = None
    focal: float = 0.0


class Twins:
    """Training batches; a pure function of (seed, number)."""

    def __init__(self, sources: Sources, options: TwinOptions, batch_size: int, seed: int) -> None:
        self.sources, self.options, self.batch_size, self.seed = sources, options, batch_size, seed

    def batch(self, number: int) -> dict[str, Tensor]:
        """rgb [b 3 h w] in 0..1, and truth [b 1 h w] in metres of the network's own camera, NaN where none is known."""
        rngs = (np.random.default_rng([self.seed, number, k]) for k in range(self.batch_size))
        return collate([cut(self.sources.draw(self.options, rng), self.options, rng) for rng in rngs], self.options)


class Frame(NamedTuple):
    """The middle frame of a rendered triplet."""

    film: RenderedTriplets
    number: int


@dataclass(frozen=True)
class Sources:
    """Photos by their files (or frames), and rendered scenes by (cache, number)."""

    photos: tuple[Path | Frame, ...] = ()
    caches: tuple[SceneCache, ...] = ()
    scenes: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.photos) + len(self.scenes)

    def draw(self, options: TwinOptions, rng: np.random.Generator) -> Whole:
        """A picture, drawn with `rng`."""
        photo = bool(self.photos) and (not self.scenes or rng.random() < options.photo_share)
        if photo:
            chosen = self.photos[int(rng.integers(len(self.photos)))]
            return Whole(
                chosen.film.read(chosen.number).frames[1] if isinstance(chosen, Frame) else io.read_image(chosen).rgb
            )
        return self.scene(int(rng.integers(len(self.scenes))))

    def scene(self, number: int) -> Whole:
        """Rendered scene `number`."""
        cache, own = self.scenes[number]
        found: Scene = self.caches[cache].read(own)
        return Whole(found.rgb, found.near, found.focal)


def find(data: Sequence[Path], options: TwinOptions) -> tuple[Sources, Sources]:
    """(to learn from, held out) of folders of photos and caches of rendered scenes or triplets (`runs/render.py`).

    Of triplets the middle frames count as photos, unless they are held out. Only scenes of `options.kinds` count; where no cache of them
    is held out, a twentieth of the first one is set apart. ValueError where there is nothing to learn from.
    """
    caches = [SceneCache(path) for path in map(Path, data) if is_cache(path)]
    photos = [photo for place in map(Path, data) if not is_cache(place) for photo in _photos(place)]
    learned, kept = [c for c in caches if not c.held_out], [c for c in caches if c.held_out]
    if learned and not kept and len(learned[0]) > 1:
        kept = [learned[0].set_apart(max(1, len(learned[0]) // 20))]
    found = Sources(tuple(photos), tuple(learned), tuple(_of_kinds(learned, options.kinds)))
    if not len(found):
        raise ValueError("robust learns from data: give --data with folders of photos or what runs/render.py makes")
    return found, Sources((), tuple(kept), tuple(_of_kinds(kept, options.kinds)))


def _photos(place: Path) -> list[Path | Frame]:
    if TRIPLETS.there(place):
        film = RenderedTriplets(place)
        return [] if film.held_out else [Frame(film, number) for number in range(len(film))]
    entries = folder.folder(place).entries
    return [entry["photo"] for entry in entries.values()]


def _of_kinds(caches: Sequence[SceneCache], kinds: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for k, cache in enumerate(caches):
        names = list(cache.options.kinds)
        for number, row in enumerate(cache.rows):
            if names[int(cache.facts[row][3])] in kinds:
                yield k, number


def cut(whole: Whole, options: TwinOptions, rng: np.random.Generator | None) -> Whole:
    """A window of the shape that the network is made for, resized to its size; drawn and mirrored with `rng`, or the largest in the middle.

    `near` becomes metres of the network's own camera (its focal length over the window's), NaN for sky and beyond 10 m.
    """
    h, w = whole.rgb.shape[:2]
    height, width = options.size[0], options.size[1] * options.pixel_aspect
    scale = min(h / height, w / width) * (1 if rng is None else rng.uniform(options.least, 1))
    side = min(h, max(1, round(height * scale))), min(w, max(1, round(width * scale)))
    top, left = (room // 2 if rng is None else int(rng.integers(room + 1)) for room in (h - side[0], w - side[1]))
    at = Window(top, left, *side).at
    rgb = np.clip(np.rint(geometry.resize(whole.rgb[at], options.size)), 0, 255).astype(np.uint8)
    truth = None
    if whole.near is not None and options.focal:
        near = geometry.resize(whole.near[at], options.size, "nearest")
        focal = whole.focal * options.size[0] / side[0]
        truth = _metres(near, options.focal / focal)
    if rng is None or rng.random() < 0.5:
        return Whole(rgb, truth)
    return Whole(np.ascontiguousarray(rgb[:, ::-1]), None if truth is None else np.ascontiguousarray(truth[:, ::-1]))


def _metres(near: Float32[np.ndarray, "h w"], factor: float) -> Float32[np.ndarray, "h w"]:
    known = near > 1 / FARTHEST
    return np.where(known, np.float32(factor) / np.where(known, near, 1), np.float32(np.nan)).astype(np.float32)


def collate(views: Sequence[Whole], options: TwinOptions) -> dict[str, Tensor]:
    """rgb in 0..1, and `truth`, what `cut` made of the nearness."""
    rgb = np.stack([view.rgb for view in views]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    nothing = np.full(options.size, np.nan, np.float32)
    truth = np.stack([nothing if view.near is None else view.near for view in views])[:, None]
    return {"rgb": torch.from_numpy(rgb), "truth": torch.from_numpy(np.ascontiguousarray(truth))}


def held_out(sources: Sources, options: TwinOptions, count: int, size: int) -> list[dict[str, Tensor]]:
    """About `count` fixed rendered pictures with truth, `size` in a batch."""
    step = max(1, len(sources.scenes) // max(count, 1))
    views = [cut(sources.scene(number), options, None) for number in range(0, len(sources.scenes), step)[:count]]
    return [collate(views[k : k + size], options) for k in range(0, len(views), size)]
