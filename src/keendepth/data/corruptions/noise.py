"""KITTI-C's noises and data corruptions: Gaussian, impulse, shot, ISO, pixelate, JPEG (parameters: imagecorruptions and RoboDepth)."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow

from keendepth.data.corruptions import fields

ISO_PHOTONS = 25.0  # RoboDepth: the same at every severity
ISO_READ = 0.7  # RoboDepth: the Gaussian part of the table's value
RAMP = (np.arange(256, dtype=np.float32)) / 255


def gaussian(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Add N(0, std) to every value; level = (std,) of a 0..1 picture."""
    table = fields.normal_quantiles(level[0])
    return fields.in_blocks(rgb, lambda values: fields.add_noise(values, table, fields.random_words(rng, values.size)))


def impulse(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Salt and pepper; level = (share of values hit, half of them white, half black)."""
    half = round(32768 * level[0])

    def hit(values: np.ndarray) -> np.ndarray:
        u = fields.random_words(rng, values.size)
        return (values | np.where(u < half, np.uint8(255), np.uint8(0))) * (u < 65536 - half)

    return fields.in_blocks(rgb, hit)


def shot(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Poisson(value * photons) / photons; level = (photons,)."""
    table = fields.poisson_table(RAMP, level[0])
    return fields.in_blocks(rgb, lambda values: fields.shot_noise(values, table, fields.random_words(rng, values.size)))


def iso(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Poisson with 25 photons, then N(0, 0.7 level)."""
    return shot_and_read_noise(rgb, fields.poisson_table(RAMP, ISO_PHOTONS), ISO_READ * level[0], rng)


def shot_and_read_noise(
    rgb: UInt8[np.ndarray, "h w 3"], table: UInt8[np.ndarray, " m"], std: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """A sensor: values through a `poisson_table`, clipped, plus Gaussian noise."""
    read = fields.normal_quantiles(std)

    def sense(values: np.ndarray) -> np.ndarray:
        seen = fields.shot_noise(values, table, fields.random_words(rng, values.size))
        return fields.add_noise(seen, read, fields.random_words(rng, values.size))

    return fields.in_blocks(rgb, sense)


def pixelate(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Box-shrink and enlarge with hard cells; level = (factor,) at the reference width. Wider pictures get cells that are larger in proportion."""
    h, w = rgb.shape[:2]
    factor = level[0] / max(1.0, fields.scale_of(rgb))
    small = fields.pillow_resize(rgb, (max(1, int(h * factor)), max(1, int(w * factor))), Pillow.Resampling.BOX)
    return fields.pillow_resize(small, (h, w), Pillow.Resampling.NEAREST)


def jpeg(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Encode and decode; level = (quality,). The blocks of 8 px are the format's and do not scale."""
    file = io.BytesIO()
    Pillow.fromarray(rgb).save(file, "JPEG", quality=level[0])
    return np.asarray(Pillow.open(file))
