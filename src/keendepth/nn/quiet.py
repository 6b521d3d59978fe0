"""Fine noise of a picture taken out where it is stronger than photographs have it: with `nn.exposure`, the first layers of a robust network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Ours: above the deviation of the finest band in nine of ten unlabelled photographs as a network of 224 x 224 sees them, so that texture is no noise.
LEAST = 0.036
# Deviations of white noise in the bands, the finest as 1, after a picture was reduced by 0.7: a network mostly sees one that was reduced.
BANDS = (1.0, 0.5, 0.25)
REACH = 2  # a band's energy is a mean over (2 REACH + 1)^2 pixels
NORMAL = (torch.pi / 2) ** 0.5  # deviation over mean absolute value of normal noise


class QuietNoise(nn.Module):
    """Each picture less the noise that the mean of its finest band tells, above what photographs have; others come back to the bit.

    Undecimated wavelet bands ([1 2 1] / 4, "a trous": Starck and Murtagh, 2002), each with the local Wiener gain max(0, 1 - noise / energy)
    (Lee, 1980; Mihcak et al., 1999). No weight is learned. It cannot tell noise from texture that is as fine and lies everywhere.
    """

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """rgb in 0..1 to the same, h and w at least 9; NaN spreads over the picture."""
        bands, lower = [], rgb
        for number in range(len(BANDS)):
            smoother = smoothed(lower, 2**number)
            bands.append(lower - smoother)
            lower = smoother
        deviation = NORMAL * bands[0].abs().mean((2, 3), keepdim=True)
        noise = (deviation.square() - LEAST**2).clamp(min=0)
        removed = torch.zeros_like(rgb)
        for band, share in zip(bands, BANDS, strict=True):
            energy = _mean(_mean(band.square(), (2 * REACH + 1, 1)), (1, 2 * REACH + 1))
            removed = removed + band * (noise * share**2 / energy.clamp(min=1e-8)).clamp(max=1)
        return rgb - removed


def smoothed(x: Float[Tensor, "b c h w"], step: int) -> Float[Tensor, "b c h w"]:
    """(x[-step] + 2 x[0] + x[step]) / 4 down and across, borders repeated. Sums of shifted copies, as a convolution would be taken for a learned one."""
    for dim in (2, 3):
        size = x.shape[dim]
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, size - 1, 1)
        wide = torch.cat([first] * step + [x] + [last] * step, dim)
        x = (wide.narrow(dim, 0, size) + 2 * x + wide.narrow(dim, 2 * step, size)) / 4
    return x


def _mean(x: Float[Tensor, "b c h w"], window: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Mean of what of the window lies within the picture."""
    padding = (window[0] // 2, window[1] // 2)
    return nn.functional.avg_pool2d(x, window, 1, padding, count_include_pad=False)
