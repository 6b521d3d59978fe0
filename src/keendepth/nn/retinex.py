"""A picture's twin with other texture and other light, and the same depth: what robust training perturbs, none of it a test corruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

DARKEST = 0.02  # of the illumination, so that black keeps a reflectance (scent_depth.md 3.2.1)
SPREAD = 13.0  # the illumination is blurred by the height over this (there, too)
CELL = 8.0  # side of a missing cell in pixels of a picture 64 high (3.2.2); it grows with the picture
MISSING = 0.25  # share of cells that are missing (3.2.2)
FIELD = 4  # grid points across of the smooth field of light; ours


@dataclass(frozen=True)
class Perturbation:
    """Chance of each operation per picture, 0 leaves it out. The first four are those of scent_depth.md 3.2.2, the others ours.

    None is an operation of `data.corruptions`, which tests: no noise is drawn per pixel, nothing is convolved with a lens's, a hand's or a
    pane's blur, no tone curve, clouds, ice or flakes are laid over the picture, nothing is coded or moved.
    """

    illumination: float = 0.5
    """Light I = R L: L to a power, times a smooth uneven field; reflectance stays."""
    suppression: float = 0.5
    """Reflectance smoothed within edges (guided filter) and drawn towards its local mean: painted texture fades, borders stay."""
    foreign: float = 0.5
    """Reflectance mixed with that of another picture of the batch."""
    missing: float = 0.5
    """Square cells whose reflectance is the picture's mean."""
    grain: float = 0.0
    """Fine reflectance of another picture, made dense by shrinking and mirroring it, laid over that of this one."""
    spectrum: float = 0.0
    """Amplitudes of the Fourier transform mixed with another picture's; phases, which hold the structure, stay."""
    convolution: float = 0.0
    """A convolution with random signed weights that mix the channels, of 1, 3 or 5 pixels; mean and contrast are put back."""
    palette: float = 0.0
    """Mean and covariance of the colours moved towards another picture's."""
    reflection: float = 0.0
    """Another picture's light added as in a window pane: 1 - (1 - I)(1 - a O)."""


ROBUST = Perturbation(0.5, 0.25, 0.25, 0.2, 0.4, 0.35, 0.35, 0.25, 0.25)
OPERATIONS = tuple(field.name for field in fields(Perturbation))


def decompose(
    rgb: Float[Tensor, "b 3 h w"], sigma: float = 0.0
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
    """(reflectance R, illumination L) with I = R L exactly (Retinex; scent_depth.md 3.2.1): L is the blurred maximum of the channels.

    `sigma` in pixels, 0: the height over 13. L >= 0.02. NaN spreads over the blur's reach.
    """
    light = blurred(rgb.amax(1, keepdim=True), sigma or rgb.shape[2] / SPREAD).clamp(min=DARKEST)
    return rgb / light, light


def perturb(
    rgb: Float[Tensor, "b 3 h w"], generator: torch.Generator, options: Perturbation = Perturbation()
) -> Float[Tensor, "b 3 h w"]:
    """The twin of each picture in 0..1: each operation is drawn by itself, so a picture may also stay as it is. Nothing moves.

    Randomness comes from `generator`, on the CPU, alone; "another picture" is one of the batch, mirrored or not, so that batches of one
    are mixed with their own mirror image. With all chances 0 the input comes back as it is. Gradients do not pass.
    """
    with torch.no_grad():
        out = rgb
        for name in OPERATIONS:
            chance = getattr(options, name)
            chosen = torch.rand(len(rgb), generator=generator) < chance
            if chance and chosen.any():
                where = chosen.to(rgb.device)
                found = _APPLY[name](out[where], _others(rgb, generator)[where], _Draw(generator, rgb.device))
                out = out.index_put((where.nonzero()[:, 0],), found.clamp(0, 1).to(out.dtype))
        return out


@dataclass(frozen=True)
class _Draw:
    """Random numbers, made on the CPU and brought to where they are needed."""

    generator: torch.Generator
    device: torch.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=self.generator)).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device)

    def whole(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))


