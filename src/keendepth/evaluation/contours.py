"""Canny contours of depth and how far predicted and true ones lie apart: PDBE, iBims DBE, EdgeAcc and EdgeComp."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64
from scipy import ndimage

from keendepth.core.edges import boundary_distance
from keendepth.core.types import DepthMap
from keendepth.evaluation.scoring import METRICS, Figure, Metric, arrays, mean

REACH = 10.0  # px beyond which iBims (Koch et al. 2018), SharpDepth and PatchRefiner ignore a predicted edge
PDBE_CANNY = (np.sqrt(2), 0.1, 0.2)  # sigma, low, high: SharpDepth, released code
DBE_CANNY = (np.sqrt(2), 0.15, 0.3)  # iBims, released Python code
EDGE_CANNY = (1.0, 0.1, 0.2)  # PatchRefiner, released code (the defaults of scikit-image)
PDBE_FIGURES = {
    "pdbe_acc": Figure("lower", "px", "distance of predicted edges within 10 px to the reference's"),
    "pdbe_comp": Figure("lower", "px", "distance of the reference's edges to predicted ones"),
}
DBE_FIGURES = {
    "dbe_acc": Figure("lower", "px", "iBims: distance of predicted edges within 10 px to the reference's"),
    "dbe_comp": Figure("lower", "px", "iBims: distance between the edge sets, both ways, cut at 10 px"),
}
EDGE_FIGURES = {
    "edge_acc": Figure("lower", "px", "PatchRefiner: predicted to reference edges of log depth, within 10 px"),
    "edge_comp": Figure("lower", "px", "PatchRefiner: reference to predicted edges of log depth"),
    "edge_f1": Figure("higher", "1", "F1 of the two edge maps, each widened by 5 x 5"),
}
Edges = Bool[np.ndarray, "h w"]


def canny(
    values: Float64[np.ndarray, "h w"], sigma: float, low: float, high: float, known: Edges | None = None
) -> Edges:
    """Canny edges by the definition of `skimage.feature.canny`: same thresholds, same borders, floats not rescaled.

    Gaussian (zero outside and where unknown, divided by the smoothed support), Sobel with weights 1 2 1, non-maximum suppression interpolated
    along the gradient (ties stay), 8-connected hysteresis. No edge on the outermost pixels nor next to unknown ones. Values must be finite where known.
    """
    support = np.ones(values.shape) if known is None else known.astype(np.float64)
    smooth = ndimage.gaussian_filter(np.where(support > 0, values, 0.0), sigma, mode="constant")
    smooth /= ndimage.gaussian_filter(support, sigma, mode="constant") + np.finfo(np.float64).eps
    down, across = ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)
    inner = ndimage.binary_erosion(support > 0, np.ones((3, 3), bool), border_value=0)
    magnitude = np.sqrt(down * down + across * across)
    ridge = _ridges(down, across, magnitude, inner & (magnitude >= low))
    labels, count = ndimage.label(ridge, np.ones((3, 3), bool))
    strong = np.zeros(count + 1, bool)
    strong[labels[ridge & (magnitude >= high)]] = True
    return strong[labels]


def _ridges(down: np.ndarray, across: np.ndarray, magnitude: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Candidates no smaller than the two magnitudes one step up and down the gradient, interpolated between two neighbours."""
    i, j = np.nonzero(candidates)
    gi, gj, here = down[i, j], across[i, j], magnitude[i, j]
    steep = np.abs(gi) >= np.abs(gj)
    weight = np.minimum(np.abs(gi), np.abs(gj)) / np.where(steep, np.abs(gi), np.abs(gj))
    si, sj = np.where(gi >= 0, 1, -1), np.where(gj >= 0, 1, -1)
    ridge = np.zeros(magnitude.shape, bool)
    top = np.ones(len(i), bool)
    for way in (1, -1):
        diagonal = magnitude[i + way * si, j + way * sj]
        straight = np.where(steep, magnitude[i + way * si, j], magnitude[i, j + way * sj])
        top &= diagonal * weight + straight * (1 - weight) <= here
    ridge[i[top], j[top]] = True
    return ridge


