"""KITTI-C's changes of light: brightness, dark, contrast, colour quantisation (parameters: imagecorruptions and RoboDepth)."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from keendepth.data.corruptions import fields, noise


def brightness(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Add level[0] to V of HSV. Hue and saturation stay, so a pixel's channels all grow by the same ratio."""
    largest = np.arange(256, dtype=np.float32)[:, None]
    raised = np.minimum(largest + 255 * np.float32(level[0]), 255)
    table = fields.to_uint8(np.arange(256, dtype=np.float32) * (raised / np.maximum(largest, 1)))
    table[0] = round(255 * level[0])  # black has no hue: it turns grey
    V = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]).astype(np.uint16)
    return table.ravel().take((V << 8)[..., None] | rgb)


def dark(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Stretch to the full range, square, scale by level[0]; then shot noise of level[1] photons and Gaussian noise of level[2]."""
    low, high = int(rgb.min()), int(rgb.max())
    if high == low:  # a picture of one colour has no range to stretch
        low, high = 0, 255
    stretched = np.clip((np.arange(256, dtype=np.float32) - low) / (high - low), 0, 1)
    return noise.shot_and_read_noise(
        rgb, fields.poisson_table(stretched**2 * np.float32(level[0]), level[1]), level[2], rng
    )


def contrast(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Shrink the distance to each channel's mean by the factor level[0]."""
    mean = rgb.reshape(-1, 3).mean(0, dtype=np.float64).astype(np.float32)[:, None]
    table = fields.to_uint8((np.arange(256, dtype=np.float32) - mean) * np.float32(level[0]) + mean)
    return table.ravel().take(rgb + np.array([0, 256, 512], np.uint16))


def quant(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Keep the top level[0] bits of each channel, the rest 0."""
    return rgb & np.uint8(256 - (1 << (8 - level[0])))
