"""Rendered scenes with exact depth, normals, labels, albedo, shading and poses: rooms, streets, thin things, and furnished rooms."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from keendepth.core.edges import JUMP_RATIO
from keendepth.core.geometry import pixel_rays
from keendepth.core.types import Camera, DepthKind, DepthMap, Image

if TYPE_CHECKING:
    from keendepth.data.scenes.stage import Stage

KINDS = ("room", "street", "thin", "furnished", "mixed")
CAST = ("room", "street", "thin")  # what "mixed" draws from: the ray caster's own kinds, which need no extra files


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a scene.

    Depth, normals, labels and ids belong to the ray through the pixel's centre; colour, albedo and shading are averages over the pixel.
    """

    image: Image
    depth: DepthMap  # METRIC, z in metres, +inf sky
    normals: Float32[
        np.ndarray, "h w 3"
    ]  # unit, towards the camera, camera axes (x right, y down, z forward); NaN in the sky
    labels: UInt8[np.ndarray, "h w"]  # see `keendepth.data.scenes.labels.Label`; 0 sky
    ids: Int32[np.ndarray, "h w"]  # one number per thing, the same in all frames of a scene; 0 sky
    albedo: Float32[np.ndarray, "h w 3"]  # linear, 0..1
    shading: Float32[
        np.ndarray, "h w"
    ]  # luminance of the diffuse light that falls on the surface, linear, up to exposure
    pose: Float64[np.ndarray, "4 4"]  # world from camera, metres, world z up


def render(
    seed: int,
    size: tuple[int, int] = (240, 320),
    kind: str = "room",
    frames: int = 1,
    samples: int = 4,
    threads: int = 0,
) -> list[Frame]:
    """`frames` pictures of scene number `seed`, the camera moving on a smooth path; the scene does not depend on size, frames or samples.

    `size` is (height, width); `samples` colours per pixel, a square number of at least 4; `threads` 0 takes what the machine has and never changes
    a pixel. Raises ValueError for an unknown kind or impossible numbers, ModuleNotFoundError without the extra `scenes`,
    FileNotFoundError for "furnished" without the furniture package.
    """
    _check(seed, size, kind, frames, samples)
    need("numba")
    if kind == "furnished":
        need("moderngl")
        from keendepth.data.scenes import furnished

        return list(furnished.frames(seed, size, frames, samples))
    return list(photographed(compose(seed, kind), size, range(frames), samples, threads))


def compose(seed: int, kind: str) -> Stage:
    """Scene number `seed` of one of the ray caster's kinds, not yet photographed."""
    from keendepth.data.scenes import rooms, streets, thin, world

    if kind == "mixed":
        kind = world.Dice(seed, 99).pick(CAST)
    makers = {"room": rooms.make, "street": streets.make, "thin": thin.make}
    return makers[kind](world.Dice(seed, CAST.index(kind)), seed)


