"""The pinhole camera: focal length and principal point in pixels, and where they came from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in pixels. The centre of the top-left pixel is (0.5, 0.5); `source` says where it came from."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    source: str = "given"

    def __post_init__(self) -> None:
        for name in ("fx", "fy", "width", "height"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"camera: {name} must be a positive number, found {value}")
        if not (math.isfinite(self.cx) and math.isfinite(self.cy)):
            raise ValueError(f"camera: the principal point must be finite, found ({self.cx}, {self.cy})")

    @classmethod
    def from_focal(cls, focal: float, width: int, height: int, source: str = "given") -> Camera:
        """Square pixels with the principal point in the middle; `focal` in pixels."""
        return cls(float(focal), float(focal), width / 2, height / 2, width, height, source)

    @classmethod
    def from_fov(cls, degrees: float, width: int, height: int, source: str = "given") -> Camera:
        """From the horizontal field of view in degrees."""
        if not 0 < degrees < 180:
            raise ValueError(f"camera: the field of view must lie between 0 and 180 degrees, found {degrees}")
        return cls.from_focal(width / (2 * math.tan(math.radians(degrees) / 2)), width, height, source)

    @classmethod
    def from_35mm(cls, focal_mm: float, width: int, height: int, source: str = "exif") -> Camera:
        """From the 35 mm equivalent focal length, over the diagonal of a 36 x 24 mm frame (Depth Pro's formula)."""
        return cls.from_focal(focal_mm * math.hypot(width, height) / math.hypot(36, 24), width, height, source)

    @classmethod
    def from_opencv(cls, K: Any, width: int, height: int, source: str = "given") -> Camera:
        """From a 3x3 matrix whose pixel centres are whole numbers, as OpenCV, Open3D, ROS and most data sets have it."""
        K = np.asarray(K, dtype=np.float64)
        if K.ndim != 2 or min(K.shape) < 3:
            raise ValueError(f"camera: expected a 3x3 matrix, found shape {K.shape}")
        (fx, _, cx), (_, fy, cy) = K[:2, :3].tolist()
        return cls(fx, fy, cx + 0.5, cy + 0.5, width, height, source)

    @property
    def K(self) -> Float64[np.ndarray, "3 3"]:
        """The 3x3 matrix in this package's convention (pixel centres at halves)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    @property
    def K_opencv(self) -> Float64[np.ndarray, "3 3"]:
        """The 3x3 matrix with pixel centres at whole numbers (OpenCV, Open3D, ROS)."""
        return self.K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])

    @property
    def fov_degrees(self) -> float:
        """Horizontal field of view in degrees."""
        return math.degrees(2 * math.atan(self.width / (2 * self.fx)))

    def resized(self, height: int, width: int) -> Camera:
        """The camera of the same picture resized to (height, width)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy, width=width, height=height
        )

    def cropped(self, top: int, left: int, height: int, width: int) -> Camera:
        """The camera of the picture's part [top : top + height, left : left + width]."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)
