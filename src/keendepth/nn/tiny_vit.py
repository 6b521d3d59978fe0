"""TinyViT, the image encoder of MobileSAM, so that its published weights can teach: convolutions first, then attention within windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# TinyViT-5M (Wu et al., ECCV 2022, table 1) as MobileSAM has it (Zhang et al., 2023): the last merging keeps the size.
WIDTHS, DEPTHS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
OUT = 256  # channels of SAM's neck
PREFIX = "image_encoder."
UNUSED = ("norm_head.", "head.")  # of its first life as a classifier
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of values in 0..255 (SAM)
STRIDE = 16


class TinyVit(nn.Module):
    """RGB in 0..1 to 256 channels at 1/16 of the size. Names of layers are those of the published file."""

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        heads: tuple[int, ...] = HEADS,
        windows: tuple[int, ...] = WINDOWS,
    ) -> None:
        super().__init__()
        half = widths[0] // 2
        self.patch_embed = nn.ModuleDict(
            {"seq": nn.Sequential(Normed(3, half, 3, 2), nn.GELU(), Normed(half, widths[0], 3, 2))}
        )
        merging = [
            Merging(before, after, 1 if k == len(widths) - 2 else 2)
            for k, (before, after) in enumerate(itertools.pairwise(widths))
        ]
        self.layers = nn.ModuleList()
        for k, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = [Inverted(width) if k == 0 else Block(width, heads[k], windows[k]) for _ in range(depth)]
            parts: dict[str, nn.Module] = {"blocks": nn.Sequential(*blocks)}
            if k < len(merging):
                parts["downsample"] = merging[k]
            self.layers.append(nn.ModuleDict(parts))
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], OUT, 1, bias=False), ChannelNorm(OUT),
            nn.Conv2d(OUT, OUT, 3, padding=1, bias=False), ChannelNorm(OUT),
        )  # fmt: skip

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Sides multiples of 16; its weights are of pictures with a longer side of 1024."""
        mean, std = (torch.tensor(v, device=rgb.device, dtype=rgb.dtype)[:, None, None] for v in (MEAN, STD))
        x = self.patch_embed["seq"]((255 * rgb - mean) / std)
        for layer in self.layers:
            for part in layer.values():
                x = part(x)
        return self.neck(x)


class Normed(nn.Sequential):
    """A convolution without bias and its normalisation."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(after))


class Inverted(nn.Module):
    """MobileNet-V2's block, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Normed(width, 4 * width)
        self.conv2 = Normed(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = Normed(4 * width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(y))


class Merging(nn.Module):
    """To the next width, at half the size or the same."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Normed(before, after)
        self.conv2 = Normed(after, after, 3, stride, groups=after)
        self.conv3 = Normed(after, after)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))


class Block(nn.Module):
    """Attention within windows, a depthwise convolution between them, a perceptron."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads, window)
        self.local_conv = Normed(width, width, 3, groups=width)
        self.mlp = Perceptron(width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = self.local_conv(x + self.attn(x))
        return x + self.mlp(x.movedim(1, 3)).movedim(3, 1)


class Attention(nn.Module):
    """Attention within windows of `window` x `window`, with a learned bias per distance; the picture is padded with zeros to whole windows."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        at = torch.arange(window)
        distance = (at[:, None] - at).abs()
        index = distance[:, None, :, None] * window + distance[None, :, None, :]
        self.register_buffer("index", index.reshape(window**2, window**2), persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        (b, c, h, w), side = x.shape, self.window
        down, across = -(-h // side), -(-w // side)
        padded = functional.pad(x, (0, across * side - w, 0, down * side - h))
        cut = padded.reshape(b, c, down, side, across, side).permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, c)
        out = self._within(cut).reshape(b, down, across, side, side, c).permute(0, 5, 1, 3, 2, 4)
        return out.reshape(b, c, down * side, across * side)[..., :h, :w]

    def _within(self, x: Float[Tensor, "m n c"]) -> Float[Tensor, "m n c"]:
        m, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).view(m, n, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)
        weights = q @ k.transpose(2, 3) / math.sqrt(c // self.heads) + self.attention_biases[:, self.index]
        return self.proj((weights.softmax(3) @ v).transpose(1, 2).reshape(m, n, c))


class Perceptron(nn.Module):
    """Two layers, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return super().forward(x.movedim(1, 3)).movedim(3, 1)


def encoder_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of MobileSAM's weights, without what it does not use. ValueError where there is none."""
    found = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if not found:
        raise ValueError("expected MobileSAM's weights (mobile_sam.pt), found none that begin with image_encoder.")
    return {key: value for key, value in found.items() if not key.startswith(UNUSED)}
