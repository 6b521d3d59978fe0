"""FastDepth, the small network behind `indoor-small`: a MobileNet encoder, a depthwise 5x5 decoder, additive skips."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# FastDepth (Wofk et al., ICRA 2019), section III: MobileNet-V1 without its classifier, NNConv5 blocks made depthwise
# separable, skips added rather than concatenated. The channel counts are those that NetAdapt left (its "pruned" model).
ENCODER_CHANNELS = (16, 56, 88, 120, 144, 256, 408, 376, 272, 288, 296, 328, 480, 512)
ENCODER_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)  # MobileNet-V1, table 1
DECODER_CHANNELS = (200, 256, 120, 56, 16)
STRIDE = 32


class FastDepth(nn.Module):
    """RGB to metric depth (FastDepth, Wofk et al., ICRA 2019, section III).

    `encoder_channels`: the stem's, then those of 13 depthwise separable blocks; `decoder_channels`: those of 5 blocks, each
    followed by an up-sampling by 2. Skips are added, so some counts must agree; ValueError names those that do not.
    """

    def __init__(
        self,
        encoder_channels: tuple[int, ...] = ENCODER_CHANNELS,
        decoder_channels: tuple[int, ...] = DECODER_CHANNELS,
    ) -> None:
        super().__init__()
        _check_channels(encoder_channels, decoder_channels)
        self.stem = _convolution(3, encoder_channels[0], kernel=3, stride=2, activation=nn.ReLU6)
        self.encoder = nn.ModuleList(
            _separable(before, after, kernel=3, stride=stride, activation=nn.ReLU6)
            for before, after, stride in zip(
                encoder_channels[:-1], encoder_channels[1:], ENCODER_STRIDES[1:], strict=True
            )
        )
        inputs = (encoder_channels[-1], *decoder_channels[:-1])
        self.decoder = nn.ModuleList(
            _separable(before, after, kernel=5, stride=1, activation=nn.ReLU)
            for before, after in zip(inputs, decoder_channels, strict=True)
        )
        self.head = _convolution(decoder_channels[-1], 1, kernel=1, stride=1, activation=nn.ReLU)

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Depth in metres, >= 0, from rgb in 0..1; NaN spreads; ValueError unless h and w are multiples of 32.

        Every value stands on 2 x 2 pixels, because the last up-sampling repeats values.
        """
        if not torch.jit.is_tracing():
            _check_size(rgb)
        x = self.stem(rgb)
        skips = []
        for block, following in zip(self.encoder, (*ENCODER_STRIDES[2:], 1), strict=True):
            x = block(x)
            if following == 2:
                skips.append(x)
        skips = skips[:3]  # at 1/2, 1/4 and 1/8 of the size; the one at 1/16 is not used
        for index, block in enumerate(self.decoder):
            x = block(x)
            if index == len(self.decoder) - 1:
                x = self.head(x)  # 1x1, so it may go before the up-sampling: the same values for a quarter of the work
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            if 1 <= index <= 3:
                x = x + skips[3 - index]
        return x


def _convolution(
    before: int, after: int, kernel: int, stride: int, activation: type[nn.Module], groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        activation(),
    )


def _separable(before: int, after: int, kernel: int, stride: int, activation: type[nn.Module]) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with its normalisation and activation."""
    depthwise = _convolution(before, before, kernel, stride, activation, groups=before)
    return nn.Sequential(depthwise, _convolution(before, after, 1, 1, activation))


def _check_size(rgb: Tensor) -> None:
    if rgb.shape[2] % STRIDE or rgb.shape[3] % STRIDE or 0 in rgb.shape:
        raise ValueError(
            f"FastDepth: height and width must be multiples of {STRIDE}, found {rgb.shape[2]} x {rgb.shape[3]}"
        )


def _check_channels(encoder: tuple[int, ...], decoder: tuple[int, ...]) -> None:
    if len(encoder) != len(ENCODER_STRIDES) or len(decoder) != len(DECODER_CHANNELS):
        raise ValueError(
            f"FastDepth: expected {len(ENCODER_STRIDES)} encoder and {len(DECODER_CHANNELS)} decoder channel counts, "
            f"found {len(encoder)} and {len(decoder)}"
        )
    skips = (encoder[5], encoder[3], encoder[1])
    if skips != decoder[1:4]:
        raise ValueError(
            f"FastDepth: skips are added, so decoder channels 1 to 3 must equal encoder channels 5, 3, 1 {skips}, "
            f"found {decoder[1:4]}"
        )
