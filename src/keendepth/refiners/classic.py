"""The classical refiners, which every network must beat: weighted median, joint bilateral, guided filter, Poisson fusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float32

from keendepth.core import align, edges, poisson
from keendepth.core.types import DepthMap, Image
from keendepth.predictors import Predictor
from keendepth.refiners import register
from keendepth.refiners.joint import JointOptions, filled, refine_jointly

FUSION_PIXELS = 1_500_000  # Poisson fusion works at no more than this; the rest of the way is a joint up-sampling


@register(
    "median",
    summary="weighted median along the photo's edges, coarse to fine: sharp edges, hardly any invented depth",
    license="Apache-2.0",
    paper="after Ma et al., Constant Time Weighted Median Filtering, ICCV 2013",
    fails_on="surfaces of the same colour as what lies behind them; texture drawn on a surface that also has a depth edge",
)
@dataclass(frozen=True)
class JointRefiner:
    """Depth takes its edges from the photo, coarse to fine; see `joint.refine_jointly`."""

    options: JointOptions = field(default_factory=JointOptions)

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        return depth.with_values(refine_jointly(image, depth, self.options))


register(
    "bilateral",
    summary="joint bilateral up-sampling, coarse to fine: smoother than the median, leaves some flying pixels",
    license="Apache-2.0",
    paper="after Kopf et al., Joint Bilateral Upsampling, SIGGRAPH 2007",
    fails_on="edges without contrast, where it blurs",
)(partial(JointRefiner, JointOptions(space_sigma=0.7, use_mean=True)))


@register(
    "guided",
    summary="guided filter on the grey photo: fast, copies texture, often worse than doing nothing (kept as a baseline)",
    license="Apache-2.0",
    paper="He et al., Guided Image Filtering, ECCV 2010",
    fails_on="most edges: a window with two surfaces and texture gives neither depth",
)
@dataclass(frozen=True)
class GuidedFilter:
    radius: int = 8  # pixels of the photo
    epsilon: float = 1e-4  # variance of a grey photo in 0..1 below which a window counts as flat

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        base = depth.resized(*image.size).values
        guide = image.rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
        out = guided_filter(guide, filled(base), self.radius, self.epsilon)
        return depth.with_values(_restore(out, base, depth))


@register(
    "poisson",
    summary="screened Poisson fusion: values of the low-resolution depth, gradients of the high-resolution one, weighted at edges",
    license="Apache-2.0",
    paper="SDDR, Li et al., NeurIPS 2024, Eq. 2, solved in closed form instead of by a network",
    fails_on="predictors whose high-resolution depth has texture for edges",
)
@dataclass(frozen=True)
class PoissonFusion:
    mu: float = 0.01  # weight of the low map's values inside edges (sddr.md 9.3)
    high_factor: float = 2.0  # the predictor is asked again at this multiple of its native size
    edge_share: float = 0.06  # share of pixels whose gradients are taken from the high map

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        shrink = min(1.0, (FUSION_PIXELS / (image.size[0] * image.size[1])) ** 0.5)
        work = image.resized(*(max(1, round(side * shrink)) for side in image.size))
        low = depth.resized(*work.size)
        high = self._high(work, depth, predictor)
        fused = low.with_values(_restore(self._fuse(low, high), low.values, depth))
        if work.size == image.size:
            return fused
        return fused.with_values(refine_jointly(image, fused, JointOptions()))

    def _high(self, image: Image, depth: DepthMap, predictor: Predictor | None) -> DepthMap:
        """A second look at a higher resolution where the predictor can give one, else the weighted median along the photo."""
        own = getattr(predictor, "processing_size", None)
        native = own(image.size) if own else depth.source.native_size if depth.source else None
        if predictor is not None and native is not None:
            try:
                return predictor.predict(
                    image, size=(round(native[0] * self.high_factor), round(native[1] * self.high_factor))
                )
            except ValueError:
                pass  # a network of one size has no second look to give
        return depth.with_values(refine_jointly(image, depth, JointOptions()))

    def _fuse(self, low: DepthMap, high: DepthMap) -> np.ndarray:
        """In log depth where values are positive, so that near and far edges weigh alike and no value turns negative."""
        a, b = filled(low.values), filled(high.values)
        if low.kind.positive:
            a, b = np.log(a), np.log(b)
        scale, shift = align.fit_trimmed(b.ravel()[::7].astype(np.float64), a.ravel()[::7].astype(np.float64))
        if scale > 0:
            b = (scale * b + shift).astype(np.float32)
        out = poisson.fuse_weighted(a, b, self._omega(b), self.mu, iterations=20)
        return np.exp(out) if low.kind.positive else out

    def _omega(self, high: np.ndarray) -> np.ndarray:
        """Soft edge mask: 1 on the steepest pixels of the high map and next to them, falling off over two pixels."""
        from scipy import ndimage  # late, for a quick start

        steep = edges.top_share(edges.gradient_magnitude(high), self.edge_share)
        return ndimage.gaussian_filter(ndimage.binary_dilation(steep).astype(np.float32), 1.0)


def guided_filter(
    guide: Float32[np.ndarray, "h w"], values: Float32[np.ndarray, "h w"], radius: int, epsilon: float
) -> Float32[np.ndarray, "h w"]:
    """He et al. 2010, grey guide: in every window the output is an affine function of the guide; all values finite."""
    from scipy import ndimage

    def box(x: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(x, 2 * radius + 1, mode="nearest")

    mean_guide, mean_values = box(guide), box(values)
    variance = box(guide * guide) - mean_guide**2
    slope = (box(guide * values) - mean_guide * mean_values) / (np.maximum(variance, 0) + np.float32(epsilon))
    return box(slope) * guide + box(mean_values - slope * mean_guide)


def _restore(values: np.ndarray, base: np.ndarray, depth: DepthMap) -> np.ndarray:
    """Unknown pixels and sky as they were; positive kinds stay within the input's range, where a filter overshoots."""
    known = np.isfinite(base)
    if depth.kind.positive and known.any():
        values = np.clip(values, base[known].min(), base[known].max())
    return np.where(known, values, base).astype(np.float32)
