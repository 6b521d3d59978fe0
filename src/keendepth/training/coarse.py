"""Coarse depth for a generative model to start from, and what it should make of it: the same depth with the truth's edges (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32
from scipy import ndimage
from torch import Tensor

from keendepth.core import align
from keendepth.refiners.restore import Far, Span
from keendepth.refiners.space import near_map
from keendepth.training.degrade import Degrade, Mixture, degrade
from keendepth.training.pictures import Picture, Pictures, collate

MADE = Degrade(Mixture(clean=0.05, near_clean=0.1, sensor=0.35, predicted=0.5, real=0), alone=1)


@dataclass(frozen=True)
class CoarseOptions:
    """What pictures start from."""

    share: float = 0.0  # of the pictures that start from coarse depth; the others start from noise
    asked: float = 0.4  # share of those that start from the metric teacher's answer; the others from worn exact depth
    reach: float = 0.08  # sigma, in parts of the longer side, of the errors of coarse depth that are not to be mended
    degrade: Degrade = field(default_factory=lambda: MADE)


class CoarsePictures:
    """Batches of `Pictures` with three more tensors: `coarse`, whether the picture starts from depth; that `start`, and its `goal`."""

    def __init__(self, pictures: Pictures, options: CoarseOptions) -> None:
        self.pictures, self.options = pictures, options

    def batch(self, number: int) -> Mapping[str, Tensor]:
        """A pure function of (seed, number)."""
        rngs = [np.random.default_rng([self.pictures.seed, number, k]) for k in range(self.pictures.batch_size)]
        views, pairs = zip(*(self._view(rng) for rng in rngs), strict=True)
        known = [pair is not None for pair in pairs]
        nothing = np.zeros(self.pictures.options.size, np.float32)
        start, goal = (_planes([nothing if pair is None else pair[k] for pair in pairs]) for k in (0, 1))
        plain = collate([view._replace(given=None) for view in views], self.pictures.options)
        return {**plain, "start": start, "goal": goal, "coarse": torch.tensor(known)}

    def _view(self, rng: np.random.Generator) -> tuple[Picture, tuple[np.ndarray, np.ndarray] | None]:
        wanted = rng.random() < self.options.share
        view = self.pictures.view(rng, ask=bool(wanted and rng.random() < self.options.asked))
        return view, self._pair(view, rng) if wanted else None

    def _pair(self, view: Picture, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """(start, goal) in -1..1, None for a constant map."""
        if view.truth is None:
            return None
        coarse = view.given
        if coarse is None:
            coarse = degrade(view.truth, rng, self.options.degrade).low
        goal = sharp_of(coarse, view.truth, self.options.reach)
        return None if goal is None else in_range(coarse, goal, self.pictures.options.space)


def sharp_of(
    coarse: Float32[np.ndarray, "h w"], truth: Float32[np.ndarray, "h w"], reach: float
) -> Float32[np.ndarray, "h w"] | None:
    """`coarse` with the edges of `truth`, in the unit of `coarse`: nearness in and out, never below 0. None where they do not agree at all.

    The truth is fitted to the coarse map by scale and shift, and gets back that map's smooth errors, those wider than sigma =
    `reach` of the longer side: so there is nothing to learn but edges, and metres stay what the metric model said.
    """
    scale, shift = align.fit_scale_shift(truth.ravel().astype(np.float64), coarse.ravel().astype(np.float64))
    if not scale > 0:
        return None
    fitted = np.float32(scale) * truth + np.float32(shift)
    smooth = ndimage.gaussian_filter(coarse - fitted, reach * max(truth.shape), truncate=2)
    return np.maximum(fitted + smooth, 0)


def in_range(coarse: np.ndarray, goal: np.ndarray, space: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Both in the -1..1 of the coarse map, as in use; the goal may leave it by a half, so that what is thin can be nearer."""
    start, end = (Far.of(near_map(x), space).values for x in (coarse, goal))
    span = Span.of(start)
    if span is None:
        return None
    return span.unit(start), span.beyond(end)


def _planes(maps: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(maps)[:, None]))
