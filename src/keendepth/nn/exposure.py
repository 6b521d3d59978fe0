"""Light and contrast of a picture brought to where photographs usually are: with `nn.quiet`, the first layers of a robust network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.quiet import QuietNoise

LUMA = (0.299, 0.587, 0.114)
# Where 80 % of unlabelled photographs lie (10th and 90th percentile of the mean luminance, 10th of its deviation): ours.
DARKEST, BRIGHTEST, FLATTEST = 0.31, 0.60, 0.133
LEAST = 1e-3  # no mean or deviation counts for less: a black picture becomes an even grey, not noise


class EvenExposure(nn.Module):
    """A picture that is too dark or too bright goes along a power curve, one without contrast is stretched about its mean (ours).

    Each picture by itself; one within the usual bounds comes back to the bit. Sensor noise grows with the rest.
    """

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """rgb in 0..1 to the same; NaN spreads."""
        mean = luminance(rgb).mean((1, 2, 3), keepdim=True)
        wanted = mean.clamp(DARKEST, BRIGHTEST)
        curved = rgb.clamp(1e-4, 1) ** (wanted.log() / mean.clamp(LEAST, 1 - LEAST).log())
        rgb = torch.where(mean == wanted, rgb, curved)
        light = luminance(rgb)
        mean = light.mean((1, 2, 3), keepdim=True)
        deviation = (light - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
        stretched = ((rgb - mean) * (FLATTEST / deviation.clamp(min=LEAST)) + mean).clamp(0, 1)
        return torch.where(deviation < FLATTEST, stretched, rgb)


def layers_before(light: bool, noise: bool) -> nn.Sequential:
    """`EvenExposure` and `QuietNoise`, as far as they are asked for: light first, as it raises the noise of the dark."""
    return nn.Sequential(*([EvenExposure()] * light), *([QuietNoise()] * noise))


def luminance(rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Rec. 601 luma of encoded values."""
    return (rgb * rgb.new_tensor(LUMA)[None, :, None, None]).sum(1, keepdim=True)
