"""Pictures with a predictor's low and high depth, as `keendepth store` keeps them: photos, and rendered scenes with their truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.data.store import MANIFEST, Store, StoreError
from keendepth.refiners.space import Nearness

LOW, HIGH, TRUTH, RGB = "low", "high", "truth", "rgb"  # the maps, and the array beside the first
KEPT = 256  # pairs that stay in memory, about 5 MB each


@dataclass(frozen=True, eq=False)
class Pair:
    """One picture with nearness from a predictor: larger is nearer, sky the smallest."""

    id: str
    rgb: UInt8[np.ndarray, "h w 3"]
    low: Float32[np.ndarray, "h w"]
    high: Float32[np.ndarray, "h w"]
    near: Float32[np.ndarray, "h w"] | None  # exact, in 1/m, sky 0; None for a photo


class PairSet:
    """The pairs of one store. StoreError for a store of other things."""

    def __init__(self, folder: str | Path) -> None:
        self.store = Store.open(folder)
        if not {LOW, HIGH} <= set(self.store.maps):
            raise StoreError(
                Path(folder),
                f"expected the maps low and high (`keendepth store` makes them), found {', '.join(self.store.maps)}",
            )
        self.ids = sorted(self.store.ids)
        self.read = lru_cache(KEPT)(self._read)
        self.rgb = lru_cache(4 * KEPT)(self._rgb)  # the colours alone: what dresses rendered scenes

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def model(self) -> str:
        """Name of the predictor that made them."""
        return str(self.store.manifest["model"])

    @property
    def exact(self) -> bool:
        """Whether the truth comes along."""
        return TRUTH in self.store.maps

    def _rgb(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        id = self.ids[number]
        arrays = self.store.arrays(id)
        if RGB not in arrays:
            raise StoreError(self.store.folder, f"{id!r} has no colours beside its low map: make the store again")
        return arrays[RGB]

    def _read(self, number: int) -> Pair:
        id, rgb = self.ids[number], self.rgb(number)
        low, high = (Nearness.of(self.store.get(id, name)).values for name in (LOW, HIGH))
        near = Nearness.of(self.store.get(id, TRUTH)).values if self.exact else None
        return Pair(id, rgb, low, high, near)


def is_pairs(folder: Path) -> bool:
    """Whether `folder` is a store with low and high maps."""
    if not (folder / MANIFEST).is_file():
        return False
    return {LOW, HIGH} <= set(json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("maps", ()))
