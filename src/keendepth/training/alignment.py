"""Direct alignment: the motion between two frames made exact by least squares on their pixels, given depth (Engel et al., PAMI 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from keendepth.nn import warp
from keendepth.nn.exposure import luminance

# All ours. Sizes as powers of two below the frames', and steps at each.
SCHEDULE = ((2, 3), (1, 3), (0, 3))
SMALLEST_SIDE = 12  # pixels; smaller maps are left out
SCALE = 2.0  # of the mean absolute error: differences well above it count little (Geman and McClure's weights)
DAMPING = 1e-3  # share of the diagonal that is added to it
FARTHEST = 0.2  # radians, and shares of the median depth: a longer step in one go is cut to it


class _Level(NamedTuple):
    """Both frames and the depth at one size. `slopes` of the source: its light, and that light's derivatives by u and v."""

    light: Float[Tensor, "b 1 h w"]
    slopes: Float[Tensor, "b 3 h w"]
    depth: Float[Tensor, "b 1 h w"]
    K: Float[Tensor, "b 3 3"]


@torch.no_grad()
def aligned(
    target: Float[Tensor, "b 3 h w"],
    source: Float[Tensor, "b 3 h w"],
    depth: Float[Tensor, "b 1 h w"],
    motion: Float[Tensor, "b 4 4"],
    K: Float[Tensor, "b 3 3"],
) -> Float[Tensor, "b 4 4"]:
    """`motion` (target's points into the source camera) after Gauss-Newton steps, coarse to fine; each pair by itself.

    Depth in the unit of the translation; rgb in 0..1. Where the last motion does not explain the frames better than the given one did, the
    given one comes back, so the result is never worse by that measure. Gradients do not pass. NaN in depth is left out.
    """
    found = motion
    levels = [_level(target, source, depth, K, step) for step, _ in SCHEDULE]
    for level, (_, steps) in zip(levels, SCHEDULE, strict=True):
        if min(level.light.shape[2:]) < SMALLEST_SIDE:
            continue
        for _ in range(steps):
            found = _step(level, found)
    better = _error(levels[-1], found) < _error(levels[-1], motion)
    return torch.where(better[:, None, None], found, motion)


def _level(target: Tensor, source: Tensor, depth: Tensor, K: Tensor, step: int) -> _Level:
    """Everything at 1 / 2^step of the size: light is averaged, and depth's inverse."""
    side = 2**step
    pooled = [avg_pool2d(x, side) for x in (luminance(target), luminance(source), 1 / depth)]
    light = pooled[1]
    wide = torch.cat([light[..., :1], light, light[..., -1:]], 3)
    high = torch.cat([light[:, :, :1], light, light[:, :, -1:]], 2)
    slopes = [light, (wide[..., 2:] - wide[..., :-2]) / 2, (high[:, :, 2:] - high[:, :, :-2]) / 2]
    smaller = K / K.new_tensor([side, side, 1.0])[:, None]
    return _Level(pooled[0], torch.cat(slopes, 1), 1 / pooled[2], smaller)


def _step(level: _Level, motion: Tensor) -> Float[Tensor, "b 4 4"]:
    """One step of iteratively reweighted least squares over a small motion after the present one."""
    difference, inside, seen = _difference(level, motion)
    points = _points(level, motion)
    weight = _weights(difference, inside)
    rows = _slopes(seen, points, level.K).flatten(2)
    normal = torch.einsum("bin,bn,bjn->bij", rows, weight, rows)
    wanted = -torch.einsum("bin,bn,bn->bi", rows, weight, difference)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    normal = normal + torch.diag_embed(DAMPING * diagonal + 1e-9 * diagonal.amax(1, keepdim=True) + 1e-12)
    by = torch.linalg.solve(normal, wanted)
    reach = level.depth.flatten(1).nanmedian(1).values[:, None]
    by = torch.cat([_cut(by[:, :3], FARTHEST * reach), _cut(by[:, 3:], FARTHEST * torch.ones_like(reach))], 1)
    by = torch.where(torch.isfinite(by).all(1, keepdim=True), by, 0.0)
    return warp.rigid(by[:, 3:], by[:, :3]) @ motion


def _difference(level: _Level, motion: Tensor) -> tuple[Float[Tensor, "b n"], Bool[Tensor, "b n"], Tensor]:
    """(source as the target sees it less the target, 0 outside; which pixels count; the source's slopes there)."""
    seen = warp.warp(level.slopes, level.depth, motion, level.K)
    difference = seen.picture[:, :1] - level.light
    inside = (seen.inside & torch.isfinite(difference)).flatten(1)
    return torch.where(inside, difference.flatten(1), 0.0), inside, seen.picture[:, 1:].nan_to_num()


def _points(level: _Level, motion: Tensor) -> Float[Tensor, "b 3 h w"]:
    """The target's points in the source camera."""
    b, _, h, w = level.depth.shape
    rays = torch.linalg.inv(level.K) @ warp.pixels(level.depth)
    found = motion[:, :3, :3] @ (rays * level.depth.reshape(b, 1, h * w)) + motion[:, :3, 3:]
    return found.reshape(b, 3, h, w).nan_to_num(1.0)


def _weights(difference: Float[Tensor, "b n"], inside: Bool[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """1 / (1 + (r / s)^2)^2 of what counts, s a multiple of the mean absolute difference."""
    mean = difference.abs().sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    return inside / (1 + (difference / (SCALE * mean).clamp(min=1e-4)).square()).square()


def _slopes(slopes: Float[Tensor, "b 2 h w"], points: Float[Tensor, "b 3 h w"], K: Tensor) -> Float[Tensor, "b 6 h w"]:
    """How each pixel's light changes with a translation and a turn of the points: the image's slopes times those of the projection."""
    x, y, z = points.unbind(1)
    z = z.clamp(min=warp.NEAREST)
    a, c = x / z, y / z
    along = slopes * torch.stack([K[:, 0, 0], K[:, 1, 1]], 1)[..., None, None]
    u, v = along.unbind(1)
    depth = -(u * a + v * c)
    return torch.stack([u / z, v / z, depth / z, depth * c - v, u - depth * a, v * a - u * c], 1)


def _cut(by: Float[Tensor, "b 3"], longest: Float[Tensor, "b 1"]) -> Float[Tensor, "b 3"]:
    """Not longer than `longest`."""
    return by * (longest / by.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)


def _error(level: _Level, motion: Tensor) -> Float[Tensor, " b"]:
    """Mean absolute difference of what counts; nothing in view is as bad as can be."""
    difference, inside, _ = _difference(level, motion)
    count = inside.sum(1)
    return torch.where(count > 0, difference.abs().sum(1) / count.clamp(min=1), torch.inf)
