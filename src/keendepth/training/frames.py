"""Batches of three frames for self-supervised depth: flipped, in other light, with camera and motion; batch N follows from (seed, N)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from keendepth.training.triplets import Triplet

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601
# Hue turns in the plane of I and Q of YIQ (NTSC, 1953).
TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
HUE = 0.5  # of the other strengths: monodepth2 jitters brightness, contrast and saturation by 0.2, hue by 0.1 turns


@runtime_checkable
class TripletSource(Protocol):
    """Triplets of frames by number, all of one size; `posed`: whether they have their motion."""

    @property
    def posed(self) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, number: int) -> Triplet: ...


class Joined:
    """Several sources as one."""

    def __init__(self, sources: Sequence[TripletSource]) -> None:
        self.sources = [source for source in sources if len(source)]
        self.places = [(k, n) for k, source in enumerate(self.sources) for n in range(len(source))]

    @property
    def posed(self) -> bool:
        return all(source.posed for source in self.sources)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, number: int) -> Triplet:
        source, own = self.places[number]
        return self.sources[source].read(own)


@dataclass(frozen=True)
class FrameOptions:
    """What is done to a triplet before it is learned from."""

    jitter: float = 0.2  # strength for what the networks see; 0: none. The losses see the frames as they are
    chance: float = 0.5  # of the jitter (monodepth2)
    flip: float = 0.5  # chance (monodepth2)


class Frames:
    """Training batches; a pure function of (seed, number)."""

    def __init__(self, source: TripletSource, options: FrameOptions, batch_size: int, seed: int) -> None:
        if not len(source):
            raise ValueError("frames: expected at least one triplet to learn from, found none")
        self.source, self.options, self.batch_size, self.seed = source, options, batch_size, seed

    def batch(self, number: int) -> dict[str, Tensor]:
        """As `collate`; `seen` is jittered."""
        rngs = [np.random.default_rng([self.seed, number, k]) for k in range(self.batch_size)]
        triplets = [self.source.read(int(rng.integers(len(self.source)))) for rng in rngs]
        flipped = [
            mirrored(t) if rng.random() < self.options.flip else t for t, rng in zip(triplets, rngs, strict=True)
        ]
        jitters = [self._jitter(rng) for rng in rngs]
        return collate(flipped, jitters)

    def _jitter(self, rng: np.random.Generator) -> tuple[float, ...] | None:
        """One draw for all three frames (scent_depth.md 9.12)."""
        strength, happens = self.options.jitter, rng.random() < self.options.chance
        gains = tuple(rng.uniform(1 - strength, 1 + strength, 3))
        return (*gains, float(rng.uniform(-HUE, HUE)) * strength) if happens and strength > 0 else None


def mirrored(triplet: Triplet) -> Triplet:
    """Left and right exchanged: frames, principal point, motion and maps."""
    K = triplet.K.copy()
    K[0, 2] = triplet.frames.shape[2] - K[0, 2]
    near, labels = (None if x is None else np.ascontiguousarray(x[:, ::-1]) for x in (triplet.near, triplet.labels))
    motion = None if triplet.motion is None else MIRROR @ triplet.motion @ MIRROR
    return Triplet(np.ascontiguousarray(triplet.frames[:, :, ::-1]), K, motion, near, labels)


def jittered(frames: Float32[np.ndarray, "3 h w 3"], draw: tuple[float, ...]) -> Float32[np.ndarray, "3 h w 3"]:
    """Brightness, contrast, saturation (factors) and hue (turns) of frames in 0..1, clipped."""
    brightness, contrast, saturation, hue = draw
    out = np.clip(frames * np.float32(brightness), 0, 1)
    mean = (out @ LUMA).mean((1, 2))[:, None, None, None]
    out = np.clip((out - mean) * np.float32(contrast) + mean, 0, 1)
    grey = (out @ LUMA)[..., None]
    out = (out - grey) * np.float32(saturation) + grey
    cos, sin = np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)
    turn = np.linalg.inv(TO_YIQ) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ TO_YIQ
    return np.clip(out @ turn.T.astype(np.float32), 0, 1)


def collate(triplets: Sequence[Triplet], jitters: Sequence[tuple[float, ...] | None] = ()) -> dict[str, Tensor]:
    """Triplets as tensors: `frames`, and `seen` by the networks [b 3 3 h w] in 0..1, `K` [b 3 3], `motion` [b 2 4 4] (NaN where
    unknown) and `near` [b 1 h w] (1/m, sky 0, NaN unknown)."""
    frames = [triplet.frames.astype(np.float32) / np.float32(255) for triplet in triplets]
    seen = [
        jittered(one, draw) if draw else one for one, draw in zip(frames, jitters or [None] * len(frames), strict=True)
    ]
    no_motion = np.full((2, 4, 4), np.nan)
    size = frames[0].shape[1:3]
    near = [np.full(size, np.nan, np.float32) if t.near is None else t.near for t in triplets]
    return {
        "frames": torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3).contiguous(),
        "seen": torch.from_numpy(np.stack(seen)).permute(0, 1, 4, 2, 3).contiguous(),
        "K": torch.from_numpy(np.stack([t.K for t in triplets]).astype(np.float32)),
        "motion": torch.from_numpy(
            np.stack([no_motion if t.motion is None else t.motion for t in triplets]).astype(np.float32)
        ),
        "near": torch.from_numpy(np.stack(near)[:, None]),
    }


def held_out(source: TripletSource, count: int, size: int) -> list[dict[str, Tensor]]:
    """About `count` fixed triplets, evenly spread, `size` in a batch."""
    step = max(1, len(source) // max(count, 1))
    triplets = [source.read(number) for number in range(0, len(source), step)[:count]]
    return [collate(triplets[k : k + size]) for k in range(0, len(triplets), size)]
