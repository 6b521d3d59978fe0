"""Sharp boundaries as Depth Pro and MoGe-2 score them, and one call for every sharpness metric."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from keendepth.core.types import DepthKind, DepthMap
from keendepth.evaluation.scoring import METRICS, Figure, Metric, align_to, check_pair

# Depth Pro (arXiv 2410.02073, eq. 3 and released code): ten thresholds on the ratio of neighbours, each weighted by itself.
DEPTH_PRO = np.linspace(1.05, 1.25, 10)
# MoGe-2 (arXiv 2507.02546, released code): the same excess over 1, but weighted by the excess, so that 0.25 weighs five times 0.05.
MOGE = np.linspace(0.05, 0.25, 10)
MOGE_RADII = (1, 2, 3)
# Pairs closer than this are no edge at any threshold; they are dropped, in float32, before the exact division: for speed alone.
CANDIDATE = np.float32(1.04)
DEPTH_PRO_FIGURES = {
    "boundary_f1": Figure("higher", "1", "Depth Pro's scale-invariant boundary F1"),
    "boundary_precision": Figure("higher", "1", "share of predicted jumps that the reference has"),
    "boundary_recall": Figure("higher", "1", "share of the reference's jumps that are predicted"),
}
MOGE_FIGURES = {
    f"moge_f1_r{radius}": Figure("higher", "1", f"MoGe-2's boundary F1 over a disk of {radius} px")
    for radius in MOGE_RADII
}
Counts = Float64[np.ndarray, "3 k"]  # hits, predicted, in the reference; per threshold


def sharpness(prediction: DepthMap, reference: DepthMap, *, alignment: str = "natural") -> dict[str, float]:
    """Every registered sharpness metric in one dict; `prediction` of any kind and size is aligned and resized first (`scoring.align_to`).

    The resize to the reference's size is linear: enlarging smears edges, which these metrics then punish, as a user would.
    """
    aligned = align_to(prediction, reference, alignment).depth
    found: dict[str, float] = {}
    for name in METRICS:
        metric = METRICS.build(name)
        if metric.sort == "sharpness":
            found |= metric.score(aligned, reference)
    return found


def boundary_f1(prediction: DepthMap, reference: DepthMap) -> dict[str, float]:
    """Scale-invariant boundary F1, precision and recall (Depth Pro, arXiv 2410.02073, section 3.2, as released).

    On inverse depth d = 1 / max(z, 1e-6), neighbours i, j share an edge where d_i / d_j > t; each of four directions has its own precision and
    recall, the four are averaged, and F1 is averaged over t = 1.05 ... 1.25 with weights t. No thinning: a blurred step that still exceeds t counts.
    Quirks: a direction, or a threshold, at which the reference has no edge scores 0, even for a perfect prediction; `boundary_f1_ceiling` is what the
    reference would score against itself. The released code has no valid mask. Here (a variant, equal on dense maps) pairs that touch a pixel
    unknown in the reference are not counted; an unknown *predicted* pixel has no edge, so it costs recall. Sky has d = 0: an edge against anything.
    No reference edge at 1.05: NaN; `boundary_edges` counts them.
    """
    check_pair(prediction, reference)
    counts = depth_pro_counts(prediction.values, reference.values)
    if counts[:, 2, 0].sum() == 0:
        return dict.fromkeys((*DEPTH_PRO_FIGURES, "boundary_f1_ceiling"), float("nan")) | {"boundary_edges": 0.0}
    hits, predicted, present = counts[:, 0], counts[:, 1], counts[:, 2]
    precision = (hits / np.maximum(predicted, 1)).mean(0)
    recall = (hits / np.maximum(present, 1)).mean(0)
    weights = DEPTH_PRO / DEPTH_PRO.sum()
    return {
        "boundary_f1": float((weights * harmonic(precision, recall)).sum()),
        "boundary_precision": float((weights * precision).sum()),
        "boundary_recall": float((weights * recall).sum()),
        "boundary_f1_ceiling": float((weights * (present > 0).mean(0)).sum()),
        "boundary_edges": float(present[:, 0].sum()),
    }


def depth_pro_counts(p: Float32[np.ndarray, "h w"], g: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, "4 3 k"]:
    """(hits, predicted, in the reference) of Depth Pro's edges, per direction (left, top, right, bottom) and threshold."""
    p = np.where(np.isnan(g), np.float32(np.nan), p)  # comparisons with NaN are False: such pairs drop out
    across, down = _both_ways(p, g, 0, 1), _both_ways(p, g, 1, 0)
    return np.stack([across[0], down[0], across[1], down[1]])


