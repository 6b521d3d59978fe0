"""SDDR's refinement network N_r: two depth maps, and the photo if wanted, to one map with the values of the first and sharp edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.blocks import Convolution, CrossAttention, DoubledPhases, Residual, doubled, phases

HEADS = ("residual", "mix")
# One candidate can outweigh low by at most e^8, 3000 times: sums of that fit into half precision.
LARGEST_LOGIT = 8.0
SHARE = 0.2  # first weight of a displaced sample beside low's 1
FIRST_CHANGE = -4.0  # first logit of high and of g: nearly none
FIRST_STEP = 0.02  # sigma of the first weights: samples begin within a pixel


@dataclass(frozen=True)
class Widths:
    """Shape of one network; stage k works at 1 / 2^(k+1) of the size."""

    channels: tuple[int, ...]  # per stage; ONNX Runtime's fast convolutions want multiples of 16 at the fine stages
    blocks: tuple[int, ...]  # residual blocks per stage
    layers: int  # of attention
    heads: int
    ratio: int  # of the perceptron in each attention layer
    normed_from: int  # first stage with GroupNorm: at the finer ones it costs as much time as the convolutions


SIZES = {
    "tiny": Widths((16, 16, 32, 32, 48, 64), (0, 0, 1, 1, 1, 1), layers=1, heads=4, ratio=2, normed_from=2),
    "small": Widths((16, 32, 48, 64, 96, 128), (0, 0, 1, 1, 1, 1), layers=2, heads=4, ratio=2, normed_from=2),
    # SDDR's Table 5 has 16.8 M, the released network 10.3 M; four layers of attention as its text says.
    "paper": Widths((16, 32, 64, 128, 256, 320), (0, 1, 2, 2, 2, 2), layers=4, heads=8, ratio=4, normed_from=1),
}


@dataclass(frozen=True)
class RefineNetOptions:
    """What kind of refiner: all that is needed to build it again."""

    size: str = "small"  # a name of SIZES
    rgb: bool = True  # whether it sees the photo (the paper's does not)
    head: str = "mix"  # "residual": low + f, the usual form; "mix": a mixture of low, high and displaced samples of low
    samples: int = 8  # displaced samples of the mix head
    reach: float = 18.0  # how far a sample may lie, in pixels of the input, along x and along y
    fine: int = (
        0  # channels of a level at full size, with the mixing head (ours); 0: the finest level is at half the size
    )

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"RefineNet: size must be one of {', '.join(SIZES)}, found {self.size!r}")
        if self.head not in HEADS:
            raise ValueError(f"RefineNet: head must be one of {', '.join(HEADS)}, found {self.head!r}")
        if self.samples < 1 or not self.reach > 0:
            raise ValueError(
                f"RefineNet: samples must be 1 or more and reach above 0, found {self.samples} and {self.reach}"
            )
        if self.fine < 0 or (self.fine and self.head != "mix"):
            raise ValueError(
                f"RefineNet: fine must be 0, or channels of a level for the mix head, found {self.fine} and head = {self.head!r}"
            )


@dataclass(frozen=True, eq=False)
class RefineOutput:
    """The refined map, and what the losses look at. Value (i, j) of a map at 1/s belongs to pixel (s i, s j)."""

    depth: Float[Tensor, "b 1 h w"]
    half: Float[Tensor, "b 1 h2 w2"]  # deep supervision at 1/2 and 1/4; sizes rounded up
    quarter: Float[Tensor, "b 1 h4 w4"]
    omega: list[Tensor]  # [b 1 h_k w_k] in 0..1, the weight of HIGH's features, the finest (1/2) last


class RefineNet(nn.Module):
    """N_r (SDDR, Li et al., NeurIPS 2024, section A.3): shared encoder, attention between the deepest maps, soft masks.

    The design of the layers is **ours** (docs/papers.md). At initialisation the output is `low`: to the bit for the residual head,
    nearly so for the mixing one.
    """

    def __init__(self, options: RefineNetOptions | None = None) -> None:
        super().__init__()
        self.options = options or RefineNetOptions()
        widths = SIZES[self.options.size]
        channels = widths.channels
        self.stride = 2 ** len(channels)
        # One 6x6 convolution sees what a 3x3 would after 2x2 pixels became channels, without the shuffling.
        self.stem = nn.Conv2d(1, channels[0], 6, 2, 2)
        # The photo's part is added before the first activation, which is the same as more input channels of one
        # convolution, but computed once for both branches; the rest of the network does not change with it.
        self.rgb_stem = nn.Conv2d(3, channels[0], 6, 2, 2, bias=False) if self.options.rgb else None
        self.encoder = nn.ModuleList(_stage(widths, k) for k in range(1, len(channels)))
        self.attention = CrossAttention(channels[-1], widths.layers, widths.heads, widths.ratio)
        self.decoder = nn.ModuleList(_Fusion(channels[k + 1], channels[k]) for k in reversed(range(len(channels) - 1)))
        self.quarter_head = _zero_convolution(channels[1], 1)
        self.half_head = _zero_convolution(channels[0], 1)
        options = self.options
        self.fine = FineLevel(channels[0], options.fine, options.rgb) if options.fine else None
        self.head: nn.Module
        if options.head == "residual":
            self.head = ResidualHead(channels[0])
        elif options.fine:
            self.head = FineMixHead(options.fine, options.samples, options.reach)
        else:
            self.head = MixHead(channels[0], options.samples, options.reach)

    def forward(
        self, low: Float[Tensor, "b 1 h w"], high: Float[Tensor, "b 1 h w"], rgb: Float[Tensor, "b 3 h w"] | None = None
    ) -> RefineOutput:
        """The refined map of `low` from maps that `normalise` made comparable; `high` is `low` where there is no second prediction.

        Any size: padded by replication to `stride` and cropped. rgb in 0..1, needed by a network with `rgb` and refused by one
        without (ValueError). Everything must be finite: a NaN spreads.
        """
        if (rgb is None) == self.options.rgb:
            raise ValueError(
                f"RefineNet: options.rgb is {self.options.rgb}, found rgb = {'None' if rgb is None else 'a photo'}"
            )
        given = low
        low, high = (_padded(x, self.stride) for x in (low, high))
        picture = None if rgb is None else _padded(rgb, self.stride) - 0.5
        photo = None
        if self.rgb_stem is not None and picture is not None:
            photo = self.rgb_stem(picture)
        lows, highs = self._encode(low, photo), self._encode(high, photo)
        lows[-1], highs[-1] = self.attention(lows[-1], highs[-1])
        features, omega = self._decode(lows, highs)
        finest = features[-1] if self.fine is None else self.fine(features[-1], low, high, picture)
        return RefineOutput(
            _cropped(self.head(finest, low, high), given, 1),
            _cropped(low[..., ::2, ::2] + self.half_head(features[-1]), given, 2),
            _cropped(low[..., ::4, ::4] + self.quarter_head(features[-2]), given, 4),
            [_cropped(mask, given, 2 ** (len(omega) - k)) for k, mask in enumerate(omega)],
        )

    def _encode(self, depth: Tensor, photo: Tensor | None) -> list[Tensor]:
        """Feature maps of one branch, the finest first."""
        x = self.stem(depth)
        maps = [nn.functional.relu(x if photo is None else x + photo)]
        for stage in self.encoder:
            maps.append(stage(maps[-1]))
        return maps

    def _decode(self, lows: list[Tensor], highs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Features and masks Omega, each from coarse to fine."""
        features, masks = [(lows[-1] + highs[-1]) / 2], []
        for fusion, low, high in zip(self.decoder, lows[-2::-1], highs[-2::-1], strict=True):
            x, omega = fusion(features[-1], low, high)
            features.append(x)
            masks.append(omega)
        return features, masks


