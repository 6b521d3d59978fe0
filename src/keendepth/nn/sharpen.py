"""SharpDepth's step: where a metric map and a generative one disagree, noise; elsewhere the clean latent; then one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from keendepth.nn.diffusion import OneStep, Schedule, noise_latent

TINY = 1e-6  # so that two equal maps differ by 0, not by 0 / 0
TAILS = (0.02, 0.98)  # quantiles that are matched where `align` is "quantile" (those of Lotus' targets)


@dataclass(frozen=True)
class SharpenOptions:
    """How the difference map and the gate are made; defaults are the released code's."""

    align: Literal["none", "minmax", "lstsq", "quantile"] = "none"
    """What brings the generated map to the metric one first (paper: to its range, minmax or lstsq; code: none)."""
    peak: float = 1.0
    """Quantile of |difference| that becomes 1 (paper, code: 1, the largest, which a single pixel may set)."""
    down: Literal["nearest", "area", "max"] = "nearest"
    """How the map gets to the latents' size (code: nearest, the top left pixel of each block)."""
    gate: Literal["code", "paper", "clean"] = "code"
    """What replaces the latent: the first answer, noised (code); noise (paper Eq. 4); nothing (the ablation "clean latent")."""
    start: Literal["noise", "depth"] = "noise"
    """What the first answer starts from: noise (paper, code), or the metric depth (ours), for a generator that was trained with
    `condition`. With the gate "clean" both evaluations are one and the same then, and only one is made."""
    whole: float = 0.0
    """The difference, of 2 between nearest and farthest, that becomes 1 (ours); 0: the largest of the picture (paper, code)."""

    @property
    def once(self) -> bool:
        """Whether one evaluation is all there is, and noise of no consequence."""
        return (self.start, self.gate) == ("depth", "clean")


ONCE = SharpenOptions(gate="clean", start="depth", whole=0.2)  # of a generator that starts from depth (ours)


def difference_map(
    generated: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "b 1 h w"], options: SharpenOptions
) -> Float[Tensor, "b 1 h w"]:
    """e = |generated - depth| over its largest value, for each picture by itself, in 0..1 (SharpDepth, section 3; sharpdepth.md 3.2).

    `depth` in -1..1, so e does not change with the scale and shift of the metres. Two equal maps give 0.
    """
    raw = (aligned(generated, depth, options.align) - depth).abs()
    if options.whole > 0:
        return (raw / options.whole).clamp(0, 1)
    top = raw.amax((1, 2, 3), keepdim=True)
    if options.peak < 1:
        top = torch.quantile(raw.flatten(1), options.peak, dim=1)[:, None, None, None]
    return (raw / top.clamp(min=TINY)).clamp(0, 1)


def aligned(
    values: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"], method: str
) -> Float[Tensor, "b 1 h w"]:
    """`values` of each picture brought to `target` by scale and shift: of the ranges, least squares, or quantiles; or left alone."""
    if method == "none":
        return values
    if method == "lstsq":
        return _least_squares(values, target)
    low, high = _ends(values, method)
    target_low, target_high = _ends(target, method)
    return (values - low) / (high - low).clamp(min=TINY) * (target_high - target_low) + target_low


def _least_squares(values: Tensor, target: Tensor) -> Tensor:
    mean, target_mean = (x.mean((1, 2, 3), keepdim=True) for x in (values, target))
    spread = values - mean
    variance = (spread * spread).mean((1, 2, 3), keepdim=True)
    scale = (spread * (target - target_mean)).mean((1, 2, 3), keepdim=True) / variance.clamp(min=TINY**2)
    return scale * spread + target_mean


def _ends(values: Tensor, method: str) -> tuple[Tensor, Tensor]:
    if method == "quantile":
        tails = torch.tensor(TAILS, dtype=values.dtype, device=values.device)
        low, high = torch.quantile(values.flatten(1), tails, dim=1)
        return low[:, None, None, None], high[:, None, None, None]
    return values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)


