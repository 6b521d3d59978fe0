"""Our own small network for the motion between two frames, trained beside a depth network and not shipped."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution
from keendepth.nn.depth_net import MEAN, SPREAD

CHANNELS = (16, 32, 64, 64)
TURN, STEP = (
    0.01,
    0.1,
)  # what one unit of the output is, in radians (monodepth2) and in metres (ours: known motions are in metres)


class PoseNet(nn.Module):
    """Two frames, in the order of time, to the motion between them: axis-angle and translation (monodepth2, section 3.1).

    With `reach`, the frames are first described each by itself, at 1/4 of the size, and what the layers see is how well each place fits those
    of the other frame up to `reach` cells away, and where it lies in the picture (ours, after optical flow's cost volumes); without,
    both pictures at once, as in monodepth2.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, reach: int = 0) -> None:
        super().__init__()
        self.reach = reach
        own = channels[:2] if reach else ()
        self.describe = nn.Sequential(
            *(Convolution(a, b, stride=2, normed=True) for a, b in itertools.pairwise((3, *own)))
        )
        inputs = (2 * reach + 1) ** 2 + own[-1] + 2 if reach else 6
        self.layers = nn.Sequential(
            *(
                Convolution(a, b, stride=2, normed=bool(reach))
                for a, b in itertools.pairwise((inputs, *channels[len(own) :]))
            )
        )
        self.head = Convolution(channels[-1], 6, kernel=1, active=False)

    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """(axis-angle in radians, translation): what takes points of the first camera into the second. rgb in 0..1."""
        first, second = (first - MEAN) / SPREAD, (second - MEAN) / SPREAD
        if self.reach:
            a, b = self.describe(torch.cat([first, second])).chunk(2)
            given = torch.cat([correlation(a, b, self.reach), a, places(a)], 1)
        else:
            given = torch.cat([first, second], 1)
        found = self.head(self.layers(given)).float().mean((2, 3))
        return TURN * found[:, :3], STEP * found[:, 3:]


def correlation(
    first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"], reach: int
) -> Float[Tensor, "b k h w"]:
    """Cosine of each place's description with those of the other map up to `reach` cells away, rows of offsets first; 0 beyond the border."""
    h, w = first.shape[2:]
    first, second = (nn.functional.normalize(x - x.mean((2, 3), keepdim=True), dim=1) for x in (first, second))
    # All pairs in one product, of which most are thrown away, are ten times as fast as the windows alone.
    pairs = nn.functional.pad(first.flatten(2).transpose(1, 2) @ second.flatten(2), (0, 1))
    kept = _window(h, w, reach).to(pairs.device).expand(len(pairs), -1, -1)
    return pairs.gather(2, kept).transpose(1, 2).unflatten(2, (h, w))


def _window(h: int, w: int, reach: int) -> Int[Tensor, "1 n k"]:
    """Numbers of the places within `reach` of each place, h w for those beyond the border."""
    by = torch.arange(-reach, reach + 1)
    y, x = torch.arange(h)[:, None, None, None] + by[:, None], torch.arange(w)[:, None, None] + by
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return torch.where(inside, y * w + x, h * w).reshape(1, h * w, -1)


def places(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
    """x and y of each place, -1 to 1 over the map."""
    h, w = like.shape[2:]
    y, x = (torch.linspace(-1, 1, n, device=like.device, dtype=like.dtype) for n in (h, w))
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(len(like), -1, -1, -1)
