"""KITTI-C's weather: fog, frost and snow, which know nothing of depth (parameters: imagecorruptions; the ice is our own)."""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from keendepth.data.corruptions import fields

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of BT.601, as the published snow uses


def fog(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Add level[0] times clouds in 0..1 and rescale to the picture's maximum; the clouds' octaves fade by level[1] ** 2.

    The published clouds are stretched to 0..1 over a map larger than the picture, so their mean in it is luck. Ours have mean 0.5 and deviation
    level[2] in every picture: a severity is then as strong in one picture as in the next.
    """
    thickness, decay, deviation = level
    clouds = fields.plasma(fields.field_size(*rgb.shape[:2]), decay, rng)
    clouds = np.clip(0.5 + np.float32(deviation) * clouds, 0, 1)
    largest = max(int(rgb.max()), 1) / 255
    keep = largest / (largest + thickness)
    haze = fields.enlarged(clouds * np.float32(255 * thickness * keep), rgb.shape[:2])
    return fields.to_uint8(rgb * np.float32(keep) + haze[..., None])


def snow(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Whiten, then add flakes and the flakes turned by 180 degrees.

    level = (mean, std, zoom, threshold, radius, sigma, share of the picture kept, share of `std` left by the zoom). Enlarging noise weakens it
    by an amount that depends on how pixels fall; the last number, ours, fixes it near the published one, and makes severity 3 stronger than 2.
    """
    size = rgb.shape[:2]
    flakes = _flakes(fields.field_size(*size), level, rng)
    layer = fields.enlarged(flakes + flakes[::-1, ::-1], size)
    keep = np.float32(level[6])
    grey = rgb @ (GREY * np.float32(1.5)) + np.float32(127.5)
    whitened = np.maximum(rgb, grey[..., None])
    whitened *= 1 - keep
    whitened += rgb * keep
    whitened += layer[..., None]
    return fields.to_uint8(whitened)


def _flakes(size: tuple[int, int], level: tuple, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Enlarged noise above a threshold, drawn out by motion blur, in 0..255."""
    mean, std, zoom, threshold, radius, sigma, _, left = level
    scale = size[1] / fields.REFERENCE_WIDTH
    angle = rng.uniform(-135, -45)
    # Enough cells for the smallest zoom, so that every severity uses the same noise.
    cells = [math.ceil(n / max(1.0, 2 * scale)) + 1 for n in size]
    noise = rng.standard_normal(cells, np.float32)
    needed = [min(c, math.ceil(n / max(1.0, zoom * scale)) + 1) for c, n in zip(cells, size, strict=True)]
    blown = fields.enlarged(noise[: needed[0], : needed[1]], size)
    blown *= np.float32(left * std) / max(float(blown.std()), 0.3)
    blown += np.float32(mean)
    blown[blown < threshold] = 0
    kernel = fields.motion_kernel(radius * scale, sigma * scale, angle)
    return 255 * fields.convolve(np.clip(blown, 0, 1), kernel)


def frost(rgb: UInt8[np.ndarray, "h w 3"], level: tuple, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """level[0] of the picture plus level[1] of an ice sheet whose whiteness is level[2].

    The published ice is one of five photographs; ours is drawn (`ice_sheet`), and a random part of it is taken, turned and tinted. The
    published weights make severity 4 weaker than 3; the whiteness, which is ours, restores the order.
    """
    keep, weight, white = level
    ice = _window(fields.field_size(*rgb.shape[:2]), rng)
    # The photographs are bluish: 146 167 178 on average.
    tint = np.array([0.93, 1.0, 1.06]) + rng.uniform(-0.04, 0.04, 3)
    coloured = fields.to_uint8(ice[..., None] * (white * tint).astype(np.float32))
    if coloured.shape != rgb.shape:
        coloured = fields.pillow_resize(coloured, rgb.shape[:2], Pillow.Resampling.BICUBIC)
    total = rgb * np.float32(keep)
    total += coloured * np.float32(weight)
    return fields.to_uint8(total)


def _window(size: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """A random part of the ice sheet, turned or mirrored at random; repeats where the sheet is smaller."""
    sheet = ice_sheet()
    if rng.random() < 0.5:
        sheet = sheet.T
    rows, columns = (
        (rng.integers(side) + direction * np.arange(n)) % side
        for n, side, direction in zip(size, sheet.shape, rng.choice([-1, 1], 2), strict=True)
    )
    return sheet[rows[:, None], columns].astype(np.float32)


ICE_SIDE = 1024
ICE_SEED = 20241


@functools.lru_cache(maxsize=1)
def ice_sheet() -> UInt8[np.ndarray, "h w"]:
    """Frost on a pane, periodic, drawn once per process: fern crystals in clumps over a cloudy film; mean about 155, as the published photographs."""
    rng = np.random.default_rng(ICE_SEED)
    film = _periodic_noise(rng, 60.0)
    grain = _periodic_noise(rng, 1.2)
    crystals = np.zeros((ICE_SIDE, ICE_SIDE), np.float32)
    for length, count, strength in ((150, 110, 1.0), (80, 350, 0.9), (40, 900, 0.7)):
        crystals += strength * _ferns(length, count, rng)
    crystals -= crystals.mean()
    crystals /= crystals.std()
    ice = 152 + 34 * np.tanh(0.8 * crystals) + 10 * crystals + 14 * film + 4 * grain
    return fields.to_uint8(ice.astype(np.float32))


def _periodic_noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Gaussian-filtered white noise on a torus, mean 0, deviation 1."""
    frequency = np.fft.rfftfreq(ICE_SIDE), np.fft.fftfreq(ICE_SIDE)[:, None]
    filtered = np.exp(-2 * (np.pi * sigma) ** 2 * (frequency[0] ** 2 + frequency[1] ** 2))
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((ICE_SIDE, ICE_SIDE))) * filtered)
    return (field - field.mean()) / field.std()


