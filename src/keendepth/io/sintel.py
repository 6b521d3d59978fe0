"""Sintel's .dpt: a float32 tag, width and height as int32, then float32 rows; kind and camera only in the sidecar."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.core.types import DepthMap
from keendepth.io.errors import FileError, check_size, reading
from keendepth.io.formats import Draft, Loaded

TAG = 202021.25  # Sintel's depth development kit; reads "PIEH" as ASCII
HEADER = struct.Struct("<fii")
ENCODING = {"format": "Sintel dpt, float32", "unknown": "NaN", "sky": "inf", "error": 0.0}


def load(path: Path) -> Loaded:
    """The values as they stand in the file."""
    with reading(path, "a Sintel .dpt file"):
        size = path.stat().st_size
        with path.open("rb") as stream:
            tag, width, height = HEADER.unpack(stream.read(HEADER.size))
        if tag != TAG:
            raise FileError(path, f"expected the tag {TAG} of a Sintel .dpt file, found {tag:g}")
        check_size(path, height, width)
        if size - HEADER.size != 4 * width * height:
            raise FileError(
                path,
                f"expected {4 * width * height} bytes for {width} x {height} floats, found {size - HEADER.size}: it is truncated",
            )
        return Loaded(np.fromfile(path, "<f4", offset=HEADER.size).reshape(height, width))


def prepare(depth: DepthMap) -> Draft:
    """Float32, unknown as NaN, sky as inf."""

    def save(temporary: Path, _description: dict[str, Any]) -> None:
        with temporary.open("wb") as stream:
            stream.write(HEADER.pack(TAG, depth.size[1], depth.size[0]))
            depth.values.astype("<f4", copy=False).tofile(stream)

    return Draft(ENCODING, save)
