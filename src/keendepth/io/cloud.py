"""Point clouds: coloured binary PLY in OpenCV axes, without unknown, sky and flying pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from keendepth.core import edges
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.io.formats import Draft

# A ramp between two surfaces is seen at a grazing angle; 80 degrees keeps the rim of a ball to 1.5 % of its radius (ours).
STEEP_DEGREES = 80.0
STEEP_STEP = math.log(1.02)  # and it must bridge at least 2 % of depth, or sensor noise would count
# How far networks and sensors smear an edge at most, as a share of the longer side; a slanted plane goes on for longer.
BLUR_WIDTH = 0.0125
PLANE_TOLERANCE = 0.2  # of the expected change
UNRELIABLE = 0.2  # points that are expected to be more than this share of their depth off are left out (ours)


def camera_of(depth: DepthMap, purpose: str) -> Camera:
    """The camera of a metric map; KindError or ValueError say what is missing."""
    depth.require(DepthKind.METRIC, purpose)
    if depth.camera is None:
        raise ValueError(
            f"{purpose} needs a camera, and this depth map has none: give it one with Camera.from_fov(degrees, width, height), "
            "or --fov / --focal on the command line"
        )
    return depth.camera


def flying_pixels(depth: DepthMap) -> Bool[np.ndarray, "h w"]:
    """Pixels that hang between two surfaces: steep on both sides, and not part of a slanted plane. Needs METRIC depth and a camera.

    Steep is what is seen at more than 80 degrees, or, in small pictures, a jump (`edges.JUMP_RATIO`) on either side.

    Both one-sided slopes count, so the last pixel of a surface before a sharp jump stays, and so does a wire one pixel wide.
    A plane is linear in 1/z; a ramp is not, beyond the width of the blur.
    """
    camera = camera_of(depth, "finding flying pixels")
    span = max(1, round(max(depth.size) / 1000))  # slopes of large pictures over several pixels, against noise
    with np.errstate(divide="ignore", invalid="ignore"):
        log_depth = np.log(depth.values)
        across, down = _slope(log_depth, 1, span), _slope(log_depth, 0, span)
        stretch = _inverse_cosine(across, down, camera)
    slope = np.maximum(np.abs(across), np.abs(down))
    grazing = (stretch > 1 / math.cos(math.radians(STEEP_DEGREES))) & (slope * 2 * span > STEEP_STEP)
    steep = depth.valid & (grazing | (slope * span > math.log(edges.JUMP_RATIO)))
    rows, columns = np.nonzero(steep)
    planar = _goes_on(1 / depth.values.astype(np.float64), across, down, (rows, columns))
    steep[rows[planar], columns[planar]] = False
    return steep


def _slope(log_depth: Float32[np.ndarray, "h w"], axis: int, span: int) -> Float32[np.ndarray, "h w"]:
    """The smaller of both one-sided slopes per pixel, 0 where they disagree in sign or a side is unknown."""
    slope = np.zeros_like(log_depth)
    if log_depth.shape[axis] <= 2 * span:
        return slope
    values, out = (log_depth, slope) if axis == 0 else (log_depth.T, slope.T)
    step = values[span:] - values[:-span]
    before, after = step[:-span], step[span:]
    smaller = np.where(np.abs(before) < np.abs(after), before, after)
    out[span:-span] = np.where(before * after > 0, smaller / span, 0)
    return slope


def _inverse_cosine(
    across: Float32[np.ndarray, "h w"], down: Float32[np.ndarray, "h w"], camera: Camera
) -> Float32[np.ndarray, "h w"]:
    """1 / cos of the angle between the viewing ray and the normal, from the slopes of log z per pixel.

    With P = z(u, v) r(u, v) the normal is (fx a, fy d, -(1 + (u - cx) a + (v - cy) d)) and its product with the ray r is -1.
    """
    u = (np.arange(camera.width, dtype=np.float32) + 0.5 - camera.cx).astype(np.float32)
    v = (np.arange(camera.height, dtype=np.float32) + 0.5 - camera.cy).astype(np.float32)[:, None]
    ray = 1 + (u / np.float32(camera.fx)) ** 2 + (v / np.float32(camera.fy)) ** 2
    normal = (
        (np.float32(camera.fx) * across) ** 2 + (np.float32(camera.fy) * down) ** 2 + (1 + u * across + v * down) ** 2
    )
    return np.sqrt(ray * normal)


def _goes_on(
    inverse: np.ndarray, across: np.ndarray, down: np.ndarray, where: tuple[np.ndarray, np.ndarray]
) -> Bool[np.ndarray, " n"]:
    """Whether 1/z continues along its steeper axis, on one side at least, as on a plane: for more than the width of a blurred edge."""
    height, width = inverse.shape
    reach = max(8, round(BLUR_WIDTH * max(height, width)))
    rows, columns = where
    sideways = np.abs(across[where]) > np.abs(down[where])
    slope = -np.where(sideways, across[where], down[where]) * inverse[where]  # d(1/z) = -(1/z) d(log z)
    on = np.zeros(rows.size, bool)
    for way in (-1, 1):
        one_side = np.ones(rows.size, bool)
        for far in (reach // 2, reach):  # two places, or the tail of a ramp meets its tangent by chance
            row = rows + np.where(sideways, 0, way * far)
            column = columns + np.where(sideways, way * far, 0)
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            there = inverse[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            expected = slope * way * far
            one_side &= inside & (np.abs(there - inverse[where] - expected) < PLANE_TOLERANCE * np.abs(expected))
        on |= one_side
    return on


def stride_for(size: tuple[int, int], most: int | None) -> int:
    """The smallest step over pixels that leaves at most `most` of them."""
    stride = 1
    while most is not None and math.ceil(size[0] / stride) * math.ceil(size[1] / stride) > max(1, most):
        stride += 1
    return stride


def every_nth(side: int, stride: int) -> Int[np.ndarray, " n"]:
    """Pixel numbers along one side of the picture, each in the middle of the `stride` pixels that it stands for."""
    return np.arange(min(stride // 2, side - 1), side, stride)


def solid(depth: DepthMap) -> Float32[np.ndarray, "h w"]:
    """Depth with NaN for everything that is no point of a surface: unknown, sky, flying pixels, and what is expected to be far off."""
    keep = depth.valid & ~flying_pixels(depth) & ~unreliable(depth)
    return np.where(keep, depth.values, np.float32(np.nan))


def unreliable(depth: DepthMap) -> Bool[np.ndarray, "h w"]:
    """Pixels whose expected error is above `UNRELIABLE`; none of a map that does not know it."""
    if depth.expected_error is None:
        return np.zeros(depth.size, bool)
    return depth.expected_error > UNRELIABLE


def points_at(
    z: Float32[np.ndarray, " n"], rows: np.ndarray, columns: np.ndarray, camera: Camera
) -> Float32[np.ndarray, "n 3"]:
    """Points of some pixels, OpenCV axes, metres; as `DepthMap.points`, without the rest of the picture."""
    points = np.empty((z.size, 3), np.float32)
    points[:, 0] = (columns + 0.5 - camera.cx) / camera.fx * z
    points[:, 1] = (rows + 0.5 - camera.cy) / camera.fy * z
    points[:, 2] = z
    return points


def prepare(depth: DepthMap, image: Image | None, max_points: int | None = None) -> Draft:
    """Binary PLY with x, y, z in metres and the image's colours; more than `max_points` are thinned by taking every n-th pixel."""
    camera = camera_of(depth, "a point cloud")
    z = solid(depth)
    stride = stride_for(depth.size, max_points)
    grid = np.meshgrid(*(every_nth(side, stride) for side in depth.size), indexing="ij")
    rows, columns = (index.ravel() for index in grid)
    known = np.isfinite(z[rows, columns])
    rows, columns = rows[known], columns[known]
    points = points_at(z[rows, columns], rows, columns, camera)
    colours = image.resized(*depth.size).rgb[rows, columns] if image else None
    encoding = {
        "format": "PLY, binary",
        "axes": "OpenCV: x right, y down, z forward; metres",
        "points": len(points),
        "flying_pixels_dropped": int(
            np.count_nonzero(depth.valid & ~unreliable(depth)) - np.count_nonzero(np.isfinite(z))
        ),
        "unreliable_points_dropped": int(np.count_nonzero(unreliable(depth) & depth.valid)),
        "stride": stride,
        "error": None,
    }

    def save(temporary: Path, _description: dict[str, Any]) -> None:
        with temporary.open("wb") as stream:
            stream.writelines(ply_bytes(points, colours))

    return Draft(encoding, save)


def ply_bytes(points: Float32[np.ndarray, "n 3"], colours: np.ndarray | None) -> Iterator[bytes]:
    """A binary little-endian PLY, in pieces."""
    fields = [(name, "<f4") for name in "xyz"] + (
        [(name, "u1") for name in ("red", "green", "blue")] if colours is not None else []
    )
    words = {"<f4": "float", "u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", "comment keendepth; metres; x right, y down, z forward"]
    lines += (
        [f"element vertex {len(points)}"]
        + [f"property {words[kind]} {name}" for name, kind in fields]
        + ["end_header", ""]
    )
    yield "\n".join(lines).encode("ascii")
    vertices = np.empty(len(points), fields)
    for axis, name in enumerate("xyz"):
        vertices[name] = points[:, axis]
    if colours is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            vertices[name] = colours[:, channel]
    yield vertices.tobytes()
