"""Our own one-step denoiser: a small convolutional U-Net over pixel-unshuffled latents."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution, Residual, doubled

CHANNELS = (64, 96, 144, 192)  # at 1, 1/2, 1/4 and 1/8 of the size of the latents: 2.4 million parameters


class DenoiseNet(nn.Module):
    """Latents of a picture and of noisy depth to the clean depth latent, in one evaluation without a time step (ours).

    `channels`: of each level, each half the size of the one before; `blocks`: residual blocks a level, on the way down and up.
    """

    def __init__(self, picture: int, latent: int, channels: tuple[int, ...] = CHANNELS, blocks: int = 1) -> None:
        super().__init__()
        self.multiple = 2 ** (len(channels) - 1)
        self.stem = Convolution(picture + latent, channels[0])
        self.down = nn.ModuleList(
            Convolution(before, after, stride=2) for before, after in itertools.pairwise(channels)
        )
        self.encoder = nn.ModuleList(_level(width, blocks, k > 0) for k, width in enumerate(channels))
        self.up = nn.ModuleList(
            Convolution(after, before, kernel=1, active=False) for before, after in itertools.pairwise(channels)
        )
        self.decoder = nn.ModuleList(_level(width, blocks, k > 0) for k, width in enumerate(channels[:-1]))
        self.head = Convolution(channels[0], latent, active=False)

    def forward(self, picture: Float[Tensor, "b p h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """x0, from latents whose sides are multiples of `multiple`."""
        y = self.stem(torch.cat([picture, x], 1))
        skips = []
        for k, level in enumerate(self.encoder):
            y = level(self.down[k - 1](y) if k else y)
            skips.append(y)
        for k in range(len(self.up) - 1, -1, -1):
            y = self.decoder[k](doubled(self.up[k](y)) + skips[k])
        return self.head(y)


def _level(channels: int, blocks: int, normed: bool) -> nn.Sequential:
    """Residual blocks; the finest level goes without norms, which would cost the most there."""
    return nn.Sequential(*(Residual(channels, normed) for _ in range(blocks)))
