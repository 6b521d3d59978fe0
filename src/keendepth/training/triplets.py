"""Rendered triplets: three neighbouring frames with camera, poses, exact depth and labels, in a cache on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from keendepth.training import rows

if TYPE_CHECKING:
    from keendepth.data.scenes.stage import Stage

# The format: `triplets.json` and .npy files, one row per triplet; the frames stand as before, middle, after.
#   rgb.npy     uint8   [n 3 h w 3]  sRGB
#   near.npy    float32 [n h w]      1/z of the middle frame, 1/m; 0 is sky
#   labels.npy  uint8   [n h w]      `scenes.labels.Label` of the middle frame
#   ids.npy     int32   [n h w]      one number per thing
#   cameras.npy float64 [n 3 3]      K in pixels, pixel centres at halves
#   poses.npy   float64 [n 3 4 4]    world from camera, metres
CACHE = rows.Rows("triplets.json", 1, "cache of rendered triplets")
FILES = ("rgb.npy", "near.npy", "labels.npy", "ids.npy", "cameras.npy", "poses.npy")
HELD_OUT = (
    1_000_000  # scenes with this number and above are for validation and benchmarks only, as in `training.scenes`
)
DRIVE = "drive"  # streets as one car's camera sees them
HEIGHT, FOV = 1.5, 80.0  # of that camera: metres above the ground, degrees across; near those of KITTI's
ROAD, CLEAR = 2.2, 4.0  # metres: how far from the middle a car drives at most; how far ahead is looked for room
AHEAD = 1.6  # metres to the nearest thing that it sees
CAR_STEP = (0.4, 1.1)  # metres between its frames (scent_depth.md 10.2.3): 14 to 40 km/h at 10 pictures a second
TRIES, NEXT = 5, 150_000  # another scene where one leaves the camera no room; how far apart their numbers are
PERIOD, FRAMES = 5.0, (4, 5, 6)  # of the camera's path: the middle frame is the view itself
STEEPEST = 1.2  # metres between frames at most: 10 pictures a second at 43 km/h
LEAST = 0.012  # share of the width that the picture must move by: less says nothing of depth


class Triplet(NamedTuple):
    """Three frames of one size. `motion`: what takes points of the middle camera into the camera before, and after."""

    frames: UInt8[np.ndarray, "3 h w 3"]
    K: Float64[np.ndarray, "3 3"]
    motion: Float64[np.ndarray, "2 4 4"] | None = None
    near: Float32[np.ndarray, "h w"] | None = None  # 1/m, sky 0, unknown NaN; None: no truth
    labels: UInt8[np.ndarray, "h w"] | None = None


def motion_between(
    middle: Float64[np.ndarray, "4 4"], others: Float64[np.ndarray, "n 4 4"]
) -> Float64[np.ndarray, "n 4 4"]:
    """From poses (world from camera): what takes points of the middle camera into each of the others."""
    return np.linalg.inv(others) @ middle


@dataclass(frozen=True)
class TripletOptions:
    """What is rendered. Two caches with the same options hold the same pictures."""

    count: int = 600
    first: int = 0  # number of the first scene; the others follow
    size: tuple[int, int] = (64, 128)  # (height, width)
    samples: int = 9  # colours per pixel: below 4 far textures flicker, and blur corruptions then help
    kinds: Mapping[str, float] = field(
        default_factory=lambda: {DRIVE: 1.0}
    )  # "drive" or one of `synthetic.KINDS` -> share
    flow: tuple[float, float] = (0.03, 0.07)  # how far four fifths of the picture move at most, as a share of its width


class RenderedTriplets:
    """A cache that can be read while it grows: rows that are not done do not count."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        content = CACHE.content(folder)
        shape = {"size": tuple(content["size"]), "flow": tuple(content["flow"])}
        self.options = TripletOptions(**{**content, **shape})
        self.rgb, self.near, self.labels, self.ids, self.cameras, self.poses = rows.opened(folder, FILES)
        self.rows = rows.finished(folder)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def held_out(self) -> bool:
        return self.options.first >= HELD_OUT

    @property
    def posed(self) -> bool:
        """Whether `read` gives the motion."""
        return True

    def set_apart(self, count: int) -> RenderedTriplets:
        """A cache of the last `count` triplets, which this one then no longer has."""
        apart = RenderedTriplets(self.folder)
        self.rows, apart.rows = self.rows[:-count], self.rows[-count:]
        return apart

    def read(self, number: int) -> Triplet:
        """Triplet `number`, from 0, of those that are done."""
        row = int(self.rows[number])
        poses = np.array(self.poses[row])
        motion = motion_between(poses[1], poses[[0, 2]])
        return Triplet(
            np.array(self.rgb[row]), np.array(self.cameras[row]), motion, np.array(self.near[row]), np.array(self.labels[row])
        )  # fmt: skip


