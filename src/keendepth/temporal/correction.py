"""How a frame is made to agree with the one before: a robust line for all of it, and a guided filter for what the line leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from keendepth.core import geometry
from keendepth.core.types import DepthMap
from keendepth.temporal.space import Space

HUBER = 1.5  # robust standard deviations from which a residual counts less (the usual choice)
REACH = 5.0  # and beyond which a change is the scene's, not the network's, and is left alone; 3, 5 and 8 gave flicker 0.26, 0.22, 0.20
ROUNDS = 5  # of reweighting; the fit is settled to 1e-4 then
STEEPEST = 2.0  # a frame's scale against the one before lies within 1/2 and 2, or the fit is not believed
WINDOW = 2.0  # pixels of the small picture (96 long): standard deviation of the windows in which the shape is fitted
FLAT = 0.05  # spread in a window below which the correction does not follow depth: 5 % of depth, where the space is logarithmic
TRUST = 0.05  # weight of "no correction", against 1 for a window full of good pixels


@dataclass(frozen=True)
class Line:
    """value -> scale * value + shift."""

    scale: float
    shift: float

    def applied(self, values: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
        """The line's value for each of `values`."""
        return self.scale * values + self.shift

    def towards_none(self, share: float) -> Line:
        """The mean of this line and no change at all, which weighs `share`."""
        return Line(1 + (1 - share) * (self.scale - 1), (1 - share) * self.shift)


@dataclass(frozen=True, eq=False)
class Shape:
    """A correction that is a line in each small window: slope * (value - middle) + offset; low resolution, smooth."""

    slope: Float64[np.ndarray, "a b"]
    offset: Float64[np.ndarray, "a b"]
    middle: float

    def at(self, values: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
        """The correction of `values`, at their own resolution."""
        slope, offset = (_enlarged(each, (values.shape[0], values.shape[1])) for each in (self.slope, self.offset))
        return slope * (values - self.middle) + offset


@dataclass(frozen=True, eq=False)
class Correction:
    """What one frame gets."""

    line: Line
    shape: Shape

    def applied(self, depth: DepthMap, space: Space) -> DepthMap:
        """`depth` corrected at full size; NaN and sky stay."""
        values = self.line.applied(space.values(depth))
        return space.back(values + self.shape.at(values), depth)


def fit_line(values: Float64[np.ndarray, " n"], wanted: Float64[np.ndarray, " n"], slope: bool) -> tuple[Line, float]:
    """The line that carries most of `values` to `wanted`, by least squares with Huber's weights, and the robust spread about it.

    Without `slope` it is a shift (one factor, in log depth). `core.align.fit_trimmed` drops a fixed fifth instead; here that
    fifth may be a door that opens or nothing at all, and the fit must not jump between frames.
    """
    line, spread = Line(1.0, float(np.median(wanted - values))), 0.0
    for _ in range(ROUNDS):
        residual = np.abs(wanted - line.scale * values - line.shift)
        spread = 1.4826 * float(np.median(residual)) + 1e-6
        weight = np.minimum(1, HUBER * spread / np.maximum(residual, 1e-12))
        line = _weighted_line(values, wanted, weight, slope)
    return line, spread


def _weighted_line(values: np.ndarray, wanted: np.ndarray, weight: np.ndarray, slope: bool) -> Line:
    total = float(weight.sum())
    mean_v, mean_w = float((weight * values).sum()) / total, float((weight * wanted).sum()) / total
    if not slope:
        return Line(1.0, mean_w - mean_v)
    variance = float((weight * (values - mean_v) ** 2).sum()) / total
    covariance = float((weight * (values - mean_v) * (wanted - mean_w)).sum()) / total
    scale = covariance / variance if variance > 1e-9 else 1.0
    if not 1 / STEEPEST < scale < STEEPEST:
        scale = 1.0
    return Line(scale, mean_w - scale * mean_v)


def fit_shape(
    values: Float64[np.ndarray, "h w"],
    wanted: Float64[np.ndarray, "h w"],
    spread: Float64[np.ndarray, "h w"],
    share: float,
) -> Shape:
    """The share of wanted - values that is smooth or follows depth, by weighted lines in Gaussian windows: a guided filter.

    After He et al., Guided Image Filtering (2013), equations 5 and 6, the guide being depth itself, so that the correction has depth's edges.
    `spread` is the usual difference, 0 where the pixel does not count; differences of `REACH` times it do not count either (Tukey's weights).
    """
    middle = float(np.nanmedian(values))
    if share == 0:
        return Shape(np.zeros((1, 1)), np.zeros((1, 1)), middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.clip(1 - ((wanted - values) / (REACH * spread)) ** 2, 0, 1) ** 2
    weight = np.nan_to_num(np.where(spread > 0, weight, 0))
    x = np.nan_to_num(values - middle)
    y = np.where(weight > 0, wanted - values, 0)
    full = _window(weight)
    x_mean, y_mean = _window(weight * x) / (full + 1e-6), _window(weight * y) / (full + TRUST)
    variance = np.maximum(_window(weight * x * x) / (full + 1e-6) - x_mean**2, 0)
    covariance = _window(weight * x * y) / (full + TRUST) - x_mean * y_mean
    slope = covariance / (variance + FLAT**2)
    offset = y_mean - slope * x_mean
    return Shape(share * _window(slope), share * _window(offset), middle)


def _window(values: np.ndarray) -> np.ndarray:
    from scipy import ndimage  # late, for a quick start

    return ndimage.gaussian_filter(values, WINDOW, mode="nearest")


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """At `size`; a single value stands for all."""
    return values if values.size == 1 or values.shape == size else geometry.resize(values, size)
