"""Five numbers that catch most mistakes of geometry: how badly frames are explained by the right and by wrong depth, motion and sampling."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from keendepth.losses.photometric import photometric_error
from keendepth.nn import warp

ORDER = (
    "exact",
    "wrong corners",
    "depth x 1.3",
    "identity",
    "inverted",
)  # from the least to the largest, if all is right
SCALED = 1.3


def five_numbers(
    frames: Float[Tensor, "b 3 3 h w"],
    depth: Float[Tensor, "b 1 h w"],
    motion: Float[Tensor, "2 b 4 4"],
    K: Float[Tensor, "b 3 3"],
    known: Bool[Tensor, "b 1 h w"] | None = None,
) -> dict[str, float]:
    """Mean photometric error of each source against the middle frame, means of both (scent_depth.md 9.1 and 11.1).

    With depth and motion as they are; sampled with monodepth2's mixture of corner conventions; with depth x 1.3; the sources as
    they are; with the motion turned back. Pixels that the exact motion shows in the source, and whose depth is `known`.
    """
    rows = []
    for source, there in ((frames[:, 0], motion[0]), (frames[:, 2], motion[1])):
        exact = warp.warp(source, depth, there, K)
        counted = exact.inside if known is None else exact.inside & known
        pictures = [
            exact.picture,
            warp.warp(source, depth, there, K, mixed=True).picture,
            warp.warp(source, SCALED * depth, there, K).picture,
            source,
            warp.warp(source, depth, warp.inverse(there), K).picture,
        ]
        rows.append(torch.stack([photometric_error(picture, frames[:, 1])[counted].mean() for picture in pictures]))
    return dict(zip(ORDER, torch.stack(rows).nanmean(0).tolist(), strict=True))
