"""Clips: steady depth of every frame, from a file to files (`convert`) or from frames to maps (`steady`), stoppable and resumable."""

from __future__ import annotations

from keendepth.video.convert import Progress, Settings, convert, steady

__all__ = ["Progress", "Settings", "convert", "steady"]
