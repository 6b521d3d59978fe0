"""Corruptions that know how far things are: fog, rain, snow, night with lights, and long exposures, at any size, in linear light."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage, special

from keendepth.core import geometry
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.data.corruptions import fields

# The tables below are ours. Extinctions in 1/m: a black object is visible (2 % contrast) to 3.9 / beta metres.
FOG = ((0.02,), (0.03,), (0.045,), (0.07,), (0.12,))  # (extinction,): visible to 195 ... 33 m
# (share of the streaks, extinction of the veil, opacity of a streak)
RAIN = ((0.12, 0.004, 0.24), (0.25, 0.007, 0.28), (0.45, 0.011, 0.33), (0.7, 0.016, 0.38), (1.0, 0.024, 0.44))
SNOW = ((0.12, 0.008, 0.75), (0.25, 0.014, 0.8), (0.45, 0.022, 0.85), (0.7, 0.034, 0.9), (1.0, 0.055, 0.95))
# (ambient light, photons at white, read noise)
NIGHT = ((0.16, 800, 0.004), (0.09, 500, 0.006), (0.05, 300, 0.009), (0.025, 180, 0.013), (0.012, 100, 0.018))
# (light that is left, camera's turn in px at the reference width, its step in metres, photons at white)
EXPOSURE = (
    (0.5, 3, 0.01, 900),
    (0.38, 6, 0.02, 600),
    (0.28, 10, 0.035, 400),
    (0.2, 15, 0.055, 250),
    (0.13, 22, 0.08, 150),
)

ASSUMED_FOCAL = 0.87  # of the width: a field of view of 60 degrees, where the picture has no camera
LAYERS = (1.5, 3.0, 6.0, 12.0, 24.0)  # metres: where the sheets of drops and flakes hang
HEADLIGHT_REACH = 8.0  # metres at which the camera's own light has fallen to half


@dataclass(frozen=True)
class Scene:
    """What the camera looks at: depth in metres (sky = inf, nothing unknown) and the focal length in pixels."""

    z: Float32[np.ndarray, "h w"]
    focal: float

    @classmethod
    def of(cls, image: Image, depth: DepthMap) -> Scene:
        """From a METRIC depth map of any size; NaN takes the nearest known depth. Raises KindError or ValueError."""
        depth.require(DepthKind.METRIC, "a corruption that depends on depth")
        fitted = depth.resized(*image.size)
        z = fitted.values
        unknown = np.isnan(z)
        if unknown.all():
            raise ValueError("corrupt: the depth map has no known pixel")
        if unknown.any():
            z = geometry.fill_nearest(z, unknown)
        camera = image.camera or fitted.camera
        return cls(z, camera.fx if camera else ASSUMED_FOCAL * image.size[1])


@functools.lru_cache(maxsize=1)
def _to_linear() -> Float32[np.ndarray, " levels"]:
    """sRGB byte -> linear light 0..1 (IEC 61966-2-1)."""
    v = np.arange(256) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _to_srgb() -> UInt8[np.ndarray, " levels"]:
    """Linear light in 1/16384 -> sRGB byte."""
    v = np.arange(16385) / 16384
    curve = np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)


def linear(rgb: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    return _to_linear().take(rgb)


def srgb(light: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Linear light to sRGB bytes, clipped; overwrites its argument."""
    light *= 16384
    np.clip(light, 0, 16384, out=light)
    return _to_srgb().take(light.astype(np.uint16))


def airlight(rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " c"]:
    """Colour of the haze, linear: the patches (1/40 of the width) with the brightest darkest channel, half way to grey, not below 0.35.

    That is the dark channel prior (He, Sun, Tang 2009) on patches, so that lamps and glints do not count; the floor keeps haze visible at night.
    """
    patches = geometry.resize(rgb, geometry.fit_inside(rgb.shape[:2], 40), "area").reshape(-1, 3)
    darkest = patches.min(1)
    chosen = linear(np.rint(patches[darkest >= np.quantile(darkest, 0.98)]).astype(np.uint8)).mean(0)
    chosen = (chosen + chosen.mean()) / 2
    return (chosen * max(1.0, 0.35 / max(float(chosen.mean()), 1e-3))).clip(0, 1).astype(np.float32)


def _veil(
    light: Float32[np.ndarray, "h w 3"], space: Scene, beta: float, air: Float32[np.ndarray, " c"]
) -> Float32[np.ndarray, "h w 3"]:
    """Koschmieder's law: light * exp(-beta z) + air * (1 - exp(-beta z)); overwrites `light`."""
    passed = np.exp(np.float32(-beta) * space.z)[..., None]
    light -= air
    light *= passed
    light += air
    return light


