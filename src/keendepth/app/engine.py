"""The models that this server offers, loaded once, and the three things that it does with them: predict, refine, ask the mirror."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from keendepth import io, pipeline, predictors, refiners
from keendepth.app.refusals import RefusedError
from keendepth.app.settings import Settings
from keendepth.core.registry import Registry
from keendepth.core.types import DepthMap, Image
from keendepth.pipeline import Pipeline
from keendepth.predictors import licences, specs

NO_REFINER = "none"


@dataclass(frozen=True)
class Order:
    """What a request wants done with its picture."""

    model: str
    refiner: str  # NO_REFINER: none
    strength: float = 1.0
    size: int | None = None  # longer side, in pixels, at which the model works; None: its own
    fill_holes: bool = False

    def look(self) -> Order:
        """The part that concerns the model: pictures for which it is the same may go through together."""
        return Order(self.model, NO_REFINER, size=self.size)


class Engine:
    """Pipelines by name. Only what is on offer can be asked for: a name from a request never becomes a path or a download."""

    def __init__(self, settings: Settings) -> None:
        first, *rest = specs.split(settings.default)
        own = [name for name in predictors.shipped() if name != "toy"]
        self._settings = settings
        self.models = tuple(dict.fromkeys([first, *own, *settings.models]))
        self.refiners = tuple(dict.fromkeys([*rest, *refiners.registry]))
        self.default = Order(first, rest[0] if rest else NO_REFINER)
        own_refiners = [name for name in rest if name not in refiners.registry]  # sddr:PATH, from the command line
        self._alone = frozenset([*refiners.alone(), *own_refiners])
        self._lock = threading.Lock()
        self._loaded: dict[str, pipeline.Pipeline] = {}
        self._check(rest)

    def _check(self, chain: list[str]) -> None:
        """Raise at the start, not in the first request, for names that mean nothing; weights are loaded by `warm_up`."""
        if len(chain) > 1:
            raise ValueError(f"app: expected one refiner in --default, found {'+'.join(chain)}")
        for name in chain:
            refiners.build(name)
        for model in dict.fromkeys([self.default.model, *self._settings.models]):
            self.pipeline(model)

    def order(
        self,
        model: str | None = None,
        refiner: str | None = None,
        strength: float | None = None,
        size: int | None = None,
        fill_holes: bool = False,
    ) -> Order:
        """The order with what was left out filled in; RefusedError for a model or refiner that is not on offer, or a number out of range."""
        model, refiner = model or self.default.model, refiner or self.default.refiner
        if model not in self.models:
            raise RefusedError(
                422, "unknown_model", f"model: expected one of {', '.join(self.models)}, found {model!r:.80}"
            )
        if refiner not in (NO_REFINER, *self.refiners):
            known = ", ".join((NO_REFINER, *self.refiners))
            raise RefusedError(422, "unknown_refiner", f"refiner: expected one of {known}, found {refiner!r:.80}")
        strength = 1.0 if strength is None else strength
        if not 0 <= strength <= 1:
            raise RefusedError(422, "out_of_range", f"strength: expected 0 to 1, found {strength}")
        if size is not None and not 64 <= size <= 4096:
            raise RefusedError(422, "out_of_range", f"size: expected 64 to 4096 pixels, found {size}")
        return Order(model, refiner, strength, size, fill_holes)

    def alone(self, refiner: str) -> bool:
        """Whether it refines depth that no model here has made."""
        return refiner == NO_REFINER or refiner in self._alone

    def pipeline(self, model: str) -> pipeline.Pipeline:
        """The model alone, loaded once."""
        with self._lock:
            if model not in self._loaded:
                providers = self._settings.providers if model == self.default.model else ""
                self._loaded[model] = pipeline.load(model, providers=providers)
            return self._loaded[model]

    def warm_up(self) -> None:
        """Load what was named at the start and run it once, so that the first visitor does not wait for it."""
        for model in dict.fromkeys([self.default.model, *self._settings.models]):
            self.predict([Image(np.full((48, 64, 3), 128, np.uint8))], self.order(model))

    def predict(self, images: Sequence[Image], order: Order) -> list[DepthMap]:
        """The model's own depth of each picture, at the picture's size."""
        made = self.pipeline(order.model)
        if order.size is None:
            return made.bases(images)
        sizes = [_processing_size(image, order.size) for image in images]
        if len(set(sizes)) == 1:
            return made.bases(images, sizes[0])
        return [made.bases([image], size)[0] for image, size in zip(images, sizes, strict=True)]

    def refine(self, image: Image, base: DepthMap, order: Order, given: bool) -> DepthMap:
        """`base` refined along the picture; `given` says that it came from outside, so that no model may be asked again."""
        if given and not self.alone(order.refiner):
            can = ", ".join(sorted(self._alone))
            raise RefusedError(
                422, "not_possible", f"refiner {order.refiner} needs a model; for a depth file use {can}"
            )
        if given and order.fill_holes:
            base = base.filled()
        if order.refiner == NO_REFINER:
            fitted = base.resized(*image.size)
            return replace(fitted, camera=io.resolve_camera(image, fitted.camera))
        if given:
            return pipeline.refine(image, base, order.refiner, strength=order.strength)
        return self.whole(order).finish(image, base)

    def whole(self, order: Order) -> Pipeline:
        """Model and refiner in one; `size` is the model's own."""
        chain = () if order.refiner == NO_REFINER else ((order.refiner, refiners.build(order.refiner)),)
        return replace(self.pipeline(order.model), chain=chain, strength=order.strength)

    def disagreement(self, image: Image, base: DepthMap, order: Order) -> Float32[np.ndarray, "h w"]:
        """By which share of the depth (of its range, where the kind has no zero) the model's answer changes when it sees the picture mirrored.

        A steady model changes little; where it changes much, its numbers are guesses. NaN where either is unknown.
        """
        mirrored = Image(np.ascontiguousarray(image.rgb[:, ::-1]), None, image.name)
        if image.camera:
            flipped = replace(image.camera, cx=image.camera.width - image.camera.cx)
            mirrored = replace(mirrored, camera=flipped)
        other = self.predict([mirrored], order)[0].values[:, ::-1]
        with np.errstate(invalid="ignore"):
            gap = np.abs(other - base.values)
            scale = base.values if base.kind.positive else np.float32(_range(base))
            return np.where(np.isfinite(gap), gap / scale, np.float32(np.nan)).astype(np.float32)

    def catalogue(self) -> dict[str, Any]:
        """What is on offer, with licences, for `GET /v1/models` and the page."""
        return {
            "models": [_described(predictors.registry, name) for name in self.models],
            "refiners": [
                {**_described(refiners.registry, name), "needs_model": not self.alone(name)} for name in self.refiners
            ],
            "default": {"model": self.default.model, "refiner": self.default.refiner},
        }


def _described(registry: Registry[Any], name: str) -> dict[str, Any]:
    """The card, or the name alone of what was given as a path or a hub id at the start."""
    if name not in registry:
        return {"name": name}
    card = registry.card(name)
    fields = {name: value for name, value in card.to_dict().items() if value not in (None, "", 0)}
    return {**fields, "commercial_use": licences.allows_commercial(card.license)}


def _processing_size(image: Image, longer: int) -> tuple[int, int]:
    factor = longer / max(image.size)
    return max(1, round(image.size[0] * factor)), max(1, round(image.size[1] * factor))


def _range(depth: DepthMap) -> float:
    known = depth.values[depth.valid]
    return float(np.ptp(known)) or 1.0 if known.size else 1.0
