"""Pseudo-labels G_S of SDDR: gradients of depth, gathered coarse to fine over windows with the network that is being trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from keendepth.core import align, edges
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.data.store import Recipe, Store
from keendepth.predictors import Predictor
from keendepth.refiners.network import Network
from keendepth.refiners.sddr import Sddr, SddrOptions, native_side
from keendepth.refiners.space import near_map
from keendepth.refiners.windows import OVERLAP, Blend, Window, grid
from keendepth.training.pairs import Pair, PairSet

MAP, GRADIENT = "refined", "gradient"
LARGEST = 10.0  # |b1| of Eq. 6 at most (sddr.md 9.2)


@dataclass(frozen=True)
class LabelOptions:
    """How labels are made."""

    windows: int = 2  # S; the paper's default is 3, and 1 or 2 bring most of the gain (its Table 4a)
    bilateral: tuple[int, float, float] = (
        2,
        1.5,
        0.5,
    )  # radius, sigma in pixels, sigma in multiples of the mean gradient


@dataclass(frozen=True, eq=False)
class Label:
    """G_S, and the depth D_S it was gathered along, in the units of the low map's nearness."""

    gradient: Float32[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]


def pseudo_label(
    network: Network, pair: Pair, predictor: Predictor | None = None, options: LabelOptions | None = None
) -> Label:
    """G_S of one picture (SDDR section 3.2): D_0 and G_0 in one stage, then S rounds of (s + 1)^2 windows.

    In each window D_s^w = N_r(D_{s-1}^w, N_d(H^w)) (Eq. 5) is fitted to D_{s-1}, differentiated on the whole picture's grid, and its
    gradient fitted to the previous label (Eq. 6). Windows are merged with weights that sum to 1; the label is kept at 0 or above,
    since b0 would lift flat areas. Without a predictor the photo alone refines the windows.
    """
    options = options or LabelOptions()
    refiner = Sddr(network, SddrOptions())
    image, side = Image(pair.rgb), _side(predictor)
    depth = refiner.apply(pair.low, refiner.second(image, near_map(pair.high)), pair.rgb)
    gradient = bilateral(edges.gradient_magnitude(depth), options.bilateral)
    for s in range(1, options.windows + 1):
        depth, gradient = _round(
            (depth, gradient), s, lambda window, now: refiner.window(image, now, (predictor, side), window)
        )
    return Label(np.maximum(gradient, 0), depth)


def _side(predictor: Predictor | None) -> float | None:
    nothing = DepthMap(np.ones((1, 1), np.float32), DepthKind.DISPARITY)
    return native_side(nothing, predictor)


def _round(
    before: tuple[np.ndarray, np.ndarray], s: int, make: Callable[[Window, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(D_s, G_s) from (D_{s-1}, G_{s-1})."""
    depth, gradient = before
    depths, gradients = Blend(depth.shape), Blend(depth.shape)
    for window in grid(depth.shape, s + 1, OVERLAP):
        found = make(window, depth)
        depths.add(window, found)
        gradients.add(window, aligned_gradient(edges.gradient_magnitude(found), gradient[window.at]))
    return depths.result(depth), np.maximum(gradients.result(gradient), 0)


def aligned_gradient(
    gradient: Float32[np.ndarray, "h w"], label: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """b1 |grad D_s^w| + b0 with (b1, b0) = argmin || b1 |grad D_s^w| + b0 - G_{s-1}^w ||^2 (SDDR Eq. 6).

    b1 must be above 0 and at most 10, else the earlier label stays: a gradient that falls where the label rises says nothing.
    """
    b1, b0 = align.fit_scale_shift(gradient.ravel().astype(np.float64), label.ravel().astype(np.float64))
    varied = float(np.ptp(gradient)) > 0
    return (np.float32(b1) * gradient + np.float32(b0)).astype(np.float32) if varied and 0 < b1 <= LARGEST else label


def bilateral(
    values: Float32[np.ndarray, "h w"], options: tuple[int, float, float] = (2, 1.5, 0.5)
) -> Float32[np.ndarray, "h w"]:
    """Bilateral filter of a gradient map: cleans flats, keeps ridges. (radius, sigma in pixels, sigma in multiples of the map's mean).

    The paper names the filter and gives no constants. A map of zeros is returned as it is.
    """
    radius, space, tone = options
    sigma = tone * float(np.abs(values).mean())
    if sigma == 0:
        return values
    padded = np.pad(values, radius, mode="edge")
    total, weight = np.zeros_like(values), np.zeros_like(values)
    h, w = values.shape
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            near = padded[radius + dy : radius + dy + h, radius + dx : radius + dx + w]
            difference = (near - values) / np.float32(sigma)
            share = np.exp(-difference * difference / 2) * np.float32(
                np.exp(-(dy * dy + dx * dx) / (2 * space * space))
            )
            total += share * near
            weight += share
    return total / weight


def make_labels(
    folder: str | Path,
    pairs: PairSet,
    network: Network,
    predictor: Predictor | None = None,
    options: LabelOptions | None = None,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Labels of the pairs into the store in `folder`; those that are there are kept, so an interrupted round goes on.

    `share` (k, n): every n-th pair from the k-th on, for process k of n.
    """
    options = options or LabelOptions()
    settings = {"S": options.windows, "bilateral": list(options.bilateral)}
    store = Store.create(folder, Recipe(pairs.store.folder.name, "labels", (MAP,), settings=settings))
    for number in range(share[0], len(pairs), share[1]):
        id = pairs.ids[number]
        if id not in store:
            label = pseudo_label(network, pairs.read(number), predictor, options)
            store.put(
                id, {MAP: DepthMap(label.depth, DepthKind.DISPARITY)}, {GRADIENT: label.gradient.astype(np.float16)}
            )


class LabelSet:
    """The labels of one round, by the id of the pair."""

    def __init__(self, folder: str | Path) -> None:
        self.store = Store.open(folder)
        self._ids = set(self.store.ids)
        self._read = lru_cache(256)(self._load)

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, id: str) -> Label | None:
        """The label of a pair; None where it has none."""
        return self._read(id) if id in self._ids else None

    def _load(self, id: str) -> Label:
        gradient = self.store.arrays(id)[GRADIENT].astype(np.float32)
        return Label(gradient, self.store.get(id).values)
