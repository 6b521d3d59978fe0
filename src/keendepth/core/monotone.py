"""A rising curve fitted to pairs of numbers: isotonic regression by pooling neighbours, kept as a few points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Curve:
    """A rising, piecewise linear function; constant beyond its ends."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not self.x or (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any():
            raise ValueError(f"curve: expected as many x as y, both rising, found {self.x} and {self.y}")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Curve:
        """From what `to_dict` gives; ValueError where it is no rising curve."""
        return cls(tuple(map(float, content["x"])), tuple(map(float, content["y"])))

    def to_dict(self) -> dict[str, list[float]]:
        return {"x": list(self.x), "y": list(self.y)}

    def __call__(self, values: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """At each value, of its own precision; NaN stays NaN."""
        return np.interp(values, self.x, self.y).astype(values.dtype)


def fit_curve(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], bins: int = 24) -> Curve:
    """The rising curve that is closest to the means of y in `bins` bins of x of equal count, by least squares.

    Pool adjacent violators (Ayer et al., 1955), each bin weighing as many values as it has. Both finite. ValueError without a value.
    """
    if not len(x) or len(x) != len(y):
        raise ValueError(f"curve: expected as many x as y and at least one, found {len(x)} and {len(y)}")
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(x))) if len(part)]
    centres = np.array([x[part].mean() for part in parts], np.float64)
    means, weights = (
        np.array([y[part].mean() for part in parts], np.float64),
        np.array([len(part) for part in parts], float),
    )
    rising = pooled(means, weights)
    _, first = np.unique(centres, return_index=True)
    return Curve(tuple(centres[first].tolist()), tuple(rising[first].tolist()))


def pooled(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The rising sequence closest to `values` in weighted least squares."""
    blocks: list[tuple[float, float, int]] = []  # (mean, weight, count)
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, before, count = blocks.pop()
            total = before + block[1]
            block = ((mean * before + block[0] * block[1]) / total, total, count + block[2])
        blocks.append(block)
    return np.repeat([mean for mean, _, _ in blocks], [count for _, _, count in blocks])
