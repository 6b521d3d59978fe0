"""What the recipe `scent` trains: a depth network, and beside it what does not ship, a pose network and the heads of distillation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.depth_net import DepthNet
from keendepth.nn.pose_net import PoseNet


class Seen(NamedTuple):
    """What the networks make of one picture or three frames."""

    sigmas: list[Tensor]  # [b 1 h w] each, finest first
    feature: Float[Tensor, "b c h w"]  # the encoder's map that learns from a teacher
    moves: Float[Tensor, "2 b 6"] | None  # before to middle, middle to after: axis-angle, translation


class Trainee(nn.Module):
    """All that is learned; `depth` alone ships."""

    def __init__(self, depth: DepthNet, posed: bool, graph: nn.Module | None = None) -> None:
        super().__init__()
        self.depth = depth
        self.pose = PoseNet() if posed else None
        self.graph = graph

    def forward(
        self, rgb: Float[Tensor, "b 3 h w"], stage: int, frames: Float[Tensor, "b 3 3 h w"] | None = None
    ) -> Seen:
        """Depth of `rgb`; the motion between `frames`, where they are given and there is a network for it."""
        features = self.depth.features(rgb)
        moves = self._moves(frames) if frames is not None and self.pose is not None else None
        return Seen(self.depth.decoded(features), features[stage], moves)

    def _moves(self, frames: Float[Tensor, "b 3 3 h w"]) -> Float[Tensor, "2 b 6"]:
        """Frames are given in the order of time (monodepth2), both pairs in one batch."""
        if self.pose is None:
            raise ValueError("this trainee has no pose network")
        first = torch.cat([frames[:, 0], frames[:, 1]])
        second = torch.cat([frames[:, 1], frames[:, 2]])
        return torch.cat(self.pose(first, second), 1).reshape(2, len(frames), 6)
