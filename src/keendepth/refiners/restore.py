"""Depth in the -1..1 that a diffusion model works in, and the way back to its own unit, in the three forms that SharpDepth leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from keendepth.core import align
from keendepth.core.types import DepthKind, DepthMap
from keendepth.refiners.space import FARTHEST, Nearness

Space = Literal[
    "depth", "inverse"
]  # what is mapped to -1..1: z (paper), or -1/z (ours), which leaves room for what is near
Form = Literal["lstsq", "minmax", "residual"]
KEEP = (0.1, 0.4)  # the residual form's bounds where a network's card has none (ours)
SURE = 0.5  # differences below it count for the fit (SharpDepth's released code)
NEAREST = (
    0.5  # nothing comes nearer than this multiple of the nearest input (sharpdepth.md 12.9: a fit may give 0 or less)
)


@dataclass(frozen=True, eq=False)
class Far:
    """A map of any kind as values that grow away from the camera: known everywhere, sky as far as the farthest thing (in 1/z at 0)."""

    values: Float32[np.ndarray, "h w"]
    near: Nearness
    space: Space

    @classmethod
    def of(cls, depth: DepthMap, space: Space) -> Far:
        """From a map of any kind; `space` is of consequence for positive kinds only. A map without any known pixel has zeros."""
        near = Nearness.of(depth)
        if space == "inverse" or not depth.kind.positive or not (near.values > 0).any():
            return cls(-near.values, near, space)
        things = near.values > 0
        farthest = np.float32(1) / near.values[things].min()
        values = np.full(near.values.shape, farthest, np.float32)
        np.divide(np.float32(1), near.values, out=values, where=things)
        return cls(values, near, space)

    def back(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Values as depth of the map's own kind: positive kinds stay so, within half the nearest input; unknown and sky as they were."""
        if self.near.kind.positive:
            values = self._positive(values)
        elif self.near.kind is DepthKind.DISPARITY:
            values = -values
        values = np.where(self.near.sky, np.float32(np.inf), values)
        return np.where(self.near.unknown, np.float32(np.nan), values).astype(np.float32)

    def _positive(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        known = self.near.values[self.near.values > 0]
        if not known.size:
            return np.ones_like(values)
        if self.space == "inverse":
            values = 1 / np.maximum(-values, known.min() / np.float32(FARTHEST))
        return np.maximum(values, np.float32(NEAREST) / known.max())


@dataclass(frozen=True)
class Span:
    """The range that becomes -1..1: the least and the largest value over all pixels (SharpDepth, section 3)."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Float32[np.ndarray, "h w"], least: float = 0.0) -> Span | None:
        """Of a map, stretched to `least` where it is shorter; None for a constant map, which has no edge to sharpen."""
        low, high = float(values.min()), float(values.max())
        if high - low <= 1e-6 * max(abs(low), abs(high), 1e-6):
            return None
        missing = max(0.0, least - (high - low)) / 2
        return cls(low - missing, high + missing)

    def unit(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """In -1..1."""
        return np.clip(self._scaled(values), -1, 1)

    def beyond(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """The same for another map than the range is of, which may leave it by a half, so that what is thin can be nearer."""
        return np.clip(self._scaled(values), -1.5, 1.5)

    def _scaled(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        return (values - np.float32(self.low)) * np.float32(2 / (self.high - self.low)) - np.float32(1)

    def back(self, unit: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """The inverse of `unit`."""
        return (unit + np.float32(1)) * np.float32((self.high - self.low) / 2) + np.float32(self.low)


def brought_back(
    unit: Float32[np.ndarray, "h w"],
    values: Float32[np.ndarray, "h w"],
    difference: Float32[np.ndarray, "h w"],
    span: Span,
    form: Form,
) -> Float32[np.ndarray, "h w"]:
    """An answer in -1..1 in the unit of `values`, the map it was made from.

    "minmax": the inverse of the normalisation (paper). Else least squares over the pixels whose difference is below a half (code);
    over all of them where there is none, and "minmax" where the fit would turn near into far (ours).
    """
    if form != "minmax":
        sure = difference < SURE
        sure = sure if np.count_nonzero(sure) > 1 else np.ones(sure.shape, bool)
        scale, shift = align.fit_scale_shift(unit[sure].astype(np.float64), values[sure].astype(np.float64))
        if scale > 0:
            return np.float32(scale) * unit + np.float32(shift)
    return span.back(unit)


def departure(
    sharp: Float32[np.ndarray, "h w"], far: Float32[np.ndarray, "h w"], span: Span, whole: float
) -> Float32[np.ndarray, "h w"]:
    """Difference 0..1 of a sharper map from the given one, both in the unit of `far`; `whole` of 2 between the ends of `span` is 1 (ours)."""
    return np.clip(np.abs(sharp - far) / np.float32(whole * (span.high - span.low) / 2), 0, 1).astype(np.float32)


def share(difference: Float32[np.ndarray, "h w"], keep: tuple[float, float]) -> Float32[np.ndarray, "h w"]:
    """How much of the new depth a pixel takes in the residual form (ours): 0 up to keep[0], 1 from keep[1], smooth between."""
    low, high = keep
    ramp = np.clip((difference - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
    return (ramp * ramp * (np.float32(3) - np.float32(2) * ramp)).astype(np.float32)


def mixed(
    far: Far, sharp: Float32[np.ndarray, "h w"], share: Float32[np.ndarray, "h w"], given: DepthMap
) -> Float32[np.ndarray, "h w"]:
    """Depth d + share (sharp - d) in the kind of `given`, of whose pixels with share 0 not a bit changes."""
    kept: Bool[np.ndarray, "h w"] = share <= 0
    values = far.back(far.values + share * (sharp - far.values))
    return np.where(kept, given.values, values)