def shrunk(difference: Float[Tensor, "b 1 h w"], stride: int, method: str) -> Float[Tensor, "b 1 _h _w"]:
    """The difference map at the latents' size: the top left pixel of each block ("nearest"), its mean, or its largest value."""
    if method == "nearest":
        return difference[..., ::stride, ::stride]
    pool = nn.functional.avg_pool2d if method == "area" else nn.functional.max_pool2d
    return pool(difference, stride)


def gated(
    clean: Float[Tensor, "b c h w"], noise: Float[Tensor, "b c h w"], difference: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b c h w"]:
    """z'_d = e (.) noise + (1 - e) (.) z_d (SharpDepth Eq. 4). Not variance preserving, as there."""
    return difference * noise + (1 - difference) * clean


@dataclass(frozen=True, eq=False)
class Gate:
    """Options of the gate, with the codec and the schedule that it works in."""

    codec: Any
    schedule: Schedule
    options: SharpenOptions

    def __call__(
        self,
        first: Float[Tensor, "b c hh ww"],
        depth: Float[Tensor, "b 1 h w"],
        noise: Float[Tensor, "b c hh ww"],
    ) -> tuple[Float[Tensor, "b c hh ww"], Float[Tensor, "b 1 h w"]]:
        """(z'_d, e), from the first answer's latent z_G, the metric depth in -1..1, and fresh noise. No gradient runs through it."""
        with torch.no_grad():
            difference = difference_map(self.codec.decode(first), depth, self.options)
            clean = self.codec.depth(depth)
            if self.options.gate == "clean":
                return clean, difference
            source = noise if self.options.gate == "paper" else self.schedule.noised(first, noise)
            small = shrunk(difference, self.codec.stride, self.options.down)
            return gated(clean, source, small), difference


class Sharpener(nn.Module):
    """The whole step as one network of arrays: a picture, metric depth and noise in; sharper depth and the difference map out."""

    def __init__(self, model: OneStep, options: SharpenOptions) -> None:
        super().__init__()
        self.codec, self.denoiser = model.codec, model.denoiser
        self.gate = Gate(model.codec, model.schedule, options)

    def forward(
        self,
        rgb: Float[Tensor, "b 3 h w"],
        depth: Float[Tensor, "b 1 h w"],
        noise: Float[Tensor, "b 2 h w"] | None = None,
    ) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
        """(depth in -1..1, not clipped; difference 0..1), from rgb in 0..1, depth in -1..1 and unit noise; sides whole latents.

        The same denoiser makes both evaluations (SharpDepth's code at test time; sharpdepth.md 3.3 to 3.5). Without noise, or where
        the options leave it no place, one evaluation from depth.
        """
        picture, options = self.codec.picture(2 * rgb - 1), self.gate.options
        if noise is None or options.once:
            first = self.denoiser(picture, self.codec.depth(depth))
            return self.codec.decode(first), difference_map(self.codec.decode(first), depth, options)
        start, fresh = (noise_latent(noise[:, k : k + 1], self.codec) for k in (0, 1))
        first = self.denoiser(picture, self.codec.depth(depth) if options.start == "depth" else start)
        x, difference = self.gate(first, depth, fresh)
        return self.codec.decode(self.denoiser(picture, x)), difference


class Generator(nn.Module):
    """A generative model as one network of arrays: a picture and noise in, depth in -1..1 out."""

    def __init__(self, model: OneStep) -> None:
        super().__init__()
        self.codec, self.denoiser = model.codec, model.denoiser

    def forward(self, rgb: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Depth of one sample, from rgb in 0..1 and unit noise."""
        return self.codec.decode(self.denoiser(self.codec.picture(2 * rgb - 1), noise_latent(noise, self.codec)))


def chosen(
    which: Bool[Tensor, " b"], yes: Float[Tensor, "b c h w"], no: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """`yes` for the pictures of `which`, `no` for the others."""
    return torch.where(which[:, None, None, None], yes, no)
