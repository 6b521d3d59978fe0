"""Direct alignment: the motion between two frames made exact by least squares on their pixels, given depth (Engel et al., PAMI 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

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
    wide = pad(light, (1, 1, 1, 1), mode="replicate")
    across = wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]
    down = wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]
    smaller = K / K.new_tensor([side, side, 1.0])[:, None]
    return _Level(pooled[0], torch.cat([light, across / 2, down / 2], 1), 1 / pooled[2], smaller)


def _step(level: _Level, motion: Tensor) -> Float[Tensor, "b 4 4"]:
    """One step of iteratively reweighted least squares over a small motion after the present one."""
    seen, difference, inside = _difference(level, motion)
    weight = _weights(difference, inside)
    rows = _slopes(seen, level.K).flatten(2).nan_to_num()
    normal = torch.einsum("bin,bn,bjn->bij", rows, weight, rows)
    wanted = -torch.einsum("bin,bn,bn->bi", rows, weight, difference)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    normal = normal + torch.diag_embed(DAMPING * diagonal + 1e-9 * diagonal.amax(1, keepdim=True) + 1e-12)
    by = torch.linalg.solve(normal, wanted)
    reach = level.depth.flatten(1).nanmedian(1).values[:, None]
    by = torch.cat([_cut(by[:, :3], FARTHEST * reach), _cut(by[:, 3:], FARTHEST * torch.ones_like(reach))], 1)
    by = torch.where(torch.isfinite(by).all(1, keepdim=True), by, 0.0)
    return warp.rigid(by[:, 3:], by[:, :3]) @ motion


def _difference(level: _Level, motion: Tensor) -> tuple[warp.Warped, Float[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """(source as the target sees it; its light less the target's, 0 outside; which pixels count)."""
    seen = warp.warp(level.slopes, level.depth, motion, level.K)
    difference = seen.picture[:, :1] - level.light
    inside = (seen.inside & torch.isfinite(difference)).flatten(1)
    return seen, torch.where(inside, difference.flatten(1), 0.0), inside


def _weights(difference: Float[Tensor, "b n"], inside: Bool[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """1 / (1 + (r / s)^2)^2 of what counts, s a multiple of the mean absolute difference."""
    mean = difference.abs().sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    return inside / (1 + (difference / (SCALE * mean).clamp(min=1e-4)).square()).square()


def _slopes(seen: warp.Warped, K: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 6 h w"]:
    """How each pixel's light changes with a translation and a turn of the points: the image's slopes times those of the projection."""
    h, w = seen.grid.shape[1:3]
    fx, fy, cx, cy = (x[:, None, None] for x in (K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]))
    a, c = ((seen.grid[..., 0] + 1) * w / 2 - cx) / fx, ((seen.grid[..., 1] + 1) * h / 2 - cy) / fy  # x / z and y / z
    z = seen.depth[:, 0].clamp(min=warp.NEAREST)
    u, v = seen.picture[:, 1] * fx, seen.picture[:, 2] * fy
    depth = -(u * a + v * c)
    return torch.stack([u / z, v / z, depth / z, depth * c - v, u - depth * a, v * a - u * c], 1)


def _cut(by: Float[Tensor, "b 3"], longest: Float[Tensor, "b 1"]) -> Float[Tensor, "b 3"]:
    """Not longer than `longest`."""
    return by * (longest / by.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)


def _error(level: _Level, motion: Tensor) -> Float[Tensor, " b"]:
    """Mean absolute difference of what counts; nothing in view is as bad as can be."""
    _, difference, inside = _difference(level, motion)
    count = inside.sum(1)
    return torch.where(count > 0, difference.abs().sum(1) / count.clamp(min=1), torch.inf)
