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


def needs_predictor(refiner: Refiner) -> bool:
    """Whether it can only refine what a predictor made: such a refiner says so by `needs_predictor = True`."""
    return bool(getattr(refiner, "needs_predictor", False))


registry: Registry[Refiner] = Registry("refiner")
register = registry.register
DEFAULT = "sddr"

from keendepth.refiners import classic, sddr, sharp, tiles  # noqa: E402, F401  (registers the built-in ones)


def build(name: str) -> Refiner:
    """A registered refiner, or a network of yours as a training run's folder or an .onnx file: `sddr:PATH`, `sharp:PATH`.

    `sharp` also takes a checkpoint of Lotus, SharpDepth or Marigold: a folder as diffusers saves it, or a hub id.
    """
    kind, colon, path = name.partition(":")
    if not colon:
        if name == "sharp" and name not in registry:
            raise ValueError("refiner 'sharp': no sharpener ships with this version; give one of yours as sharp:PATH")
        return registry.build(name)
    if kind not in ("sddr", "sharp") or not path:
        raise ValueError(
            f"refiner {name!r}: expected a registered name, sddr:PATH or sharp:PATH (a run folder or an .onnx file)"
        )
    return sharp.Sharp(path) if kind == "sharp" else sddr.Sddr(path)


def alone() -> list[str]:
    """Names of the refiners that refine any depth, without a predictor."""
    return [name for name in registry if not needs_predictor(registry.build(name))]
