"""Building blocks of the refiner: convolutions with and without normalisation, attention over two maps, exact fixed up-sampling."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

TEMPERATURE = (
    10_000.0  # the slowest wave of the position encoding (Vaswani et al., 2017; SDDR's released code keeps it)
)


class Convolution(nn.Sequential):
    """3x3 (or `kernel`) convolution, GroupNorm where `normed` in groups of about 8 channels, ReLU where `active`; stride 1 or 2."""

    def __init__(
        self, before: int, after: int, kernel: int = 3, stride: int = 1, normed: bool = False, active: bool = True
    ) -> None:
        convolution = nn.Conv2d(before, after, kernel, stride, (kernel - 1) // 2, bias=not normed)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu" if active else "linear")
        layers: list[nn.Module] = [convolution]
        if normed:
            layers.append(GroupNorm(max(1, after // 8), after))
        if active:
            # ONNX Runtime computes ReLU inside the convolution; SiLU costs two more passes over the largest maps.
            layers.append(nn.ReLU())
        super().__init__(*layers)


class GroupNorm(nn.GroupNorm):
    """torch's own without its check of the size, which cannot be traced without a warning."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class Residual(nn.Module):
    """Two convolutions around which the input passes unchanged; the second starts at zero, so a new block is the ReLU of its input."""

    def __init__(self, channels: int, normed: bool) -> None:
        super().__init__()
        self.first = Convolution(channels, channels, normed=normed)
        self.second = Convolution(channels, channels, normed=normed, active=False)
        nn.init.zeros_(self.second.get_parameter("1.weight" if normed else "0.weight"))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return nn.functional.relu(x + self.second(self.first(x)))


class CrossAttention(nn.Module):
    """Attention over the positions of two maps at once (SDDR, Eq. 12): every position of each sees every position of both.

    F_in = Stack(F_low, F_high) + PE_x + PE_y + PE_f with a learned PE_f that tells low from high; then `layers` pre-norm
    layers of attention and a small perceptron, each added to its input. **Ours**: the perceptron's ratio, norms before.
    """

    def __init__(self, channels: int, layers: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.source = nn.Parameter(torch.randn(2, 1, channels) * 0.02)
        self.layers = nn.ModuleList(_Layer(channels, heads, ratio) for _ in range(layers))

    def forward(
        self, low: Float[Tensor, "b c h w"], high: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Both maps after the exchange."""
        h, w = low.shape[2], low.shape[3]
        place = position_encoding(low)
        first, second = (x.flatten(2).transpose(1, 2) + place for x in (low, high))
        tokens = torch.cat([first + self.source[0], second + self.source[1]], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        maps = tokens.transpose(1, 2)
        return maps[:, :, : h * w].reshape(low.shape), maps[:, :, h * w :].reshape(low.shape)


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.gather = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.Linear(channels, ratio * channels), nn.ReLU(), nn.Linear(ratio * channels, channels)
        )

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        b, n, c = x.shape
        split = self.query_key_value(self.norms[0](x)).reshape(b, n, 3, self.heads, c // self.heads)
        split = split.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(split[0], split[1], split[2])
        x = x + self.gather(seen.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.norms[1](x))


def position_encoding(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 n c"]:
    """Sines and cosines of x in the first half of the channels and of y in the second, positions in map pixels, not normalised (SDDR's code)."""
    height, width, quarter = like.shape[2], like.shape[3], like.shape[1] // 4
    steps = torch.arange(quarter, device=like.device, dtype=like.dtype)
    rates = TEMPERATURE ** (-steps / quarter)
    x = torch.arange(width, device=like.device, dtype=like.dtype)[None, :, None] * rates
    y = torch.arange(height, device=like.device, dtype=like.dtype)[:, None, None] * rates
    zero = (x + y) * 0  # [h w c/4]: gives both their full size, whatever the size is when a graph is traced
    return torch.cat([torch.sin(x) + zero, torch.cos(x) + zero, torch.sin(y) + zero, torch.cos(y) + zero], 2).flatten(
        0, 1
    )[None]


def doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size, every value on 2 x 2 pixels: forty times faster than bilinear in ONNX Runtime; the next convolution smooths."""
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def phases(x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 h2 w2"]:
    """The four pixels of every 2 x 2 block as channels; h and w must be even."""
    return nn.functional.pixel_unshuffle(x, 2)


class DoubledPhases(nn.Module):
    """Bilinear up-sampling by 2 (half-pixel centres, replicated borders), each 2 x 2 block of the result as four channels.

    A fixed convolution: one pixel of the result is 9/16, 3/16, 3/16 and 1/16 of its four neighbours, so it stays in their range.
    """

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        near, far = torch.tensor([0.25, 0.75, 0.0]), torch.tensor([0.0, 0.75, 0.25])
        kernels = torch.stack([torch.outer(down, across) for down in (near, far) for across in (near, far)])
        self.register_buffer("kernels", kernels[:, None], persistent=False)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k 4 h w"]:
        b, k, h, w = x.shape
        padded = x.reshape(
            b * k, 1, h, w
        )  # replicated by hand: torch's padding by constants cannot be exported in silence
        padded = torch.cat([padded[:, :, :1], padded, padded[:, :, -1:]], 2)
        padded = torch.cat([padded[..., :1], padded, padded[..., -1:]], 3)
        return nn.functional.conv2d(padded, self.kernels.to(x.dtype)).reshape(b, k, 4, h, w)
