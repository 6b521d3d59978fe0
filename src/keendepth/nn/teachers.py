"""Semantic experts whose features a student learns from: frozen, used while training only."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Teacher(Protocol):
    """A frozen network that sees what things are."""

    channels: int  # of its map

    def features(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Its map of pictures in 0..1, without a gradient."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, for reports and cards."""
        ...

    def to(self, device: torch.device) -> Teacher:
        """Itself, moved."""
        ...


def load_teacher(name: str) -> Teacher:
    """ValueError for a name of no teacher."""
    raise ValueError(f"no teacher {name!r}")
