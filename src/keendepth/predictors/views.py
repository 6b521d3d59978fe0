"""A predictor seen through something: with a prompt of its own, or with its depth in metres; for refiners that look a second time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keendepth.core.types import Calibration, Card, DepthKind, DepthMap, Image
from keendepth.predictors import Predictor


@dataclass(frozen=True)
class _View:
    predictor: Predictor

    @property
    def card(self) -> Card | None:
        return getattr(self.predictor, "card", None)

    def processing_size(self, photo: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
        """What the predictor itself says; the size asked for, or the card's, where it says nothing."""
        own: Any = getattr(self.predictor, "processing_size", None)
        if own is not None:
            return own(photo, size)
        return size or (self.card.native_size if self.card else None) or photo


@dataclass(frozen=True)
class Prompted(_View):
    """A predictor that takes a depth prompt, given one."""

    prompt: DepthMap

    def __post_init__(self) -> None:
        if not getattr(getattr(self.predictor, "feeding", None), "prompted", False):
            name = self.card.name if self.card else "this model"
            raise ValueError(f"{name}: takes no prompt; a depth prompt is for prompt-depth-anything")

    @property
    def kind(self) -> DepthKind:
        return self.predictor.kind

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """The predictor's depth for its prompt."""
        ask: Any = self.predictor.predict
        return ask(image, size, prompt=self.prompt)


@dataclass(frozen=True)
class InMetres(_View):
    """A predictor of any kind whose values times a scale, plus a shift, are metres (1/metres for disparity)."""

    calibration: Calibration

    @property
    def kind(self) -> DepthKind:
        return DepthKind.METRIC

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """METRIC, by the calibration of the first look."""
        depth = self.predictor.predict(image, size)
        return depth.with_scale_and_shift(self.calibration.scale, self.calibration.shift)
