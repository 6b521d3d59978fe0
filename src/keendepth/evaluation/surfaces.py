"""Surfaces near and away from edges: soft edge error, flying pixels, thin structures, planarity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from scipy import ndimage

from keendepth.core import geometry
from keendepth.core.types import DepthMap
from keendepth.evaluation.scoring import METRICS, Figure, Metric, arrays, mean

EDGE_RATIO = 1.1  # ours: neighbours whose depths differ by more than a tenth lie on two surfaces
FLYING_RADIUS = 2  # px (ours): a blur of a few pixels reaches so far
FLYING_MARGIN = 0.15  # ours: share of the gap, in log depth, that still belongs to a surface
THIN_SIZE = 5  # px (ours): structures that a 5 x 5 closing fills are thin
PLANE_SIZE = 32  # px (ours): side of the windows that are tested for planarity
PLANE_LIMIT = 0.005  # ours: the reference counts as planar below this rms deviation over depth
SEE_FIGURES = {"see": Figure("lower", "m", "error at the reference's edges to the closest depth in 3 x 3: smears")}
FLYING_FIGURES = {"flying": Figure("lower", "1", "share of pixels beside edges that float between the two surfaces")}
THIN_FIGURES = {"thin_delta1": Figure("higher", "1", "delta1 on structures thinner than 5 px")}
PLANE_FIGURES = {
    "plane_rms": Figure("lower", "m", "deviation of planar regions from their own best plane"),
    "plane_angle": Figure("lower", "degrees", "angle between that plane and the reference's"),
}


def jump_pixels(depth: Float64[np.ndarray, "h w"], ratio: float) -> Bool[np.ndarray, "h w"]:
    """Both pixels of every jump by more than `ratio` between 4-neighbours; an unknown pixel makes none, sky against depth does."""
    edge = np.zeros(depth.shape, bool)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = depth[first], depth[second]
        jump = (a > ratio * b) | (b > ratio * a)
        edge[first] |= jump
        edge[second] |= jump
    return edge


def _around(depth: np.ndarray, where: tuple[np.ndarray, ...], radius: int) -> np.ndarray:
    """Values [n k] in the square window of `radius` around each of n pixels; NaN outside the map, and for sky."""
    padded = np.pad(np.where(np.isfinite(depth), depth, np.nan), radius, constant_values=np.nan)
    reach = np.arange(2 * radius + 1)
    dy, dx = (axis.ravel() for axis in np.meshgrid(reach, reach, indexing="ij"))
    return padded[where[0][:, None] + dy, where[1][:, None] + dx]


def soft_edge_error(
    prediction: DepthMap,
    reference: DepthMap,
    *,
    radius: int = 1,
    edges: Bool[np.ndarray, "h w"] | None = None,
) -> dict[str, float]:
    """Soft edge error in metres (SMD-Nets, Tosi et al., arXiv 2104.03866; PatchFusion's code): at reference edges, min over 3 x 3 shifts of |p - g|.

    `edges` [h w] chooses the pixels; published code takes jumps above 1 px of stereo disparity, which metric depth does not know: by default jumps
    of depth above a tenth (ours). Quirk: beside an edge the window holds both surfaces, so a smear is punished and a shift of the edge is not: read it
    with an edge distance. Unknown and sky neighbours are skipped (published code fills 0). No edge pixel known to both: NaN; `see_pixels` counts them.
    """
    p, g = arrays(prediction, reference)
    edges = jump_pixels(g, EDGE_RATIO) if edges is None else edges
    where = np.nonzero(edges & np.isfinite(g) & np.isfinite(p))
    difference = np.abs(_around(g, where, radius) - p[where][:, None])
    return {"see": mean(np.nanmin(difference, 1, initial=np.inf)), "see_pixels": float(len(where[0]))}


def flying_pixels(prediction: DepthMap, reference: DepthMap) -> dict[str, float]:
    """Share of predicted pixels within 2 px of a reference edge that lie on neither surface but between them (ours).

    In the 5 x 5 window of a pixel the reference spans a gap in log depth; a pixel flies if its log depth lies inside the gap and farther than 15 % of
    it from every reference depth of the window. 0 for a perfect map, whatever its slants; a bias of scale below 15 % of the gap does not count.
    Only pixels that both know; sky is left out. No edge: NaN; `flying_pixels` is the number of pixels judged.
    """
    p, g = arrays(prediction, reference)
    beside = ndimage.maximum_filter(jump_pixels(np.where(np.isinf(g), np.nan, g), EDGE_RATIO), 2 * FLYING_RADIUS + 1)
    where = np.nonzero(beside & np.isfinite(g) & np.isfinite(p))
    around = np.log(_around(g, where, FLYING_RADIUS))
    z = np.log(p[where])
    near, far = np.nanmin(around, 1, initial=np.inf), np.nanmax(around, 1, initial=-np.inf)
    away = np.nanmin(np.abs(around - z[:, None]), 1, initial=np.inf)
    flies = (z > near) & (z < far) & (away > FLYING_MARGIN * (far - near))
    return {"flying": mean(flies), "flying_pixels": float(len(z))}


def thin_delta1(prediction: DepthMap, reference: DepthMap) -> dict[str, float]:
    """delta1 on thin near structures (ours): reference pixels that a 5 x 5 closing of depth pushes back by more than a tenth.

    Wires, poles and leaves are lost in a whole-image mean. An unknown prediction is not scored. None thin: NaN; `thin_pixels` counts them.
    """
    p, g = arrays(prediction, reference)
    spread = ndimage.maximum_filter(np.where(np.isnan(g), 0.0, g), THIN_SIZE, mode="nearest")
    closed = ndimage.minimum_filter(spread, THIN_SIZE, mode="nearest")
    thin = np.isfinite(g) & ~np.isnan(p) & (closed > EDGE_RATIO * g)
    ratio = np.maximum(p[thin] / g[thin], g[thin] / p[thin])
    return {"thin_delta1": mean(ratio < 1.25), "thin_pixels": float(thin.sum())}


def planarity(prediction: DepthMap, reference: DepthMap) -> dict[str, float]:
    """Planarity errors in the manner of iBims-1 (Koch et al. 2018, arXiv 1805.01328), without its masks of walls, tables and floors.

    32 x 32 windows in which the reference deviates from its best plane by less than 0.5 % of depth (rms) stand in for the masks. Per window: rms
    distance of the predicted points from *their own* best plane (`plane_rms`, m) and the angle of the two planes (`plane_angle`, degrees); means
    over windows. Needs the reference's camera, used for both maps. No camera or no planar window wholly known to both: NaN; `planes` counts them.
    """
    p, g = arrays(prediction, reference)
    nothing = {"plane_rms": float("nan"), "plane_angle": float("nan"), "planes": 0.0}
    if reference.camera is None:
        return nothing
    rays = geometry.pixel_rays(*reference.size, reference.camera.K)
    ours, theirs = _windows(geometry.unproject(_or_nan(p), rays)), _windows(geometry.unproject(_or_nan(g), rays))
    known = np.isfinite(ours + theirs).all((1, 2))
    rms_g, normal_g = best_planes(theirs[known])
    planar = rms_g < PLANE_LIMIT * theirs[known][..., 2].mean(1)
    if not planar.any():
        return nothing
    rms_p, normal_p = best_planes(ours[known][planar])
    cosine = np.abs((normal_p * normal_g[planar]).sum(1))
    sine = np.linalg.norm(np.cross(normal_p, normal_g[planar]), axis=1)  # exact near 0, where the arc cosine is not
    return {
        "plane_rms": mean(rms_p),
        "plane_angle": mean(np.degrees(np.arctan2(sine, cosine))),
        "planes": float(planar.sum()),
    }


def _or_nan(depth: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(depth), depth, np.nan)


def _windows(points: np.ndarray) -> np.ndarray:
    """[n k 3]: the points of each whole, non-overlapping window."""
    rows, columns = points.shape[0] // PLANE_SIZE, points.shape[1] // PLANE_SIZE
    whole = points[: rows * PLANE_SIZE, : columns * PLANE_SIZE].reshape(rows, PLANE_SIZE, columns, PLANE_SIZE, 3)
    return whole.transpose(0, 2, 1, 3, 4).reshape(rows * columns, PLANE_SIZE**2, 3)


def best_planes(
    points: Float64[np.ndarray, "n k 3"],
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, "n 3"]]:
    """(rms distance, unit normal) of the least-squares plane through each set of k points."""
    if not len(points):
        return np.zeros(0), np.zeros((0, 3))
    centred = points - points.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred / points.shape[1])
    return np.sqrt(np.maximum(values[:, 0], 0)), np.ascontiguousarray(vectors[:, :, 0])


@METRICS.register("see", summary="soft edge error", license="Apache-2.0", paper="SMD-Nets, arXiv 2104.03866")
def _see_metric() -> Metric:
    return Metric(soft_edge_error, SEE_FIGURES)


@METRICS.register("flying", summary="share of flying pixels beside edges", license="Apache-2.0")
def _flying_metric() -> Metric:
    return Metric(flying_pixels, FLYING_FIGURES)


@METRICS.register("thin", summary="delta1 on thin structures", license="Apache-2.0")
def _thin_metric() -> Metric:
    return Metric(thin_delta1, THIN_FIGURES)


@METRICS.register(
    "planarity", summary="planarity without masks, after iBims-1", license="Apache-2.0", paper="arXiv 1805.01328"
)
def _planarity_metric() -> Metric:
    return Metric(planarity, PLANE_FIGURES)
