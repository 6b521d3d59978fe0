"""Spoil pictures on purpose: the 18 corruptions of KITTI-C and five that use depth, at severities 1 to 5, repeatable per picture."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from keendepth.core.registry import UnknownNameError
from keendepth.core.types import DepthMap, Image
from keendepth.data.corruptions import blur, light, noise, scene, weather
from keendepth.data.corruptions.fields import REFERENCE_WIDTH

__all__ = [
    "ALIASES",
    "CORRUPTIONS",
    "DEPTH_AWARE",
    "KITTI_C",
    "REFERENCE_WIDTH",
    "SEVERITIES",
    "Corruption",
    "corrupt",
    "find",
]

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One way to spoil a picture: what it is, its parameters at severities 1..5, and the function (rgb, level, rng) -> rgb.

    Depth-aware ones have the function (rgb, scene, level, rng) -> rgb instead and `needs_depth` set.
    """

    name: str
    summary: str
    levels: tuple[tuple, ...]
    apply: Callable[..., np.ndarray]
    needs_depth: bool = False


# Parameters: imagecorruptions 1.1.2, and RoboDepth for dark, quant and iso. The last number of fog, frost and snow is ours: see there.
_KITTI_C = (
    Corruption(
        "brightness", "over-exposure: V of HSV raised", ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)), light.brightness
    ),
    Corruption(
        "dark",
        "under-exposure with sensor noise",
        ((0.6, 600, 0.008), (0.5, 250, 0.012), (0.4, 120, 0.018), (0.3, 50, 0.026), (0.2, 30, 0.038)),
        light.dark,
    ),
    Corruption(
        "fog",
        "drifting clouds, the same at every depth",
        ((1.5, 2, 0.17), (2, 2, 0.18), (2.5, 1.7, 0.19), (2.5, 1.5, 0.22), (3, 1.4, 0.24)),
        weather.fog,
    ),
    Corruption(
        "frost",
        "ice crystals on the pane",
        ((1, 0.4, 0.9), (0.8, 0.6, 0.92), (0.7, 0.7, 0.93), (0.65, 0.7, 1.0), (0.6, 0.75, 1.03)),
        weather.frost,
    ),
    Corruption(
        "snow",
        "driving snow",
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8, 0.66),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7, 0.66),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65, 0.7),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55, 0.7),
        ),
        weather.snow,
    ),
    Corruption("contrast", "low contrast", ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)), light.contrast),
    Corruption("defocus", "out of focus", ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)), blur.defocus),
    Corruption(
        "glass", "through frosted glass", ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)), blur.glass
    ),
    Corruption("motion", "camera motion", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), blur.motion),
    Corruption(
        "zoom",
        "motion along the optical axis",
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        blur.zoom,
    ),
    Corruption("elastic", "small local warps", ((0.05,), (0.065,), (0.085,), (0.1,), (0.12,)), blur.elastic),
    Corruption("quant", "few colours", ((5,), (4,), (3,), (2,), (1,)), light.quant),
    Corruption("gaussian", "Gaussian noise", ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)), noise.gaussian),
    Corruption("impulse", "salt and pepper", ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)), noise.impulse),
    Corruption("shot", "few photons", ((60,), (25,), (12,), (5,), (3,)), noise.shot),
    Corruption("iso", "high sensor gain", ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)), noise.iso),
    Corruption("pixelate", "low resolution", ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)), noise.pixelate),
    Corruption("jpeg", "JPEG blocks", ((25,), (18,), (15,), (10,), (7,)), noise.jpeg),
)
_DEPTH_AWARE = (
    Corruption("fog_depth", "fog that thickens with distance (Koschmieder)", scene.FOG, scene.fog, True),
    Corruption("rain", "rain streaks in depth and a distant veil", scene.RAIN, scene.rain, True),
    Corruption("snow_streaks", "snow flakes in depth and a distant veil", scene.SNOW, scene.snow, True),
    Corruption("night", "night with headlights and glowing lamps", scene.NIGHT, scene.night, True),
    Corruption(
        "exposure_blur", "low light and a long exposure by a moving camera", scene.EXPOSURE, scene.exposure_blur, True
    ),
)
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({c.name: c for c in _KITTI_C + _DEPTH_AWARE})
KITTI_C = tuple(c.name for c in _KITTI_C)
DEPTH_AWARE = tuple(c.name for c in _DEPTH_AWARE)
# The names of imagecorruptions and of RoboDepth's folders.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "bright": "brightness", "defocus_blur": "defocus", "glass_blur": "glass", "motion_blur": "motion", "zoom_blur": "zoom",
        "elastic_transform": "elastic", "color_quant": "quant", "gaussian_noise": "gaussian", "gauss": "gaussian",
        "impulse_noise": "impulse", "shot_noise": "shot", "iso_noise": "iso", "jpeg_compression": "jpeg",
    }
)  # fmt: skip


def find(type: str) -> Corruption:
    """The corruption called `type` (own name or alias, "-" or "_"); raises UnknownNameError with the nearest names."""
    name = type.strip().lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in CORRUPTIONS:
        near = difflib.get_close_matches(name, [*CORRUPTIONS, *ALIASES], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(CORRUPTIONS)}"
        raise UnknownNameError(f"no corruption is called {type!r}; {hint}")
    return CORRUPTIONS[name]


def corrupt(image: Image, type: str, severity: int, seed: int = 0, depth: DepthMap | None = None) -> Image:
    """The picture spoilt by `type` (see `CORRUPTIONS`) at `severity` 1..5; size, camera and name stay.

    Randomness comes from (seed, the picture's pixels, type) and is shared by the severities, so a higher one changes the picture more, and the
    same picture is always spoilt in the same way. Lengths in pixels hold for a width of 640 (KITTI-C's pictures) and grow in proportion to the
    width; noise stays one pixel wide, as a sensor's is. Depth-aware types need METRIC `depth` of the same scene, of any size: unknown pixels
    (NaN) take the nearest known depth, sky (+inf) is infinitely far. Raises ValueError without it, KindError for another kind.
    """
    chosen = find(type)
    if severity not in SEVERITIES:
        raise ValueError(f"corrupt: severity must be a whole number from 1 (light) to 5 (heavy), found {severity!r}")
    key = zlib.crc32(image.rgb.tobytes()), *image.size, zlib.crc32(chosen.name.encode())
    rng = np.random.default_rng(np.random.SeedSequence([seed, *key]))
    level = chosen.levels[severity - 1]
    if not chosen.needs_depth:
        return Image(chosen.apply(image.rgb, level, rng), image.camera, image.name)
    if depth is None:
        raise ValueError(
            f"corrupt: {chosen.name!r} depends on how far things are; pass depth=, a metric depth map of the picture "
            f"(measured, or predictor.predict(image)), or choose one that needs none: {', '.join(KITTI_C)}"
        )
    space = scene.Scene.of(image, depth)
    return Image(chosen.apply(image.rgb, space, level, rng), image.camera, image.name)
