"""The affine-invariant loss of MiDaS, SDDR's L_gt: what a map says up to its scale and shift."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TRIMMED = 0.2  # share of the largest residuals that count for nothing (MiDaS, section 5; SDDR's released code)
GRADIENT_WEIGHT = 0.5  # of the gradient matching term (MiDaS, section 5; SDDR's released code)
SCALES = 4  # gradient matching at steps of 1, 2, 4 and 8 pixels


def supervised_loss(
    outputs: Sequence[Float[Tensor, "b 1 _h _w"]], target: Float[Tensor, "b 1 h w"], valid: Bool[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """L_gt of SDDR under deep supervision: the mean of `affine_invariant_loss` over outputs at 1, 1/2, 1/4 ... of the size.

    The k-th output is compared with every 2^k-th pixel of the target (never with averages, which blur edges).
    """
    terms = []
    for k, output in enumerate(outputs):
        step = 2**k
        terms.append(affine_invariant_loss(output, target[..., ::step, ::step], valid[..., ::step, ::step]))
    return torch.stack(terms).mean()


def affine_invariant_loss(
    prediction: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"], valid: Bool[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Trimmed L1 plus 0.5 gradient matching of maps freed of scale and shift (MiDaS, Ranftl et al. 2022, section 5; L_gt of SDDR).

    Per picture: the 20 % largest residuals are dropped and the rest summed over 2 M, M the number of valid pixels; pictures
    without one are left out, and a batch without one gives 0. Target and prediction may hold anything where not valid.
    """
    ours, theirs = standardised(prediction, valid), standardised(target, valid)
    residual = torch.where(valid, (ours - theirs).abs(), 0.0).flatten(1)
    count = valid.flatten(1).sum(1)
    order = residual.argsort(dim=1)
    # Zeros of invalid pixels come first in this order; the largest are at its end, so the cut counts from there.
    kept = (
        torch.arange(residual.shape[1], device=residual.device)
        < (residual.shape[1] - (TRIMMED * count).long())[:, None]
    )
    trimmed = (residual.gather(1, order) * kept).sum(1) / (2 * count.clamp(min=1))
    return over_pictures(trimmed + GRADIENT_WEIGHT * _matching(ours, theirs, valid), count > 0)


def gradient_matching(
    prediction: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    valid: Bool[Tensor, "b 1 h w"],
    scales: int = SCALES,
) -> Float[Tensor, ""]:
    """Sum over scales of the mean |gradient of the difference| in x and y (MiDaS, section 5), for maps that are already aligned.

    Scale k looks at every 2^k-th pixel; only differences between two valid pixels count.
    """
    return over_pictures(_matching(prediction, target, valid, scales), valid.flatten(1).any(1))


def standardised(values: Float[Tensor, "b 1 h w"], valid: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """(x - median) / mean |x - median| over the valid pixels of each picture (MiDaS, section 5), 0 elsewhere.

    The median is a true one of the valid pixels: SDDR's released code takes it over zeros as well, which below 50 % valid
    makes it 0 and the loss no longer blind to shifts. A constant map is only shifted.
    """
    values = torch.where(valid, values, 0.0)  # what stands there may be NaN, which would survive a product with 0
    centred = torch.where(valid, values - masked_median(values, valid)[:, None, None, None], 0.0)
    count = valid.flatten(1).sum(1).clamp(min=1)
    spread = centred.abs().flatten(1).sum(1) / count
    size = values.detach().abs().flatten(1).amax(1)
    spread = torch.where(spread > 1e-6 * size, spread, 1.0)
    return centred / spread[:, None, None, None]


def masked_median(values: Float[Tensor, "b ..."], valid: Bool[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Median of the valid values of each picture, the mean of the middle two of an even number; 0 where none is valid."""
    count = valid.flatten(1).sum(1)
    ordered = torch.where(valid, values, torch.inf).flatten(1).sort(1).values
    middle = torch.stack([(count - 1).clamp(min=0) // 2, count // 2], 1).clamp(max=ordered.shape[1] - 1)
    found = ordered.gather(1, middle)
    return torch.where(count[:, None] > 0, found, 0.0).mean(1)


def over_pictures(loss: Float[Tensor, " b"], present: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """Mean over the pictures that have something to say; 0, still part of the graph, if none has."""
    return torch.where(present, loss, loss * 0).sum() / present.sum().clamp(min=1)


def _matching(ours: Tensor, theirs: Tensor, valid: Tensor, scales: int = SCALES) -> Float[Tensor, " b"]:
    difference = torch.where(valid, ours, 0.0) - torch.where(valid, theirs, 0.0)
    total = torch.zeros_like(difference[:, 0, 0, 0])
    for step in (2**k for k in range(scales)):
        d, v = difference[..., ::step, ::step], valid[..., ::step, ::step]
        across = (d[..., 1:] - d[..., :-1]).abs() * (v[..., 1:] & v[..., :-1])
        down = (d[..., 1:, :] - d[..., :-1, :]).abs() * (v[..., 1:, :] & v[..., :-1, :])
        steep = across.flatten(1).sum(1) + down.flatten(1).sum(1)
        total = total + steep / v.flatten(1).sum(1).clamp(min=1)
    return total
