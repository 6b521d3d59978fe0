"""The card of an exported network: the family's knowledge, as `OnnxPredictor` reads it."""

from __future__ import annotations

from dataclasses import replace

from keendepth.core.types import Card
from keendepth.predictors.card import PILLOW, InputRule, ModelCard, OutputRule
from keendepth.predictors.hf.feeding import BORDER, LARGEST, Feeding

RULES = {"squash": "squash", "shorter": "shorter", "closest": "closest", "own": "squash"}


def model_card(card: Card, rule: Feeding, sees_fov: bool = False) -> ModelCard:
    """For a graph that takes rgb in 0..255 and normalises by itself. ValueError for Depth Pro without its field of view, whose metres hang on it."""
    if rule.focal and not sees_fov:
        raise ValueError(
            f"{card.name}: has no head for the field of view, so its graph cannot give metres: it is not exported"
        )
    own = rule.aspect == "own"
    stride = 0 if rule.square else rule.multiple
    given = InputRule(
        stride=stride,
        rule=RULES[rule.aspect] if stride else "squash",
        method=PILLOW + rule.method,
        border=float(BORDER) if rule.pads else 0.0,
        range=(0.0, 255.0),
    )
    notes = f"takes a photo at its own size; shrink those above {LARGEST} pixels first" if own else ""
    output = OutputRule(name="predicted_depth", focal="focallength_px" if rule.focal else "")
    return ModelCard(replace(card, native_size=None if own else rule.native), given, output, notes)
