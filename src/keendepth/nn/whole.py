"""A depth network with its colours' normalisation inside: bytes in, depth out; what runs, and what is exported, is the same module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

Triple = tuple[float, float, float]
FARTHEST, LEAST = 1e4, 1e-3  # metres: the limits of Depth Pro's inverse depth, and ours of anything that is a depth


class WholeDepth(nn.Module):
    """A depth network of transformers for pictures in bytes; (top * rgb / 255 - mean) / std is its own first step.

    `network` gives `predicted_depth` [b h w], and `field_of_view` [b] in degrees where `sees_fov`. `channels_first`: pictures
    [b 3 h w] in 0..255 of any type instead of uint8 [b h w 3].
    """

    def __init__(
        self,
        network: nn.Module,
        colours: tuple[Triple, Triple, float],
        sees_fov: bool = False,
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        mean, std, top = colours
        self.network, self.sees_fov, self.channels_first = network, sees_fov, channels_first
        scale = torch.tensor([top / 255 / one for one in std])
        offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)])
        self.register_buffer("scale", scale.reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", offset.reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor, prompt: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """Depth [b h w]; with the field of view [b] where the network gives one. `prompt` [b 1 h w] in metres for those that take one."""
        picture = pixels if self.channels_first else pixels.permute(0, 3, 1, 2)
        out = self._asked(picture.float() * self.scale - self.offset, prompt)
        return (out.predicted_depth, out.field_of_view) if self.sees_fov else out.predicted_depth

    def _asked(self, picture: Tensor, prompt: Tensor | None) -> Any:
        dtype = next(self.network.parameters()).dtype
        more = {} if prompt is None else {"prompt_depth": prompt.to(dtype)}
        return self.network(pixel_values=picture.to(dtype), **more)


class MetresByFov(nn.Module):
    """Depth Pro's canonical inverse depth made metres inside the graph, for the focal length that it finds itself, which comes out too."""

    def __init__(self, whole: WholeDepth) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(metres [b h w], focal length in pixels of the input [b]); Bochkovskii et al. 2025, equation 1."""
        inverse, fov = self.whole(pixels)
        half = torch.tan(fov.reshape(-1, 1, 1).float() * (math.pi / 360))
        metres = 1 / torch.clamp(inverse.float() * 2 * half, 1 / FARTHEST, 1 / LEAST)
        return metres, pixels.shape[-1] / (2 * half.reshape(-1))
