"""Batches for SDDR: crops of rendered scenes and of photos, made worse, brought to the network's space; batch N follows from (seed, N)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8
from scipy import ndimage
from torch import Tensor

from keendepth.core import edges, geometry
from keendepth.core.types import Image
from keendepth.losses.edge import edge_regions
from keendepth.refiners.network import fit, normalised
from keendepth.refiners.space import along_photo, near_map
from keendepth.refiners.windows import Window
from keendepth.training.degrade import Degrade, Degraded, Mixture, degrade, jumps
from keendepth.training.labels import Label, LabelSet
from keendepth.training.pairs import Pair, PairSet
from keendepth.training.retexture import retextured
from keendepth.training.scenes import Scene, SceneCache

KINDS = tuple(entry.name for entry in fields(Mixture))  # numbers of the kinds in a batch
TEXTURES = 3  # photos that dress one scene
TRIES = 4  # windows drawn until one has edges
LEAST_EDGES = 0.004  # share of edge pixels that makes a window worth while
STEEP_SHARE = 0.15  # of a photo's pixels that count as edges, where its low map is no truth
LARGEST = 6.0  # normalised values beyond this (a thin thing right before the lens) do not count


@dataclass(frozen=True)
class Jitter:
    """What is done to the photo. Chances per picture; ours."""

    gain: float = 0.35  # brightness is multiplied by exp(+- gain)
    gamma: float = 0.25  # exponent exp(+- gamma)
    tint: float = 0.08  # per channel, exp(+- tint)
    grey: float = 0.05  # chance of a grey picture
    noise: tuple[float, float] = (0.4, 8.0)  # chance; largest sigma in 8-bit levels
    blur: tuple[float, float] = (0.2, 1.2)  # chance; largest sigma in pixels


@dataclass(frozen=True)
class ViewOptions:
    """How views are cut and made worse."""

    size: tuple[int, int] = (256, 320)  # (height, width) of a crop
    shrink: tuple[float, float] = (0.3, 2.0)  # chance; the scene is reduced by up to this before it is cut
    pair_share: float = 0.25  # of views that come from pairs, where there are any
    retexture: float = (
        0.0  # share of rendered views whose surfaces are dressed in photos of the pairs, where there are any
    )
    degrade: Degrade = field(default_factory=Degrade)
    guide: float = 0.75  # chance that the second map is the weighted median along the photo, as in `refiners.sddr`
    jitter: Jitter = field(default_factory=Jitter)
    edge_weight: float = 20.0  # of pixels within `edge_reach` of an occlusion, for L1; others weigh 1
    edge_reach: int = 3
    labels_from: int = 0  # first batch with gradient labels and regions: they cost time and are not used before
    scene_labels: bool = True  # rendered scenes are labelled with their own gradients (the control "G_S := grad D*")
    depth_labels: bool = False  # photos are supervised with the refined depth, not its gradient (an ablation)
    clusters: int = 4  # N_g of Eq. 7
    edge_share: float = 0.05  # SDDR A.2: top 5 % of G_S


class View(NamedTuple):
    """One picture of a batch; maps are normalised by the low one."""

    rgb: UInt8[np.ndarray, "h w 3"]
    low: Float32[np.ndarray, "h w"]
    high: Float32[np.ndarray, "h w"]
    target: Float32[np.ndarray, "h w"]
    valid: Bool[np.ndarray, "h w"]
    edge: Bool[np.ndarray, "h w"]
    label: Float32[np.ndarray, "h w"]  # G_S of the normalised depth; NaN: none
    kind: str
    units: tuple[float, float]  # (bottom, span): nearness = value * span + bottom


class Truth(NamedTuple):
    """What a view is compared with, in the units of its nearness."""

    near: Float32[np.ndarray, "h w"]
    edge: Bool[np.ndarray, "h w"]
    label: Float32[np.ndarray, "h w"] | None  # G_S; NaN where there is none; None: the gradient of `near`
    valid: Bool[np.ndarray, "h w"] | None = None  # None: everywhere


class Views:
    """Training batches from scene caches and pair stores; a pure function of (seed, number), and of `labels`, which a refresh replaces."""

    def __init__(
        self,
        scenes: Sequence[SceneCache],
        pairs: Sequence[PairSet],
        options: ViewOptions,
        batch_size: int,
        seed: int,
    ) -> None:
        if not sum(map(len, scenes)) and not sum(map(len, pairs)):
            raise ValueError(
                "views need at least one rendered scene or one pair: none is done yet in the folders given"
            )
        self.scenes, self.pairs = [c for c in scenes if len(c)], [p for p in pairs if len(p)]
        self.options, self.batch_size, self.seed = options, batch_size, seed
        self.labels: dict[PairSet, LabelSet] = {}
        self._photos = [one for one in self.pairs if not one.exact]

    def batch(self, number: int) -> dict[str, Tensor]:
        """Batch `number`: low, high, target, edge_weight, label, valid, regions [b 1 h w], rgb [b 3 h w] in 0..1, kind [b], units [b 2]."""
        labelled = number >= self.options.labels_from
        views = [self.view(np.random.default_rng([self.seed, number, k])) for k in range(self.batch_size)]
        return collate(views, self.options, labelled)

    def view(self, rng: np.random.Generator) -> View:
        """One view, drawn with `rng`."""
        from_pair = bool(self.pairs) and (not self.scenes or rng.random() < self.options.pair_share)
        if from_pair:
            chosen, number = _draw(self.pairs, rng)
            pair = chosen.read(number)
            return self._pair_view(pair, self.labels[chosen].get(pair.id) if chosen in self.labels else None, rng)
        cache, number = _draw(self.scenes, rng)
        return self._scene_view(_cut(cache, number, self.options, rng), rng)

    def _scene_view(self, scene: Scene, rng: np.random.Generator) -> View:
        if self._photos and rng.random() < self.options.retexture:
            scene = replace(scene, rgb=retextured(scene.rgb, scene.near, self._textures(rng), rng))
        given = degrade(scene.near, rng, self.options.degrade)
        label = None if self.options.scene_labels else _nothing(scene.near)
        return _view(scene.rgb, given, Truth(scene.near, scene.edge, label), self.options, rng)

    def _textures(self, rng: np.random.Generator) -> list[np.ndarray]:
        drawn = [_draw(self._photos, rng) for _ in range(TEXTURES)]
        return [pairs.rgb(number) for pairs, number in drawn]

    def _pair_view(self, pair: Pair, found: Label | None, rng: np.random.Generator) -> View:
        """A crop of a predictor's own maps."""
        window = _window(pair.low.shape, self.options.size, rng)
        alone = rng.random() < self.options.degrade.alone
        given = Degraded(pair.low[window.at], None if alone else pair.high[window.at], "real", True)
        return _view(pair.rgb[window.at], given, self._pair_truth(pair, found, window), self.options, rng)

    def _pair_truth(self, pair: Pair, found: Label | None, window: Window) -> Truth:
        """Exact depth where it is known; of a photo the low map where it is flat, or an earlier student's depth (`depth_labels`)."""
        low, high = pair.low[window.at], pair.high[window.at]
        label = _nothing(low) if found is None else found.gradient[window.at]
        known = None if pair.near is None else pair.near[window.at]
        if found is not None and self.options.depth_labels:
            known, label = found.depth[window.at], _nothing(low)
        if known is not None:
            own = self.options.scene_labels and pair.near is not None and not self.options.depth_labels
            return Truth(known, jumps(known), None if own else label)
        steep = edges.gradient_magnitude(high) if found is None else found.gradient[window.at]
        flat = ~ndimage.binary_dilation(edges.top_share(steep, STEEP_SHARE), iterations=2)
        return Truth(low, np.zeros(low.shape, bool), label, flat)