def _others(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """For each picture the next one by a random number of places, the whole batch mirrored or not."""
    count = len(rgb)
    by = 1 + int(torch.randint(max(count - 1, 1), (), generator=generator))
    turned = rgb.roll(by, 0)
    return turned.flip(3) if count == 1 or torch.rand((), generator=generator) < 0.5 else turned


def _illumination(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """L~ = L ** gamma * exp(field): the field is smooth, spans a factor of 2 to 20 over the picture, and is tinted a little."""
    count = len(rgb)
    reflectance, light = decompose(rgb)
    field = smooth_field(draw.normal(count, 1, FIELD, FIELD), rgb.shape[2:])
    field = field - field.flatten(1).amax(1)[:, None, None, None]
    depth = draw.uniform(math.log(2), math.log(20), count, 1, 1, 1)
    field = field / field.flatten(1).amin(1).abs().clamp(min=1e-6)[:, None, None, None] * depth
    level = draw.uniform(-0.7, 0.4, count, 1, 1, 1)
    tint = 0.12 * draw.normal(count, 3, 1, 1)
    gamma = draw.uniform(0.6, 2.0, count, 1, 1, 1)
    return reflectance * light**gamma * torch.exp(field + level + tint)


def _suppression(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """R~ = mean^(1-p) ((1-a) R + a smooth(R))^p, `smooth` the self-guided filter of He et al. 2013, `mean` its local mean."""
    count = len(rgb)
    reflectance, light = decompose(rgb)
    radius = max(1, round(draw.whole(5) * rgb.shape[2] / 128) + 1)
    smooth = guided(reflectance, radius, 0.01)
    a, power = draw.uniform(0, 1, count, 1, 1, 1), draw.uniform(0.35, 1, count, 1, 1, 1)
    found = (reflectance + a * (smooth - reflectance)).clamp(min=1e-3)
    mean = blurred(found, rgb.shape[2] / SPREAD).clamp(min=1e-3)
    return mean * (found / mean) ** power * light


def _foreign(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """R~ = (1-b) R + b R', b up to a half (3.2.2 ii)."""
    reflectance, light = decompose(rgb)
    b = draw.uniform(0, 0.5, len(rgb), 1, 1, 1)
    return (reflectance + b * (decompose(other)[0] - reflectance)) * light


def _missing(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """A quarter of the cells get the picture's mean reflectance (3.2.2 iii); their light stays."""
    reflectance, light = decompose(rgb)
    h, w = rgb.shape[2:]
    side = CELL * h / 64
    grid = (draw.uniform(0, 1, len(rgb), 1, max(1, round(h / side)), max(1, round(w / side))) < MISSING).float()
    holes = functional.interpolate(grid, (h, w), mode="nearest")
    mean = reflectance.mean((2, 3), keepdim=True)
    return (reflectance + holes * (mean - reflectance)) * light


def _grain(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """R~ = R exp(a d): d is the other's log reflectance less its local mean, shrunk to 1/k and mirrored k x k times over, deviation 1."""
    count, (h, w) = len(rgb), rgb.shape[2:]
    reflectance, light = decompose(rgb)
    times = 2 + draw.whole(5)
    fine = decompose(other, h / 40)[0].clamp(min=0.02).log()
    small = functional.interpolate(fine, (-(-h // times), -(-w // times)), mode="nearest-exact")
    row = torch.cat([small if k % 2 == 0 else small.flip(3) for k in range(times)], 3)
    tiled = torch.cat([row if k % 2 == 0 else row.flip(2) for k in range(times)], 2)[..., :h, :w]
    tiled = tiled - tiled.mean((2, 3), keepdim=True)
    tiled = tiled / tiled.std((1, 2, 3), keepdim=True).clamp(min=1e-3)
    return reflectance.clamp(min=0.02) * torch.exp(draw.uniform(0.1, 0.7, count, 1, 1, 1) * tiled) * light


def _spectrum(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """A~ = A^(1-a) A'^a with the own phase, a up to 1: amplitudes say how rough a picture is, phases what is in it."""
    own, theirs = torch.fft.rfft2(rgb), torch.fft.rfft2(other)
    a = draw.uniform(0, 1, len(rgb), 1, 1, 1)
    mixed = (own.abs() + 1e-6) ** (1 - a) * (theirs.abs() + 1e-6) ** a
    return torch.fft.irfft2(torch.polar(mixed, own.angle()), rgb.shape[2:])


def _convolution(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """(1-a) I + a K * I, K of random signed weights (RandConv, Xu et al., ICLR 2021), each channel's mean and deviation put back."""
    count, (h, w) = len(rgb), rgb.shape[2:]
    side = (1, 3, 5)[draw.whole(3)]
    kernel = draw.normal(count * 3, 3, side, side)
    edge = functional.pad(rgb, (side // 2,) * 4, mode="reflect").reshape(1, count * 3, h + side - 1, w + side - 1)
    found = functional.conv2d(edge, kernel, groups=count).reshape(count, 3, h, w)
    found = found - found.mean((2, 3), keepdim=True)
    found = found / found.std((2, 3), keepdim=True).clamp(min=1e-3) * rgb.std((2, 3), keepdim=True)
    a = draw.uniform(0, 0.9, count, 1, 1, 1)
    return rgb + a * (found + rgb.mean((2, 3), keepdim=True) - rgb)


def _palette(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """Colours x to (1-a) x + a (M (x - m) + m'), M from the own covariance's root to the other's (colour transfer, Pitie and Kokaram)."""
    a = draw.uniform(0.2, 1, len(rgb), 1, 1)
    (own, mean), (theirs, wanted) = _covariance(rgb), _covariance(other)
    move = _root(theirs) @ torch.linalg.inv(_root(own))
    colours = rgb.flatten(2)
    found = move.clamp(-4, 4) @ (colours - mean) + wanted
    return (colours + a * (found - colours)).reshape(rgb.shape)


def _reflection(rgb: Tensor, other: Tensor, draw: _Draw) -> Tensor:
    """Light of both adds up in the eye and is bounded: 1 - (1 - I)(1 - a O)."""
    a = draw.uniform(0.1, 0.7, len(rgb), 1, 1, 1)
    return 1 - (1 - rgb) * (1 - a * other)


_APPLY: dict[str, Callable[[Tensor, Tensor, _Draw], Tensor]] = {
    "illumination": _illumination, "suppression": _suppression, "foreign": _foreign, "missing": _missing, "grain": _grain,
    "spectrum": _spectrum, "convolution": _convolution, "palette": _palette, "reflection": _reflection,
}  # fmt: skip


# ---- what the operations are made of


def blurred(x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Gaussian blur of `sigma` pixels, borders mirrored; above 6 pixels it is done on a picture reduced by whole numbers."""
    step = max(1, int(sigma // 3))
    h, w = x.shape[2:]
    small = functional.avg_pool2d(x, step, ceil_mode=True, count_include_pad=False) if step > 1 else x
    reach = min(math.ceil(3 * sigma / step), min(small.shape[2:]) - 1)
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-((at * step / sigma) ** 2) / 2)
    weights = (weights / weights.sum()).expand(x.shape[1], 1, -1)
    padded = functional.pad(small, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, weights[:, :, None], groups=x.shape[1])
    found = functional.conv2d(across, weights[..., None], groups=x.shape[1])
    return functional.interpolate(found, (h, w), mode="bilinear", align_corners=False) if step > 1 else found


def guided(x: Float[Tensor, "b c h w"], radius: int, eps: float) -> Float[Tensor, "b c h w"]:
    """Each channel smoothed where its variance in a (2 radius + 1)^2 window is below `eps` (guided filter, He et al. 2013, Eq. 5-8)."""

    def mean(values: Tensor) -> Tensor:
        padded = functional.pad(values, (radius,) * 4, mode="replicate")
        return functional.avg_pool2d(functional.avg_pool2d(padded, (1, 2 * radius + 1), 1), (2 * radius + 1, 1), 1)

    local = mean(x)
    variance = (mean(x * x) - local * local).clamp(min=0)
    a = variance / (variance + eps)
    return mean(a) * x + mean((1 - a) * local)


def smooth_field(grid: Float[Tensor, "b 1 k k"], size: tuple[int, ...]) -> Float[Tensor, "b 1 h w"]:
    """A few numbers per picture drawn out to its size."""
    return functional.interpolate(grid, tuple(size), mode="bicubic", align_corners=True)


def _covariance(rgb: Tensor) -> tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 3 1"]]:
    colours = rgb.flatten(2)
    mean = colours.mean(2, keepdim=True)
    centred = colours - mean
    eye = torch.eye(3, device=rgb.device, dtype=rgb.dtype)
    return centred @ centred.transpose(1, 2) / colours.shape[2] + 1e-4 * eye, mean


def _root(matrix: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3 3"]:
    """The symmetric square root of a positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp(min=0).sqrt()) @ vectors.transpose(1, 2)
