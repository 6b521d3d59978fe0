"""Overlapping windows over a picture: where they lie, and how what was made in each is blended into one map without seams."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

# Overlap of neighbouring windows as a share of their side. SDDR's released code has 0.20 for 2 x 2 and 0.25 for 3 x 3 windows.
OVERLAP = 0.25


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def at(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array [h w ...]."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def scaled(self, source: tuple[int, int], target: tuple[int, int]) -> Window:
        """The pixels of a map of size `target` that this window of a map of size `source` touches."""
        y, x = target[0] / source[0], target[1] / source[1]
        top, left = math.floor(self.top * y + 1e-9), math.floor(self.left * x + 1e-9)
        bottom, right = (
            math.ceil((self.top + self.height) * y - 1e-9),
            math.ceil((self.left + self.width) * x - 1e-9),
        )
        return Window(top, left, min(bottom, target[0]) - top, min(right, target[1]) - left)


def grid(size: tuple[int, int], count: int, overlap: float = OVERLAP) -> list[Window]:
    """`count` x `count` windows that cover a map of `size`, row by row (SDDR section 3.2 has count = s + 1).

    Neighbours share `overlap` of their side. Windows that would coincide, in a map of fewer pixels than windows, are one.
    """
    if count < 1 or not 0 <= overlap < 1:
        raise ValueError(f"windows: expected a count of 1 or more and an overlap in 0..1, found {count} and {overlap}")
    rows, columns = (_axis(length, count, overlap) for length in size)
    return [Window(top, left, height, width) for top, height in rows for left, width in columns]


def cover(size: tuple[int, int], side: int, overlap: float = OVERLAP) -> list[Window]:
    """As few windows as cover a map of `size` with none longer than `side` pixels and at least `overlap` shared."""
    if side < 2:
        raise ValueError(f"windows: the side must be 2 pixels or more, found {side}")
    rows, columns = (_axis(length, _count(length, side, overlap), overlap) for length in size)
    return [Window(top, left, height, width) for top, height in rows for left, width in columns]


def _count(length: int, side: int, overlap: float) -> int:
    count = 1
    while _side(length, count, overlap) > side:
        count += 1
    return count


def _side(length: int, count: int, overlap: float) -> int:
    """Length of each of `count` windows (released code: int(W / (n - (n - 1) overlap)) + 1), rounded up to whole pixels."""
    return min(length, math.ceil(length / (count - (count - 1) * overlap)))


def _axis(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """(start, length) of the windows along one axis: evenly spread, the last one pinned to the end."""
    side = _side(length, count, overlap)
    starts = np.rint(np.linspace(0, length - side, count)).astype(int).tolist()
    return [(start, side) for start in sorted(set(starts))]


def taper(window: Window, size: tuple[int, int], overlap: float = OVERLAP) -> Float32[np.ndarray, "h w"]:
    """Raw weights [h w] of a window: 1 inside, falling over its overlap to near 0, but not towards a border of the map.

    SDDR's released mask falls off at the map's borders too, so that these keep the coarse map; here nothing does.
    """
    rows = _ramp(window.top, window.height, size[0], overlap)
    return rows[:, None] * _ramp(window.left, window.width, size[1], overlap)


def _ramp(start: int, length: int, whole: int, overlap: float) -> Float32[np.ndarray, " n"]:
    distance = np.arange(length, dtype=np.float32) + np.float32(0.5)
    reach = max(overlap * length, 1.0)
    weight = np.ones(length, np.float32)
    if start > 0:
        weight = np.minimum(weight, distance / reach)
    if start + length < whole:
        weight = np.minimum(weight, distance[::-1] / reach)
    return (np.sin(weight * np.float32(np.pi / 2)) ** 2).astype(np.float32)


class Blend:
    """Values of overlapping windows added up with weights that sum to 1 at every pixel (a partition of unity)."""

    def __init__(self, size: tuple[int, int], overlap: float = OVERLAP) -> None:
        self.size, self.overlap = size, overlap
        self._sum, self._weight = np.zeros(size, np.float32), np.zeros(size, np.float32)

    def add(self, window: Window, values: Float32[np.ndarray, "h w"]) -> None:
        """Finite values of one window; what is not finite weighs nothing."""
        weight = taper(window, self.size, self.overlap)
        finite = np.isfinite(values)
        if not finite.all():
            values, weight = np.where(finite, values, np.float32(0)), weight * finite
        self._sum[window.at] += weight * values
        self._weight[window.at] += weight

    def result(self, base: Float32[np.ndarray, "h w"] | None = None) -> Float32[np.ndarray, "h w"]:
        """The blended map; pixels that no window gave a value are those of `base`, or NaN."""
        with np.errstate(invalid="ignore", divide="ignore"):
            blended = self._sum / self._weight
        bare = self._weight <= 0
        if bare.any():
            blended[bare] = np.float32(np.nan) if base is None else base[bare]
        return blended


def shares(windows: list[Window], size: tuple[int, int], overlap: float = OVERLAP) -> Iterator[np.ndarray]:
    """The final weights [h w] of each window: at every pixel of the map they sum to 1."""
    total = np.zeros(size, np.float32)
    for window in windows:
        total[window.at] += taper(window, size, overlap)
    for window in windows:
        yield taper(window, size, overlap) / total[window.at]