def _view(rgb: np.ndarray, given: Degraded, truth: Truth, options: ViewOptions, rng: np.random.Generator) -> View:
    """Jittered, given its second map, normalised and flipped."""
    rgb = jittered(rgb, options.jitter, rng)
    high = _guided(rgb, given) if rng.random() < options.guide else given.high
    known = normalised(given.low, high)
    if known is None:  # a wall or the sky fills the window: nothing to learn but to leave it alone
        zero = np.zeros_like(given.low)
        maps, units = (
            [zero, zero, zero, np.ones(zero.shape, bool), truth.edge, _nothing(zero)],
            (float(given.low.flat[0]), 1.0),
        )
    else:
        scale, shift = fit(truth.near, given.low) if given.affine else (1.0, 0.0)
        target = (np.float32(scale) * truth.near + np.float32(shift - known.bottom)) / np.float32(known.span)
        valid = (np.abs(target) <= LARGEST) & (np.abs(known.low) <= LARGEST) & (scale > 0)
        valid &= True if truth.valid is None else truth.valid
        steep = edges.gradient_magnitude(target) if truth.label is None else truth.label / np.float32(known.span)
        maps, units = [known.low, known.high, target, valid, truth.edge, steep], (known.bottom, known.span)
    if rng.random() < 0.5:
        rgb, maps = rgb[:, ::-1], [values[:, ::-1] for values in maps]
    return View(np.ascontiguousarray(rgb), *maps, given.kind, units)


