"""A depth map fitted to known points or to a metric map of the same view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from keendepth.calibration.fitting import errors, fit
from keendepth.calibration.points import Points
from keendepth.core.types import Calibration, DepthKind, DepthMap

ENOUGH = 20_000  # points for a fit; of more a regular sample is taken
TILES = (
    4  # a dense map's errors hang together: error bars come from leaving out one of TILES x TILES parts of the picture
)


def from_points(depth: DepthMap, points: Points) -> DepthMap:
    """METRIC: `depth` fitted to known points; `calibration` of the result says how well.

    One point gives a scale; two give scale and shift where the kind has both; more are fitted robustly. A metric or
    scale-invariant map gets a scale only. A point takes the median of the 3 x 3 pixels around it. ValueError where points lie outside the
    picture, on unknown pixels alone, or contradict the map.
    """
    inside = (points.u >= 0) & (points.u < depth.size[1]) & (points.v >= 0) & (points.v < depth.size[0])
    if not inside.all():
        u, v = points.u[~inside][0], points.v[~inside][0]
        raise ValueError(
            f"known depth at ({u:g}, {v:g}) lies outside the picture of {depth.size[1]} x {depth.size[0]} pixels"
        )
    if not len(points):
        raise ValueError("calibration: at least one known depth is needed, found none")
    values = _sampled(depth, points)
    usable = np.isfinite(values) & np.isfinite(points.z) & (points.z > 0)
    if not usable.any():
        raise ValueError(
            "calibration: none of the known points lies where the map knows a depth (sky, or unknown pixels)"
        )
    return fitted(depth, values[usable], points.z[usable], None, "points")


def from_map(depth: DepthMap, reference: DepthMap) -> DepthMap:
    """METRIC: `depth` fitted to a metric map of the same view (another model's, or lidar), at `depth`'s size; ValueError where they share nothing."""
    reference.require(DepthKind.METRIC, "the map to calibrate by")
    rows, columns = np.nonzero(reference.valid)
    if not len(rows):
        raise ValueError("calibration: the metric map knows no pixel")
    stride = max(1, len(rows) // (2 * ENOUGH))
    rows, columns = rows[::stride], columns[::stride]
    scale_v, scale_u = depth.size[0] / reference.size[0], depth.size[1] / reference.size[1]
    u, v = (columns + 0.5) * scale_u, (rows + 0.5) * scale_v
    values = depth.values[v.astype(int), u.astype(int)].astype(np.float64)
    z = reference.values[rows, columns].astype(np.float64)
    shared = np.isfinite(values)
    if not shared.any():
        raise ValueError("calibration: the two maps share no pixel where both are known")
    tiles = (v / depth.size[0] * TILES).astype(int) * TILES + (u / depth.size[1] * TILES).astype(int)
    return fitted(depth, values[shared], z[shared], tiles[shared], "map")


def _sampled(depth: DepthMap, points: Points) -> Float[np.ndarray, " n"]:
    """The median of the known values of 3 x 3 pixels around each point; NaN where there is none or the pixel is sky."""
    out = np.full(len(points), np.nan)
    for index, (u, v) in enumerate(zip(points.u, points.v, strict=True)):
        row, column = int(v), int(u)
        if depth.sky[row, column]:
            continue
        patch = depth.values[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        known = patch[np.isfinite(patch)]
        if known.size:
            out[index] = np.median(known)
    return out


def fitted(
    depth: DepthMap, values: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"], groups: np.ndarray | None, by: str
) -> DepthMap:
    inverse = depth.kind is DepthKind.DISPARITY
    target = 1 / z if inverse else z
    shifts = not depth.kind.positive and len(z) > 1
    stride = max(1, len(z) // ENOUGH)
    values, target = values[::stride], target[::stride]
    groups = groups[::stride] if groups is not None else None
    scale, shift, inliers = fit(values, target, shifts)
    bars = errors(values, target, inliers, shifts, groups)
    residual = np.abs((scale * values + shift) / target - 1)[inliers]
    space = ("scale and shift" if shifts else "scale") + (" of 1/z" if inverse else " of z")
    calibration = Calibration(
        scale=float(scale),
        shift=float(shift),
        method=f"{space}, by {by}",
        points=int(np.count_nonzero(inliers)),
        outliers=int(np.count_nonzero(~inliers)),
        residual=float(np.median(residual)),
        scale_error_bar=bars[0],
        shift_error_bar=bars[1],
    )
    return applied(depth, calibration)


def applied(depth: DepthMap, calibration: Calibration) -> DepthMap:
    metric = depth.with_scale_and_shift(calibration.scale, calibration.shift)
    if not metric.valid.any():
        raise ValueError("calibration: the fit puts every pixel behind the camera: are the known depths right?")
    return replace(metric, calibration=calibration)
