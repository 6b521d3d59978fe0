"""Refiners: functions of a photo and a depth map that return the map at the photo's size, sharper, with its kind and scale kept."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from keendepth.core.registry import Registry
from keendepth.core.types import DepthMap, Image
from keendepth.predictors import Predictor


@runtime_checkable
class Refiner(Protocol):
    """Anything that refines depth."""

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        """The depth at the image's size, of the same kind and scale. `predictor` made `depth`, when it is at hand; it may be asked again."""
        ...


registry: Registry[Refiner] = Registry("refiner")
register = registry.register
DEFAULT = "median"

from keendepth.refiners import classic  # noqa: E402, F401  (registers the built-in ones)
