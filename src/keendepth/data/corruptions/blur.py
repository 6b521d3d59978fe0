"""KITTI-C's sensor and movement corruptions: defocus, glass, motion, zoom, elastic (parameters: imagecorruptions)."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow
from PIL import ImageFilter
from scipy import ndimage

from keendepth.data.corruptions import fields

# A pixel may be moved several times in one round of the published loop: 1.2, 1.4, 3.0, 3.3, 4.3 px rms at severities 1 to 5 (measured on a
# simulation of it), about 1.2 times what its parameters say.
SHUFFLED = 1.2


def defocus(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A disc of confusion; level = (radius, softness of its rim) in px at the reference width."""
    scale = fields.scale_of(rgb)
    return fields.to_uint8(fields.convolve(rgb, fields.disc_kernel(level[0] * scale, level[1] * scale)))


def glass(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Blur, shuffle neighbouring cells, blur; level = (sigma, largest shift, rounds) in px at the reference width.

    The published loop visits pixel after pixel; here every cell looks up the sum of its `rounds` random shifts at once. (The published swap
    of two views also copies instead of swapping, which drifts the picture up to 2 px to one corner; ours has no drift.)
    """
    sigma, shift, rounds = level
    scale = fields.scale_of(rgb)
    rows, columns = _shuffle(rgb.shape[:2], (shift, rounds, scale), rng)
    blurred = _gaussian(rgb, sigma * scale)
    return _gaussian(blurred.reshape(-1, 3).take(rows * rgb.shape[1] + columns, axis=0), sigma * scale)


def _shuffle(
    size: tuple[int, ...], amount: tuple[int, int, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) to look at for every pixel; cells are one pixel at the reference width and grow with the picture."""
    shift, rounds, scale = amount
    grid = fields.field_size(*size)
    cells = [np.minimum(np.arange(n) * m // n, m - 1) for n, m in zip(size, grid, strict=True)]
    found = []
    for axis in (0, 1):
        u = np.frombuffer(rng.bytes(3 * grid[0] * grid[1]), np.uint8).reshape(3, *grid)[:rounds].astype(np.int16)
        moved = ((u * (2 * shift + 1)) >> 8).sum(0) - rounds * shift
        whole = np.floor(moved * np.float32(SHUFFLED * scale) + rng.random(grid, np.float32)).astype(np.int32)
        here = np.arange(size[axis], dtype=np.int32).reshape((-1, 1) if axis == 0 else (1, -1))
        spread = whole if grid == size else whole[cells[0][:, None], cells[1]]
        found.append(np.clip(here + spread, 0, size[axis] - 1))
    return found[0], found[1]


def _gaussian(rgb: np.ndarray, sigma: float) -> UInt8[np.ndarray, "h w 3"]:
    """Gaussian blur in 8 bits (Pillow's three box passes with fractional ends)."""
    return np.asarray(Pillow.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)))


def motion(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A one-sided streak at an angle within 45 degrees of level; level = (radius, sigma) in px at the reference width."""
    scale = fields.scale_of(rgb)
    kernel = fields.motion_kernel(level[0] * scale, level[1] * scale, rng.uniform(-45, 45))
    return fields.to_uint8(fields.convolve(rgb, kernel))


def zoom(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Mean of the picture and of its central enlargements; level = (end, step) of the factors, which start at 1."""
    picture = Pillow.fromarray(rgb)
    w, h = picture.size
    factors = np.arange(1, *level)
    total = rgb.astype(np.uint16)
    for factor in factors:
        left, top = w * (1 - 1 / factor) / 2, h * (1 - 1 / factor) / 2
        total += np.asarray(picture.resize((w, h), Pillow.Resampling.BILINEAR, (left, top, w - left, h - top)))
    total += (len(factors) + 1) // 2
    total //= len(factors) + 1
    return total.astype(np.uint8)


def elastic(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Smooth random displacement; level = (strength,). Made at the reference size and enlarged, so it grows with the picture.

    It moves pixels, so a depth map is off by as much (about 0.5 to 1.5 px rms at the reference width).
    """
    size = rgb.shape[:2]
    grid = fields.field_size(*size)
    moves = []
    for _ in range(2):
        wild = rng.uniform(-1, 1, grid).astype(np.float32)
        smooth = ndimage.gaussian_filter(wild, (0.01 * grid[0], 0.01 * grid[1]), mode="reflect", truncate=3)
        smooth *= 250 * level[0] * 0.005 * grid[0] * fields.scale_of(rgb)
        moves.append(fields.enlarged(smooth, size))
    return fields.warp(rgb, *moves)
