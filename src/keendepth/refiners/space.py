"""The space in which networks refine: values that grow towards the camera and are known everywhere, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from keendepth.core import geometry
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.refiners.joint import JointOptions, refine_jointly

# A refined value may leave the input's range by this share of it: a reduced map has lost some of a thin thing's nearness.
OVERSHOOT = 0.1
# In 1/z, where a small step is a long way: no farther than this multiple of the farthest input.
FARTHEST = 1.25


@dataclass(frozen=True, eq=False)
class Nearness:
    """A depth map as 1/z, disparity, or minus affine z; unknown pixels hold the nearest known value, sky the least there is."""

    values: Float32[np.ndarray, "h w"]
    unknown: Bool[np.ndarray, "h w"]
    sky: Bool[np.ndarray, "h w"]
    kind: DepthKind

    @classmethod
    def of(cls, depth: DepthMap) -> Nearness:
        """From a map of any kind. A map without any known pixel has zeros."""
        unknown, sky = np.isnan(depth.values), depth.sky
        values = depth.inverse()  # sky is the smallest there: 0 in 1/z
        known = ~unknown & ~(sky if not depth.valid.any() else False)
        if not known.any():
            return cls(np.zeros_like(values), unknown, sky, depth.kind)
        if unknown.any():
            values = geometry.fill_nearest(values, unknown)
        return cls(values.astype(np.float32), unknown, sky, depth.kind)

    def back(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Refined values as depth of the map's own kind: within the input's range and a little more, unknown and sky as they were."""
        known = ~self.unknown & ~self.sky & ((self.values > 0) | (not self.kind.positive))  # a rim that moved lets 0 in
        if not known.any():
            return np.where(self.sky, np.float32(np.inf), np.float32(np.nan))
        low, high = float(self.values[known].min()), float(self.values[known].max())
        margin = OVERSHOOT * (high - low)
        floor = max(low - margin, low / FARTHEST) if self.kind.positive else low - margin
        values = np.clip(values, np.float32(floor), np.float32(high + margin))
        if self.kind.positive:
            values = 1 / values
        elif self.kind is not DepthKind.DISPARITY:
            values = -values
        values = np.where(self.sky, np.float32(np.inf), values)
        return np.where(self.unknown, np.float32(np.nan), values).astype(np.float32)

    def resky(self, values: Float32[np.ndarray, "h w"], reach: int) -> Nearness:
        """The same with the rim of the sky where refined `values` put it: sky is below half of the nearest thing's nearness.

        For maps that were enlarged, whose sky has a blocky rim; only in 1/z, where sky has a value of its own (0), and only
        within `reach` pixels of the old rim.
        """
        things = ~self.sky & ~self.unknown
        if not self.kind.positive or reach < 1 or not self.sky.any() or not things.any():
            return self
        from scipy import ndimage  # late, for a quick start

        rim = ndimage.maximum_filter(self.sky, 2 * reach + 1) & ~ndimage.minimum_filter(self.sky, 2 * reach + 1)
        thing = geometry.fill_nearest(self.values, ~things)
        sky = np.where(rim, values < thing / 2, self.sky) & ~self.unknown
        return Nearness(self.values, self.unknown, sky, self.kind)


def near_map(near: Float32[np.ndarray, "h w"]) -> DepthMap:
    """Nearness as a depth map: of 1/z (nothing below 0, and 0 is sky) its z, else disparity."""
    if near.min() < 0:
        return DepthMap(near, DepthKind.DISPARITY)
    with np.errstate(divide="ignore"):
        return DepthMap((1 / near).astype(np.float32), DepthKind.METRIC)


def along_photo(image: Image, depth: DepthMap, start: tuple[int, int] | None = None) -> Float32[np.ndarray, "h w"]:
    """Nearness of the weighted median of a map along the photo (`refiners.joint`), at the photo's size: sharp, and wrong here and there.

    It is the second map of a refiner that has no better one: what SDDR calls HIGH (**ours**). `start`: as in `refine_jointly`.
    """
    return Nearness.of(depth.with_values(refine_jointly(image, depth, JointOptions(), start))).values
