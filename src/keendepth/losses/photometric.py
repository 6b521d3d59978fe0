"""Losses of self-supervised depth: how unlike two pictures are, the least of several views, and smoothness (monodepth2)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for values in 0..1 (Wang et al., 2004)
SSIM_SHARE = 0.85  # of the error (Godard et al., CVPR 2017)
TIE_BREAK = 1e-5  # of the identity's error: a still camera is masked whichever is a rounding error smaller (monodepth2)
MEAN = 1e-7  # added to the mean that smoothness divides by (monodepth2)


def ssim_distance(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """(1 - SSIM) / 2 in 0..1, over windows of 3 x 3 with the border reflected (monodepth2, section 3.1); 0 where both are equal.

    Only `a` gets a gradient: `b` is what was photographed.
    """
    return _SsimDistance.apply(a, b)


class _SsimDistance(torch.autograd.Function):
    """With a gradient by hand: autograd keeps thirty maps of every view, and is four times as slow on a CPU."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        mean_a, mean_b = _mean(a), _mean(b)
        product, squares = mean_a * mean_b, mean_a.square().add_(mean_b.square())
        spread = _mean(a.square().add_(b.square())).sub_(squares).add_(C2)
        joint = _mean(a * b).sub_(product).mul_(2).add_(C2)
        light = product.mul_(2).add_(C1)
        squares.add_(C1)
        ssim = (light * joint).div_(squares).div_(spread)
        ctx.save_for_backward(a, b, mean_a, mean_b, light, joint, squares, spread, ssim)
        return (1 - ssim).mul_(0.5).clamp_(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        a, b, mean_a, mean_b, light, joint, squares, spread, ssim = ctx.saved_tensors
        gradient = gradient * -0.5
        below = gradient / (squares * spread)
        of_product = below * light * 2  # by the mean of a b
        of_square = (gradient * ssim).div_(spread).neg_()  # by the mean of a a
        of_mean = (joint - light).mul_(mean_b).mul_(below)
        of_mean.add_((gradient * ssim).mul_(mean_a).mul_(1 / spread - 1 / squares)).mul_(2)
        out = _mean_adjoint(of_mean)
        out.add_(_mean_adjoint(of_square).mul_(a).mul_(2))
        return out.add_(_mean_adjoint(of_product).mul_(b)), None


def _mean(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Means over 3 x 3 pixels, the border reflected."""
    for axis in (2, 3):
        n = x.shape[axis]
        out = x.clone()
        out.narrow(axis, 0, n - 1).add_(x.narrow(axis, 1, n - 1))
        out.narrow(axis, 1, n - 1).add_(x.narrow(axis, 0, n - 1))
        out.narrow(axis, 0, 1).add_(x.narrow(axis, 1, 1))
        out.narrow(axis, n - 1, 1).add_(x.narrow(axis, n - 2, 1))
        x = out
    return x.mul_(1 / 9)


def _mean_adjoint(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The transposed of `_mean`."""
    for axis in (2, 3):
        n = x.shape[axis]
        out = x.clone()
        out.narrow(axis, 0, n - 1).add_(x.narrow(axis, 1, n - 1))
        out.narrow(axis, 1, n - 1).add_(x.narrow(axis, 0, n - 1))
        out.narrow(axis, 1, 1).add_(x.narrow(axis, 0, 1))
        out.narrow(axis, n - 2, 1).add_(x.narrow(axis, n - 1, 1))
        x = out
    return x.mul_(1 / 9)


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
