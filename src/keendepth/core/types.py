"""The core types: a depth map that knows its kind, unit, camera and origin, and the image it belongs to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from keendepth.core import align, geometry
from keendepth.core.camera import Camera


class KindError(TypeError):
    """An operation that this kind of depth does not allow. The message names the way out."""


class DepthKind(StrEnum):
    """What the numbers of a depth map mean."""

    METRIC = "metric"  # z in metres
    SCALE_INVARIANT = "scale_invariant"  # z up to one unknown factor
    AFFINE_INVARIANT = "affine_invariant"  # z up to an unknown factor and offset
    DISPARITY = "disparity"  # 1/z up to an unknown factor and offset; near is large

    @classmethod
    def _missing_(cls, value: object) -> DepthKind:
        raise ValueError(f"{value!r} is no kind of depth; known: {', '.join(cls)}")

    @property
    def unit(self) -> str:
        """The unit a file records: "m" for METRIC, else "1" (no unit)."""
        return "m" if self is DepthKind.METRIC else "1"

    @property
    def positive(self) -> bool:
        """Whether values must be above zero (a ratio of two of them means something)."""
        return self in (DepthKind.METRIC, DepthKind.SCALE_INVARIANT)


@dataclass(frozen=True)
class Card:
    """What one should know of a model before using it; travels with its weights and its outputs."""

    name: str
    summary: str
    license: str
    paper: str = ""
    kind: DepthKind | None = None  # None: keeps the kind it is given (refiners)
    trained_on: str = ""
    fails_on: str = ""
    parameters: int = 0
    native_size: tuple[int, int] | None = None  # (height, width) of the network's input
    sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Image:
    """An upright sRGB picture."""

    rgb: np.ndarray  # uint8 [h w 3], checked below with a message for people
    camera: Camera | None = None
    name: str = "image"

    def __post_init__(self) -> None:
        rgb = np.asarray(self.rgb)
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ValueError(
                f"image: expected uint8 [h w 3] with at least one pixel, found {rgb.dtype} {list(rgb.shape)}"
            )
        object.__setattr__(self, "rgb", _frozen(rgb))
        _check_camera(self.camera, rgb.shape[:2])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def resized(self, height: int, width: int) -> Image:
        """Anti-aliased resize; the camera follows."""
        if (height, width) == self.size:
            return self
        rgb = geometry.resize(self.rgb, (height, width))
        camera = self.camera.resized(height, width) if self.camera else None
        return Image(np.clip(np.rint(rgb), 0, 255).astype(np.uint8), camera, self.name)


@dataclass(frozen=True)
class Refinement:
    """What a refiner did to a depth map: how strongly, and the scale and shift by which it drifted from its input."""

    name: str
    strength: float
    residual_scale: float  # 1 = the input's scale was kept
    residual_shift: float  # in the map's own unit; 0 = kept


@dataclass(frozen=True)
class Calibration:
    """How a map became metric: z = scale * value + shift (1/z for disparity), what it was fitted to, and how far off it may be."""

    scale: float
    shift: float
    method: str
    points: int  # used for the fit
    residual: float  # median of the relative errors in the fit's space; 0 = met exactly
    scale_error_bar: float | None  # one standard deviation; None: as many points as unknowns, so nothing to judge by
    shift_error_bar: float | None = None
    outliers: int = 0  # points left out


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth with its meaning. NaN = unknown, +inf = sky (infinitely far, in every kind); the array is read-only."""

    values: np.ndarray  # float32 [h w]; numbers of other types are converted
    kind: DepthKind
    camera: Camera | None = None
    source: Card | None = None
    refinement: Refinement | None = None
    calibration: Calibration | None = None
    expected_error: np.ndarray | None = (
        None  # float32 [h w]: how far off a value may be, as a share of it; NaN = unknown
    )

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
            raise ValueError(
                f"depth: expected numbers [h w] with at least one pixel, found {values.dtype} {list(values.shape)}"
            )
        with np.errstate(
            over="ignore"
        ):  # a float64 too large for float32 becomes +inf, which is what "infinitely far" means
            values = np.ascontiguousarray(values, dtype=np.float32)
        object.__setattr__(self, "values", _frozen(values))
        object.__setattr__(self, "kind", DepthKind(self.kind))
        lowest = np.fmin.reduce(values, axis=None)  # passes over NaN, is NaN (and below nothing) if all are
        if lowest == -np.inf:
            raise ValueError("depth: found -inf; write unknown pixels as NaN and sky as +inf")
        if self.kind.positive and lowest <= 0:
            raise ValueError(
                f"depth: {self.kind} values must be above 0, found {lowest}; "
                "write unknown pixels as NaN (DepthMap.from_sensor does)"
            )
        _check_camera(self.camera, values.shape)
        if self.expected_error is not None:
            object.__setattr__(self, "expected_error", _errors(self.expected_error, values.shape))

    @classmethod
    def from_sensor(cls, values: Any, metres_per_unit: float = 1.0, camera: Camera | None = None) -> DepthMap:
        """A metric map from sensor values in which 0, negative and NaN mean unknown. Raises ValueError unless the unit is positive."""
        if not (math.isfinite(metres_per_unit) and metres_per_unit > 0):
            raise ValueError(f"depth: metres_per_unit must be a positive number, found {metres_per_unit}")
        values = np.asarray(values, dtype=np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            metres = (values * metres_per_unit).astype(np.float32)
            return cls(np.where(metres > 0, metres, np.float32(np.nan)), DepthKind.METRIC, camera)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def valid(self) -> Bool[np.ndarray, "h w"]:
        """True where the value is a finite number (neither unknown nor sky)."""
        return np.isfinite(self.values)

    @property
    def sky(self) -> Bool[np.ndarray, "h w"]:
        """True where the pixel is infinitely far."""
        return np.isposinf(self.values)

    @property
    def unit(self) -> str:
        return self.kind.unit

    def with_values(self, values: Shaped[np.ndarray, "h w"]) -> DepthMap:
        """The same view, kind and origin with other values, of unknown error; a change of size is a resize, which the camera follows (see `cropped`)."""
        camera = self.camera
        if camera and (camera.height, camera.width) != values.shape:
            camera = camera.resized(*values.shape)
        return replace(self, values=values, camera=camera, expected_error=None)

    def cropped(self, top: int, left: int, height: int, width: int) -> DepthMap:
        """A part of the map; the camera follows."""
        camera = self.camera.cropped(top, left, height, width) if self.camera else None
        part = slice(top, top + height), slice(left, left + width)
        error = None if self.expected_error is None else self.expected_error[part]
        return replace(self, values=self.values[part], camera=camera, expected_error=error)

    def resized(self, height: int, width: int, method: str = "linear") -> DepthMap:
        """Resize by "nearest", "linear", "cubic" or "area" (anti-aliased when shrinking); unknown pixels and sky stay apart."""
        if (height, width) == self.size:
            return self
        resized = self.with_values(geometry.resize_depth(self.values, (height, width), method))
        if self.expected_error is None:
            return resized
        return replace(resized, expected_error=geometry.resize_depth(self.expected_error, (height, width)))

    def filled(self) -> DepthMap:
        """Unknown pixels take the nearest known value; sky stays. A map without any known pixel is returned as it is."""
        unknown = np.isnan(self.values)
        if not unknown.any() or unknown.all():
            return self
        return self.with_values(geometry.fill_nearest(self.values, unknown))

    def inverse(self) -> Float32[np.ndarray, "h w"]:
        """Values that grow towards the camera, for viewing and for edges: 1/z, disparity as it is, affine z negated; sky is the smallest."""
        if self.kind.positive:
            return _reciprocal(self.values)
        near = self.values if self.kind is DepthKind.DISPARITY else -self.values
        floor = near[self.valid].min() if self.valid.any() else np.float32(0)
        return np.where(self.sky, floor, near)

    # Kinds convert only by the methods below.

    def to_disparity(self) -> DepthMap:
        """1/z. Allowed where z is known up to a factor; sky stays sky."""
        if self.kind is DepthKind.DISPARITY:
            return self
        if not self.kind.positive:
            raise KindError(
                f"{self.kind} depth has an unknown offset, so 1/z is undefined: "
                "first give it one with .with_scale_and_shift(scale, shift) or .aligned_to(a metric map)"
            )
        values = _reciprocal(self.values)
        values[self.sky] = np.inf
        return replace(self, values=values, kind=DepthKind.DISPARITY)

    def with_scale(self, scale: float) -> DepthMap:
        """METRIC from SCALE_INVARIANT (or a METRIC map corrected): values times `scale` are metres."""
        if not self.kind.positive:
            raise KindError(
                f"{self.kind} depth needs more than a scale: use .with_scale_and_shift(scale, shift) or .aligned_to(reference)"
            )
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"depth: a scale must be a positive number, found {scale}")
        return self.with_scale_and_shift(scale, 0.0)

    def with_scale_and_shift(self, scale: float, shift: float) -> DepthMap:
        """METRIC from any kind: z = scale * value + shift, and for DISPARITY 1/z = scale * value + shift. What comes out behind the camera is unknown (NaN)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # 0 * sky, and depths beyond float32
            mapped = np.float64(scale) * self.values + shift
            metres = (1 / mapped if self.kind is DepthKind.DISPARITY else mapped).astype(np.float32)
        metres[~((mapped > 0) & (metres > 0))] = np.nan
        metres[self.sky] = np.inf
        return replace(self, values=metres, kind=DepthKind.METRIC)

    def metric_from_stereo(self, focal: float, baseline: float, offset: float = 0.0) -> DepthMap:
        """METRIC from a stereo disparity in pixels: z = focal * baseline / (disparity + offset); focal in pixels, baseline in metres."""
        if self.kind is not DepthKind.DISPARITY:
            raise KindError(f"metric_from_stereo needs disparity in pixels, found {self.kind} depth")
        if not (focal > 0 and baseline > 0):
            raise ValueError(f"stereo: focal and baseline must be above 0, found {focal} and {baseline}")
        return self.with_scale_and_shift(1 / (focal * baseline), offset / (focal * baseline))

    def aligned_to(self, reference: DepthMap, method: str = "scale_shift") -> DepthMap:
        """This map in the reference's kind and unit, by the best fit over the pixels that both know.

        `method`: one of `core.align.METHODS`. The fit is made in 1/z when either map is disparity; a map with an unknown offset
        in z and disparity raise KindError. What comes out behind the camera is unknown (NaN); sky stays sky.
        """
        target = reference.resized(*self.size, method="nearest")
        own = self
        if DepthKind.DISPARITY in (self.kind, target.kind):
            own, target = self.to_disparity(), target.to_disparity()
        shared = own.valid & target.valid
        scale, shift = align.fit(
            own.values[shared].astype(np.float64), target.values[shared].astype(np.float64), method
        )
        if reference.kind.positive:
            return replace(own.with_scale_and_shift(scale, shift), kind=reference.kind)
        with np.errstate(invalid="ignore", over="ignore"):  # 0 * sky
            values = (np.float64(scale) * own.values + shift).astype(np.float32)
        values[own.sky] = np.inf
        return replace(own, values=values, kind=reference.kind)

    def points(self) -> Float32[np.ndarray, "h w 3"]:
        """3-D points in metres, OpenCV axes (x right, y down, z forward); NaN where unknown or sky. Needs METRIC depth and a camera."""
        self.require(DepthKind.METRIC, "a point cloud")
        if self.camera is None:
            raise ValueError(
                "points: this depth map has no camera; give it one with Camera.from_fov(degrees, width, height), "
                "or --fov / --focal on the command line"
            )
        z = np.where(self.valid, self.values, np.float32(np.nan))
        rays = geometry.pixel_rays(*self.size, self.camera.K).astype(np.float32)
        return geometry.unproject(z, rays)

    def require(self, kind: DepthKind, purpose: str) -> None:
        """Raise KindError unless this map is of `kind`; `purpose` says what it was wanted for."""
        if self.kind is not kind:
            ways = {
                DepthKind.SCALE_INVARIANT: ".with_scale(metres_per_unit)",
                DepthKind.AFFINE_INVARIANT: ".with_scale_and_shift(scale, shift)",
                DepthKind.DISPARITY: ".with_scale_and_shift(scale, shift) or, for stereo, .metric_from_stereo(focal, baseline)",
            }
            raise KindError(
                f"{purpose} needs {kind} depth, found {self.kind}: "
                f"convert it with {ways.get(self.kind, '.to_disparity()')} or .aligned_to(a metric map)"
            )


def _reciprocal(z: np.ndarray) -> np.ndarray:
    """1/z, largest float32 where that is too large for one: infinity would mean sky."""
    with np.errstate(over="ignore"):
        return np.minimum(1 / z, np.finfo(np.float32).max)


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view, so that a map shared by several owners stays what it was."""
    view = array.view()
    view.flags.writeable = False
    return view


def _errors(errors: Any, size: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    found = np.asarray(errors, np.float32)
    if found.shape != size or np.fmin.reduce(found, axis=None) < 0:
        raise ValueError(
            f"depth: expected errors of 0 or more for {size[1]} x {size[0]} pixels, found {list(found.shape)}"
        )
    return _frozen(found)


def _check_camera(camera: Camera | None, size: tuple[int, ...]) -> None:
    if camera is not None and (camera.height, camera.width) != tuple(size):
        raise ValueError(
            f"camera is for {camera.width} x {camera.height} pixels, the picture has {size[1]} x {size[0]}: use camera.resized(height, width)"
        )
