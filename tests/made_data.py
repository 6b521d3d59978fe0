"""Scene caches and stores of pairs made by hand for the tests of training: rendering takes seconds."""

from pathlib import Path

import numpy as np

from keendepth.core.types import Card, DepthKind, DepthMap
from keendepth.data.store import Recipe, Store
from keendepth.training import degrade as d
from keendepth.training import rows
from keendepth.training import scenes as s
from keendepth.training.pairs import PairSet


def near_of(size: tuple[int, int] = (96, 128), sky: bool = False) -> np.ndarray:
    """Nearness of a slanted floor with two boxes before it, 2 to 8 m away."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    near = 0.125 + 0.1 * y / size[0] + 0.02 * x / size[1]
    near[20:60, 20:50] = 0.4
    near[40:90, 70:110] = 0.5
    if sky:
        near[:15] = 0
    return near.astype(np.float32)


def made_cache(folder: Path, count: int = 3, first: int = 0, size: tuple[int, int] = (96, 128)) -> s.SceneCache:
    """A cache filled by hand, as rendering takes seconds."""
    options = s.SceneOptions(count=count, first=first, size=size, kinds={"room": 1.0})
    s.create(folder, options)
    for row in range(count):
        values = np.roll(near_of(size), 7 * row, axis=1)
        code, low, high = s.encode(values)
        rgb = np.repeat(np.uint8(255 * values)[..., None], 3, 2)
        edges = np.packbits(d.jumps(values), axis=1)
        rows.put(folder, row, {s.RGB: rgb, s.NEAR: code, s.EDGES: edges, s.FACTS: (low, high, 100.0, 0)})
    return s.SceneCache(folder)


def made_pairs(folder: Path, exact: bool, count: int = 2) -> PairSet:
    """A store as `keendepth store` writes it."""
    maps = ("low", "high", "truth") if exact else ("low", "high")
    store = Store.create(folder, Recipe("made", "toy", maps, card=Card("toy", "", "", native_size=(64, 64))))
    for number in range(count):
        near = np.roll(near_of(), 11 * number, axis=1)
        truth = DepthMap(1 / near, DepthKind.METRIC)
        values = {"low": truth.resized(12, 16).resized(96, 128), "high": truth, "truth": truth}
        rgb = np.repeat(np.uint8(255 * near)[..., None], 3, -1)
        store.put(f"{number}.jpg", {name: values[name] for name in maps}, {"rgb": rgb})
    return PairSet(folder)
