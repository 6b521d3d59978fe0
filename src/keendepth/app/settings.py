"""What can be set about the server: where it listens, which models it offers, how much it takes on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from keendepth.pipeline import DEFAULT


@dataclass(frozen=True)
class Settings:
    """All limits hold for one process; several processes are several replicas."""

    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str = ""  # where a reverse proxy puts this server, as "/depth"
    models: tuple[str, ...] = ()  # offered besides those that run from this installation alone; loaded at the start
    default: str = DEFAULT
    providers: str = ""  # of ONNX Runtime, as for `pipeline.load`
    keys: frozenset[str] = field(default=frozenset(), repr=False)  # API keys; none: open to whoever reaches the port
    ui: bool = True
    max_waiting: int = 32  # requests inside the server; the next one is told to come back
    max_batch: int = 8  # pictures that go through a network together
    batch_wait: float = (
        0.003  # seconds that the first picture of a batch waits for others when more requests are inside
    )
    workers: int = 0  # threads that decode, refine and encode; 0: one per core
    max_seconds: float = 60.0  # of one request, its upload included
    max_bytes: int = 64_000_000  # of one request
    max_pixels: int = 25_000_000  # of one picture or depth map: what a 24 megapixel camera gives
    max_pixels_inside: int = 100_000_000  # of all pictures inside the server
    max_clip_frames: int = 900  # of a clip on the page: half a minute at 30 frames a second
    max_clip_seconds: float = 60.0  # that it plays
    max_clip_pixels: int = 3_000_000  # of one of its frames: full HD
    max_clip_volume: int = 300_000_000  # of all its frames together, which is what time and disk go by

    def __post_init__(self) -> None:
        counts = (self.max_waiting, self.max_batch, self.max_bytes, self.max_pixels)
        of_clips = (self.max_clip_frames, self.max_clip_pixels, self.max_clip_volume)
        if min(*counts, *of_clips) < 1 or min(self.max_seconds, self.max_clip_seconds) <= 0:
            raise ValueError("app: every limit must be above 0")

    @property
    def threads(self) -> int:
        """Threads of the pool."""
        return self.workers or max(2, os.cpu_count() or 2)


def read_keys(file: Path | None, inline: str = "") -> frozenset[str]:
    """API keys from a file (one per line; # begins a comment) and from a text with commas; ValueError for one that is too short to be a secret."""
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    words = [line.partition("#")[0].strip() for line in lines] + [word.strip() for word in inline.split(",")]
    keys = frozenset(word for word in words if word)
    if file and not keys:
        raise ValueError(f"app: {file} holds no API key; expected one per line")
    if any(len(key) < 16 for key in keys):
        raise ValueError("app: an API key has fewer than 16 characters: make one with `openssl rand -hex 24`")
    return keys
