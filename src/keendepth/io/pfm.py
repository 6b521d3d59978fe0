"""PFM: one float channel, rows from bottom to top, the sign of the scale gives the byte order; kind and camera only in the sidecar."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.core.types import DepthMap
from keendepth.io.errors import FileError, check_size, reading
from keendepth.io.formats import Draft, Loaded

ENCODING = {"format": "PFM, float32", "unknown": "NaN", "sky": "inf", "error": 0.0}
HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,40})(\r\n|\s)")


def load(path: Path) -> Loaded:
    """The values with the top row first; the scale's size is ignored (Middlebury stores a display factor there)."""
    with reading(path, "a PFM file"):
        size = path.stat().st_size
        with path.open("rb") as stream:
            header = HEADER.match(stream.read(256))
        if not header:
            raise FileError(path, "expected a PFM header (Pf, width height, scale), found something else")
        if header[1] == b"F":
            raise FileError(path, "expected a PFM of one channel (Pf), found three colours (PF)")
        width, height, scale = int(header[2]), int(header[3]), float(header[4])
        check_size(path, height, width)
        if not math.isfinite(scale) or scale == 0:
            raise FileError(path, f"expected a scale other than 0 (its sign is the byte order), found {scale}")
        if size - header.end() != 4 * width * height:
            raise FileError(
                path,
                f"expected {4 * width * height} bytes for {width} x {height} floats, found {size - header.end()}: it is truncated",
            )
        values = np.fromfile(path, "<f4" if scale < 0 else ">f4", offset=header.end())
        return Loaded(np.ascontiguousarray(values.reshape(height, width)[::-1], dtype=np.float32))


def prepare(depth: DepthMap) -> Draft:
    """Little-endian float32, unknown as NaN, sky as inf."""

    def save(temporary: Path, _description: dict[str, Any]) -> None:
        height, width = depth.size
        with temporary.open("wb") as stream:
            stream.write(f"Pf\n{width} {height}\n-1.0\n".encode("ascii"))
            depth.values[::-1].astype("<f4").tofile(stream)

    return Draft(ENCODING, save)
