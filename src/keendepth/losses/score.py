"""SharpDepth's two losses: score distillation in its x0 form, and reconstruction where the models disagree."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SMALL = 1e-8  # SharpDepth's released code


def score_distillation(
    latent: Float[Tensor, "b c h w"], teacher: Float[Tensor, "b c h w"], alpha_bar: float
) -> Float[Tensor, ""]:
    """L_SDS whose gradient is w (z - x0) / N, with x0 the frozen `teacher`'s answer to the noised z (SharpDepth Eq. 5, x0 form).

    w = 1 - alpha-bar of the one time step (released code; the paper writes an expectation over t). Nothing runs back into the
    teacher; differences that are no numbers count as 0. In float32.
    """
    latent = latent.float()
    with torch.no_grad():
        gradient = torch.nan_to_num((1 - alpha_bar) * (latent - teacher.float()))
        target = latent - gradient
    return 0.5 * (latent - target).square().mean()


def noise_aware_reconstruction(
    generated: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "b 1 h w"], difference: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """L_rec = sum e |d^ - d| / 2 over sum e: L1 to the metric depth where the models DISAGREE (SharpDepth Eq. 6, as released).

    Both maps in -1..1, hence the half; the weights e take no gradient. **Ours**: each picture is averaged by itself.
    """
    weight = difference.detach().float()
    error = weight * (generated.float() - depth.float()).abs() / 2
    return (error.flatten(1).sum(1) / (weight.flatten(1).sum(1) + SMALL)).mean()
