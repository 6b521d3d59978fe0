"""Ordinal relations between superpixels: ORD and D3R of Boosting Monocular Depth, on one pinned superpixel setting."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int

from keendepth.core.types import DepthMap
from keendepth.evaluation.scoring import METRICS, Figure, Metric, arrays, mean

SUPERPIXELS = 5000  # Boosting (arXiv 2105.14021), released MATLAB code
LONGEST = 640  # px: larger maps are thinned first, as Boosting does for Middlebury (x 0.2)
COMPACTNESS = 0.05  # ours: a twentieth of the disparity range weighs as much as one grid step
ROUNDS = 5  # ours: the fifth still moves 1.4 % of the pixels of Middlebury Motorcycle, the eighth 0.5 %
ORD_RATIO, D3R_RATIO, D3R_LEAST = 1.03, 1.01, 1.1  # Boosting, released code
PARTNERS = 3  # random partners of each superpixel, Boosting
EPS = np.finfo(np.float64).eps
FIGURES = {
    "ord": Figure("lower", "0..2", "ordinal error of random superpixel pairs, on Boosting's rescaled depth"),
    "d3r": Figure("lower", "0..2", "ordinal error of touching superpixels across a jump, on Boosting's rescaled depth"),
    "ord_depth": Figure("lower", "0..2", "ORD with the ratios of depth itself"),
    "d3r_depth": Figure("lower", "0..2", "D3R with the ratios of depth itself"),
}


@dataclass(frozen=True)
class Superpixels:
    """Where to compare: a pixel per superpixel and the pairs of them."""

    centres: Int[np.ndarray, "n 2"]  # (row, column) in the reference
    touching: Int[np.ndarray, "t 2"]
    random: Int[np.ndarray, "r 2"]


class _Content:
    """An array that is equal to another when its bytes are, so that a cache can be keyed by it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.digest = hashlib.sha256(np.ascontiguousarray(values).tobytes() + repr(values.shape).encode()).digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.digest == other.digest


def superpixels(reference: DepthMap, *, seed: int = 0) -> Superpixels:
    """SLIC superpixels of the reference's min-max 1/z (unknown and sky 0), their centre pixels and pairs; cached by the map's bytes and seed.

    Pinned: 5000 (fewer where that leaves under 16 px each), longer side thinned to 640 px, compactness 0.05, five rounds, no re-connection.
    MATLAB's `superpixels` and scikit-image's `slic` differ from it and from each other. A centre is the member nearest to the centroid
    (Boosting takes the centroid, which may lie outside).
    """
    return _superpixels(_Content(reference.values), seed)


