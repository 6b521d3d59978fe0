"""OpenEXR: float depth in channel Z, our description in the header; reads the depth channel of renderers' files too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from keendepth.core.types import DepthMap
from keendepth.io import record
from keendepth.io.errors import FileError, check_size, most_pixels, reading
from keendepth.io.formats import KEY, Draft, Loaded

ENCODING = {"format": "OpenEXR, float32, channel Z", "unknown": "NaN", "sky": "inf", "error": 0.0}
NAMES = ("z", "depth", "y", "r")  # by preference; a layer may stand before it ("ViewLayer.Depth.Z")


def load(path: Path) -> Loaded:
    """The depth channel, laid into the display window (outside the data window is unknown)."""
    import OpenEXR  # 0.14 s

    with reading(path, "an OpenEXR file"):
        with OpenEXR.File(str(path), separate_channels=True, header_only=True) as probe:
            headers = [dict(part.header) for part in probe.parts]  # the file empties its own on closing
        part = _check(path, headers)
        with OpenEXR.File(str(path), separate_channels=True) as content:
            channels = content.channels(part)
            name = depth_channel(path, list(channels))
            pixels = np.array(channels[name].pixels, dtype=np.float32)
        text = headers[part].get(KEY)
        own = record.parse_own(text) if isinstance(text, str) else None
        return Loaded(_windowed(path, pixels, headers[part]), own)


def _check(path: Path, headers: list[dict[str, Any]]) -> int:
    """Which part holds depth, once no part is too large to read."""
    total = 0
    for header in headers:
        height, width = _extent(header["dataWindow"])
        check_size(path, height, width)
        total += height * width * len(header["channels"])
    if total > 8 * most_pixels():
        raise FileError(path, "more channels than can be read at once: write the depth channel to a file of its own")
    for part, header in enumerate(headers):
        names = [channel.name for channel in header["channels"]]
        if any(_rank(name) < len(NAMES) for name in names) or len(names) == 1:
            return part
    found = ", ".join(channel.name for header in headers for channel in header["channels"])
    raise FileError(path, f"expected a channel Z, depth, Y or R, or a single one, found {found}")


def depth_channel(path: Path, names: list[str]) -> str:
    """The channel that holds depth: Z, depth, Y or R (in any layer), or the only one; FileError lists what is there."""
    best = min(names, key=_rank)
    if _rank(best) == len(NAMES) and len(names) != 1:
        raise FileError(path, f"expected a channel Z, depth, Y or R, or a single one, found {', '.join(names)}")
    return best


def _rank(name: str) -> int:
    last = name.rsplit(".", 1)[-1].lower()
    return NAMES.index(last) if last in NAMES else len(NAMES)


def _extent(window: Any) -> tuple[int, int]:
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in window)
    return bottom - top + 1, right - left + 1


def _windowed(path: Path, pixels: Float32[np.ndarray, "h w"], header: dict[str, Any]) -> Float32[np.ndarray, "h2 w2"]:
    (left, top), (right, bottom) = header["dataWindow"]
    if pixels.shape != _extent(header["dataWindow"]):
        raise FileError(path, f"its depth channel is subsampled to {pixels.shape[1]} x {pixels.shape[0]}")
    x, y = (int(value) for value in header["displayWindow"][0])
    if _extent(header["displayWindow"]) == pixels.shape and (x, y) == (left, top):
        return pixels
    height, width = _extent(header["displayWindow"])
    check_size(path, height, width)
    whole = np.full((height, width), np.nan, np.float32)
    y0, y1 = max(int(top), y), min(int(bottom) + 1, y + height)
    x0, x1 = max(int(left), x), min(int(right) + 1, x + width)
    if y0 < y1 and x0 < x1:
        whole[y0 - y : y1 - y, x0 - x : x1 - x] = pixels[y0 - int(top) : y1 - int(top), x0 - int(left) : x1 - int(left)]
    return whole


def prepare(depth: DepthMap) -> Draft:
    """Float32 in channel Z, lossless; unknown as NaN, sky as inf."""

    def save(temporary: Path, description: dict[str, Any]) -> None:
        import OpenEXR  # 0.14 s

        header = {
            "compression": OpenEXR.ZIP_COMPRESSION,  # what every program reads; PIZ is twice as slow
            "type": OpenEXR.scanlineimage,
            KEY: record.dumps(description),
        }
        # The binding wants a writable array of its own.
        with OpenEXR.File(header, {"Z": np.array(depth.values)}) as content:
            content.write(str(temporary))

    return Draft(ENCODING, save, "OpenEXR")
