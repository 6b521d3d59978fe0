"""The numbers in which frames are compared: the logarithm of depth where depth has a zero, else inverse depth brought to 0.1..1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Float64

from keendepth.core.types import DepthKind, DepthMap

if TYPE_CHECKING:
    from keendepth.temporal.correction import Line

NEAR, FAR = (
    1.0,
    0.1,
)  # where the nearest and the farthest of the first frame's inverse depth go: a tenfold range is that of a room
TAIL = 2.0  # per cent of the pixels beyond each end
LEAST = 0.02  # least inverse depth of a known pixel for the camera's motion, in the same numbers


@dataclass(frozen=True)
class Space:
    """log z, or `scale` * inverse + `shift` with one gauge for a whole shot; `far_is_large` where the map holds z, not 1/z."""

    logarithmic: bool
    far_is_large: bool
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def of(cls, small: DepthMap) -> Space:
        """The space for a shot that begins with this depth, which must have a known pixel."""
        if small.kind.positive:
            return cls(True, True)
        far, near = np.percentile(small.inverse()[small.valid].astype(np.float64), [TAIL, 100 - TAIL])
        scale = (NEAR - FAR) / (near - far) if near - far > 1e-12 * max(1.0, abs(near)) else 1.0
        return cls(False, small.kind is not DepthKind.DISPARITY, float(scale), float(FAR - scale * far))

    def values(self, depth: DepthMap) -> Float64[np.ndarray, "h w"]:
        """A map's numbers in this space; NaN where unknown or sky."""
        known = np.where(depth.valid, depth.values, np.nan).astype(np.float64)
        if self.logarithmic:
            return np.log(known)
        return self.scale * (-known if self.far_is_large else known) + self.shift

    def back(self, values: Float[np.ndarray, "h w"], depth: DepthMap) -> DepthMap:
        """`depth` with the numbers that stand for `values`; what was unknown or sky stays so."""
        with np.errstate(over="ignore"):
            own = np.exp(values) if self.logarithmic else (values - self.shift) / self.scale
            own = -own if self.far_is_large and not self.logarithmic else own
        return depth.with_values(np.where(depth.valid, own, depth.values).astype(np.float32))

    def nearness(self, values: Float64[np.ndarray, "h w"], depth: DepthMap) -> Float32[np.ndarray, "h w"]:
        """Inverse depth for the camera's motion: 0 for sky, NaN for unknown."""
        near = np.exp(-values) if self.logarithmic else np.maximum(values, LEAST)
        return np.where(depth.sky, 0, near).astype(np.float32)

    def carried(self, values: Float[np.ndarray, "h w"], growth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """What values found in the other frame are here, where depth is smaller by `growth`."""
        return values - np.log(growth) if self.logarithmic else values * growth

    def in_own_unit(self, line: Line) -> tuple[float, float]:
        """(scale, shift) of a line in this space as the map's own numbers see it."""
        if self.logarithmic:
            return float(np.exp(line.shift)), 0.0
        shift = (line.scale * self.shift + line.shift - self.shift) / self.scale
        return line.scale, -shift if self.far_is_large else shift