def _guided(rgb: np.ndarray, given: Degraded) -> np.ndarray:
    """The second map that `refiners.sddr` makes: the high map, or else the only one, along the photo."""
    source = next(x for x in (given.high, given.small, given.low) if x is not None)
    return along_photo(Image(rgb), near_map(source))


def _nothing(like: np.ndarray) -> np.ndarray:
    return np.full(like.shape, np.nan, np.float32)


def _draw(sets: Sequence, rng: np.random.Generator) -> tuple:
    """(one of the sets, a number in it), every picture with the same chance."""
    sizes = np.array([len(one) for one in sets])
    number = int(rng.integers(sizes.sum()))
    place = int(np.searchsorted(np.cumsum(sizes), number, side="right"))
    return sets[place], number - int(sizes[:place].sum())


def _cut(cache: SceneCache, number: int, options: ViewOptions, rng: np.random.Generator) -> Scene:
    """A window of a scene, with edges in it if a few draws find one, reduced to the views' size."""
    whole = cache.options.size
    shrink = rng.uniform(1, options.shrink[1]) if rng.random() < options.shrink[0] else 1.0
    shrink = min(shrink, *(have / want for have, want in zip(whole, options.size, strict=True)))
    size = tuple(max(1, round(side * shrink)) for side in options.size)
    for _ in range(TRIES):
        scene = cache.read(number, _window(whole, size, rng))
        if scene.edge.mean() >= LEAST_EDGES:
            break
    return scene if scene.near.shape == options.size else _resized(scene, options.size)


def _resized(scene: Scene, size: tuple[int, int]) -> Scene:
    """Colour is averaged; depth and edges are picked, as a depth is one surface's and never a mean of two."""
    rgb = np.clip(np.rint(geometry.resize(scene.rgb, size)), 0, 255).astype(np.uint8)
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * (m / n)).astype(int), m - 1)
        for n, m in zip(size, scene.near.shape, strict=True)
    )
    near, edge = (values[rows[:, None], columns] for values in (scene.near, scene.edge))
    return replace(scene, rgb=rgb, near=near, edge=edge)


def _window(whole: tuple[int, int], size: tuple[int, ...], rng: np.random.Generator) -> Window:
    if whole[0] < size[0] or whole[1] < size[1]:
        raise ValueError(f"views: a picture of {whole[0]} x {whole[1]} is smaller than the crop {size[0]} x {size[1]}")
    top, left = (int(rng.integers(have - want + 1)) for have, want in zip(whole, size, strict=True))
    return Window(top, left, size[0], size[1])


def jittered(rgb: UInt8[np.ndarray, "h w 3"], jitter: Jitter, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Other light, another camera: gain, gamma and tint by a table, then blur and noise."""
    tones = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.uniform(-jitter.gamma, jitter.gamma))
    gain = np.exp(rng.uniform(-jitter.gain, jitter.gain) + rng.uniform(-jitter.tint, jitter.tint, 3))
    table = np.clip(np.rint(255 * tones * gain), 0, 255).astype(np.uint8)
    out = np.stack([table[rgb[..., c], c] for c in range(3)], axis=-1)
    if rng.random() < jitter.grey:
        out = np.repeat(out.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    if rng.random() < jitter.blur[0]:
        out = ndimage.gaussian_filter(out, (*[rng.uniform(0.3, jitter.blur[1])] * 2, 0), truncate=2.5)
    if rng.random() < jitter.noise[0]:
        noise = rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(0, jitter.noise[1]))
        out = np.clip(out + noise + np.float32(0.5), 0, 255).astype(np.uint8)
    return out


def collate(views: Sequence[View], options: ViewOptions, labelled: bool = True) -> dict[str, Tensor]:
    """Views as tensors; `regions` are those of Eq. 7, all 0 unless `labelled`."""
    wide = 2 * options.edge_reach + 1
    weight = [
        1 + np.float32(options.edge_weight - 1) * ndimage.maximum_filter(view.edge.astype(np.uint8), wide)
        for view in views
    ]
    regions = [_regions(view, options) if labelled else np.zeros(view.low.shape, np.int64) for view in views]
    rgb = np.stack([view.rgb for view in views]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    planes = {
        name: _planes([getattr(view, name) for view in views]) for name in ("low", "high", "target", "valid", "label")
    }
    return planes | {
        "rgb": torch.from_numpy(rgb), "edge_weight": _planes(weight).float(), "regions": _planes(regions),
        "kind": torch.tensor([KINDS.index(view.kind) for view in views]), "units": torch.tensor([view.units for view in views]),
    }  # fmt: skip


def _regions(view: View, options: ViewOptions) -> Int[np.ndarray, "h w"]:
    return edge_regions(view.label, options.edge_share, options.clusters)


def _planes(maps: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(maps)[:, None]))