def _ferns(length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` feathers of about `length` px: a stem with side needles at 60 degrees that shorten towards the tip; light edge, dark edge."""
    margin = 2 * length
    canvas = Pillow.new("L", (ICE_SIDE + 2 * margin,) * 2)
    draw = ImageDraw.Draw(canvas)
    clumps = rng.uniform(0, ICE_SIDE, (max(1, count // 4), 2))
    for _ in range(count):
        start = clumps[rng.integers(len(clumps))] + rng.normal(0, length / 3, 2)
        _fern(draw, start % ICE_SIDE + margin, length * rng.uniform(0.5, 1.2), rng)
    drawn = np.asarray(canvas.filter(ImageFilter.GaussianBlur(0.7)), np.float32) / 255
    relief = drawn - 0.45 * np.roll(drawn, (2, 1), (0, 1))  # lit from above left: crystals have thickness
    thin_ice = np.asarray(canvas.filter(ImageFilter.GaussianBlur(5)), np.float32)
    relief += thin_ice * np.float32(0.9 / 255)
    return _wrapped(relief, margin)


def _fern(draw: ImageDraw.ImageDraw, start: np.ndarray, length: float, rng: np.random.Generator) -> None:
    heading = rng.uniform(0, 2 * math.pi)
    along = np.array([math.cos(heading), math.sin(heading)])
    draw.line([*start, *(start + length * along)], fill=255, width=2)
    shares = np.arange(0.08, 1.0, 4.5 / length)
    roots = start + (shares * length)[:, None] * along
    needles = 0.42 * length * (1 - shares) * rng.uniform(0.5, 1.1, shares.size)
    brightness = rng.integers(110, 230, (2, shares.size)).tolist()
    for side in (0, 1):
        angle = heading + math.radians(60 if side else -60)
        tips = roots + needles[:, None] * np.array([math.cos(angle), math.sin(angle)])
        for line, fill in zip(np.hstack([roots, tips]).tolist(), brightness[side], strict=True):
            draw.line(line, fill=fill)


def _wrapped(canvas: np.ndarray, margin: int) -> np.ndarray:
    """Fold what lies in the margins back onto the torus."""
    whole = canvas[margin : margin + ICE_SIDE, margin : margin + ICE_SIDE].copy()
    whole[:margin] += canvas[-margin:, margin : margin + ICE_SIDE]
    whole[-margin:] += canvas[:margin, margin : margin + ICE_SIDE]
    whole[:, :margin] += canvas[margin : margin + ICE_SIDE, -margin:]
    whole[:, -margin:] += canvas[margin : margin + ICE_SIDE, :margin]
    return whole
