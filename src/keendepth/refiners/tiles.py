"""The patch-wise baseline: predict every tile of the photo by itself, fit it to the whole picture's depth, blend."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from keendepth.core import align, edges
from keendepth.core.types import DepthMap, Image
from keendepth.predictors import Predictor
from keendepth.refiners import register
from keendepth.refiners.space import Nearness
from keendepth.refiners.windows import OVERLAP, Blend, Window, grid

FIT_POINTS = 20_000  # pixels that a fit of one window sees
STEEPEST = (0.2, 5.0)  # a window whose scale differs more than this from the whole picture's is not trusted


class PredictorNeededError(ValueError):
    """A refiner that asks the predictor again was given none."""


@register(
    "tiles",
    summary="patch-wise baseline: the predictor looks at every tile by itself, fitted to the whole and blended; needs a predictor",
    license="Apache-2.0",
    paper="after BoostingMonocularDepth (Miangoleh et al., CVPR 2021) and PatchFusion (Li et al., CVPR 2024), without their networks",
    fails_on="tiles that show too little to tell depth by; slow: one pass of the predictor per tile",
)
@dataclass(frozen=True)
class Tiles:
    count: int = 4  # tiles along each side; PatchFusion has 4 x 4
    overlap: float = OVERLAP
    needs_predictor = True

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        if predictor is None:
            raise PredictorNeededError(
                "the refiner 'tiles' asks the predictor again, and a depth file comes without one: "
                "write it behind a predictor (e.g. indoor-small+tiles), or choose median or sddr"
            )
        whole = Nearness.of(depth.resized(*image.size))
        blend = Blend(image.size, self.overlap)
        for window in grid(image.size, self.count, self.overlap):
            tile = predictor.predict(cropped(image, window))
            blend.add(window, fit_window(Nearness.of(tile).values, whole.values[window.at]))
        return depth.with_values(whole.back(blend.result(whole.values)))


def cropped(image: Image, window: Window) -> Image:
    """A part of a picture; its camera follows."""
    camera = image.camera.cropped(window.top, window.left, *window.size) if image.camera else None
    return replace(image, rgb=np.ascontiguousarray(image.rgb[window.at]), camera=camera)


def fit_window(
    values: Float32[np.ndarray, "h w"], base: Float32[np.ndarray, "h w"], flat_share: float = 0.6
) -> Float32[np.ndarray, "h w"]:
    """`values` under the scale and shift that fit `base` on its flat pixels; `base` itself where no rising fit is found.

    Trimmed least squares, and without the steepest pixels of either map: over all pixels a wrong edge tilts the window (sddr.md 11.13).
    """
    scale, shift = fit_flat(values, base, flat_share)
    spread_base, spread = float(np.std(base)), float(np.std(values))
    if not scale > 0 or spread == 0:
        return base
    if spread_base > 0 and not STEEPEST[0] <= scale * spread / spread_base <= STEEPEST[1]:
        return base
    return np.float32(scale) * values + np.float32(shift)


def fit_flat(
    values: Float32[np.ndarray, "h w"], base: Float32[np.ndarray, "h w"], flat_share: float = 0.6
) -> tuple[float, float]:
    """(scale, shift) of the fit that `fit_window` applies."""
    steps = [max(1, side // 256) for side in base.shape]  # slopes need neighbours, not every pixel
    thin = np.s_[:: steps[0], :: steps[1]]
    a, b = np.ascontiguousarray(values[thin]), np.ascontiguousarray(base[thin])
    slope = edges.gradient_magnitude(a) / (np.std(a) + 1e-12) + edges.gradient_magnitude(b) / (np.std(b) + 1e-12)
    flat = slope <= np.quantile(slope, flat_share)
    stride = max(1, np.count_nonzero(flat) // FIT_POINTS)
    return align.fit_trimmed(a[flat][::stride].astype(np.float64), b[flat][::stride].astype(np.float64))
