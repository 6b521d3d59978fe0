"""Seeing one frame from another: motions as matrices, projection of a depth map into another camera, and sampling there.

Pixels are counted as everywhere in this package: the centre of the top-left pixel is (0.5, 0.5). A position u then is
2 u / width - 1 for `grid_sample` with align_corners=False, which is the same place; no half pixels are lost on the way.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEAREST = 1e-3  # metres; what lies nearer to the other camera, or behind it, is put there and is not inside
SMALLEST = 1e-14  # under the root of a squared angle: its gradient stays finite at no rotation (scent_depth.md 11.1)


class Warped(NamedTuple):
    """A source seen from the target: the picture, how far its points lie from the source camera, and which pixels it shows."""

    picture: Float[Tensor, "b c h w"]
    depth: Float[Tensor, "b 1 h w"]
    inside: Bool[Tensor, "b 1 h w"]
    grid: Float[Tensor, "b h w 2"]  # where each pixel lies in the source, as `grid_sample` takes it


def rotation(axis_angle: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 3"]:
    """Rodrigues' formula: the angle in radians is the vector's length."""
    angle = (axis_angle.square().sum(1, keepdim=True) + SMALLEST).sqrt()
    x, y, z = (axis_angle / angle).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    sin, cos = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3, device=cross.device, dtype=cross.dtype) + sin * cross + (1 - cos) * cross @ cross


def rigid(axis_angle: Float[Tensor, "b 3"], translation: Float[Tensor, "b 3"]) -> Float[Tensor, "b 4 4"]:
    """The matrix that rotates, then translates."""
    top = torch.cat([rotation(axis_angle), translation[..., None]], 2)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], device=top.device, dtype=top.dtype).expand(len(top), 1, 4)
    return torch.cat([top, bottom], 1)


def inverse(motion: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 4 4"]:
    """Back again: the rotation transposed, the translation turned back."""
    turned = motion[:, :3, :3].transpose(1, 2)
    top = torch.cat([turned, -turned @ motion[:, :3, 3:]], 2)
    return torch.cat([top, motion[:, 3:]], 1)


def mirrored(motion: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 4 4"]:
    """The same motion in a world that is flipped left to right (scent_depth.md 9.3); the camera's cx becomes width - cx."""
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=motion.device, dtype=motion.dtype)
    return flip[:, None] * motion * flip


def warp(
    source: Float[Tensor, "b c h w"],
    depth: Float[Tensor, "b 1 h w"],
    motion: Float[Tensor, "b 4 4"],
    K: Float[Tensor, "b 3 3"],
    mixed: bool = False,
) -> Warped:
    """The source frame as the target camera sees it: K (T D K^-1 p), sampled bilinearly, its border repeated outside (monodepth2).

    `depth` of the target in metres, `motion` takes its points into the source camera, `K` in pixels of both. `mixed` is
    monodepth2's call, which counts for align_corners=True and samples with False: wrong by up to half a pixel, for the self-test.
    NaN in depth gives NaN there.
    """
    b, _, h, w = depth.shape
    turn = K @ motion[:, :3, :3] @ torch.linalg.inv(K)
    shift = K @ motion[:, :3, 3:]
    points = (turn @ _pixels(depth)) * depth.reshape(b, 1, h * w) + shift
    z = points[:, 2:].clamp(min=NEAREST)
    size = torch.tensor([w, h], device=depth.device, dtype=depth.dtype)[:, None]
    place = points[:, :2] / z
    place = 2 * (place - 0.5) / (size - 1) - 1 if mixed else 2 * place / size - 1
    inside = (points[:, 2:] > NEAREST) & (place.abs() <= 1).all(1, keepdim=True)
    grid = place.transpose(1, 2).reshape(b, h, w, 2)
    picture = sample(source, grid)
    return Warped(picture, points[:, 2:].reshape(b, 1, h, w), inside.reshape(b, 1, h, w), grid)


def sample(picture: Float[Tensor, "b c h w"], grid: Float[Tensor, "b h w 2"]) -> Float[Tensor, "b c h w"]:
    """The picture at the grid's places; align_corners=False, as the grid is made; the border repeated outside."""
    return torch.nn.functional.grid_sample(picture, grid, "bilinear", "border", align_corners=False)


def _pixels(like: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "3 n"]:
    """(u, v, 1) of the pixel centres."""
    h, w = like.shape[2:]
    u = torch.arange(w, device=like.device, dtype=like.dtype) + 0.5
    v = torch.arange(h, device=like.device, dtype=like.dtype) + 0.5
    return torch.stack([u.repeat(h), v.repeat_interleave(w), torch.ones_like(like[0, 0]).reshape(-1)])
