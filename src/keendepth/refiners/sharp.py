"""Sharp: SharpDepth's one-step sharpening of any depth by a generative model, given back in the unit that came in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.core import geometry
from keendepth.core.types import DepthMap, Image
from keendepth.predictors import WEIGHTS, Predictor
from keendepth.refiners.joint import JointOptions, refine_jointly
from keendepth.refiners.restore import Far, Form, Space, Span, brought_back, departure, mixed, share
from keendepth.refiners.sddr import LEAST_SPAN
from keendepth.refiners.sharp_network import SharpNetwork, of_path
from keendepth.refiners.shipped import register_shipped
from keendepth.refiners.windows import Blend, Window, cover

SHIPPED = WEIGHTS / "sharp-small.onnx"
MOST = 2048  # pixels of the longer side that tiles go up to, unless told otherwise
OVERLAP = 0.25  # of neighbouring tiles; each has its own sample of noise, so they must fade into each other


@dataclass(frozen=True)
class SharpOptions:
    """How the network is applied."""

    restore: Form = "residual"  # back to the unit: lstsq (SharpDepth's code), minmax (paper), residual (ours: low differences stay bit-exact)
    # residual: differences up to the first are left alone, from the second taken whole; None: as the network's card has it
    keep: tuple[float, float] | None = None
    longest: int = (
        0  # the longer side that one pass sees; 0: what the network is made for (released code: 768, benchmark 1024)
    )
    # larger pictures go through in tiles of `longest`, up to this; 0: one pass, enlarged at the end (released code); None: 2048, but one
    # pass for a network whose depth was put along the photo before, at the photo's own size
    most: int | None = None
    space: Space | None = None  # what becomes -1..1; None: what the network was trained on
    seed: int = 0  # of the noise; the same picture gives the same depth


@dataclass(frozen=True, eq=False)
class Sharpened:
    """A refined map, and where the metric and the generative model disagree: 0..1, at the picture's size."""

    depth: DepthMap
    difference: Float32[np.ndarray, "h w"]


class Sharp:
    """Sharpens with the network in `path`: an .onnx file, a run's folder, a checkpoint of the hub, or a function of arrays."""

    def __init__(
        self, path: str | Path | SharpNetwork = SHIPPED, options: SharpOptions | None = None, sha256: str = ""
    ) -> None:
        self._given, self.options, self._sha256 = path, options or SharpOptions(), sha256

    @cached_property
    def network(self) -> SharpNetwork:
        return of_path(self._given, self._sha256) if isinstance(self._given, str | Path) else self._given

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        """Depth at the image's size, of the same kind and unit; unknown pixels stay unknown, sky stays sky.

        Carries the expected error where the network's card has a curve for it. FileNotFoundError or ValueError where the network
        cannot be loaded.
        """
        made, curve = self.sharpen(image, depth), self.network.facts.errors
        if curve is None:
            return made.depth
        error = np.where(made.depth.valid, curve(made.difference), np.float32(np.nan))
        return replace(made.depth, expected_error=error)

    @property
    def knows_errors(self) -> bool:
        """Whether the network's card says which error to expect of a difference."""
        return self.network.facts.errors is not None

    def sharpen(self, image: Image, depth: DepthMap) -> Sharpened:
        """The refined map and the difference map. A constant map is returned as it is, with a difference of 0."""
        base = depth.resized(*image.size)
        space = self.options.space or self.network.facts.space
        far = Far.of(base, space)
        whole = Span.of(far.values)
        if whole is None:
            return Sharpened(base, np.zeros(image.size, np.float32))
        facts = self.network.facts
        start = Far.of(_along(image, depth), space).values if facts.along else far.values
        change, difference = self._over_tiles(image, start, LEAST_SPAN * (whole.high - whole.low))
        sharp = start + geometry.resize(change, image.size)
        seen = np.clip(geometry.resize(difference, image.size), 0, 1)
        difference = departure(sharp, far.values, whole, facts.whole) if facts.along else seen
        residual = self.options.restore == "residual"
        weight = share(difference, self.options.keep or facts.bounds) if residual else np.ones_like(difference)
        return Sharpened(base.with_values(mixed(far, sharp, weight, base)), difference)

    def processing_size(self, photo: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) a photo is resized to: one pass brings its longer side to `longest`, tiles take it as it is up to `most`."""
        longest = self._longest
        most = self.options.most
        if most is None:
            most = 0 if self.network.facts.along else MOST
        side = min(max(*photo, longest), max(most, longest))
        return max(1, round(photo[0] * side / max(photo))), max(1, round(photo[1] * side / max(photo)))

    @property
    def _longest(self) -> int:
        return self.options.longest or self.network.facts.longest

    def _over_tiles(
        self, image: Image, far: Float32[np.ndarray, "h w"], least: float
    ) -> tuple[Float32[np.ndarray, "h2 w2"], Float32[np.ndarray, "h2 w2"]]:
        """(what sharpening adds, difference) at the processing size, in the unit of `far`.

        What it adds is enlarged, not the sharper map itself: so what the input has beyond that size stays (ours).
        """
        size = self.processing_size(image.size)
        rgb, values = image.resized(*size).rgb, geometry.resize(far, size)
        tiles = cover(size, self._longest, OVERLAP)
        blends = Blend(size, OVERLAP), Blend(size, OVERLAP)
        for number, window in enumerate(tiles):
            made = self._tile(rgb[window.at], values[window.at], number, 0.0 if len(tiles) == 1 else least)
            for blend, part in zip(blends, made, strict=True):
                blend.add(window, part)
        return blends[0].result() - values, blends[1].result()

    def _tile(
        self, rgb: UInt8[np.ndarray, "h w 3"], values: Float32[np.ndarray, "h w"], number: int, least: float
    ) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """One evaluation of the step, with noise of its own that follows from the seed and the tile's number."""
        span = Span.of(values, least)
        if span is None:
            return values, np.zeros_like(values)
        h, w = values.shape
        multiple = self.network.facts.multiple
        missing = ((0, -h % multiple), (0, -w % multiple))
        unit = np.pad(span.unit(values), missing, mode="edge")
        noise = np.random.default_rng([self.options.seed, number]).standard_normal((2, *unit.shape), np.float32)
        sharp, difference = self.network(np.pad(rgb, (*missing, (0, 0)), mode="edge"), unit, noise)
        whole = Window(0, 0, h, w).at
        sharp, difference = sharp[whole], difference[whole]
        return brought_back(sharp, values, difference, span, self._form), difference

    @property
    def _form(self) -> Form:
        return "minmax" if self.options.restore == "minmax" else "lstsq"


def _along(image: Image, depth: DepthMap) -> DepthMap:
    """The weighted median of a map along the photo, at the photo's size."""
    return depth.with_values(refine_jointly(image, depth, JointOptions()))


register_shipped(WEIGHTS, "sharp*.json", Sharp)
