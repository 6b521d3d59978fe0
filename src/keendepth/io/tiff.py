"""TIFF: float32 with our description in the image description; reads anybody's single-channel TIFF."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from keendepth.core.types import DepthMap
from keendepth.io import record
from keendepth.io.errors import FileError, check_size, reading
from keendepth.io.formats import KEY, Draft, Loaded

ENCODING = {"format": "TIFF, float32", "unknown": "NaN", "sky": "inf", "error": 0.0}
DEFLATE = (8, 32946)
MOST_RATIO = 1032  # of deflate, the strongest of them (zlib's documentation)
READABLE = (1, 5, 32773, *DEFLATE)  # none, LZW, PackBits, deflate

# tifffile rather than Pillow: Pillow 13 returns big-endian compressed floats with their bytes swapped, and has no float64.


def load(path: Path) -> Loaded:
    """The first page, and our description if it has one."""
    import tifffile  # 0.18 s

    with reading(path, "a TIFF with one channel"), tifffile.TiffFile(path) as content:
        page: Any = content.pages[0]
        shape = [side for side in page.shape if side != 1] if len(page.shape) > 2 else list(page.shape)
        if len(shape) != 2 or page.dtype is None or page.dtype.kind not in "fiu":
            raise FileError(path, f"expected one channel of numbers [h w], found {page.dtype} {list(page.shape)}")
        check_size(path, *shape)
        _check_segments(path, page)
        values = np.ascontiguousarray(page.asarray()).reshape(shape)
        text = page.description
        own = record.parse_own(text) if KEY in text and text.startswith("{") else None
        return Loaded(_native(values), own)


def _native(values: np.ndarray) -> Shaped[np.ndarray, "h w"]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _check_segments(path: Path, page: Any) -> None:
    """Every strip or tile must lie inside the file, and all of them must be able to make the picture."""
    if page.compression not in READABLE:
        raise FileError(
            path,
            f"its compression ({page.compression!s}) is not read: save it uncompressed or with deflate, or as .exr",
        )
    size, needed = path.stat().st_size, page.size * page.dtype.itemsize
    if needed > sum(page.databytecounts) * (1 if page.compression == 1 else MOST_RATIO):
        raise FileError(path, f"it has too few bytes for {page.size} numbers: it is truncated")
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if any(offset < 0 or count < 0 or offset + count > size for offset, count in segments):
        raise FileError(path, "its strips lie beyond the end of the file: it is truncated")
    if page.compression in DEFLATE:
        _check_unpacked(path, page, segments)


def _check_unpacked(path: Path, page: Any, segments: list[tuple[int, int]]) -> None:
    """No strip may unpack to more than its share of the picture; found out without unpacking further than that."""
    count = int(np.prod([int(side) for side in page.chunks], dtype=object))
    check_size(path, count, 1)
    largest = count * page.dtype.itemsize
    with path.open("rb") as stream:
        for offset, length in segments:
            stream.seek(offset)
            unpacked = zlib.decompressobj().decompress(stream.read(length), largest + 1)
            if len(unpacked) > largest:
                raise FileError(path, f"a strip unpacks to more than its {largest} bytes: the file is damaged")


def prepare(depth: DepthMap) -> Draft:
    """Uncompressed float32 (deflate takes six times as long for a sixth less), unknown as NaN, sky as inf."""

    def save(temporary: Path, description: dict[str, Any]) -> None:
        import tifffile  # 0.18 s

        text = record.dumps(description)
        tifffile.imwrite(temporary, depth.values, description=text, metadata=None, photometric="minisblack")

    return Draft(ENCODING, save, "tifffile")
