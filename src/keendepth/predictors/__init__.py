"""Depth predictors: the contract, the registry, and what ships; no runtime is loaded before the first picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from keendepth.core.registry import Registry
from keendepth.core.types import Card, DepthKind, DepthMap, Image
from keendepth.predictors.card import ModelCard, read_role
from keendepth.predictors.onnx import OnnxPredictor
from keendepth.predictors.toy import CARD as TOY_CARD
from keendepth.predictors.toy import ToyPredictor

__all__ = ["WEIGHTS", "Predictor", "register", "registry"]

WEIGHTS = Path(__file__).parent.parent / "weights"


@runtime_checkable
class Predictor(Protocol):
    """A function from a picture to a depth map."""

    kind: DepthKind

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """Depth of `kind`, at the picture's own size, with the picture's camera.

        `size` is the (height, width) to process at, rounded to what the network takes; None is its native one.
        """
        ...


registry: Registry[Predictor] = Registry("predictor")
register = registry.register

ONNX_CARD = Card(
    name="onnx",
    summary="Any depth network in an ONNX file: give it `path`, and a card (JSON or TOML) beside the file or as `card`",
    license="the model's own",
)


def _register_shipped(folder: Path) -> None:
    """Each card in `folder` whose role is predictor becomes an entry; its network is the .onnx file of the same name."""
    for path in sorted(folder.glob("*.json")):
        if read_role(path) == "predictor":
            model = ModelCard.read(path)
            registry.register_card(model.card)(partial(OnnxPredictor, path.with_suffix(".onnx"), model))


_register_shipped(WEIGHTS)
registry.register_card(ONNX_CARD)(OnnxPredictor)
registry.register_card(TOY_CARD)(ToyPredictor)
