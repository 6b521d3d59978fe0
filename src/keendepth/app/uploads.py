"""Uploaded bytes to a picture or a depth map: the content says what it is, never the name it came with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keendepth import io
from keendepth.app.refusals import RefusedError
from keendepth.core.types import DepthMap, Image

# First bytes of the depth formats (each format's own definition) and the suffix by which `io.read` knows them.
MAGIC = (
    (b"\x89PNG", ".png"),
    (b"v/1\x01", ".exr"),
    (b"II*\x00", ".tiff"),
    (b"MM\x00*", ".tiff"),
    (b"II+\x00", ".tiff"),
    (b"MM\x00+", ".tiff"),
    (b"PK\x03\x04", ".npz"),
    (b"\x93NUMPY", ".npy"),
    (b"Pf", ".pfm"),
    (b"PF", ".pfm"),
    (b"PIEH", ".dpt"),
    (b"P5", ".pgm"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"BM", ".bmp"),
)
RATIO_TOLERANCE = 0.05  # between the shapes of a photo and its depth: rounding of a small map, not another view


@dataclass(frozen=True)
class CameraWish:
    """What the sender says about the camera; at most one of the two."""

    focal: float | None = None  # pixels of the upright photo
    fov: float | None = None  # horizontal, degrees


@dataclass(frozen=True)
class DepthWish:
    """What the sender says about the numbers of the depth file, as `io.read` takes it."""

    units: str | None = None
    convention: str | None = None
    sky_value: float | None = None


def picture(content: bytes, folder: Path, most_pixels: int, camera: CameraWish | None = None) -> Image:
    """The photo in `content`; FileError (TooLargeError beyond `most_pixels`) where it is none. `folder` is an empty one for the work."""
    camera = camera or CameraWish()
    path = _laid(content, folder / "image", "image")
    with io.pixel_limit(most_pixels):
        return io.read_image(path, focal=camera.focal, fov=camera.fov)


def depth_map(content: bytes, folder: Path, most_pixels: int, wish: DepthWish | None = None) -> DepthMap:
    """The depth map in `content`, with at least one known pixel; FileError (TooLargeError) or RefusedError where there is none."""
    wish = wish or DepthWish()
    path = _laid(content, folder / f"depth{_suffix(content)}", "depth")
    with io.pixel_limit(most_pixels):
        found = io.read(path, units=wish.units, convention=wish.convention, sky_value=wish.sky_value)
    if not found.valid.any():
        raise RefusedError(422, "unreadable", "depth: not one pixel is known (all are NaN, infinite or 0)")
    return found


def check_view(image: Image, depth: DepthMap) -> None:
    """RefusedError unless photo and depth have the same shape up to rounding: depth of another view cannot be laid over a photo."""
    expected = depth.size[1] * image.size[0] / image.size[1]
    if abs(depth.size[0] - expected) <= max(1.5, RATIO_TOLERANCE * expected):
        return
    raise RefusedError(
        422,
        "wrong_size",
        f"depth: {depth.size[1]} x {depth.size[0]} pixels do not fit a photo of {image.size[1]} x {image.size[0]}: "
        "both must show the same view, in the same shape (any resolution)",
    )


def _laid(content: bytes, path: Path, field: str) -> Path:
    if not content:
        raise RefusedError(422, "unreadable", f"{field}: the file is empty")
    path.write_bytes(content)
    return path


def _suffix(content: bytes) -> str:
    for start, suffix in MAGIC:
        if content.startswith(start):
            return suffix
    raise RefusedError(
        415,
        "unknown_format",
        "depth: expected a depth file (16-bit PNG or PGM, EXR, TIFF, npz, npy, PFM or Sintel's dpt), found something else",
    )