def render_triplets(
    folder: str | Path,
    options: TripletOptions,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> RenderedTriplets:
    """Render what the cache in `folder` lacks; can be stopped and called again.

    RowsError where the folder holds a cache with other options, ModuleNotFoundError without the extra `scenes`.
    """
    folder = Path(folder)
    h, w = options.size
    shapes = (
        (np.uint8, (3, h, w, 3)), (np.float32, (h, w)), (np.uint8, (h, w)),
        (np.int32, (h, w)), (np.float64, (3, 3)), (np.float64, (3, 4, 4)),
    )  # fmt: skip
    columns = [(name, *shape) for name, shape in zip(FILES, shapes, strict=True)]
    CACHE.create(folder, asdict(options), options.count, columns)
    rows.fill(folder, partial(_render_row, str(folder), options), processes, progress)
    return RenderedTriplets(folder)


def _render_row(folder: str, options: TripletOptions, row: int) -> None:
    triplet, poses, ids = rendered(options, row)
    values = (triplet.frames, triplet.near, triplet.labels, ids, triplet.K, poses)
    rows.put(folder, row, dict(zip(FILES, values, strict=True)))


def rendered(
    options: TripletOptions, row: int
) -> tuple[Triplet, Float64[np.ndarray, "3 4 4"], Int32[np.ndarray, "h w"]]:
    """(triplet, poses, ids) of a row: a function of the options and of the row alone."""
    from keendepth.data import synthetic

    synthetic.need("numba")
    frames = list(synthetic.photographed(_stage(options, row), options.size, FRAMES, options.samples, 1))
    poses = np.stack([frame.pose for frame in frames])
    middle = frames[1]
    if middle.image.camera is None:
        raise ValueError("a rendered frame has a camera")
    triplet = Triplet(
        np.stack([frame.image.rgb for frame in frames]), middle.image.camera.K, motion_between(poses[1], poses[[0, 2]]),
        middle.depth.inverse(), middle.labels,
    )  # fmt: skip
    return triplet, poses, middle.ids


def _stage(options: TripletOptions, row: int) -> Stage:
    """The scene of a row with a camera that moves enough; where a scene leaves no room for it, a later one."""
    from keendepth.data import synthetic

    kinds = list(options.kinds)
    shares = np.array(list(options.kinds.values()), float)
    kind = kinds[np.random.default_rng([options.first + row, 23]).choice(len(shares), p=shares / shares.sum())]
    tried = []
    for attempt in range(TRIES):
        number = options.first + row + attempt * NEXT
        rng = np.random.default_rng([number, 29])
        made = synthetic.compose(number, "street" if kind == DRIVE else kind)
        if kind == DRIVE:
            stage, moved = moving(_at_the_wheel(made, rng), options, rng, CAR_STEP)
            moved *= min(1.0, _nearest(stage) / AHEAD) ** 2  # a bush before the lens is no street
        else:
            stage, moved = moving(made, options, rng)
        tried.append((moved, attempt, stage))
        if moved >= LEAST:
            return stage
    return max(tried, key=lambda one: one[:2])[2]


def _at_the_wheel(stage: Stage, rng: np.random.Generator) -> Stage:
    """The same street from a car that drives along it, by the camera that all cars share."""
    from keendepth.data.scenes.stage import walking

    view = stage.view
    side = view.eye[0] if abs(view.eye[0]) < ROAD else ROAD * float(np.sign(view.eye[0]))
    view = replace(
        view, eye=(side, view.eye[1], HEIGHT), yaw=float(rng.uniform(-3, 3)), pitch=0.0, roll=0.0, fov=FOV
    )  # fmt: skip
    return replace(stage, view=walking(stage.world, view, (0.0, 1.0, 0.0), CLEAR))


def moving(
    stage: Stage, options: TripletOptions, rng: np.random.Generator, steps: tuple[float, float] = (STEEPEST, STEEPEST)
) -> tuple[Stage, float]:
    """The stage with a camera whose frames `FRAMES` are well apart, and by what share of the width its picture moves.

    A step is as long as `options.flow` wants it, no longer than one drawn from `steps` (metres) and than there is room for.
    """
    path = np.array(stage.view.move)
    length = float(np.linalg.norm(path))
    if length < 1e-3:
        return stage, 0.0
    per_metre = _flow_of(stage, path / length)
    step = min(rng.uniform(*options.flow) / max(per_metre, 1e-9), length, rng.uniform(*steps))
    reach = step / math.sin(2 * math.pi / PERIOD)
    sway = (*rng.uniform(-1.2, 1.2, 1), *rng.uniform(-0.5, 0.5, 2))  # degrees: a car on a road, a hand that holds still
    view = replace(stage.view, move=tuple(path / length * reach), period=PERIOD, sway=tuple(map(float, sway)))
    return replace(stage, view=view), step * per_metre


def _flow_of(stage: Stage, direction: Float64[np.ndarray, " 3"]) -> float:
    """How far four fifths of the picture move at most when the camera goes one metre, as a share of the width."""
    rays, z = _seen(stage)
    tx, ty, tz = stage.view.pose(0)[:3, :3].T @ direction
    moved = np.hypot(tx - rays[:, 0] * tz, ty - rays[:, 1] * tz) / np.maximum(z, 0.1)
    return float(np.quantile(moved, 0.8)) / (2 * math.tan(math.radians(stage.view.fov) / 2))


def _nearest(stage: Stage) -> float:
    """Metres to the nearest thing in any of the three frames."""
    views = [replace(stage.view, eye=tuple(stage.view.pose(number)[:3, 3]), move=(0.0, 0.0, 0.0)) for number in FRAMES]
    return min(float(_seen(replace(stage, view=view))[1].min()) for view in views)


def _seen(stage: Stage) -> tuple[Float64[np.ndarray, "r 3"], Float64[np.ndarray, " r"]]:
    """(rays [r 3] with z = 1 in the camera's frame over a picture twice as wide as high, depth along them in metres)."""
    from keendepth.data.scenes.stage import clearance

    half = math.tan(math.radians(stage.view.fov) / 2)
    x, y = np.meshgrid(np.linspace(-0.98, 0.98, 32) * half, np.linspace(-0.48, 0.48, 16) * half)
    rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
    norms = np.linalg.norm(rays, axis=1)
    world = np.ascontiguousarray(rays @ stage.view.pose(0)[:3, :3].T / norms[:, None])
    return rays, clearance(stage.world, stage.view.eye, world) / norms
