"""Joint refiners: depth takes its edges from the photo, coarse to fine, by a weighted median or mean of nearby depth samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from keendepth.core import edges, geometry
from keendepth.core.types import DepthMap, Image

CHUNK = 1 << 16  # edge pixels per task: about 20 MB of candidates, so that memory stays bounded at any picture size
WIDE_WINDOW_PIXELS = 2_500_000  # finer levels than this look at 3x3 instead of 5x5 samples: edges are sharp by then
STEPS = (2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class JointOptions:
    """Constants of the joint refiners (ours; chosen on Motorcycle, Aloe, Adirondack and cones, see docs/decisions.md)."""

    colour_sigma: float = 20.0  # in 8-bit levels, over the three channels together
    space_sigma: float = 1.0  # in samples of the coarser level
    prior: float = 0.3  # weight of the plain interpolation among the candidates; 0 trusts the photo alone
    edge_share: float = (
        0.06  # a window is an edge when its values differ by this share of the value (of the span, for affine kinds)
    )
    use_mean: bool = False  # weighted mean (joint bilateral) instead of weighted median


class Level(NamedTuple):
    depth: Float32[np.ndarray, "h w"]
    rgb: np.ndarray  # [h w 3], 0..255: the photo itself (uint8) on the finest level, float32 below


def refine_jointly(
    image: Image, depth: DepthMap, options: JointOptions, start: tuple[int, int] | None = None
) -> Float32[np.ndarray, "h w"]:
    """Values [h w] at the image's size: on every level of a pyramid, pixels near depth edges take the weighted median of
    the coarser level's samples; elsewhere the input is kept.

    The weights fall with the distance in colour and in space, so a sample counts where the photo says that it is the same
    surface. The median picks a value that exists; a plain interpolation is one more candidate (`prior`) and wins only where
    the photo is undecided, so hardly any depth between two surfaces is invented. Unknown pixels (NaN) weigh nothing and win
    where they hold more than half of the weight; sky (+inf) is a value like any other.
    After Kopf et al. 2007 (joint bilateral up-sampling) and Ma et al. 2013 (weighted median); pyramid and prior are ours.
    `start`: the map's `effective_size`, from a caller who has found it already.
    """
    start = start or effective_size(depth)
    threshold = _edge_threshold(depth, options.edge_share)
    levels = _pyramid(image, depth, start)
    coarse = next(levels)
    for fine in levels:
        near = _near_edges(coarse.depth, fine.depth.shape, threshold)
        coarse = Level(_vote(coarse, fine, near, options, threshold), fine.rgb)
    return coarse.depth


def effective_size(depth: DepthMap, tolerance: float = 0.11) -> tuple[int, int]:
    """The size at which this map's edges are sharp: smaller than its own where it was blurred or enlarged before.

    A map is shrunk and enlarged again; while its edges change by less than `tolerance` of the local range (a true step changes by more), nothing was
    there to lose. Measured: sharp maps 0.13-0.17 at half size (0.10 at 2/3), maps enlarged n times below 0.10 up to n.
    """
    native = depth.source.native_size if depth.source and not depth.refinement else None
    if native and native[0] < depth.size[0] and native[1] < depth.size[1]:
        depth = depth.resized(*native)
    size = depth.size
    if min(size) < 64:
        return size
    values = filled(depth.values)
    least, most = edges.window_extremes(values, 2)
    spread = most - least
    edge = spread >= max(float(np.quantile(spread, 0.95)), np.finfo(np.float32).tiny)
    total = float(spread[edge].sum())
    best = size
    for step in STEPS:
        small = max(1, round(size[0] / step)), max(1, round(size[1] / step))
        again = geometry.resize(geometry.resize(values, small), size, "cubic")
        if min(small) < 32 or total == 0 or float(np.abs(values - again)[edge].sum()) > tolerance * total:
            break
        best = small
    return best


def filled(values: np.ndarray) -> np.ndarray:
    """Unknown pixels and sky take the nearest known value, for measures that need numbers everywhere."""
    known = np.isfinite(values)
    if known.all():
        return values
    if not known.any():
        return np.zeros_like(values)
    return geometry.fill_nearest(values, ~known)


def _edge_threshold(depth: DepthMap, share: float) -> tuple[float, float]:
    """(relative, absolute): how far the values of a window must differ to be an edge."""
    known = depth.values[depth.valid]
    if depth.kind.positive or known.size == 0:
        return share, 0.0
    return 0.0, share * float(np.ptp(known)) + float(np.finfo(np.float32).tiny)


def _pyramid(image: Image, depth: DepthMap, start: tuple[int, int]) -> Iterator[Level]:
    """Levels from `start` to the image's size, each about twice the one before, with the input depth and the photo at each."""
    start = min(start[0], image.size[0]), min(start[1], image.size[1])
    sizes = [image.size]
    while max(sizes[0][0] / start[0], sizes[0][1] / start[1]) > 1.5:
        sizes.insert(0, (-(-sizes[0][0] // 2), -(-sizes[0][1] // 2)))
    if len(sizes) > 1:
        sizes[0] = start
    else:
        sizes.insert(0, start)
    pictures, maps = [image.rgb], [depth.resized(*image.size).values]
    for size in reversed(sizes[:-1]):
        pictures.insert(0, geometry.resize(pictures[0], size))
        maps.insert(0, geometry.resize_depth(maps[0], size))
    maps[0] = depth.resized(*start).values
    while maps:
        yield Level(maps.pop(0), pictures.pop(0))


def _near_edges(coarse: np.ndarray, size: tuple[int, int], threshold: tuple[float, float]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the finer level whose window on the coarser one holds an edge, an unknown pixel next to a known one, or the rim of the sky."""
    radius = _radius(size)
    finite = np.isfinite(coarse)
    low, high = edges.window_extremes(coarse, radius)
    if not finite.all():
        low = edges.window_extremes(np.where(finite, coarse, np.float32(np.inf)), radius)[0]
        high = edges.window_extremes(np.where(finite, coarse, np.float32(-np.inf)), radius)[1]
    with np.errstate(invalid="ignore"):
        edge = high - low > threshold[0] * np.abs(low) + threshold[1]
    if not finite.all():
        for state in (np.isnan(coarse), np.isposinf(coarse)):
            every, some = edges.window_extremes(state, radius)
            edge |= some & ~every
    rows = np.minimum(((np.arange(size[0]) + 0.5) * (coarse.shape[0] / size[0])).astype(int), coarse.shape[0] - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * (coarse.shape[1] / size[1])).astype(int), coarse.shape[1] - 1)
    return edge[rows[:, None], columns]


def _radius(size: tuple[int, int]) -> int:
    return 2 if size[0] * size[1] <= WIDE_WINDOW_PIXELS else 1


def _vote(
    coarse: Level, fine: Level, near: np.ndarray, options: JointOptions, threshold: tuple[float, float]
) -> np.ndarray:
    """The finer level's depth, with the chosen pixels decided by vote; chunks run side by side and do not depend on one another."""
    out = fine.depth.copy()
    chosen = np.flatnonzero(near)
    window = _Window(coarse, fine, options, threshold)
    pieces = [chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)]
    if len(pieces) == 1:
        out.ravel()[chosen] = window.decide(chosen)
        return out
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for piece, values in zip(pieces, pool.map(window.decide, pieces), strict=True):
            out.ravel()[piece] = values
    return out


class _Window:
    """The candidates of one level: samples of the coarser map around each pixel of the finer one, and their weights."""

    def __init__(self, coarse: Level, fine: Level, options: JointOptions, threshold: tuple[float, float]) -> None:
        self.options, self.threshold = options, threshold
        self.shape = coarse.depth.shape
        self.coarse, self.colours = coarse.depth.ravel(), coarse.rgb.reshape(-1, 3)
        self.fine_colours, self.width = fine.rgb.reshape(-1, 3), fine.depth.shape[1]
        self.scale = self.shape[0] / fine.depth.shape[0], self.shape[1] / fine.depth.shape[1]
        self.offsets = np.arange(-_radius(fine.depth.shape), _radius(fine.depth.shape) + 1)

    def decide(self, pixels: np.ndarray) -> np.ndarray:
        """Values for flat pixel indices [n] of the finer level."""
        index, across, down = self._taps(pixels)
        values = self.coarse[index]
        weights = self._weights(pixels, index, across, down)
        unknown = np.isnan(values)
        interpolated = _interpolate(values, across, down)
        share = (weights * unknown).sum(1) / weights.sum(1)
        weights[unknown] = 0
        if self.options.use_mean:
            result = _mean(values, weights)
        else:
            prior = np.where(np.isnan(interpolated), 0, np.float32(self.options.prior))
            values = np.concatenate([values, interpolated[:, None]], axis=1)
            weights = np.concatenate([weights, prior[:, None]], axis=1)
            result = weighted_median(values, weights)
            if len(self.offsets) > 3:  # terraces come from the coarse levels; on the finest ones this is only time
                result = self._smoothed(result, values, weights)
        return np.where(share > 0.5, np.float32(np.nan), result)

    def _smoothed(self, median: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The weighted mean of the candidates on the median's own surface: a slanted floor gets no terraces, an edge stays one."""
        size = np.where(np.isfinite(median), np.abs(median), 1)
        reach = (self.threshold[0] * size + self.threshold[1])[:, None] / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = (values - median[:, None]) / reach
            near = np.where(np.isfinite(distance), weights * np.exp(-distance * distance / 2), 0)
            mean = (near * np.where(near > 0, values, 0)).sum(1) / near.sum(1)
        return np.where(np.isfinite(median) & np.isfinite(mean), mean, median).astype(np.float32)

    def _taps(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flat indices [n k] of the samples, and their distances in x and y [n k] in samples."""
        y, x = np.divmod(pixels, self.width)
        y = ((y + 0.5) * self.scale[0] - 0.5).astype(np.float32)
        x = ((x + 0.5) * self.scale[1] - 0.5).astype(np.float32)
        rows = np.rint(y).astype(np.int32)[:, None] + self.offsets
        columns = np.rint(x).astype(np.int32)[:, None] + self.offsets
        index = (np.clip(rows, 0, self.shape[0] - 1) * self.shape[1])[:, :, None] + np.clip(
            columns, 0, self.shape[1] - 1
        )[:, None, :]
        flat = (len(pixels), -1)
        down = np.broadcast_to((rows - y[:, None])[:, :, None], index.shape).reshape(flat)
        across = np.broadcast_to((columns - x[:, None])[:, None, :], index.shape).reshape(flat)
        return index.reshape(flat), across.astype(np.float32), down.astype(np.float32)

    def _weights(self, pixels: np.ndarray, index: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        exponent = (across * across + down * down) * np.float32(0.5 / self.options.space_sigma**2)
        for channel in range(3):
            difference = self.colours[:, channel][index] - self.fine_colours[pixels, channel][:, None]
            exponent += difference * difference * np.float32(0.5 / self.options.colour_sigma**2)
        return np.exp(-exponent) + np.float32(1e-8)  # never zero: a pixel unlike all its samples still gets a vote


def _interpolate(values: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Linear interpolation [n] from the window's samples; NaN where a sample that it needs is unknown or sky."""
    tent = np.maximum(0, 1 - np.abs(across)) * np.maximum(0, 1 - np.abs(down))
    finite = np.isfinite(values)
    needed = ((tent > 0) & ~finite).any(1)
    total = (np.where(finite, values, 0) * tent).sum(1)
    return np.where(needed, np.float32(np.nan), total / tent.sum(1)).astype(np.float32)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean; sky where sky holds more than half of the weight."""
    sky = np.isposinf(values)
    finite = np.where(np.isfinite(values), values, 0)
    known = weights * ~sky
    sky_share = (weights * sky).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (finite * known).sum(1) / known.sum(1)
    return np.where(sky_share > known.sum(1), np.float32(np.inf), mean).astype(np.float32)


def weighted_median(
    values: Float32[np.ndarray, "n k"], weights: Float32[np.ndarray, "n k"]
) -> Float32[np.ndarray, " n"]:
    """Per row, the smallest value at which the weights add up to half of their sum; NaN values must weigh 0; NaN where nothing weighs."""
    order = np.argsort(values, axis=1)
    running = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    half = running[:, -1:] / 2
    position = np.argmax(running >= half, axis=1)
    result = np.take_along_axis(values, np.take_along_axis(order, position[:, None], axis=1), axis=1)[:, 0]
    return np.where(half[:, 0] > 0, result, np.float32(np.nan))
