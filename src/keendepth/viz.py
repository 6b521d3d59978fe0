"""Pictures for looking at: coloured depth, depth edges over the photo, pictures side by side."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as PillowImage

from keendepth.core import edges
from keendepth.core.types import DepthMap, Image

# Anchors from far to near. Spectral: ColorBrewer (C. Brewer), blue far, red near, the field's habit; inferno: matplotlib (CC0);
# turbo: A. Mikhailov. Straight lines between the anchors stay within 7 of 255 steps of the originals.
ANCHORS = {
    "spectral": "5e4fa2 3288bd 66c2a5 abdda4 e6f598 ffffbf fee08b fdae61 f46d43 d53e4f 9e0142",
    "inferno": "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
    "turbo": "30123b 3b2f80 434eba 466be3 4685fa 3ba0fd 28bceb 1ad2d2 1ae4b6 32f298 55fa76 80ff53 a4fc3c bef434 d9e436 eecf3a faba39 "
    "fe9e2f fb7e21 f26014 e4450a d02f05 b91e02 9b0f01 7a0403",
    "gray": "000000 ffffff",
}
STEPS = 1024
UNKNOWN, SKY = (38, 38, 38), (205, 220, 240)
EDGE_COLOUR = (255, 40, 40)
SAMPLES = 250_000  # enough for percentiles of any picture


@functools.cache
def _table(cmap: str) -> UInt8[np.ndarray, "n 3"]:
    """`STEPS` colours, then the one for unknown, then the one for sky."""
    if cmap not in ANCHORS:
        raise ValueError(f"colour map: expected one of {', '.join(ANCHORS)}, found {cmap!r}")
    anchors = np.array([list(bytes.fromhex(colour)) for colour in ANCHORS[cmap].split()])
    at = np.linspace(0, 1, STEPS)
    colours = [np.interp(at, np.linspace(0, 1, len(anchors)), anchors[:, channel]) for channel in range(3)]
    table = np.concatenate([np.rint(np.stack(colours, axis=-1)), [UNKNOWN], [SKY]]).astype(np.uint8)
    table.flags.writeable = False
    return table


Span = tuple[float, float]


def nearness(
    depth: DepthMap, low: float = 2.0, high: float = 98.0, between: Span | None = None
) -> Float32[np.ndarray, "h w"]:
    """Inverse depth from 0 (far) to 1 (near), between its `low` and `high` percentiles over known pixels; NaN where unknown or sky.

    `between`: the inverse depths to use instead, as `span` gives them, so that several maps can share their colours.
    """
    inverse = _inverse(depth)
    bottom, top = between or _percentiles(inverse, low, high)
    width = top - bottom
    if not width > 0:
        return np.where(np.isnan(inverse), inverse, np.float32(0.5))
    scaled = (inverse * (1 / width) - bottom / width) if width > 1e-30 else (inverse - bottom) / width
    return np.clip(scaled, 0, 1).astype(np.float32)


def span(depth: DepthMap, low: float = 2.0, high: float = 98.0) -> Span:
    """The inverse depths (far, near) that a colour map spans: percentiles over known pixels; (0, 0) where there are none."""
    return _percentiles(_inverse(depth), low, high)


def _inverse(depth: DepthMap) -> Float32[np.ndarray, "h w"]:
    with np.errstate(over="ignore"):  # 1 / 1e-40
        inverse = np.minimum(depth.inverse(), np.finfo(np.float32).max)
    return np.where(depth.valid, inverse, np.float32(np.nan))


def _percentiles(inverse: Float32[np.ndarray, "h w"], low: float, high: float) -> tuple[float, float]:
    known = inverse.ravel()[:: max(1, inverse.size // SAMPLES)]
    known = known[~np.isnan(known)]
    if not known.size:
        known = inverse[~np.isnan(inverse)]
    if not known.size:
        return 0.0, 0.0
    bottom, top = np.percentile(known.astype(np.float64), [low, high])
    if bottom == top:  # nearly everything at one depth: show the rest
        bottom, top = float(np.nanmin(inverse)), float(np.nanmax(inverse))
    return float(bottom), float(top)


def colourise(
    depth: DepthMap, cmap: str = "spectral", low: float = 2.0, high: float = 98.0, between: Span | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth in colours on inverse depth, near = the end of the map; unknown is dark grey, sky a pale blue.

    `cmap`: spectral, inferno, turbo or gray (ValueError otherwise); `low` and `high`: the percentiles that the map spans, unless
    `between` gives the span itself.
    """
    table = _table(cmap)
    near = nearness(depth, low, high, between)
    unknown = np.isnan(near)
    index = np.rint(np.where(unknown, 0, near) * (STEPS - 1)).astype(np.uint16)
    index[unknown] = STEPS
    index[depth.sky] = STEPS + 1
    return np.take(table, index, axis=0)


def colour_bar(cmap: str, steps: int) -> UInt8[np.ndarray, "n 3"]:
    """`steps` colours from far to near, for a legend."""
    return _table(cmap)[np.linspace(0, STEPS - 1, steps).round().astype(int)]


def edge_overlay(image: Image, depth: DepthMap) -> UInt8[np.ndarray, "h w 3"]:
    """The photo, dimmed, with red where depth jumps (by 5 % of z, or by 4 % of the range where z is not known up to a factor)."""
    fitted = depth.resized(*image.size, method="nearest")
    jumps = edges.depth_edges(fitted.values if depth.kind.positive else _pseudo_depth(fitted))
    picture = (image.rgb * np.float32(0.6)).astype(np.uint8)
    picture[jumps] = EDGE_COLOUR
    return picture


def _pseudo_depth(depth: DepthMap) -> Float32[np.ndarray, "h w"]:
    """Positive values that jump by `edges.JUMP_RATIO` where nearness changes by 4 % of its range."""
    pseudo = edges.JUMP_RATIO ** (-nearness(depth, 0, 100).astype(np.float64) / 0.04)
    return np.where(depth.sky, np.inf, pseudo).astype(np.float32)


def side_by_side(*pictures: UInt8[np.ndarray, "_ _ 3"], gap: int = 8) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures in a row with white gaps of `gap` pixels; the others are brought to the first one's height. ValueError without any."""
    if not pictures:
        raise ValueError("side_by_side: expected at least one picture, found none")
    height = pictures[0].shape[0]
    row: list[np.ndarray] = []
    for picture in pictures:
        if picture.shape[0] != height:
            width = max(1, round(picture.shape[1] * height / picture.shape[0]))
            picture = np.asarray(PillowImage.fromarray(picture).resize((width, height), PillowImage.Resampling.BOX))
        row += [picture, np.full((height, gap, 3), 255, np.uint8)]
    return np.concatenate(row[:-1], axis=1)
