"""How well depth explains a frame by its neighbours: re-projection with the least of both sources, auto-mask, smoothness (monodepth2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
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
        n, b = self.sources.shape[:2]
        middle = self.middle.expand(n, *self.middle.shape).flatten(0, 1)
        return photometric.photometric_error(self.sources.flatten(0, 1), middle).unflatten(0, (n, b))

    def errors(
        self, depths: Float[Tensor, "k b 1 h w"]
    ) -> tuple[Float[Tensor, "2 k b 1 h w"], Float[Tensor, "2 k b 1 h w"]]:
        """(errors of each source seen through each depth, whether it shows the pixel, as 0 and 1)."""
        shape = (2, *depths.shape[:2])
        pictures, planes = _all(self.sources[:, None], shape, 3), _all(depths[None], shape, 3)
        seen = warp.warp(pictures, planes, _all(self.motion[:, None], shape, 2), _all(self.K, shape, 2))
        errors = photometric.photometric_error(seen.picture, _all(self.middle, shape, 3))
        return errors.unflatten(0, shape), seen.inside.unflatten(0, shape)

    def losses(
        self, sigmas: list[Tensor], network: DepthNet, rng: torch.Generator | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """`photometric` and `smooth`, means over the scales; every scale is enlarged to full size first (monodepth2, section 3.2)."""
        size, count = self.middle.shape[2:], len(sigmas)
        full = [
            s if s.shape[2:] == size else interpolate(s, size, mode="bilinear", align_corners=False) for s in sigmas
        ]
        errors, inside = self.errors(torch.stack([network.depth(sigma) for sigma in full]))
        still = self.identity()[:, None].expand_as(errors).flatten(1, 2) if self.rules.auto_mask else None
        shown = inside.flatten(1, 2) if self.rules.inside else None
        loss, _ = photometric.minimum_reprojection(errors.flatten(1, 2), still, shown, rng)
        smooth = [
            photometric.smoothness(sigma, interpolate(self.middle, sigma.shape[2:], mode="area")) / 2**k
            for k, sigma in enumerate(sigmas)
        ]
        return {"photometric": loss, "smooth": self.rules.smooth * torch.stack(smooth).sum() / count}


def _all(x: Tensor, shape: tuple[int, ...], last: int) -> Tensor:
    """The same for every source, depth and picture, as one batch; `last` dimensions stay."""
    return x.expand(*shape, *x.shape[-last:]).flatten(0, 2)
