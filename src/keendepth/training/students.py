"""The depth networks that robust fine-tuning can begin from, behind one face: a shipped ONNX file of FastDepth's family, or a run on film."""

from __future__ import annotations

import copy
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.depth_net import DepthNet, DepthOnly
from keendepth.nn.mobile_depth import MobileDepth, load_onnx
from keendepth.training.methods import trained
from keendepth.training.scent import WEIGHTS


class FilmDepth(nn.Module):
    """A depth network that learned from film: depth in metres, or in its film's unit."""

    usual = 2

    def __init__(self, network: DepthNet) -> None:
        super().__init__()
        self.before, network.before = network.before, nn.Sequential()
        self.network = network

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        return self.with_features(rgb, self.usual)[0]

    def with_features(
        self, rgb: Float[Tensor, "b 3 h w"], block: int = usual
    ) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b c h2 w2"]]:
        """Depth, and the encoder's map number `block`: 2 is at 1/8 of the size."""
        maps = self.network.features(self.before(rgb))
        return self.network.depth(self.network.decoded(maps)[0]), maps[block]

    def plain(self) -> nn.Module:
        """As it ships: shares of the largest depth."""
        return nn.Sequential(*self.before, DepthOnly(copy.deepcopy(self.network))).eval()


def load_student(path: Path) -> MobileDepth | FilmDepth:
    """The network of an ONNX file: one of a run of `train scent` by the run's folder around it, any other by the file itself.

    FileNotFoundError; ModuleNotFoundError without the package onnx; ValueError for a file of a network that is not known.
    """
    if not path.with_name(WEIGHTS).is_file():
        return load_onnx(path)
    recipe, _ = trained(path.parent)
    return FilmDepth(recipe.student.depth)
