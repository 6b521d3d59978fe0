"""How well depth explains a frame by its neighbours: re-projection with the least of both sources, auto-mask, smoothness (monodepth2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from keendepth.losses import photometric
from keendepth.nn import warp
from keendepth.nn.depth_net import DepthNet


@dataclass(frozen=True)
class Rules:
    """How re-projection is counted; see `scent.ScentOptions`."""

    smooth: float = 1e-3
    auto_mask: bool = True
    inside: bool = True


@dataclass(frozen=True, eq=False)
class Target:
    """A frame, its neighbours and the motion to them."""

    middle: Float[Tensor, "b 3 h w"]
    sources: Float[Tensor, "2 b 3 h w"]
    motion: Float[Tensor, "2 b 4 4"]  # takes points of the middle camera into each source's
    K: Float[Tensor, "b 3 3"]
    rules: Rules = Rules()

    @classmethod
    def of(
        cls,
        frames: Float[Tensor, "b 3 3 h w"],
        motion: Float[Tensor, "2 b 4 4"],
        K: Float[Tensor, "b 3 3"],
        rules: Rules,
    ) -> Target:
        """From frames in the order of time."""
        return cls(frames[:, 1], torch.stack([frames[:, 0], frames[:, 2]]), motion, K, rules)

    def detached(self) -> Target:
        """The same with a motion that does not learn."""
        return replace(self, motion=self.motion.detach())

    def identity(self) -> Float[Tensor, "2 b 1 h w"]:
        """The error of each source as it is."""
        return torch.stack([photometric.photometric_error(source, self.middle) for source in self.sources])

    def errors(self, depth: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "2 b 1 h w"], Bool[Tensor, "2 b 1 h w"]]:
        """(error of each source seen through this depth, whether it shows the pixel).

        One source at a time: its maps stay in a CPU's cache.
        """
        seen = [warp.warp(s, depth, motion, self.K) for s, motion in zip(self.sources, self.motion, strict=True)]
        errors = [photometric.photometric_error(one.picture, self.middle) for one in seen]
        return torch.stack(errors), torch.stack([one.inside for one in seen])

    def losses(
        self, sigmas: list[Tensor], network: DepthNet, rng: torch.Generator | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """`photometric` and `smooth`, means over the scales; every scale is enlarged to full size first (monodepth2, section 3.2)."""
        size, count = self.middle.shape[2:], len(sigmas)
        full = [
            s if s.shape[2:] == size else interpolate(s, size, mode="bilinear", align_corners=False) for s in sigmas
        ]
        errors, inside = (torch.cat(x, 1) for x in zip(*(self.errors(network.depth(s)) for s in full), strict=True))
        still = self.identity().repeat(1, count, 1, 1, 1) if self.rules.auto_mask else None
        loss, _ = photometric.minimum_reprojection(errors, still, inside if self.rules.inside else None, rng)
        smooth = [
            photometric.smoothness(sigma, interpolate(self.middle, sigma.shape[2:], mode="area")) / 2**k
            for k, sigma in enumerate(sigmas)
        ]
        return {"photometric": loss, "smooth": self.rules.smooth * torch.stack(smooth).sum() / count}