class DepthOnly(nn.Module):
    """A refiner that returns the depth alone: what is exported to ONNX. `inputs` is what `export_onnx` wants to know."""

    def __init__(self, network: RefineNet) -> None:
        super().__init__()
        self.network = network
        self.inputs = {"low": 1, "high": 1, "rgb": 3} if network.options.rgb else {"low": 1, "high": 1}

    def forward(
        self, low: Float[Tensor, "b 1 h w"], high: Float[Tensor, "b 1 h w"], rgb: Float[Tensor, "b 3 h w"] | None = None
    ) -> Float[Tensor, "b 1 h w"]:
        return self.network(low, high, rgb).depth


class _Fusion(nn.Module):
    """One level of the decoder: F = (1 - Omega) F_low + Omega F_high (SDDR, Eq. 8), added to the coarser level's result.

    Omega weights HIGH, as in the paper; its released code has the opposite sign. **Ours**: Omega also sees the two feature maps.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(before, after, 1)
        self.mask = nn.Conv2d(after, 1, 3, 1, 1)
        self.contrast = nn.Parameter(
            torch.randn(after, 1, 1) * 0.1
        )  # how much high - low counts for the mask, per channel
        self.merge = Convolution(after, after)

    def forward(
        self, coarse: Float[Tensor, "b c h2 w2"], low: Float[Tensor, "b d h w"], high: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b 1 h w"]]:
        base, step = doubled(self.narrow(coarse)) + low, high - low
        omega = torch.sigmoid(self.mask(base + self.contrast * step))
        return self.merge(base + omega * step), omega


class FineLevel(nn.Module):
    """Features at full size: what the level at half the size knows, next to the two maps and the photo pixel by pixel (**ours**).

    Edges are placed to the pixel here; without it the network learns several times slower (docs/decisions.md has the figures).
    """

    def __init__(self, before: int, channels: int, rgb: bool) -> None:
        super().__init__()
        self.look = nn.Sequential(
            Convolution(5 if rgb else 2, channels, normed=True), Convolution(channels, channels, normed=True)
        )
        self.merge = nn.Sequential(
            Convolution(before + channels, channels, normed=True), Convolution(channels, channels, normed=True)
        )

    def forward(
        self,
        x: Float[Tensor, "b c h2 w2"],
        low: Float[Tensor, "b 1 h w"],
        high: Float[Tensor, "b 1 h w"],
        picture: Float[Tensor, "b 3 h w"] | None,
    ) -> Float[Tensor, "b d h w"]:
        seen = [low - 0.5, high - low] if picture is None else [low - 0.5, high - low, picture]
        return self.merge(torch.cat([doubled(x), self.look(torch.cat(seen, 1))], 1))


class ResidualHead(nn.Module):
    """low + f, f zero at first; the four pixels of a 2 x 2 block come from the features at half the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = Convolution(channels, channels)
        self.change = _zero_convolution(channels, 4)

    def forward(
        self, x: Float[Tensor, "b c h2 w2"], low: Float[Tensor, "b 1 h w"], high: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 1 h w"]:
        return low + nn.functional.pixel_shuffle(self.change(self.body(x)), 2)


class MixHead(nn.Module):
    """A mixture per pixel of low, high and samples of low at predicted offsets (**ours**): no value that was not near.

    out = low + sum_k w_k (C_k - B) + w_high (high - low) - g (sum_k w_k) (low - B). C_k: low's 2 x 2 means sampled at offset k
    (at half the size, a quarter of the work) and brought to full size bilinearly, B: the same at offset 0. With g = 1 this
    is a convex mixture; with g = 0 the detail of low finer than two pixels stays, which no sample has.

    Weights are those of a softmax in which low has the logit 0 and every other candidate begins at log(SHARE). Offsets begin
    as small random functions of the features: all at 0 they see the same gradient and stay together, on a ring around the
    pixel they blur first and learn later; and weights that can be exactly 0 stay there (docs/decisions.md has the figures).
    """

    def __init__(self, channels: int, samples: int, reach: float) -> None:
        super().__init__()
        self.samples, self.reach = samples, reach / 2  # in pixels of the half-size map
        self.doubled = DoubledPhases()
        self.body = Convolution(channels, channels)
        # One layer for all: weights of high, g, weights of the samples (for four pixels each), then x and y of the offsets.
        self.choose = nn.Conv2d(channels, 4 * (samples + 2) + 2 * samples, 1)
        nn.init.normal_(self.choose.weight, std=FIRST_STEP)
        bias = self.choose.get_parameter("bias")
        nn.init.zeros_(bias)
        with torch.no_grad():
            bias[:4] = bias[4:8] = FIRST_CHANGE

    def forward(
        self, x: Float[Tensor, "b c h2 w2"], low: Float[Tensor, "b 1 h w"], high: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 1 h w"]:
        chosen = self.choose(self.body(x))
        split = 4 * (self.samples + 2)
        weights = SHARE * torch.exp(chosen[:, :split].clamp(max=LARGEST_LOGIT))
        sampled = self.doubled(self._sample(low, self.reach * torch.tanh(chosen[:, split:])))
        base, plain = phases(low), sampled[:, self.samples]
        high_weight, gate = weights[:, :4], weights[:, 4:8] / (1 + weights[:, 4:8])
        total, mixed = torch.zeros_like(base), high_weight * (phases(high) - base)
        for k in range(self.samples):  # one by one: a reduction over a middle axis is slow in ONNX Runtime
            weight = weights[:, 4 * k + 8 : 4 * k + 12]
            total, mixed = total + weight, mixed + weight * (sampled[:, k] - plain)
        mixed = mixed - gate * total * (base - plain)
        return nn.functional.pixel_shuffle(base + mixed / (1 + high_weight + total), 2)

    def _sample(self, low: Tensor, offsets: Tensor) -> Float[Tensor, "b k h2 w2"]:
        """Bilinear samples of low's 2 x 2 means, and those means by the same way, last; beyond the border its last values.

        `offsets` [b 2k h2 w2] holds all x, then all y, in pixels of the half-size map.
        """
        small = nn.functional.avg_pool2d(low, 2)
        none = torch.zeros_like(small)
        return displaced(
            small, torch.cat([offsets[:, : self.samples], none], 1), torch.cat([offsets[:, self.samples :], none], 1)
        )


class FineMixHead(nn.Module):
    """A convex mixture per pixel of low, high and samples of low at predicted offsets, from features at full size (**ours**).

    The weights are those of a softmax, and begin, as `MixHead` says.
    """

    def __init__(self, channels: int, samples: int, reach: float) -> None:
        super().__init__()
        self.samples, self.reach = samples, reach
        # One layer for all: x, then y of the offsets, weights of the samples, weight of high.
        self.choose = nn.Conv2d(channels, 3 * samples + 1, 3, 1, 1)
        nn.init.normal_(self.choose.weight, std=FIRST_STEP)
        bias = self.choose.get_parameter("bias")
        nn.init.zeros_(bias)
        with torch.no_grad():
            bias[-1] = FIRST_CHANGE

    def forward(
        self, x: Float[Tensor, "b c h w"], low: Float[Tensor, "b 1 h w"], high: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 1 h w"]:
        chosen = self.choose(x)
        offsets = self.reach * torch.tanh(chosen[:, : 2 * self.samples])
        weights = SHARE * torch.exp(chosen[:, 2 * self.samples :].clamp(max=LARGEST_LOGIT))
        sampled = displaced(low, offsets[:, : self.samples], offsets[:, self.samples :])
        total, mixed = 1 + weights[:, -1:], low + weights[:, -1:] * high
        for k in range(self.samples):  # one by one: a reduction over a middle axis is slow in ONNX Runtime
            weight = weights[:, k : k + 1]
            total, mixed = total + weight, mixed + weight * sampled[:, k : k + 1]
        return mixed / total


def displaced(
    x: Float[Tensor, "b 1 h w"], across: Float[Tensor, "b k h w"], down: Float[Tensor, "b k h w"]
) -> Float[Tensor, "b k h w"]:
    """Bilinear samples of x at k offsets per pixel, in pixels; beyond the border its last values."""
    height, width = x.shape[2], x.shape[3]
    columns = torch.arange(width, device=x.device, dtype=x.dtype) + 0.5
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] + 0.5
    grid = torch.stack([(columns + across) * 2 / width - 1, (rows + down) * 2 / height - 1], dim=-1)
    # The k maps stand below each other: one call for all.
    found = nn.functional.grid_sample(
        x, grid.flatten(1, 2), mode="bilinear", padding_mode="border", align_corners=False
    )
    return found.reshape(x.shape[0], across.shape[1], height, width)


def normalise(
    low: Float[Tensor, "b 1 h w"], high: Float[Tensor, "b 1 h w"]
) -> tuple[
    Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"], tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]
]:
    """(low, high, (scale, shift)) for the network: (x - shift) / scale of low, and of high fitted to low; per picture.

    shift is low's 2nd percentile, scale the way to its 98th; if those agree, from its least to its largest value; if those
    do, 1. high is fitted to low as by `core.align.fit_trimmed` (edges and wrong regions do not tilt it), and is low itself
    where that would turn it over. All finite.
    """
    flat_low, flat_high = low.flatten(1), high.flatten(1)
    ordered = flat_low.sort(1).values
    shift, upper = _quantile(ordered, 0.02), _quantile(ordered, 0.98)
    scale = upper - shift
    for other in (ordered[:, -1:] - ordered[:, :1], torch.ones_like(scale)):
        scale = torch.where(scale > 1e-6 * torch.maximum(upper.abs(), shift.abs()), scale, other)
    gain, offset = _fit(flat_high, flat_low, torch.ones_like(flat_low))
    kept = min(max(2, int(0.8 * flat_low.shape[1])), flat_low.shape[1])
    for _ in range(10):
        order = (gain * flat_high + offset - flat_low).abs().argsort(1)[:, :kept]
        gain, offset = _fit(flat_high, flat_low, torch.zeros_like(flat_low).scatter(1, order, 1.0))
    scale, shift, gain, offset = (x[:, :, None, None] for x in (scale, shift, gain, offset))
    fitted = torch.where(gain > 0, gain * high + offset, low)
    return (low - shift) / scale, (fitted - shift) / scale, (scale, shift)


def restore(
    out: Float[Tensor, "b 1 h w"], units: tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]
) -> Float[Tensor, "b 1 h w"]:
    """Back to the units of the map that `normalise` took."""
    scale, shift = units
    return out * scale + shift


def _fit(x: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares target = gain x + offset per row of [b n]; gain 1 where x does not vary."""
    total = weight.sum(1, keepdim=True)
    mean_x, mean_t = ((weight * values).sum(1, keepdim=True) / total for values in (x, target))
    spread = weight * (x - mean_x)
    variance = (spread * (x - mean_x)).sum(1, keepdim=True) / total
    varies = variance > 1e-12 * (mean_x * mean_x + 1e-12)
    covariance = (spread * (target - mean_t)).sum(1, keepdim=True) / total
    gain = torch.where(varies, covariance / torch.where(varies, variance, 1.0), 1.0)
    return gain, mean_t - gain * mean_x


def _quantile(ordered: Tensor, share: float) -> Tensor:
    """Quantile of sorted rows [b n], interpolated as numpy does; torch's own refuses more than 16 million values."""
    place = share * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return ordered[:, below : below + 1].lerp(ordered[:, above : above + 1], place - below)


def _stage(widths: Widths, k: int) -> nn.Sequential:
    normed = k >= widths.normed_from
    blocks = (Residual(widths.channels[k], normed) for _ in range(widths.blocks[k]))
    return nn.Sequential(Convolution(widths.channels[k - 1], widths.channels[k], stride=2, normed=normed), *blocks)


def _zero_convolution(before: int, after: int) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, 3, 1, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def _padded(x: Tensor, stride: int) -> Tensor:
    return nn.functional.pad(x, (0, -x.shape[3] % stride, 0, -x.shape[2] % stride), mode="replicate")


def _cropped(x: Tensor, like: Tensor, step: int) -> Tensor:
    """Without what `_padded` added to `like`, of which x has 1 / step of the size."""
    return x[..., : (like.shape[2] + step - 1) // step, : (like.shape[3] + step - 1) // step]
