"""A film made by arithmetic: a camera that walks through a painted box, with the exact depth of every pixel."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keendepth.core.geometry import pixel_rays
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.temporal.motion import rotation

HALF = np.array([2.5, 1.5, 6.0])  # half the box, metres


@dataclass(frozen=True)
class Shot:
    """One frame, its exact depth, and the camera's place (world from camera)."""

    image: Image
    depth: DepthMap
    turn: np.ndarray
    eye: np.ndarray


def shots(count: int, size: tuple[int, int] = (96, 128), seed: int = 0, still: bool = False) -> list[Shot]:
    """A walk ahead with a swaying gaze; `seed` changes the paint."""
    camera = Camera.from_fov(65, size[1], size[0])
    rays = pixel_rays(*size, camera.K)
    found = []
    for t in range(count):
        k = 0 if still else t
        turn = rotation(np.array([0.02 * np.sin(k / 3), 0.15 * np.sin(k / 7), 0.01 * np.sin(k / 5)]))
        eye = np.array([0.3 * np.sin(k / 9), 0.1 * np.sin(k / 4), -4 + 0.03 * k])
        world = rays @ turn.T
        with np.errstate(divide="ignore"):
            walls = np.where(world > 0, HALF - eye, HALF + eye) / np.abs(world)
        z = walls.min(-1)
        rgb = _paint(eye + z[..., None] * world, walls.argmin(-1), seed)
        found.append(Shot(Image(rgb, camera), DepthMap(z, DepthKind.METRIC, camera), turn, eye))
    return found


def _paint(points: np.ndarray, wall: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grey = np.zeros(points.shape[:2])
    for frequency in (1.5, 2.5, 4.0, 7.0):
        a, b = rng.uniform(0.5, 1, (2, 3)) * frequency
        grey += np.sin(points @ a + 2 * wall + rng.uniform(0, 6)) * np.cos(points @ (b * [1, -1, 1]))
    tint = np.array([[1.0, 0.9, 0.8], [0.8, 1.0, 0.9], [0.9, 0.8, 1.0]])[wall]
    return np.clip((128 + 40 * grey)[..., None] * tint, 0, 255).astype(np.uint8)


def film(path: Path, pictures: list[np.ndarray], rate: int = 25) -> Path:
    """The pictures as a file; the codec is the container's usual one. Needs PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(container.default_video_codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path
