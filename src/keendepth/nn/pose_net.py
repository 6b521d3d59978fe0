"""Our own small network for the motion between two frames, trained beside a depth network and not shipped."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution
from keendepth.nn.depth_net import MEAN, SPREAD

CHANNELS = (16, 32, 64, 64)
TURN, STEP = (
    0.01,
    0.1,
)  # what one unit of the output is, in radians (monodepth2) and in metres (ours: known motions are in metres)


class PoseNet(nn.Module):
    """Two frames, in the order of time, to the motion between them: axis-angle and translation (monodepth2, section 3.1)."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(Convolution(before, after, stride=2) for before, after in itertools.pairwise((6, *channels)))
        )
        self.head = Convolution(channels[-1], 6, kernel=1, active=False)

    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """(axis-angle in radians, translation): what takes points of the first camera into the second. rgb in 0..1."""
        found = self.head(self.layers((torch.cat([first, second], 1) - MEAN) / SPREAD)).float().mean((2, 3))
        return TURN * found[:, :3], STEP * found[:, 3:]
