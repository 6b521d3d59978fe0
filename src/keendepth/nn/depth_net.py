"""Our own small depth network, which learns from film: a plain encoder and decoder with depth at several sizes, finest first."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution, doubled
from keendepth.nn.exposure import layers_before

CHANNELS = (16, 32, 64, 96)  # of the encoder at 1/2, 1/4, 1/8 and 1/16 of the size: 0.37 million parameters
MEAN, SPREAD = 0.45, 0.225  # of a picture's values in 0..1 (monodepth2)


class DepthNet(nn.Module):
    """RGB to depth between `d_min` and `d_max` metres (or units), after monodepth2's decoder; layers and widths are ours.

    `scales`: how many sizes depth is given at, each half of the one before. Sides must be multiples of `stride`. `even` and `quiet` bring
    light and noise of unusual pictures to what is usual before anything else (`nn.exposure`, `nn.quiet`).
    """

    def __init__(
        self,
        channels: tuple[int, ...] = CHANNELS,
        d_min: float = 1.0,
        d_max: float = 80.0,
        scales: int = 3,
        even: bool = False,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < d_min < d_max or not 1 <= scales <= len(channels):
            raise ValueError(
                f"DepthNet: expected 0 < d_min < d_max and 1 to {len(channels)} scales, found {d_min}, {d_max}, {scales}"
            )
        self.d_min, self.d_max, self.scales = d_min, d_max, scales
        self.stride = 2 ** len(channels)
        self.before = layers_before(even, quiet)
        self.encoder = nn.ModuleList(_stage(before, after) for before, after in itertools.pairwise((3, *channels)))
        widths = (channels[0], *channels)  # of the decoder, from full size down to the encoder's last map
        self.narrow = nn.ModuleList(Convolution(below, own, normed=True) for own, below in itertools.pairwise(widths))
        self.join = nn.ModuleList(
            Convolution(own + (widths[k] if k else 0), own, normed=True) for k, own in enumerate(widths[:-1])
        )
        self.heads = nn.ModuleList(Convolution(widths[k], 1, active=False) for k in range(scales))
        self._begin()

    def _begin(self) -> None:
        """Start at the geometric mean of the depths: from half a metre, where the sigmoid's middle lies, film pulls at nothing."""
        middle = (self.d_min * self.d_max) ** -0.5
        share = (middle - 1 / self.d_max) / (1 / self.d_min - 1 / self.d_max)
        for head in self.heads:
            nn.init.constant_(head[0].bias, math.log(share / (1 - share)))

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Sigmoid maps, finest first, each half the size of the one before; `depth` says what they mean. rgb in 0..1."""
        return self.decoded(self.features(rgb))

    def decoded(self, maps: list[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b 1 _ _"]]:
        """The sigmoid maps of what `features` gave."""
        y = maps[-1]
        found = []
        for k in range(len(maps) - 1, -1, -1):
            y = doubled(self.narrow[k](y))
            y = self.join[k](torch.cat([y, maps[k - 1]], 1) if k else y)
            if k < self.scales:
                found.append(torch.sigmoid(self.heads[k](y).float()))
        return found[::-1]

    def features(self, rgb: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The encoder's maps at 1/2, 1/4, 1/8 ... of the size; rgb in 0..1."""
        y = (self.before(rgb) - MEAN) / SPREAD
        maps = []
        for stage in self.encoder:
            y = stage(y)
            maps.append(y)
        return maps

    def depth(self, sigma: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Depth of a sigmoid map: 0 is `d_max`, 1 is `d_min`, straight in inverse depth (monodepth2)."""
        return 1 / (1 / self.d_max + (1 / self.d_min - 1 / self.d_max) * sigma)


class DepthOnly(nn.Module):
    """The network as it ships: a picture in; depth at its size out, as a share of `d_max`, whose digits float32 can hold."""

    def __init__(self, network: DepthNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        return self.network.depth(self.network(rgb)[0]) / self.network.d_max


def _stage(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(Convolution(before, after, stride=2, normed=True), Convolution(after, after, normed=True))