def _both_ways(p: np.ndarray, g: np.ndarray, dy: int, dx: int) -> tuple[Counts, Counts]:
    """Counts of d > t d' and of d' > t d, where d' is the inverse depth (dy, dx) further on."""
    h, w = p.shape
    steep = np.zeros((h - dy, w - dx), bool)
    for z in (p, g):
        first, second = z[: h - dy, : w - dx], z[dy:, dx:]
        steep |= np.maximum(first, second) > CANDIDATE * np.minimum(first, second)
    y, x = np.divmod(np.flatnonzero(steep), max(w - dx, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ap, bp, ag, bg = (
            1 / np.maximum(z.astype(np.float64), 1e-6) for m in (p, g) for z in (m[y, x], m[y + dy, x + dx])
        )
        return count_edges(ap / bp, ag / bg, DEPTH_PRO), count_edges(bp / ap, bg / ag, DEPTH_PRO)


def count_edges(
    ratio_p: Float64[np.ndarray, " n"], ratio_g: Float64[np.ndarray, " n"], limits: Float64[np.ndarray, " k"]
) -> Counts:
    """How many pairs exceed each limit in both maps, in the prediction, in the reference. NaN exceeds none."""
    passed_p, passed_g = _passed(ratio_p, limits), _passed(ratio_g, limits)
    return np.stack([_above(passed, len(limits)) for passed in (np.minimum(passed_p, passed_g), passed_p, passed_g)])


def _passed(ratio: np.ndarray, limits: np.ndarray) -> Int[np.ndarray, " n"]:
    """The number of limits strictly below each ratio."""
    return np.searchsorted(limits, np.where(np.isnan(ratio), 0.0, ratio), side="left")


def _above(passed: np.ndarray, k: int) -> Float64[np.ndarray, " k"]:
    """For each limit 0 ... k-1 the number of entries that passed it."""
    return np.cumsum(np.bincount(passed, minlength=k + 1)[::-1])[::-1][1:].astype(np.float64)


def harmonic(precision: Float[np.ndarray, " k"], recall: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """2PR / (P + R), and 0 where both are 0."""
    total = precision + recall
    return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def moge_f1(prediction: DepthMap, reference: DepthMap, *, radii: tuple[int, ...] = MOGE_RADII) -> dict[str, float]:
    """Boundary F1 over disk neighbourhoods (MoGe-2, arXiv 2507.02546, as released): neighbour / centre > 1 + t in *depth*, weights t.

    Centres keep `radius` from the border; both pixels must be known and finite in the reference (its sky is masked out). The released code swaps the
    names precision and recall, which leaves F1 alone. Not comparable with Depth Pro's: other neighbourhood, other weights, pooled directions.
    Quirk: thresholds at which the reference has no edge score 0. An unknown predicted pixel has no edge. float64 here, float32 there.
    No reference edge at t = 0.05, or a map below 2 radius + 1: NaN; `moge_edges_r*` counts them.
    """
    check_pair(prediction, reference)
    found: dict[str, float] = {}
    for radius in radii:
        hits, predicted, present = moge_counts(prediction.values, reference.values, radius)
        precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(present, 1)
        score = float((MOGE * harmonic(precision, recall)).sum() / MOGE.sum())
        found[f"moge_f1_r{radius}"] = score if present[0] else float("nan")
        found[f"moge_edges_r{radius}"] = float(present[0])
    return found


def moge_counts(p: Float32[np.ndarray, "h w"], g: Float32[np.ndarray, "h w"], radius: int) -> Counts:
    """(hits, predicted, in the reference) of MoGe-2's edges per threshold, over all pairs within `radius` px."""
    total = np.zeros((3, len(MOGE)))
    if min(p.shape) <= 2 * radius:
        return total
    p, g = (np.where(np.isfinite(g), z, np.float32(np.nan)) for z in (p, g))  # comparisons with NaN are False
    least_p, least_g = (CANDIDATE * _window(z, radius, 0, 0) for z in (p, g))
    for dy, dx in disk(radius):
        steep = _window(p, radius, dy, dx) > least_p
        steep |= _window(g, radius, dy, dx) > least_g
        y, x = np.divmod(np.flatnonzero(steep), steep.shape[1])
        y, x = y + radius, x + radius
        with np.errstate(invalid="ignore"):  # sky over sky in the prediction
            ratio_p, ratio_g = (z[y + dy, x + dx].astype(np.float64) / z[y, x] for z in (p, g))
        total += count_edges(ratio_p, ratio_g, 1 + MOGE)
    return total


def disk(radius: int) -> Iterator[tuple[int, int]]:
    """(dy, dx) of every neighbour within `radius`, the centre left out."""
    reach = range(-radius, radius + 1)
    return ((dy, dx) for dy in reach for dx in reach if 0 < dy * dy + dx * dx <= radius * radius)


def _window(values: np.ndarray, radius: int, dy: int, dx: int) -> np.ndarray:
    """The map without its border, shifted by (dy, dx)."""
    h, w = values.shape
    return values[radius + dy : h - radius + dy, radius + dx : w - radius + dx]


def matte_recall(prediction: DepthMap, alpha: Float[np.ndarray, "h w"], *, threshold: float = 0.1) -> dict[str, float]:
    """Recall of the outline of a matte (alpha in 0..1, foreground > `threshold`), Depth Pro's measure on AM-2k, P3M and DIS (arXiv 2410.02073).

    As `boundary_f1`, but the reference edges are where the matte's foreground ends, and predicted edges are thinned: of each run of consecutive
    edges along the direction only the steepest stays (the first, where equal). Only recall: a matte says nothing of other edges.
    Raises KindError for kinds without positive depth, ValueError where sizes differ. A matte without outline: NaN; `matte_edges` counts them.
    """
    if not prediction.kind.positive:
        prediction.require(DepthKind.METRIC, "boundary recall against a matte")
    if alpha.shape != prediction.size:
        raise ValueError(f"matte_recall: prediction is {prediction.size}, the matte {alpha.shape}: resize either one")
    inverse = 1 / np.maximum(prediction.values.astype(np.float64), 1e-6)
    inside = alpha > threshold
    recalls = np.zeros(len(DEPTH_PRO))
    edges = 0
    for near, outline in _directions(inverse, inside):
        edges += int(outline.sum())
        hits = [int((thinned(near, limit) & outline).sum()) for limit in DEPTH_PRO]
        recalls += 0.25 * np.array(hits) / max(int(outline.sum()), 1)
    score = float((recalls * DEPTH_PRO).sum() / DEPTH_PRO.sum())
    return {"matte_recall": score if edges else float("nan"), "matte_edges": float(edges)}


def _directions(inverse: np.ndarray, inside: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ratio of inverse depths, outline of the matte) for left, right, top and bottom, with the direction along rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        for d, m in ((inverse, inside), (np.ascontiguousarray(inverse.T), inside.T)):
            yield d[:, :-1] / d[:, 1:], m[:, :-1] & ~m[:, 1:]
            yield d[:, 1:] / d[:, :-1], m[:, 1:] & ~m[:, :-1]


def thinned(ratio: Float64[np.ndarray, "h n"], limit: float) -> Bool[np.ndarray, "h n"]:
    """Of each unbroken run of ratios above `limit` along a row, the largest (the first of equals). NaN breaks a run."""
    kept = np.zeros(ratio.size, bool)
    flat = ratio.ravel()
    where = np.flatnonzero(flat > limit)
    if where.size:
        begins = np.r_[True, np.diff(where) > 1] | (where % ratio.shape[1] == 0)
        run = np.cumsum(begins) - 1
        largest = np.flatnonzero(flat[where] == np.maximum.reduceat(flat[where], np.flatnonzero(begins))[run])
        kept[where[largest[np.unique(run[largest], return_index=True)[1]]]] = True
    return kept.reshape(ratio.shape)


@METRICS.register(
    "depth-pro", summary="boundary F1, precision, recall", license="Apache-2.0", paper="Depth Pro, arXiv 2410.02073"
)
def _depth_pro_metric() -> Metric:
    return Metric(boundary_f1, DEPTH_PRO_FIGURES)


@METRICS.register("moge", summary="boundary F1 at three radii", license="Apache-2.0", paper="MoGe-2, arXiv 2507.02546")
def _moge_metric() -> Metric:
    return Metric(moge_f1, MOGE_FIGURES)
