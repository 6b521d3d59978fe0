"""Lengths between two points of a depth map, with an honest uncertainty, and the scale that a tape measure gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from keendepth.core.types import Calibration, Camera, DepthKind, DepthMap

Point = tuple[float, float]  # (column, row) in pixels of the depth map; the centre of the top-left pixel is (0.5, 0.5)

CLICK = 1 / 500  # how far beside the wanted point a click may lie, of the longer side (ours: 2 pixels of 1000)
# One standard deviation of the focal length by where it came from (ours): a 60 degree guess against real lenses of 45 to 75 degrees, EXIF's
# whole millimetres, networks' own estimates.
FOCAL_ERROR = {"given": 0.0, "exif": 0.03, "model": 0.1, "guess": 0.25}
MODEL_ERROR = (
    0.13  # AbsRel of the shipped model in rooms (README); others are of this order on pictures they have not seen
)


@dataclass(frozen=True)
class Measurement:
    """A length in metres, one standard deviation, what it is made of, and how far away both ends are."""

    metres: float
    error: float
    parts: dict[str, float]  # metres each: "points", "camera", "scale"
    distances: tuple[float, float]  # z of A and B

    def text(self) -> str:
        """For a label: as many digits as mean something."""
        digits = max(0, min(4, 1 - math.floor(math.log10(self.error)))) if self.error > 0 else 3
        return f"{self.metres:.{digits}f} m ± {self.error:.{digits}f} m"


def measure(depth: DepthMap, a: Point, b: Point, by_model: bool) -> Measurement:
    """The straight line between what is seen at `a` and at `b`.

    `by_model`: the metres are a network's, not a file's or a tape's. KindError unless METRIC; ValueError without a camera, outside the
    picture, or where either point is unknown or sky. The three parts are independent: where one clicked (the spread over nearby pixels,
    large at edges), the focal length, and the scale of the depth itself (none is known for a file: it is taken at its word).
    """
    depth.require(DepthKind.METRIC, "measuring")
    camera = depth.camera
    if camera is None:
        raise ValueError("measuring needs a camera: set the focal length")
    first, second = _around(depth, a, "A"), _around(depth, b, "B")
    metres = _length(first[:1], second[:1], camera)[0, 0]
    spread = _length(first, second, camera)
    parts = {
        "points": float(np.sqrt(np.mean((spread - metres) ** 2))),
        "camera": _camera_part(first[:1], second[:1], camera),
        "scale": float(metres) * _scale_error(depth, by_model),
    }
    error = math.sqrt(sum(part**2 for part in parts.values()))
    return Measurement(float(metres), error, parts, (float(first[0, 2]), float(second[0, 2])))


def scaled_to(depth: DepthMap, measured: Measurement, metres: float) -> DepthMap:
    """The map in the scale that makes `measured` as long as a tape said; its error bar is what clicking leaves open."""
    if not (math.isfinite(metres) and metres > 0 and measured.metres > 0):
        raise ValueError(f"a real distance must be above 0 m between two different points, found {metres}")
    factor = metres / measured.metres
    bar = factor * measured.parts["points"] / measured.metres
    earlier = depth.calibration.scale if depth.calibration else 1.0
    note = Calibration(earlier * factor, 0.0, "a distance between two points", 2, 0.0, earlier * bar)
    return replace(depth.with_scale(factor), calibration=note)


def _around(depth: DepthMap, point: Point, name: str) -> Float64[np.ndarray, "n 3"]:
    """(column, row, z) at the point, then at known pixels within a click's reach of it."""
    height, width = depth.size
    column, row = math.floor(point[0]), math.floor(point[1])
    if not (0 <= column < width and 0 <= row < height):
        raise ValueError(f"point {name} at {column}, {row} lies outside the picture of {width} x {height} pixels")
    if not depth.valid[row, column]:
        what = "sky" if depth.sky[row, column] else "unknown"
        raise ValueError(f"point {name}: the depth there is {what}; choose a point beside it")
    reach = max(1, round(CLICK * max(height, width)))
    steps = sorted({-reach, -(reach // 2), 0, reach // 2, reach})
    places = [(0, 0), *((x, y) for x in steps for y in steps if (x, y) != (0, 0))]
    inside = [(column + x, row + y) for x, y in places if 0 <= column + x < width and 0 <= row + y < height]
    known = [(x + 0.5, y + 0.5, float(depth.values[y, x])) for x, y in inside if depth.valid[y, x]]
    return np.array(known, dtype=np.float64)


def _length(
    first: Float64[np.ndarray, "n 3"], second: Float64[np.ndarray, "m 3"], camera: Camera
) -> Float64[np.ndarray, "n m"]:
    gap = _points(first, camera)[:, None] - _points(second, camera)[None]
    return np.sqrt((gap**2).sum(axis=-1))


def _points(seen: Float64[np.ndarray, "n 3"], camera: Camera) -> Float64[np.ndarray, "n 3"]:
    x = (seen[:, 0] - camera.cx) / camera.fx * seen[:, 2]
    y = (seen[:, 1] - camera.cy) / camera.fy * seen[:, 2]
    return np.stack([x, y, seen[:, 2]], axis=-1)


def _camera_part(first: np.ndarray, second: np.ndarray, camera: Camera) -> float:
    """Half the change between a focal length one deviation longer and one shorter."""
    share = FOCAL_ERROR.get(camera.source, FOCAL_ERROR["guess"])
    ways = [replace(camera, fx=camera.fx * factor, fy=camera.fy * factor) for factor in (1 - share, 1 + share)]
    short, long = (_length(first, second, way)[0, 0] for way in ways)
    return abs(float(short - long)) / 2


def _scale_error(depth: DepthMap, by_model: bool) -> float:
    """One standard deviation of the map's scale, as a share of it."""
    found = depth.calibration
    if found is not None:
        return abs(found.scale_error_bar / found.scale) if found.scale_error_bar is not None else MODEL_ERROR
    return MODEL_ERROR if by_model else 0.0
