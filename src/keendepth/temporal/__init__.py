"""Depth of moving pictures: scale, shift and shape held steady from frame to frame, in plain numpy, for any model's depth."""

from __future__ import annotations

from keendepth.temporal.stabiliser import Moment, Stabiliser, Steadiness

__all__ = ["Moment", "Stabiliser", "Steadiness"]