@lru_cache(maxsize=16)
def _superpixels(content: _Content, seed: int) -> Superpixels:
    step = max(1, -(-max(content.values.shape) // LONGEST))
    with np.errstate(divide="ignore"):
        inverse = np.where(np.isfinite(content.values), 1 / content.values.astype(np.float64), np.nan)[::step, ::step]
    image = np.nan_to_num(_rescale(inverse), nan=0.0)
    labels = slic(image, min(SUPERPIXELS, max(1, image.size // 16)))
    count = int(labels.max()) + 1
    partners = np.random.default_rng(seed).integers(0, count, (count, PARTNERS))
    random = np.stack([np.repeat(np.arange(count), PARTNERS), partners.ravel()], 1)
    return Superpixels(_centres(labels) * step, _touching(labels), np.unique(np.sort(random, 1), axis=0))


def slic(image: Float64[np.ndarray, "h w"], count: int) -> Int[np.ndarray, "h w"]:
    """Superpixels of one channel (SLIC, Achanta et al. 2012): about `count` labels 0, 1, ... without gaps; deterministic.

    Seeds on a grid; each pixel joins the best of the nine seeds around its grid cell by (dv / COMPACTNESS)^2 + (dxy / step)^2; seeds move to the mean.
    """
    h, w = image.shape
    rows = max(1, round(np.sqrt(count * h / w)))
    columns = max(1, round(count / rows))
    y, x = np.indices(image.shape)
    cell_y, cell_x = y * rows // h, x * columns // w
    labels = cell_y * columns + cell_x
    step = np.sqrt(image.size / (rows * columns))
    features = np.stack([y / step, x / step, image / COMPACTNESS]).reshape(3, -1).astype(np.float32)
    for _ in range(ROUNDS):
        seeds = _means(features, labels.ravel(), rows * columns)
        labels = _nearest_seed(features, seeds, (cell_y, cell_x), (rows, columns)).reshape(h, w)
    return np.unique(labels, return_inverse=True)[1].reshape(h, w)


def _means(features: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean feature per label [3 count]; an empty one lies infinitely far."""
    members = np.bincount(labels, minlength=count)
    sums = np.stack([np.bincount(labels, weights=channel, minlength=count) for channel in features])
    return np.where(members > 0, sums / np.maximum(members, 1), 1e9).astype(np.float32)


def _nearest_seed(
    features: np.ndarray, seeds: np.ndarray, cell: tuple[np.ndarray, np.ndarray], grid: tuple[int, int]
) -> np.ndarray:
    rows, columns = grid
    best = np.full(features.shape[1], np.inf, np.float32)
    labels = np.zeros(features.shape[1], np.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near = np.clip(cell[0] + dy, 0, rows - 1) * columns + np.clip(cell[1] + dx, 0, columns - 1)
            near = near.ravel()
            away = ((features - seeds[:, near]) ** 2).sum(0)
            closer = away < best
            labels[closer] = near[closer]
            best[closer] = away[closer]
    return labels


def _centres(labels: np.ndarray) -> np.ndarray:
    """(row, column) of the member nearest to each label's centroid."""
    flat = labels.ravel()
    y, x = (axis.ravel() for axis in np.indices(labels.shape))
    members = np.bincount(flat)
    away = (y - (np.bincount(flat, y) / members)[flat]) ** 2 + (x - (np.bincount(flat, x) / members)[flat]) ** 2
    order = np.lexsort((away, flat))
    first = order[np.searchsorted(flat[order], np.arange(len(members)))]
    return np.stack([y[first], x[first]], 1)


def _touching(labels: np.ndarray) -> np.ndarray:
    """Each pair of labels that share a pixel border, once, the smaller first."""
    sideways = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1)
    upright = np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1)
    pairs = np.concatenate([sideways, upright])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1), axis=0)


def ordinal(prediction: DepthMap, reference: DepthMap, *, seed: int = 0) -> dict[str, float]:
    """ORD and D3R (Miangoleh et al., Boosting Monocular Depth, arXiv 2105.14021, eq. 4, and its released MATLAB code), each in two ways.

    o(a, b; t) = 1, -1 or 0 as a / b is above t, below 1 / t, or between. ORD: superpixels and three random partners, pairs that the reference orders
    at all, mean |o_ref - o_pred| at t = 1.03. D3R: touching superpixels whose reference ratio exceeds 1.1, at t = 1.01. 0 best, 1 a missed edge, 2 flipped.
    `ord`, `d3r` use Boosting's values: 1/z min-max rescaled (prediction to the reference's range), inverted, min-max rescaled to 0..1: ratios explode
    next to 0, and outliers set the range. `ord_depth`, `d3r_depth` take ratios of depth as it is: scale invariant, sane, ours.
    Comparable only within this harness (superpixels: see `superpixels`; Boosting draws partners without a seed). SDDR's paper writes a ranking loss as ORD,
    but its values look like this one. Unknown pixels drop their pairs. No pair left: NaN; `ord_pairs` and `d3r_pairs` count those of `*_depth`.
    """
    p, g = arrays(prediction, reference)
    places = superpixels(reference, seed=seed)
    found: dict[str, float] = {}
    for suffix, (ours, theirs) in (("", boosting_values(p, g)), ("_depth", (p, g))):
        a, b = ours[tuple(places.centres.T)], theirs[tuple(places.centres.T)]
        found["ord" + suffix], found["ord_pairs"] = _disagreement(a, b, places.random, (1.0, ORD_RATIO))
        found["d3r" + suffix], found["d3r_pairs"] = _disagreement(a, b, places.touching, (D3R_LEAST, D3R_RATIO))
    return found


def boosting_values(
    p: Float64[np.ndarray, "h w"], g: Float64[np.ndarray, "h w"]
) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """(prediction, reference) rescaled as Boosting's evaluation does; unknown and sky NaN, the reference's nearest pixel too (it tests for 0)."""
    known = np.isfinite(g)
    nothing = np.full(g.shape, np.nan)
    if not (known & ~np.isnan(p)).any():
        return nothing, nothing
    depth_g = _rescale(np.where(known, g, np.nan))
    least = g[known].min() / g[known].max()  # the smallest of 1/z over its largest
    with np.errstate(divide="ignore"):
        disparity_p = _rescale(1 / np.where(known, p, np.nan)) * (1 - least) + least
    return _rescale(1 / disparity_p), np.where(depth_g == 0, np.nan, depth_g)


def _rescale(values: np.ndarray) -> np.ndarray:
    """Min-max to 0..1 over what is not NaN; a constant becomes 0."""
    if np.isnan(values).all():
        return values
    low, high = np.nanmin(values), np.nanmax(values)
    return (values - low) / (high - low) if high > low else values * 0.0


def _disagreement(p: np.ndarray, g: np.ndarray, pairs: np.ndarray, ratios: tuple[float, float]) -> tuple[float, float]:
    """(mean |o_g - o_p|, number of pairs) over the pairs that all know and whose reference ratio leaves [1 / ratios[0], ratios[0]]."""
    i, j = pairs.T
    kept = np.isfinite(g[i] + g[j]) & ~np.isnan(p[i]) & ~np.isnan(p[j])
    kept &= order(g[i], g[j], ratios[0]) != 0
    i, j = i[kept], j[kept]
    error = np.abs(order(g[i], g[j], ratios[1]) - order(p[i], p[j], ratios[1]))
    return mean(error.astype(np.float64)), float(len(i))


def order(a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " n"], limit: float) -> Int[np.ndarray, " n"]:
    """1 where a / b > limit, -1 where below 1 / limit, else 0 (also for NaN, and for sky against sky); eps on both as Boosting has it."""
    with np.errstate(invalid="ignore"):
        ratio = (a + EPS) / (b + EPS)
        return (ratio > limit).astype(np.int64) - (ratio < 1 / limit)


@METRICS.register(
    "ordinal",
    summary="ORD and D3R over pinned superpixels",
    license="Apache-2.0",
    paper="Boosting Monocular Depth, arXiv 2105.14021",
)
def _ordinal_metric() -> Metric:
    return Metric(ordinal, FIGURES)
