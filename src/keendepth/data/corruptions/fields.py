"""What several corruptions are made of: blocks, look-up tables, convolution, random fields and warps, at any picture size."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int16, UInt8, UInt16
from PIL import Image as Pillow
from scipy import fft, special

from keendepth.core import geometry

REFERENCE_WIDTH = 640  # KITTI-C corrupts pictures of 640 x 192, so its pixel-sized parameters are meant for this width
BLOCK = 1 << 18  # values worked on at once by the noises: stays in the cache and bounds memory


def scale_of(rgb: np.ndarray) -> float:
    """The factor for every length in pixels: 1 at the reference width."""
    return rgb.shape[1] / REFERENCE_WIDTH


def field_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which smooth random fields are made: the picture's own, but never wider than the reference."""
    shrink = min(1.0, REFERENCE_WIDTH / width)
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def strips(height: int, width: int) -> list[slice]:
    """Rows in bundles of about `BLOCK` values: what is worked on at once in a big picture."""
    step = max(1, BLOCK // width)
    return [slice(start, start + step) for start in range(0, height, step)]


def to_uint8(values: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Round and clip 0..255 values, overwriting them."""
    np.rint(values, out=values)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def in_blocks(
    rgb: UInt8[np.ndarray, "h w 3"], change: Callable[[np.ndarray], np.ndarray]
) -> UInt8[np.ndarray, "h w 3"]:
    """`change` applied to flat runs of values in order, so that a big picture needs no big temporaries."""
    flat = rgb.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, BLOCK):
        out[start : start + BLOCK] = change(flat[start : start + BLOCK])
    return out.reshape(rgb.shape)


def random_words(rng: np.random.Generator, count: int) -> UInt16[np.ndarray, " n"]:
    """`count` uniform numbers of 16 bits."""
    return np.frombuffer(rng.bytes(2 * count), np.uint16)


@functools.lru_cache(maxsize=32)
def normal_quantiles(std: float) -> Int16[np.ndarray, " m"]:
    """Gaussian noise as a table: a uniform 16-bit number -> its quantile times `std`, in 0..255 units, rounded."""
    return np.rint(255 * std * special.ndtri((np.arange(65536) + 0.5) / 65536)).astype(np.int16)


def poisson_table(light: Float32[np.ndarray, " levels"], photons: float) -> UInt8[np.ndarray, " m"]:
    """Shot noise as a table [256 * 4096]: (value, uniform 12-bit number) -> quantile of Poisson(light * photons) / photons, in 0..255."""
    mean = light.astype(np.float64) * photons
    most = int(photons + 10 * np.sqrt(photons) + 10)
    counts = np.arange(most)
    steps = np.rint(4096 * special.pdtr(counts, mean[:, None])).astype(np.int64)
    steps[:, -1] = 4096
    repeats = np.diff(steps, axis=1, prepend=0)
    shown = np.clip(np.rint(counts * (255 / photons)), 0, 255).astype(np.uint8)
    return np.repeat(np.tile(shown, 256), repeats.ravel())


def shot_noise(
    values: UInt8[np.ndarray, " n"], table: UInt8[np.ndarray, " m"], u: UInt16[np.ndarray, " n"]
) -> UInt8[np.ndarray, " n"]:
    """Values seen through `poisson_table`."""
    return table.take((values.astype(np.int32) << 12) | (u >> 4))


def add_noise(
    values: UInt8[np.ndarray, " n"], table: Int16[np.ndarray, " m"], u: UInt16[np.ndarray, " n"]
) -> UInt8[np.ndarray, " n"]:
    """Values plus the noise of `normal_quantiles`, clipped."""
    total = table.take(u)
    total += values
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


def convolve(values: np.ndarray, kernel: Float32[np.ndarray, "kh kw"]) -> Float32[np.ndarray, "h w *c"]:
    """Convolution of [h w] or [h w c] with a kernel of odd size, by FFT, borders replicated; one channel at a time."""
    if kernel.size == 1:
        return values.astype(np.float32) * kernel[0, 0]
    h, w = values.shape[:2]
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    shape = [fft.next_fast_len(n + 2 * k, real=True) for n, k in zip((h, w), (top, left), strict=True)]
    spectrum = fft.rfft2(kernel, shape)
    channels = values.reshape(h, w, -1)
    out = np.empty(channels.shape, np.float32)
    for c in range(channels.shape[2]):
        padded = np.pad(channels[..., c].astype(np.float32), ((top, top), (left, left)), mode="edge")
        product = fft.rfft2(padded, shape)
        product *= spectrum
        out[..., c] = fft.irfft2(product, shape)[2 * top : 2 * top + h, 2 * left : 2 * left + w]
    return out.reshape(values.shape)


def disc_kernel(radius: float, softness: float) -> Float32[np.ndarray, "k k"]:
    """A filled disc, 5 x 5 times supersampled, whose rim is softened by a Gaussian of sigma `softness`; sums to 1."""
    reach = int(np.ceil(radius + 3 * softness))
    fine = (np.arange(5 * (2 * reach + 1)) + 0.5) / 5 - reach - 0.5
    inside = (fine[:, None] ** 2 + fine**2 <= radius**2).astype(np.float32)
    disc = geometry.resize(inside, (2 * reach + 1,) * 2, "area")
    disc[reach, reach] += 1e-6  # a disc smaller than a sample is a point
    rim = gaussian_kernel(softness, reach)
    disc = convolve(np.pad(disc, reach), rim[:, None] * rim)[reach : -reach or None, reach : -reach or None]
    return np.maximum(disc, 0) / disc.sum()


def gaussian_kernel(sigma: float, reach: int) -> Float32[np.ndarray, " k"]:
    """A Gaussian on -reach..reach; sums to 1."""
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    return (weights / weights.sum()).astype(np.float32)


def line_kernel(weights: np.ndarray, step: float, degrees: float) -> Float32[np.ndarray, "k k"]:
    """A streak from the centre along `degrees` (0 = to the left, 90 = up): `weights` at distances 0, step, 2 step, ...; sums to 1."""
    distance = step * np.arange(len(weights))
    x, y = -distance * np.cos(np.radians(degrees)), -distance * np.sin(np.radians(degrees))
    reach = int(np.ceil(distance[-1])) + 1
    kernel = np.zeros((2 * reach + 1,) * 2, np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            share = (1 - abs(y - row)) * (1 - abs(x - column))
            np.add.at(kernel, (row + reach, column + reach), (weights * share).astype(np.float32))
    return kernel / kernel.sum()


def motion_kernel(radius: float, sigma: float, degrees: float) -> Float32[np.ndarray, "k k"]:
    """The published one-sided motion blur: half a Gaussian over 2 radius + 1 pixels along a line."""
    distance = np.arange(max(1, round(2 * radius) + 1))
    return line_kernel(np.exp(-(distance**2) / (2 * max(sigma, 1e-3) ** 2)), 1.0, degrees)


def plasma(size: tuple[int, int], decay: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Clouds by midpoint displacement, mean 0 and deviation 1 over the picture; every octave is `decay` ** 2 weaker, as published.

    The coarsest cell is 1.6 widths wide, as 1024 px are in a picture of 640. The same generator state gives the same clouds at every decay.
    """
    cell, amplitude = 1.6 * size[1], 1.0
    grid = np.zeros((1, 1))
    while True:
        points = [int(np.ceil(n / cell)) + 1 for n in size]
        grid = _sample(grid, [0.5 * np.arange(n) for n in points])
        grid += amplitude * rng.uniform(-1, 1, grid.shape)
        if cell < 2:
            break
        cell, amplitude = cell / 2, amplitude / decay**2
    clouds = _sample(grid, [np.arange(n) / cell for n in size])
    return ((clouds - clouds.mean()) / max(clouds.std(), 1e-6)).astype(np.float32)


def _sample(grid: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """Linear interpolation of a grid at rows x columns, replicated beyond its last point."""
    for where in positions:
        low = np.minimum(where.astype(int), grid.shape[0] - 1)
        high = np.minimum(low + 1, grid.shape[0] - 1)
        grid = (grid[low] + (where - low)[:, None] * (grid[high] - grid[low])).T
    return grid


def packed(rgb: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """The three channels of a pixel in one uint64, 16 bits each, so that one addition or product serves all three."""
    r, g, b = (rgb[..., c].astype(np.uint64) for c in range(3))
    return r | (g << np.uint64(16)) | (b << np.uint64(32))


def warp(
    rgb: UInt8[np.ndarray, "h w 3"], dy: Float32[np.ndarray, "h w"], dx: Float32[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Bilinear look-up at (row + dy, column + dx), replicated borders, positions rounded to 1/256 px."""
    h, w = rgb.shape[:2]
    pixels = packed(rgb).ravel()
    out = np.empty_like(rgb)
    rows, columns = np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)
    for strip in strips(h, w):
        y, fraction_y = _fixed_point(dy[strip] + rows[strip], h)
        x, fraction_x = _fixed_point(dx[strip] + columns, w)
        right = (x < w - 1).astype(np.int32)
        index = y * w + x
        top = _mix(pixels.take(index), pixels.take(index + right), fraction_x)
        index += w * (y < h - 1)
        bottom = _mix(pixels.take(index), pixels.take(index + right), fraction_x)
        both = _mix(top, bottom, fraction_y)
        for c in range(3):
            out[strip, :, c] = both >> np.uint64(16 * c) & np.uint64(255)
    return out


def _fixed_point(position: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(whole, 256ths) of a position clipped to the picture."""
    steps = np.rint(np.clip(position, 0, count - 1) * 256).astype(np.int32)
    return steps >> 8, (steps & 255).astype(np.uint64)


def _mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(a (256 - weight) + b weight) / 256 in each 16-bit lane, rounded: 255 * 256 + 128 still fits in a lane."""
    total = a * (np.uint64(256) - weight)
    total += b * weight
    total += np.uint64(0x0000_0080_0080_0080)
    total >>= np.uint64(8)
    total &= np.uint64(0x0000_00FF_00FF_00FF)
    return total


def enlarged(values: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "h2 w2"]:
    """A field of the reference size brought to the picture's."""
    return values if values.shape == size else geometry.resize(values, size)


def pillow_resize(rgb: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], method: Pillow.Resampling) -> np.ndarray:
    """uint8 resize to (height, width)."""
    return np.asarray(Pillow.fromarray(rgb).resize((size[1], size[0]), method))
