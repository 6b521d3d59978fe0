"""Refiners whose weights ship: each network in a folder, known by the card beside it, becomes an entry of the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

from keendepth.core.types import Card
from keendepth.predictors.card import read_role
from keendepth.refiners import Refiner, registry


def read_card(path: Path) -> Card:
    """The card of a shipped refiner: the keys of `Card`, others left out."""
    content = json.loads(path.read_text(encoding="utf-8"))
    known = {entry.name for entry in fields(Card)} - {"kind", "native_size"}
    return Card(**{key: value for key, value in content.items() if key in known})


def register_shipped(folder: Path, pattern: str, make: Callable[..., Refiner]) -> None:
    """Each card in `folder` that matches `pattern`, whose role is refiner and whose .onnx lies beside it; made by `make(path, sha256=...)`."""
    for path in sorted(folder.glob(pattern)):
        if read_role(path) == "refiner" and path.with_suffix(".onnx").is_file():
            card = read_card(path)
            registry.register_card(card)(partial(make, path.with_suffix(".onnx"), sha256=card.sha256))
