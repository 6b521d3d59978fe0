"""16-bit PNG: millimetres or a data set's convention for metric depth, a linear map for the other kinds; 0 = unknown, 65535 = sky."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt16
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from keendepth.core.types import DepthKind, DepthMap, KindError
from keendepth.io import record
from keendepth.io.errors import FileError, check_size, reading
from keendepth.io.foreign import find_convention
from keendepth.io.formats import CONVENTIONS, KEY, SKY_CODE, UNKNOWN_CODE, Draft, Loaded

# Measured on 12 MP of noisy millimetres: level 1 0.8 s, 3 1.0 s, 6 3.3 s, for 11.5, 10.9 and 10.9 MB.
COMPRESS_LEVEL = 3
LAST_CODE = SKY_CODE - 1


def load(path: Path) -> Loaded:
    """The integers of a grey picture (PNG, PGM, or any 8-bit one), and our description if it has one."""
    with reading(path, "a grey 16-bit PNG"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns from 89 MP on; the limit is check_size's
        with PillowImage.open(path, formats=("PNG", "PPM", "JPEG", "BMP")) as picture:
            check_size(path, picture.height, picture.width)
            values = _grey(path, picture)
            text = getattr(picture, "text", {}).get(KEY)
        return Loaded(values, record.parse_own(text) if text else None)


def _grey(path: Path, picture: PillowImage.Image) -> Shaped[np.ndarray, "h w"]:
    if picture.mode in ("I;16", "I;16B", "L"):
        values = np.asarray(picture)
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if picture.mode == "I":  # 16-bit PGM, and 16-bit PNG in older Pillow
        values = np.asarray(picture)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else values
    rgb = np.asarray(picture.convert("RGB"))
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all():
        return np.ascontiguousarray(rgb[..., 0])
    raise FileError(
        path,
        "expected depth as a grey 16-bit picture, found colours: a coloured preview cannot be turned back into depth; "
        "use the 16-bit PNG, .exr, .npz or .pfm that was written with it",
    )


def prepare(depth: DepthMap, convention: str | None, path: Path, span: tuple[float, float] | None = None) -> Draft:
    """Codes and encoding for a PNG; FileError where a value does not fit, KindError for metres of a map that has none.

    `span`: the range of a linear map, when several pictures are to share it; values beyond it are written as its ends.
    """
    encoding, codes = (
        _linear(depth, span) if is_linear(depth.kind, convention) else _metric(depth, convention or "mm", path)
    )

    def save(temporary: Path, description: dict[str, Any]) -> None:
        text = PngInfo()
        text.add_text(KEY, record.dumps(description))
        PillowImage.fromarray(codes).save(temporary, "PNG", pnginfo=text, compress_level=COMPRESS_LEVEL)

    return Draft(encoding, save, "pillow")


def is_linear(kind: DepthKind, convention: str | None) -> bool:
    """Whether a PNG of this kind maps a range of values linearly, and so is no fixed unit per step."""
    return convention == "relative" or (convention is None and kind is not DepthKind.METRIC)


def _encoding(name: str, first_code: int, offset: float, scale: float) -> dict[str, Any]:
    return {
        "format": "16-bit PNG",
        "convention": name,
        "first_code": first_code,
        "offset": offset,
        "scale": scale,
        "unknown": UNKNOWN_CODE,
        "sky": SKY_CODE,
        "error": scale / 2,
    }


def _metric(depth: DepthMap, name: str, path: Path) -> tuple[dict[str, Any], UInt16[np.ndarray, "h w"]]:
    convention = find_convention(name)
    if depth.kind is not DepthKind.METRIC:
        raise KindError(
            f"a PNG in convention {name!r} holds metres, and this depth is {depth.kind}: write it with convention='relative' "
            "(or none), or make it metric with .aligned_to(a metric map)"
        )
    if convention.rotated:
        raise FileError(path, f"convention {name!r} is for reading only: write mm, kitti, tum, ibims or vkitti")
    steps = depth.values / np.float64(convention.metres)
    known = depth.valid
    too_near, too_far = known & (steps < 0.5), known & (steps > LAST_CODE + 0.5)
    if too_near.any() or too_far.any():
        raise FileError(path, _does_not_fit(depth, name))
    return _encoding(name, 0, 0.0, convention.metres), _codes(steps, depth)


def _does_not_fit(depth: DepthMap, name: str) -> str:
    known = depth.values[depth.valid]
    low, high = float(known.min()), float(known.max())
    step = CONVENTIONS[name].metres
    fitting = [
        f"convention={other!r}"
        for other in ("tum", "mm", "kitti", "vkitti")
        if low >= CONVENTIONS[other].metres / 2 and high <= CONVENTIONS[other].metres * LAST_CODE
    ]
    return (
        f"depths from {low:g} to {high:g} m do not fit a 16-bit PNG in convention {name!r} ({step:.4g} to {step * LAST_CODE:.4g} m): "
        f"write {' or '.join([*fitting, '.exr'])} instead"
    )


def _linear(depth: DepthMap, span: tuple[float, float] | None) -> tuple[dict[str, Any], UInt16[np.ndarray, "h w"]]:
    """Codes 1..65534 spread over the range of the known values, or over a given one."""
    known = depth.values[depth.valid]
    low, high = span or ((float(known.min()), float(known.max())) if known.size else (0.0, 0.0))
    scale = (high - low) / (LAST_CODE - 1)
    steps = 1 + (depth.values.astype(np.float64) - low) / (scale or 1.0)
    return _encoding("relative", 1, low, scale), _codes(steps, depth)


def _codes(steps: np.ndarray, depth: DepthMap) -> UInt16[np.ndarray, "h w"]:
    nearest = np.clip(np.rint(steps), 1, LAST_CODE)
    codes = np.where(np.isnan(nearest), UNKNOWN_CODE, nearest).astype(np.uint16)
    codes[depth.sky] = SKY_CODE
    return codes
