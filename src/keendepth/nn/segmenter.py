"""A small network that says what things are, trained on rendered labels: a semantic expert that needs nobody's weights."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution

CHANNELS = (16, 32, 64)  # at 1/2, 1/4 and 1/8 of the size (scent_depth.md 10.4); the last is what a student learns from
MEAN, SPREAD = 0.45, 0.225  # of a picture's values in 0..1 (monodepth2)


class Segmenter(nn.Module):
    """RGB to classes at 1/8 of the size (of 2 to the number of channels)."""

    def __init__(self, classes: int, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.stride = 2 ** len(channels)
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(Convolution(before, after, stride=2, normed=True), Convolution(after, after, normed=True))
                for before, after in itertools.pairwise((3, *channels))
            )
        )
        self.head = nn.Conv2d(channels[-1], classes, 1)

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h2 w2"]:
        """Logits of classes; rgb in 0..1, sides multiples of the stride."""
        return self.head(self.features(rgb))

    def features(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The last map before the classes."""
        return self.encoder((rgb - MEAN) / SPREAD)


def fitting(state: dict[str, Tensor]) -> Segmenter:
    """A segmenter of the shape that a state dict is of, in evaluation mode, not yet filled. ValueError for that of another network."""
    widths = [
        value.shape[0] for key, value in state.items() if key.startswith("encoder.") and key.endswith(".0.0.weight")
    ]
    if "head.weight" not in state or not widths:
        raise ValueError(
            "expected the weights of a segmenter (keendepth train segmenter), found those of another network"
        )
    return Segmenter(state["head.weight"].shape[0], tuple(widths)).eval()


def cells(labels: Tensor, stride: int, classes: int) -> Tensor:
    """[b h w] class numbers to [b h/stride w/stride]: the most frequent of each cell."""
    shares = nn.functional.avg_pool2d(nn.functional.one_hot(labels.long(), classes).movedim(3, 1).float(), stride)
    return torch.argmax(shares, 1)
