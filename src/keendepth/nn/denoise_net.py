"""Our own one-step denoiser: a small convolutional U-Net over pixel-unshuffled latents."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution, Residual, doubled

CHANNELS = (64, 96, 144, 192)  # at 1, 1/2, 1/4 and 1/8 of the size of the latents: 2.4 million parameters

TAPS = tuple(
    (dy, dx) for reach in (2, 6, 12) for dy in (-reach, 0, reach) for dx in (-reach, 0, reach) if dy or dx
)  # (down, right) in pixels: a blurred edge becomes a sharp one by taking what lies on its right side

LIKENESS = 50.0  # one over twice the variance of colours, of 0..1, that count as alike at first: a deviation of 0.1


class DenoiseNet(nn.Module):
    """Latents of a picture and of noisy depth to the clean depth latent, in one evaluation without a time step (ours).

    `channels`: of each level, each half the size of the one before; `blocks`: residual blocks a level, on the way down and up.
    `fine`: channels of a level at the full size of the pictures, around the others; 0 for none. With it, every pixel is a mean of
    its neighbours in the input and of nothing (0, where the input is noise), plus what the network adds: it begins near its input,
    since most depth is right already.
    """

    def __init__(
        self, picture: int, latent: int, channels: tuple[int, ...] = CHANNELS, blocks: int = 1, fine: int = 0
    ) -> None:
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
        self.head = Convolution(channels[0], latent, active=False) if not fine else None
        self.fine = Fine(math.isqrt(latent), channels[0], fine) if fine else None

    def forward(self, picture: Float[Tensor, "b p h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """x0, from latents whose sides are multiples of `multiple`."""
        y = self.stem(torch.cat([picture, x], 1))
        full = None if self.fine is None else self.fine.enter(picture, x)
        y = y if full is None else y + self.fine.down(full)
        skips = []
        for k, level in enumerate(self.encoder):
            y = level(self.down[k - 1](y) if k else y)
            skips.append(y)
        for k in range(len(self.up) - 1, -1, -1):
            y = self.decoder[k](doubled(self.up[k](y)) + skips[k])
        return self.head(y) if full is None else self.fine.leave(y, full, x, picture)


class Fine(nn.Module):
    """The level at the full size: blocks of pixels unfolded, two convolutions before the coarser levels and three after (ours)."""

    def __init__(self, stride: int, coarse: int, channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = nn.Sequential(Convolution(4, channels, normed=True), Convolution(channels, channels, normed=True))
        self.fold = Convolution(channels * stride**2, coarse, kernel=1, active=False)
        self.unfold = Convolution(coarse, channels * stride**2, kernel=1, active=False)
        head = Convolution(channels, 3 + len(TAPS), active=False)
        nn.init.normal_(head[0].get_parameter("weight"), std=0.01)
        nn.init.zeros_(head[0].get_parameter("weight")[0])  # nothing is added at first
        nn.init.constant_(head[0].get_parameter("bias")[1], 4.0)  # begins near its input
        self.likeness = nn.Parameter(torch.tensor(LIKENESS))
        self.after = nn.Sequential(Residual(channels, True), head)

    def enter(self, picture: Float[Tensor, "b p h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f hh ww"]:
        """Features at the full size."""
        return self.before(nn.functional.pixel_shuffle(torch.cat([picture, x], 1), self.stride))

    def down(self, full: Float[Tensor, "b f hh ww"]) -> Float[Tensor, "b c h w"]:
        """What the coarser levels hear of them."""
        return self.fold(nn.functional.pixel_unshuffle(full, self.stride))

    def leave(
        self,
        y: Float[Tensor, "b k h w"],
        full: Float[Tensor, "b f hh ww"],
        x: Float[Tensor, "b c h w"],
        picture: Float[Tensor, "b p h w"],
    ) -> Float[Tensor, "b c h w"]:
        """x0, from what the coarser levels found."""
        found = self.after(nn.functional.relu(full + nn.functional.pixel_shuffle(self.unfold(y), self.stride)))
        alike = self.likeness * unlike(nn.functional.pixel_shuffle(picture, self.stride))
        made, weights = found[:, :1], torch.softmax(torch.cat([found[:, 1:-1] - alike, found[:, -1:]], 1), 1)
        near = neighbours(nn.functional.pixel_shuffle(x, self.stride))
        kept = (weights[:, :-1] * near).sum(1, keepdim=True)  # the last weight is nothing's
        return nn.functional.pixel_unshuffle(made + kept, self.stride)


def neighbours(x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b _t h w"]:
    """Each pixel itself, and its neighbours at `TAPS`; borders are replicated (by hand: torch's padding cannot be exported in silence)."""
    reach = max(max(abs(dy), abs(dx)) for dy, dx in TAPS)
    x = torch.cat([x[:, :, :1]] * reach + [x] + [x[:, :, -1:]] * reach, 2)
    x = torch.cat([x[..., :1]] * reach + [x] + [x[..., -1:]] * reach, 3)
    return torch.cat(
        [x[:, :, reach + dy : (dy - reach) or None, reach + dx : (dx - reach) or None] for dy, dx in ((0, 0), *TAPS)], 1
    )


def unlike(picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _t h w"]:
    """Squared difference in colour between each pixel and itself and its neighbours at `TAPS`, summed over channels in 0..1."""
    each = [neighbours(picture[:, k : k + 1]) for k in range(3)]
    return sum((one - one[:, :1]).square() for one in each) / 4  # type: ignore[return-value]


def _level(channels: int, blocks: int, normed: bool) -> nn.Sequential:
    """Residual blocks; the finest level goes without norms, which would cost the most there."""
    return nn.Sequential(*(Residual(channels, normed) for _ in range(blocks)))