def distances(start: Edges, goal: Edges) -> Float64[np.ndarray, " n"]:
    """Euclidean distance in px of each `start` pixel to the nearest `goal` pixel; inf where there is no goal."""
    return boundary_distance(goal)[start]


def _unit(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Min-max to 0..1 over the known pixels; 0 elsewhere, and everywhere when constant."""
    if not known.any():
        return np.zeros(values.shape)
    low, high = values[known].min(), values[known].max()
    return np.where(known, (values - low) / (high - low) if high > low else 0.0, 0.0)


def _finite(depth: np.ndarray) -> np.ndarray:
    """Sky at the farthest finite depth; NaN stays."""
    finite = np.isfinite(depth)
    return np.where(np.isposinf(depth), depth[finite].max() if finite.any() else 1.0, depth)


def _canny(values: np.ndarray, settings: tuple[float, float, float], known: np.ndarray) -> np.ndarray:
    return canny(values, *settings, known=None if known.all() else known)


def pseudo_edges(depth: Float64[np.ndarray, "h w"], known: Edges) -> Edges:
    """SharpDepth's edges: Canny of min-max depth or of min-max 1 / max(depth, 1e-6). Sky is at the farthest depth, and at 1/z = 0."""
    inverse = np.where(np.isposinf(depth), 0.0, 1 / np.maximum(np.where(known, depth, 1.0), 1e-6))
    return _canny(_unit(_finite(depth), known), PDBE_CANNY, known) | _canny(_unit(inverse, known), PDBE_CANNY, known)


def _known(p: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where to look for predicted and for true edges: never outside what the reference knows."""
    return ~np.isnan(g) & ~np.isnan(p), ~np.isnan(g)


def pdbe(prediction: DepthMap, reference: DepthMap, *, as_published: bool = False) -> dict[str, float]:
    """Pseudo depth boundary error: accuracy and completeness in px (SharpDepth, arXiv 2411.18229, and its released code).

    Edges: `pseudo_edges` of both maps. acc = mean distance of predicted edges closer than 10 px to the reference's; comp = mean distance of *all*
    reference edges to predicted ones, not truncated. Quirks: acc ignores wrong edges farther than 10 px; min-max is led by the extremes.
    Published fallback: with no predicted edge within 10 px both are 10, which *rewards* a blurred map (comp above 100 is common); here acc is 10
    (worse than any attainable), comp its true value, and the image's diagonal when nothing is predicted. `as_published` restores 10 and 10.
    Unknown reference pixels (ignored by the released code) bear no edges, nor do their neighbours. No reference edge: NaN; `pdbe_edges` counts.
    """
    p, g = arrays(prediction, reference)
    known_p, known_g = _known(p, g)
    ours, theirs = pseudo_edges(p, known_p), pseudo_edges(g, known_g)
    forth, back = distances(ours, theirs), distances(theirs, ours)
    acc, comp = _acc_comp(forth, back, p.shape, as_published)
    return {
        "pdbe_acc": acc,
        "pdbe_comp": comp,
        "pdbe_edges": float(len(back)),
        "pdbe_edges_predicted": float(len(forth)),
    }


def _acc_comp(forth: np.ndarray, back: np.ndarray, size: tuple[int, ...], as_published: bool) -> tuple[float, float]:
    """Mean of the near predicted-to-true distances, and of all true-to-predicted ones, with the fallbacks of `pdbe`."""
    if not len(back):
        return float("nan"), float("nan")
    near = forth[forth < REACH]
    if not len(near):
        return REACH, REACH if as_published else mean(np.minimum(back, math.hypot(*size)))
    return mean(near), mean(back)


def dbe(prediction: DepthMap, reference: DepthMap, *, edges: Edges | None = None) -> dict[str, float]:
    """Depth boundary error of iBims-1: accuracy and completeness in px (Koch et al. 2018, arXiv 1805.01328, and its released Python code).

    Canny .15 / .3 on min-max depth only. `edges`: the set's annotated edges [h w]; without them Canny of the reference stands in (ours).
    acc as in `pdbe`; comp = mean of both directed distances over both edge sets, each cut at 10 px, so 10 is the worst; both 10 when no predicted
    edge lies within 10 px. Quirk: the MATLAB original uses MATLAB's Canny and gives other numbers. No reference edge: NaN; `dbe_edges` counts them.
    """
    p, g = arrays(prediction, reference)
    known_p, known_g = _known(p, g)
    ours = _canny(_unit(_finite(p), known_p), DBE_CANNY, known_p)
    theirs = _canny(_unit(_finite(g), known_g), DBE_CANNY, known_g) if edges is None else edges
    forth, back = distances(ours, theirs), distances(theirs, ours)
    acc, _ = _acc_comp(forth, back, p.shape, True)
    comp = mean(np.minimum(np.concatenate([forth, back]), REACH)) if acc < REACH else acc
    return {"dbe_acc": acc, "dbe_comp": comp, "dbe_edges": float(len(back)), "dbe_edges_predicted": float(len(forth))}


def edge_distance(prediction: DepthMap, reference: DepthMap) -> dict[str, float]:
    """EdgeAcc, EdgeComp and edge F1 (PatchRefiner, arXiv 2406.06679, and its released code): Canny sigma 1, .1 / .2, on depth's log to base 1.5.

    EdgeAcc and EdgeComp as acc and comp of `pdbe` (the released EdgeComp ignores its own 10 px threshold too, and falls back to 10; here to the
    truth, see there). F1: both edge maps widened by 5 x 5, so 2 px off still counts. A ratio of depths is an edge whatever the range: unlike the
    min-max of `pdbe`, far extremes do not matter. No reference edge: NaN; `edge_edges` counts them.
    """
    p, g = arrays(prediction, reference)
    known_p, known_g = _known(p, g)
    ours, theirs = _log_edges(p, known_p), _log_edges(g, known_g)
    forth, back = distances(ours, theirs), distances(theirs, ours)
    acc, comp = _acc_comp(forth, back, p.shape, False)
    f1 = _widened_f1(ours, theirs, known_g) if len(back) else float("nan")
    return {"edge_acc": acc, "edge_comp": comp, "edge_f1": f1, "edge_edges": float(len(back))}


def _log_edges(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    return _canny(np.log(np.where(known, _finite(depth), 1.0)) / np.log(1.5), EDGE_CANNY, known)


def _widened_f1(ours: np.ndarray, theirs: np.ndarray, known: np.ndarray) -> float:
    wide_p, wide_g = (ndimage.maximum_filter(edges, 5)[known] for edges in (ours, theirs))
    return float(2 * (wide_p & wide_g).sum() / (wide_p.sum() + wide_g.sum()))


@METRICS.register(
    "pdbe", summary="pseudo depth boundary error", license="Apache-2.0", paper="SharpDepth, arXiv 2411.18229"
)
def _pdbe_metric() -> Metric:
    return Metric(pdbe, PDBE_FIGURES)


@METRICS.register("dbe", summary="depth boundary error of iBims-1", license="Apache-2.0", paper="arXiv 1805.01328")
def _dbe_metric() -> Metric:
    return Metric(dbe, DBE_FIGURES)


@METRICS.register(
    "edges",
    summary="EdgeAcc, EdgeComp and F1 of log-depth edges",
    license="Apache-2.0",
    paper="PatchRefiner, arXiv 2406.06679",
)
def _edges_metric() -> Metric:
    return Metric(edge_distance, EDGE_FIGURES)