def need(module: str) -> None:
    """Raise ModuleNotFoundError with the way out unless `module` is installed."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ModuleNotFoundError(f"rendering scenes needs {module}: pip install keendepth[scenes]")


def _check(seed: int, size: tuple[int, int], kind: str, frames: int, samples: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"scene kind must be one of {', '.join(KINDS)}, found {kind!r}")
    if seed < 0:
        raise ValueError(f"a scene's number must be 0 or more, found {seed}")
    if min(size) < 1 or frames < 1:
        raise ValueError(f"a scene needs at least one pixel and one frame, found size {size} and {frames} frames")
    if samples < 4 or math.isqrt(samples) ** 2 != samples:
        raise ValueError(f"samples must be a square number of at least 4 (4, 9, 16, ...), found {samples}")


def camera_of(fov: float, size: tuple[int, int]) -> Camera:
    """Square pixels, `fov` degrees across the longer side."""
    height, width = size
    return Camera.from_focal(max(size) / (2 * math.tan(math.radians(fov) / 2)), width, height, "rendered")


def photographed(
    stage: Stage, size: tuple[int, int], numbers: Sequence[int], samples: int, threads: int
) -> Iterator[Frame]:
    """Frames of these numbers of a stage, in this order and under one exposure; the other arguments are those of `render`."""
    camera = camera_of(stage.view.fov, size)
    gain = None
    for number in numbers:
        pose = stage.view.pose(number)
        out = _expose(stage, camera, pose, (math.isqrt(samples), number), threads)
        if gain is None:  # one exposure for all frames, as the light does not change
            gain = 1.0 / max(middle_grey(out.colour), 1e-6)
        rgb = _develop(stage, out.colour, gain, number)
        yield Frame(
            Image(rgb, camera, f"scene {stage.seed}"), DepthMap(out.depth, DepthKind.METRIC, camera),
            out.normal, out.label, out.ident, out.albedo, out.shading, pose,
        )  # fmt: skip


def _expose(stage: Stage, camera: Camera, pose: np.ndarray, work: tuple[int, int], threads: int) -> Any:
    """Cast one frame; `work` is (side of the sample grid, number of the frame)."""
    from keendepth.data.scenes import film

    h, w = camera.height, camera.width
    picture, plane = (h, w, 3), (h, w)
    f = np.float32
    out = film.Exposure(
        np.zeros(picture, f), np.zeros(picture, f), np.zeros(plane, f), np.zeros(plane, f), np.zeros(picture, f),
        np.zeros(plane, np.uint8), np.zeros(plane, np.int32), np.zeros(plane, np.int32), np.zeros(picture, f), np.zeros(picture, f),
    )  # fmt: skip
    cam = np.concatenate([[camera.fx, camera.fy, camera.cx, camera.cy], pose[:3, :3].ravel(), pose[:3, 3]])
    n, seed, world = work[0], stage.seed * 1000 + work[1], stage.world
    _banded(lambda a, b: film.lay(world, cam, a, b, max(1, n * n // 4), seed, out), h, threads)
    _banded(lambda a, b: film.smooth(cam, out, 1, a, b), h, threads)
    _banded(lambda a, b: film.smooth(cam, out, 3, a, b), h, threads)
    _banded(lambda a, b: film.expose(world, cam, a, b, n, stage.blur, seed, out), h, threads)
    return out


def _banded(work: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Run work(first, last) over bands of rows; the kernels let go of the interpreter's lock, so threads run side by side."""
    threads = threads or os.cpu_count() or 1
    bands = np.linspace(0, rows, min(rows, 4 * threads) + 1).astype(int)
    if threads == 1:
        work(0, rows)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bands[:-1].tolist(), bands[1:].tolist()))


def middle_grey(colour: Float32[np.ndarray, "h w 3"]) -> float:
    """The median brightness: an order statistic, so that no machine sums it differently."""
    brightness = np.sort((colour[..., 0] + colour[..., 1] + colour[..., 2]).ravel())
    return float(brightness[brightness.size // 2]) / 3


def _develop(stage: Stage, colour: np.ndarray, gain: float, number: int) -> np.ndarray:
    from keendepth.data.scenes import film

    sensor = stage.sensor.copy()
    sensor[:3] *= gain
    rgb = np.empty(colour.shape, np.uint8)
    film.develop(colour, sensor, 0, len(colour), stage.seed * 1000 + number, rgb)
    return rgb


def edges(frame: Frame, ratio: float = JUMP_RATIO) -> Bool[np.ndarray, "h w"]:
    """Pixels on either side of an occlusion: neighbours whose depths differ by more than `ratio` and by more than the slope of either surface explains.

    The slope comes from the exact normals, so a floor seen at a grazing angle has no edges; sky against anything is one.
    """
    if frame.image.camera is None:
        raise ValueError("edges: this frame's picture has no camera, so its rays are unknown")
    rays = pixel_rays(*frame.depth.size, frame.image.camera.K)
    z = frame.depth.values.astype(np.float64)
    out = np.zeros(z.shape, bool)
    for first, second in (
        ((slice(None), slice(0, -1)), (slice(None), slice(1, None))),
        ((slice(0, -1),), (slice(1, None),)),
    ):
        jump = _apart(z, rays, frame.normals, first, second, ratio)
        out[first] |= jump
        out[second] |= jump
    return out


def _apart(
    z: np.ndarray, rays: np.ndarray, normals: np.ndarray, first: tuple, second: tuple, ratio: float
) -> np.ndarray:
    a, b = z[first], z[second]
    with np.errstate(invalid="ignore", divide="ignore"):
        jump = (a > ratio * b) | (b > ratio * a)
        for here, there in ((first, second), (second, first)):
            n = normals[here].astype(np.float64)
            on_plane = z[here] * (n * rays[here]).sum(-1) / (n * rays[there]).sum(-1)
            gap = np.abs(z[here] - z[there])
            jump &= ~(np.abs(on_plane - z[there]) < 0.5 * gap)
    return jump
