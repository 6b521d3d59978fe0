"""Rendered scenes in the clothes of photos: every surface shows a piece of a real picture, under the scene's own light and with its own edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from scipy import ndimage

from keendepth.core import geometry
from keendepth.training.degrade import both_sides, components

# All constants are ours. A network that has seen rendered surfaces only takes the grain of a photo for edges, and its soft edges for grain.
DRESSED = 0.75  # chance of a surface to be dressed
LARGEST_SURFACES = 24  # the others are too small to matter, and cost time
LEAST_PIXELS = 12
WIDE = 0.2  # share of the picture above which a surface keeps its own colours under the photo's pattern: what stands on a floor is one with it
ZOOM = (0.6, 2.0)  # of a photo; below what covers the picture it is enlarged to that
SHADE = (0.35, 2.5)  # how much darker or lighter a pixel may be than its surface on average


def retextured(
    rgb: UInt8[np.ndarray, "h w 3"],
    near: Float32[np.ndarray, "h w"],
    photos: Sequence[UInt8[np.ndarray, "_h _w 3"]],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with most surfaces of `near` (1/z; parted where it jumps) dressed in crops of `photos`; its depth stays true.

    Shading is kept: a dressed pixel is as much lighter than its surface's mean as it was before. Of a crop on a wide surface only
    the pattern is taken, so that creases and all that touches the surface can still be seen.
    """
    surfaces = components(near)
    crops = [_crop(photo, near.shape, rng) for photo in photos]
    out, chosen = rgb.astype(np.float32), np.zeros(near.shape, bool)
    for number in _largest(surfaces):
        if rng.random() < DRESSED:
            inside = surfaces == number
            cloth, body = crops[rng.integers(len(crops))][inside], out[inside]
            if len(body) > WIDE * near.size:
                out[inside] = body * _relative(cloth)
            else:
                out[inside] = cloth * _relative(body)
            chosen |= inside
    return np.clip(np.rint(_soft_rims(out, surfaces, chosen)), 0, 255).astype(np.uint8)


def _relative(colours: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 1"]:
    """Lightness over its mean; 8 levels are added, since dark pixels have no reliable ratio."""
    light = colours.mean(-1, keepdims=True) + 8
    return np.clip(light / light.mean(), *SHADE)


def _largest(surfaces: Int[np.ndarray, "h w"]) -> Int[np.ndarray, " k"]:
    sizes = np.bincount(surfaces.ravel())
    sizes[0] = 0
    order = np.argsort(sizes)[::-1][:LARGEST_SURFACES]
    return order[sizes[order] >= LEAST_PIXELS]


def _crop(
    photo: UInt8[np.ndarray, "a b 3"], size: tuple[int, ...], rng: np.random.Generator
) -> Float32[np.ndarray, "h w 3"]:
    """A window of a photo, enlarged or reduced, flipped."""
    whole = photo.shape[:2]
    least = max(want / have for want, have in zip(size, whole, strict=True))
    zoom = max(least, float(np.exp(rng.uniform(*np.log(ZOOM)))))
    # Not more of the photo than is shown is resized.
    window = tuple(min(have, max(1, round(want / zoom))) for want, have in zip(size, whole, strict=True))
    top, left = (int(rng.integers(have - want + 1)) for want, have in zip(window, whole, strict=True))
    found = geometry.resize(photo[top : top + window[0], left : left + window[1]], (size[0], size[1]))
    return found[:, ::-1] if rng.random() < 0.5 else found


def _soft_rims(
    rgb: Float32[np.ndarray, "h w 3"], surfaces: Int[np.ndarray, "h w"], chosen: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Pixels where two surfaces meet, one of them dressed, become (1 2 1) x (1 2 1) / 16 means: a camera's pixel sees both sides."""
    rim = both_sides(surfaces[:, 1:] != surfaces[:, :-1], surfaces[1:] != surfaces[:-1])
    rows, columns = np.nonzero(rim & ndimage.binary_dilation(chosen))
    padded = np.pad(rgb, ((1, 1), (1, 1), (0, 0)), mode="edge")
    mean = np.zeros((len(rows), 3), np.float32)
    for dy, a in enumerate((1, 2, 1)):
        for dx, b in enumerate((1, 2, 1)):
            mean += np.float32(a * b / 16) * padded[rows + dy, columns + dx]
    rgb[rows, columns] = mean
    return rgb
