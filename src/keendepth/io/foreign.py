"""Files that others wrote: from bare numbers to a depth map, by unit or by a data set's convention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keendepth.core.types import Camera, DepthKind, DepthMap
from keendepth.io.errors import FileError
from keendepth.io.formats import CONVENTIONS, UNITS, Convention, Loaded, Unit


def find_unit(units: str) -> Unit:
    """The entry of `UNITS`, or of a DepthKind by its own name; ValueError lists what is known."""
    aliases = {"metric": "m", "metres": "m", "scale_invariant": "scale-invariant", "affine_invariant": "relative"}
    name = aliases.get(units, units)
    if name not in UNITS:
        raise ValueError(f"units: expected one of {', '.join(UNITS)}, found {units!r}")
    return UNITS[name]


def find_convention(convention: str) -> Convention:
    """The entry of `CONVENTIONS`; ValueError lists what is known."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention: expected one of {', '.join(CONVENTIONS)}, found {convention!r}")
    return CONVENTIONS[convention]


def interpret(
    path: Path, loaded: Loaded, units: str | None, convention: str | None, sky_value: float | None
) -> DepthMap:
    """A depth map from a foreign file.

    Without `units` or `convention`, 16-bit integers are millimetres and floats are metres. Values at `sky_value` (in the
    file's own unit) or farther are sky: larger ones of z, smaller ones of 1/z. Raises FileError where nothing is known, or where 8 bits are to hold metres.
    """
    if units and convention:
        raise FileError(path, f"expected units or a convention, found both ({units} and {convention}): drop one")
    values = loaded.values
    if convention:
        depth = _by_convention(path, values, find_convention(convention), sky_value)
    else:
        depth = _by_unit(path, values, find_unit(units or _usual_unit(path, values)), sky_value)
    if loaded.valid is not None:
        depth = depth.with_values(np.where(loaded.valid, depth.values, np.float32(np.nan)))
    if not depth.valid.any():
        raise FileError(
            path, f"not one pixel has a {depth.kind} value ({_summary(values)}): are the units or the convention right?"
        )
    if loaded.K_opencv is None:
        return depth
    camera = Camera.from_opencv(loaded.K_opencv, values.shape[1], values.shape[0])
    return DepthMap(depth.values, depth.kind, camera)


def _usual_unit(path: Path, values: np.ndarray) -> str:
    if values.dtype == np.uint16:
        return "mm"
    if values.dtype.kind == "f":
        return "m"
    if values.dtype == np.uint8:
        raise FileError(path, _EIGHT_BIT)
    raise FileError(
        path, f"numbers of type {values.dtype} have no usual unit: say which with --units ({', '.join(UNITS)})"
    )


_EIGHT_BIT = (
    "expected depth, found 8-bit numbers, which cannot hold metres: say what they are with --units disparity "
    "(near is large) or --units relative (far is large), or use the 16-bit or float file"
)


def _by_convention(path: Path, values: np.ndarray, convention: Convention, sky_value: float | None) -> DepthMap:
    if values.dtype.kind not in "iu" or values.dtype == np.uint8 or values.min() < 0 or values.max() > 65535:
        raise FileError(path, f"a convention is for 16-bit integers, found {_summary(values)}: use --units instead")
    codes = values.astype(np.uint16)
    if convention.rotated:
        codes = ((codes >> 3) | (codes << 13)).astype(np.uint16)
    far = np.isin(codes, 65535) if sky_value is None else codes >= sky_value
    metres = np.where(codes > 0, codes * convention.metres, np.nan)
    if convention.top == "unknown":
        metres[codes == 65535] = np.nan
    if convention.top == "sky" or sky_value is not None:
        metres[far] = np.inf
    return DepthMap(metres.astype(np.float32), DepthKind.METRIC)


def _by_unit(path: Path, values: np.ndarray, unit: Unit, sky_value: float | None) -> DepthMap:
    integer = values.dtype.kind in "biu"
    if values.dtype == np.uint8 and unit.kind is DepthKind.METRIC:
        raise FileError(path, _EIGHT_BIT)
    with np.errstate(invalid="ignore"):  # a signalling NaN in the file
        numbers = values.astype(np.float64)
    sky = _beyond(numbers, unit, sky_value)
    if unit.kind is DepthKind.DISPARITY:
        numbers[~np.isfinite(numbers)] = np.nan  # Middlebury: inf = unknown
        sky |= (numbers == 0) & (unit.zero == "sky")
        numbers[(numbers == 0) & (integer and unit.zero == "unknown")] = np.nan
    elif unit.kind is DepthKind.AFFINE_INVARIANT:
        numbers[np.isneginf(numbers)] = np.nan
    else:
        numbers = _positive(numbers, unit)
        if integer and values.dtype == np.uint16 and unit.metres == 1e-3:
            numbers[values == 65535] = np.nan  # a saturated sensor
    numbers[sky] = np.inf
    with np.errstate(over="ignore"):
        return DepthMap(numbers.astype(np.float32), unit.kind)


def _beyond(numbers: np.ndarray, unit: Unit, sky_value: float | None) -> np.ndarray:
    if sky_value is None:
        return np.zeros(numbers.shape, bool)
    near_is_large = unit.inverted or unit.kind is DepthKind.DISPARITY
    return numbers <= sky_value if near_is_large else numbers >= sky_value


def _positive(numbers: np.ndarray, unit: Unit) -> np.ndarray:
    """Metres (or z up to scale): 0, negative and NaN are unknown; in 1/m, 0 is infinitely far."""
    with np.errstate(divide="ignore", over="ignore"):
        scaled = numbers * unit.metres
        z = np.where(numbers == 0, np.inf, 1 / scaled) if unit.inverted else scaled
        z = z.astype(np.float32)  # what underflows to 0 here is unknown too
    return np.where(z > 0, z, np.nan).astype(np.float64)


def _summary(values: np.ndarray) -> str:
    finite: Any = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    span = f"from {finite.min():g} to {finite.max():g}" if finite.size else "none of them finite"
    return f"{values.dtype} numbers {span}"
