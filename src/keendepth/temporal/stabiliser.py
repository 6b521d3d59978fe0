"""Depth that does not flicker: each frame's scale and shift, and its shape at low resolution, follow the frames before, carried along with the camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from keendepth.core.types import Camera, DepthMap, Image
from keendepth.temporal import motion
from keendepth.temporal.correction import Correction, Line, fit_line, fit_shape
from keendepth.temporal.space import Space

# Chosen on rendered clips of `indoor-small` (rooms 91000 to 91002, furnished rooms 91000 and 91001); benchmarks/video.py measures on others.
FIRST = 3  # frames that the first one after a cut counts for in the running mean of the level
CUT = 0.6  # likeness below which the film was cut: 95 % of pairs of foreign pictures lie below 0.46, frames a fifth of a second apart above 0.87
BRIGHT = 3.0  # median differences of grey above which a pixel shows something else than before


@dataclass(frozen=True)
class Steadiness:
    """How steady depth is held."""

    memory: int = (
        30  # frames over which the level is averaged; it keeps returning to the network's own, so that nothing drifts
    )
    smooth: float = 0.8  # how much of the shape comes from the frames before; 0 holds scale and shift only, 0.8 averages about five frames

    def __post_init__(self) -> None:
        if self.memory < 1 or not 0 <= self.smooth < 1:
            raise ValueError(
                f"steadiness: memory must be at least 1 frame and smooth from 0 to below 1, found {self.memory} and {self.smooth}"
            )


@dataclass(frozen=True)
class Moment:
    """What was done to a frame: scale * values + shift before its shape was corrected, and whether a new shot begins with it."""

    scale: float
    shift: float
    cut: bool
    likeness: float  # of the picture to the one before, once the camera's motion is undone; 1 = the same


@dataclass(frozen=True, eq=False)
class _Past:
    """The frame before, small."""

    grey: Float32[np.ndarray, "h w"]
    values: Float64[np.ndarray, "h w"]  # steady, in the space of the fit; NaN unknown or sky
    line: Line
    age: int  # frames since the cut
    space: Space
    turn: Float64[np.ndarray, "3 3"]
    step: Float64[np.ndarray, " 3"]


class Stabiliser:
    """Takes the frames of a clip in order, with one model's depth of each, and gives back steady depth.

    Each frame is laid over the one before (`motion.find`), and the steady depth of that one is carried along. A robust fit over the
    pixels that show the same thing gives the frame's scale (METRIC, SCALE_INVARIANT) or scale and shift in inverse depth (the
    other kinds). The level then goes a step back towards the network's own, so that it is an average over `memory`
    frames and never drifts. What still differs is corrected by the share `smooth` (`fit_shape`), along the current frame's own
    edges. At a cut everything starts again.

    What it keeps has 96 pixels at the longer side, whatever the clip's size. NaN and sky stay where they are; a frame without
    known pixels goes through as it is.
    """

    def __init__(self, steadiness: Steadiness | None = None) -> None:
        self.steadiness = steadiness or Steadiness()
        self.last: Moment | None = None  # what was done to the last frame
        self._past: _Past | None = None

    def __call__(self, image: Image, depth: DepthMap) -> DepthMap:
        """Steady depth of the next frame, of the same size, kind and camera. All frames have one size (ValueError)."""
        if depth.size != image.size:
            raise ValueError(
                f"stabiliser: the picture has {image.size} pixels, its depth {depth.size}: resize the depth"
            )
        grey = motion.small_grey(image.rgb)
        if self._past and self._past.grey.shape != grey.shape:
            raise ValueError(
                f"stabiliser: frames of one clip have one size, found {grey.shape} after {self._past.grey.shape}"
            )
        small = depth.resized(grey.shape[0], grey.shape[1], "area")
        if not small.valid.any():
            self.last = Moment(1.0, 0.0, self._past is None, 0.0)
            return depth
        camera = image.camera or depth.camera or Camera.from_fov(60, image.size[1], image.size[0], source="guess")
        return self._next(grey, small, depth, camera.resized(grey.shape[0], grey.shape[1]).K)

    def _next(self, grey: np.ndarray, small: DepthMap, depth: DepthMap, K: np.ndarray) -> DepthMap:
        past, likeness = self._past, 0.0
        if past:
            guess = past.line.applied(past.space.values(small))
            moved = motion.find(grey, past.grey, past.space.nearness(guess, small), K, (past.turn, past.step))
            likeness = moved.likeness
            if likeness >= CUT:
                done = self._followed(past, grey, small, (moved, guess, K))
                if done is not None:
                    return done.applied(depth, past.space)
        space = Space.of(small)
        still = np.eye(3), np.zeros(3)
        self._past = _Past(grey, space.values(small), Line(1.0, 0.0), 0, space, *still)
        self.last = Moment(1.0, 0.0, True, likeness)
        return depth

    def _followed(
        self, past: _Past, grey: np.ndarray, small: DepthMap, found: tuple[motion.Motion, np.ndarray, np.ndarray]
    ) -> Correction | None:
        """The correction that makes this frame agree with the one before; None where too little is seen in both."""
        moved, guess, K = found
        space, values = past.space, past.space.values(small)
        u, v, growth, inside = motion.carry(space.nearness(guess, small), K, moved.turn, moved.step)
        with np.errstate(invalid="ignore", divide="ignore"):
            wanted = space.carried(motion.sample(past.values, u, v), growth)
        alike = inside & np.isfinite(wanted) & np.isfinite(values)
        if np.count_nonzero(alike) < motion.ENOUGH:
            return None
        change = motion.sample(past.grey, u, v) - grey
        change = np.abs(change - np.median(change[alike]))  # exposure may have changed
        alike &= change < BRIGHT * np.median(change[alike]) + 1e-3
        line, spread = fit_line(values[alike], wanted[alike], slope=not space.logarithmic)
        pull = max(1 / self.steadiness.memory, 1 / (past.age + 1 + FIRST))
        held = line.towards_none(pull)
        steady = held.applied(values)
        wanted = wanted + (held.applied(values) - line.applied(values))  # the whole past moves with the level
        shape = fit_shape(steady, wanted, np.where(alike, spread, 0.0), self.steadiness.smooth)
        steady = steady + shape.at(steady)
        self._past = _Past(grey, steady, held, past.age + 1, space, moved.turn, moved.step)
        scale, shift = space.in_own_unit(held)
        self.last = Moment(scale, shift, False, moved.likeness)
        return Correction(held, shape)

    def state(self) -> dict[str, np.ndarray]:
        """All that it remembers, to go on from later (`restored`) as if there had been no break; empty before the first frame."""
        past = self._past
        if past is None:
            return {}
        numbers = [past.line.scale, past.line.shift, past.age, past.space.scale, past.space.shift]
        flags = [past.space.logarithmic, past.space.far_is_large]
        return {
            "grey": past.grey,
            "values": past.values,
            "turn": past.turn,
            "step": past.step,
            "numbers": np.array(numbers, np.float64),
            "flags": np.array(flags, bool),
        }

    @classmethod
    def restored(cls, state: Mapping[str, np.ndarray], steadiness: Steadiness | None = None) -> Stabiliser:
        """A stabiliser that goes on where another one's `state()` was taken."""
        made = cls(steadiness)
        if state:
            a, b, age, scale, shift = (float(number) for number in state["numbers"])
            logarithmic, far_is_large = (bool(flag) for flag in state["flags"])
            space = Space(logarithmic, far_is_large, scale, shift)
            made._past = _Past(
                state["grey"], state["values"], Line(a, b), int(age), space, state["turn"], state["step"]
            )
        return made