def fog(
    rgb: UInt8[np.ndarray, "h w 3"], space: Scene, level: tuple, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Homogeneous fog (Koschmieder 1924): level = (extinction in 1/m,); the sky becomes the airlight."""
    return srgb(_veil(linear(rgb), space, level[0], airlight(rgb)))


def rain(
    rgb: UInt8[np.ndarray, "h w 3"], space: Scene, level: tuple, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Streaks in sheets at several distances, hidden by what is nearer, before a veil; level = (share of the streaks, extinction, opacity)."""
    # A drop of 3 mm falls at 8 m/s (Gunn and Kinzer 1949): 0.27 m in an exposure of 1/30 s.
    return _precipitation(rgb, space, level, (0.27, 0.003, 12.0, 300.0), rng)


def snow(
    rgb: UInt8[np.ndarray, "h w 3"], space: Scene, level: tuple, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The same with flakes: short, wide, white; level as for rain."""
    # A flake of 12 mm drifts 3 cm during the exposure.
    return _precipitation(rgb, space, level, (0.03, 0.012, 35.0, 500.0), rng)


def _precipitation(
    rgb: np.ndarray, space: Scene, level: tuple, particle: tuple[float, float, float, float], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """particle = (length in m, width in m, spread of the fall in degrees, number in the nearest sheet of the heaviest severity)."""
    share, beta, opacity = level
    length, width, spread, number = particle
    air = airlight(rgb)
    light = _veil(linear(rgb), space, beta, air)
    lean = rng.uniform(-spread, spread)
    per_width = number * rgb.shape[0] / rgb.shape[1]  # `number` is for a square picture
    for distance in reversed(LAYERS):
        per_metre = space.focal / distance
        count = int(per_width * (distance / LAYERS[0]) ** 0.7)  # farther sheets hold more, each one smaller
        cover = _streaks(rgb.shape[:2], (count, share), (length * per_metre, width * per_metre, lean), rng)
        cover *= np.float32(opacity)
        cover[space.z < distance] = 0
        for c in range(3):
            light[..., c] += (air[c] - light[..., c]) * cover
    return srgb(light)


def _streaks(
    size: tuple[int, int], amount: tuple[int, float], shape: tuple[float, float, float], rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """Coverage 0..1 by the first `share` of `count` streaks (length, width in px; lean in degrees), which fall from above."""
    count, share = amount
    length, width, lean = shape
    places, weights = rng.random((count, 2)), rng.uniform(0.4, 1, count).astype(np.float32)
    shown = round(share * count)
    coarse = max(
        1, int(width / 3)
    )  # wide flakes are drawn coarsely and enlarged: the time does not grow with their size
    grid = (-(-size[0] // coarse), -(-size[1] // coarse))
    rows, columns = ((places[:shown] * grid).astype(np.int32)).T
    cover = np.zeros(grid, np.float32)
    cover[rows, columns] = weights[:shown]
    sigma = max(width / coarse / 2.35, 0.35)  # full width at half maximum -> sigma; not thinner than a pixel can show
    taps = max(1, round(length / coarse))
    cover = ndimage.gaussian_filter(cover, sigma, mode="wrap", truncate=2.5)
    cover = ndimage.uniform_filter1d(cover, taps, axis=0, mode="wrap")
    # Back to a peak of 1 in the middle of a streak; streaks thinner than a pixel are as much fainter.
    peak = special.erf(taps / (2 * np.sqrt(2) * sigma)) / (taps * sigma * np.sqrt(2 * np.pi))
    cover *= np.float32(min(1.0, width) / peak)
    slide = np.rint(np.arange(grid[0]) * np.tan(np.radians(lean))).astype(np.int64)[:, None]
    cover = np.take_along_axis(cover, (np.arange(grid[1]) + slide) % grid[1], axis=1)
    return fields.enlarged(np.clip(cover, 0, 1, out=cover), size)


def night(
    rgb: UInt8[np.ndarray, "h w 3"], space: Scene, level: tuple, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Moonlight, a headlight that falls off with distance, lamps that keep their light and glow, sensor noise.

    level = (ambient light, photons at white, read noise). Lamps are small spots much brighter than their surroundings, not in the sky.
    """
    ambient, photons, read = level
    light = linear(rgb)
    lamps = _lamps(light, space)
    reach = 1 + (space.z / np.float32(HEADLIGHT_REACH)) ** 2
    for c, (moon, lamp) in enumerate(zip(MOONLIGHT, HEADLIGHT, strict=True)):
        light[..., c] *= np.float32(ambient) * (np.float32(moon) + np.float32(lamp) / reach)
    light += geometry.resize(lamps, rgb.shape[:2])
    return srgb(_sensed(light, photons, read, rng))


MOONLIGHT = (0.8, 0.92, 1.15)  # bluish, as the eye sees a night
HEADLIGHT = (2.2, 2.0, 1.7)
GLOW = ((0.004, 0.5), (0.015, 0.25), (0.05, 0.12))  # (sigma as a share of the width, weight) of the halo around a lamp


def _lamps(light: Float32[np.ndarray, "h w 3"], space: Scene) -> Float32[np.ndarray, "h2 w2 3"]:
    """Light of lamps with their halos, at a small size (a halo is smooth)."""
    size = geometry.fit_inside(light.shape[:2], 320)
    small = geometry.resize(light, size, "area")
    luminance = small.mean(-1)
    standing_out = luminance - _without_spots(luminance, max(2, size[1] // 80))
    shines = np.clip((standing_out - 0.25) / 0.25, 0, 1) * (luminance > 0.45)
    finite = np.isfinite(space.z).astype(np.float32)
    shines *= geometry.resize(finite, size, "area")
    emitted = small * shines[..., None] * np.array([1.0, 0.85, 0.6], np.float32)
    glow = emitted * np.float32(0.6)
    for share, weight in GLOW:
        sigma = max(share * size[1], 0.3)
        glow += np.float32(weight) * ndimage.gaussian_filter(emitted, (sigma, sigma, 0), mode="constant")
    return glow


def _without_spots(values: Float32[np.ndarray, "h w"], reach: int) -> Float32[np.ndarray, "h w"]:
    """The largest opening by a line of 2 reach + 1 px in any of 8 directions: streaks and areas stay, spots go."""
    opened = np.zeros_like(values)
    along = np.arange(-reach, reach + 1)
    for angle in np.pi * np.arange(8) / 8:
        line = np.zeros((2 * reach + 1,) * 2, bool)
        down, across = (np.rint(along * part).astype(int) + reach for part in (np.sin(angle), np.cos(angle)))
        line[down, across] = True
        np.maximum(opened, ndimage.grey_opening(values, footprint=line, mode="nearest"), out=opened)
    return opened


def _sensed(
    light: Float32[np.ndarray, "h w 3"], photons: float, read: float, rng: np.random.Generator
) -> Float32[np.ndarray, "h w 3"]:
    """Linear light with shot noise (variance light / photons) and read noise, strip by strip; overwrites its argument."""
    for rows in fields.strips(*light.shape[:2]):
        part = light[rows]
        deviation = np.sqrt(np.maximum(part, 0) / np.float32(photons) + np.float32(read**2))
        part += deviation * rng.standard_normal(part.shape, np.float32)
    return light


def exposure_blur(
    rgb: UInt8[np.ndarray, "h w 3"], space: Scene, level: tuple, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """A camera that turns and moves sideways while the shutter is open, in low light.

    level = (light that is left, turn in px at the reference width, sideways step in m, photons at white). Every pixel is smeared by
    turn + focal * step / z: near things more. Each pixel looks along its own path, so borders of near things do not spread outwards.
    """
    left, turn, step, photons = level
    angle = rng.uniform(0, np.pi)
    smear = np.float32(turn * fields.scale_of(rgb)) + np.float32(space.focal * step) / space.z
    np.minimum(smear, np.float32(0.08 * rgb.shape[1]), out=smear)
    light = _smeared(linear(rgb), smear, angle)
    light *= np.float32(left)
    return srgb(_sensed(light, photons, 0.004, rng))


def _smeared(
    light: Float32[np.ndarray, "h w 3"], smear: Float32[np.ndarray, "h w"], angle: float
) -> Float32[np.ndarray, "h w 3"]:
    """Mean of the light along a line of length `smear` px through each pixel."""
    h, w = smear.shape
    moments = np.linspace(-0.5, 0.5, int(np.clip(np.ceil(smear.max()), 2, 24)))
    flat = light.reshape(-1, 3)
    out = np.zeros_like(light)
    columns = np.arange(w, dtype=np.float32)
    for rows in fields.strips(h, w):
        lines = np.arange(h, dtype=np.float32)[rows, None]
        for moment in moments:
            y = np.clip(np.rint(lines + smear[rows] * np.float32(moment * np.sin(angle))), 0, h - 1)
            x = np.clip(np.rint(columns + smear[rows] * np.float32(moment * np.cos(angle))), 0, w - 1)
            out[rows] += flat.take(y.astype(np.int32) * w + x.astype(np.int32), axis=0)
    out /= len(moments)
    return out
