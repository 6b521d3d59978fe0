"""Losses of self-supervised depth: how unlike two pictures are, the least of several views, and smoothness (monodepth2)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for values in 0..1 (Wang et al., 2004)
SSIM_SHARE = 0.85  # of the error (Godard et al., CVPR 2017)
TIE_BREAK = 1e-5  # of the identity's error: a still camera is masked whichever is a rounding error smaller (monodepth2)
MEAN = 1e-7  # added to the mean that smoothness divides by (monodepth2)


def ssim_distance(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """(1 - SSIM) / 2 in 0..1, over windows of 3 x 3 with the border reflected (monodepth2, section 3.1); 0 where both are equal."""
    mean_a, mean_b, aa, bb, ab = _window(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    alike = (2 * product + C1) * (2 * (ab - product) + C2)
    most = (squares + C1) * (aa + bb - squares + C2)
    return ((1 - alike / most) / 2).clamp(0, 1)


def _window(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return avg_pool2d(pad(x, (1, 1, 1, 1), "reflect"), 3, 1)


def photometric_error(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """pe = 0.85 SSIM distance + 0.15 |a - b|, means over the channels (monodepth2, section 3.1); NaN spreads to its neighbours."""
    distance = SSIM_SHARE * ssim_distance(a, b) + (1 - SSIM_SHARE) * (a - b).abs()
    return distance.mean(1, keepdim=True)


def minimum_reprojection(
    errors: Float[Tensor, "s b 1 h w"],
    identity: Float[Tensor, "t b 1 h w"] | None = None,
    inside: Bool[Tensor, "s b 1 h w"] | None = None,
    rng: torch.Generator | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(mean over the pixels of the least error of all views, share of pixels that teach depth) (monodepth2, Eq. 4 and 5).

    `identity`: the errors of the sources as they are. A pixel where one of them is the least teaches nothing: nothing moved
    there, or it moved along. `inside`: what each view shows; a pixel that none shows is left out. `rng` breaks ties.
    """
    if inside is not None:
        errors = errors.where(inside, torch.inf)
    least = errors.amin(0)
    seen = least.isfinite()
    used = seen
    if identity is not None:
        noise = torch.randn(identity.shape, generator=rng).to(identity)
        still = (identity + TIE_BREAK * noise).amin(0)
        used = seen & (least < still)
        least = torch.minimum(least, still)
    count = seen.sum().clamp(min=1)
    return least.where(seen, 0).sum() / count, used.float().mean()


def smoothness(disparity: Float[Tensor, "b 1 h w"], picture: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean |gradient| of disparity over its mean, less where the picture has edges (monodepth2, Eq. 3); scaling it changes nothing."""
    disparity = disparity / (disparity.mean((2, 3), keepdim=True) + MEAN)
    parts = []
    for axis in (2, 3):
        step = disparity.diff(dim=axis).abs()
        edge = picture.diff(dim=axis).abs().mean(1, keepdim=True)
        parts.append((step * torch.exp(-edge)).mean())
    return parts[0] + parts[1]


def geometry_difference(
    projected: Float[Tensor, "b 1 h w"], sampled: Float[Tensor, "b 1 h w"], inside: Bool[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Mean |z' - D'| / (z' + D') over what both show: depth of one frame carried into another against that frame's own (SC-SfMLearner, Eq. 3)."""
    difference = (projected - sampled).abs() / (projected + sampled).clamp(min=MEAN)
    return difference.where(inside, 0).sum() / inside.sum().clamp(min=1)
