"""Metres from the camera's height above flat ground."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from keendepth.calibration.fitting import DENSE, TRIALS, jackknife
from keendepth.calibration.maps import ENOUGH, applied, fitted
from keendepth.core import geometry
from keendepth.core.types import Calibration, Camera, DepthMap

LOWER = 0.6  # the ground is looked for below this share of the picture
NEAR_PLANE = 0.03  # a pixel is of the ground where its distance to the plane is below this share of the height
SHARE = 0.3  # of the lower part that must be ground
TILT = 0.7  # least |y| of the ground's normal: the camera is tilted and rolled by less than 45 degrees


def from_camera_height(depth: DepthMap, height: float, camera: Camera | None = None) -> DepthMap:
    """METRIC from the camera's height above flat ground in metres (Rousseeuw's least median by random triples of points).

    A metric or scale-invariant map gets a scale from the plane of its lower part. Disparity and affine depth have an unknown shift,
    which a plane cannot give: for them the camera is taken to be level (the horizon at the principal point's row). `camera` is the
    map's own by default. ValueError where no ground is found.
    """
    if not (math.isfinite(height) and height > 0):
        raise ValueError(f"camera height: expected metres above 0, found {height}")
    camera = camera or depth.camera
    if camera is None:
        raise ValueError("camera height: this needs a camera; give --fov or --focal")
    rows, columns = _lower(depth)
    rays = geometry.pixel_rays(*depth.size, camera.K)[rows, columns]
    values = depth.values[rows, columns].astype(np.float64)
    if not depth.kind.positive:
        return _level(depth, values, rays, height)
    normal, inliers = _ground(rays * values[:, None])
    heights = (rays * values[:, None])[inliers] @ normal
    if np.count_nonzero(inliers) < SHARE * len(rows):
        raise ValueError(
            f"camera height: only {np.count_nonzero(inliers) / len(rows):.0%} of the picture's lower part is one flat ground, "
            f"{SHARE:.0%} are needed: use --known points instead"
        )
    groups = (columns[inliers] * 16 // depth.size[1]).astype(int)
    target = np.full(len(heights), height)
    bars = jackknife(heights, target, False, groups) if len(heights) >= DENSE else None
    scale = height / float(np.median(heights))
    residual = float(np.median(np.abs(heights * scale / height - 1)))
    count = int(np.count_nonzero(inliers))
    outliers = len(rows) - count
    bar = bars[0] if bars else None
    return applied(depth, Calibration(scale, 0.0, "scale of z, by camera height", count, residual, bar, 0.0, outliers))


def _lower(depth: DepthMap) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of at most `ENOUGH` known pixels of the picture's lower part."""
    start = int(LOWER * depth.size[0])
    rows, columns = np.nonzero(depth.valid[start:])
    if len(rows) < DENSE:
        raise ValueError("camera height: the picture's lower part has too few known pixels to find the ground")
    stride = max(1, len(rows) // ENOUGH)
    return rows[::stride] + start, columns[::stride]


def _ground(points: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, np.ndarray]:
    """(unit normal pointing down, inliers) of the plane that most points lie on."""
    rng = np.random.default_rng(0)
    triples = points[rng.integers(0, len(points), (TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    good = length > 1e-12 * np.abs(points).max() ** 2
    normals, anchors = normals[good] / length[good, None], triples[good, 0]
    normals *= np.where(normals[:, 1:2] < 0, -1, 1)  # y points down
    heights = (normals * anchors).sum(1)
    usable = (normals[:, 1] > TILT) & (heights > 0)
    if not usable.any():
        raise ValueError("camera height: the picture's lower part is no ground: use --known points instead")
    normals, heights = normals[usable], heights[usable]
    some = points[:: max(1, len(points) // 2000)]
    votes = (np.abs(some @ normals.T / heights - 1) < NEAR_PLANE).sum(0)
    best = int(np.argmax(votes))
    normal, high = normals[best], heights[best]
    for _ in range(3):  # the plane n.p = h by least squares on its own points
        inliers = np.abs(points @ normal / high - 1) < NEAR_PLANE
        plane = np.linalg.lstsq(points[inliers], np.ones(np.count_nonzero(inliers)), rcond=None)[0]
        high = 1 / float(np.linalg.norm(plane))
        normal = plane * high
    return normal, np.abs(points @ normal / high - 1) < NEAR_PLANE


def _level(depth: DepthMap, values: np.ndarray, rays: np.ndarray, height: float) -> DepthMap:
    """For a level camera the ground's depth is known at every pixel below the horizon: z = height / ray's y."""
    below = rays[:, 1] > 1e-3
    if np.count_nonzero(below) < DENSE:
        raise ValueError(
            "camera height: the horizon of a level camera lies below the picture; use --known points instead"
        )
    across = np.digitize(rays[below, 0], np.quantile(rays[below, 0], np.linspace(0, 1, 17)[1:-1]))
    metric = fitted(depth, values[below], height / rays[below, 1], across, "camera height, a level camera assumed")
    found = metric.calibration
    if found is not None and found.points < SHARE * (found.points + found.outliers):
        raise ValueError("camera height: the picture's lower part is not flat ground: use --known points instead")
    return metric
