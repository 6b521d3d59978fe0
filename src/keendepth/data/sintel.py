"""Films with exact depth: MPI Sintel and Spring."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keendepth import io
from keendepth.core.types import Camera, DepthKind
from keendepth.data import register
from keendepth.data.files import Entry, Files, aimed, hdf5, match, metres, numbers, photo, with_camera
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

TAG = 202021.25  # opens .cam as it opens .dpt (Sintel's depth development kit)
SPRING_BASELINE = 0.065  # metres; Mehl et al., CVPR 2023


@register(
    "sintel",
    summary="MPI Sintel, training half, with depth and cameras",
    license="free for research; film CC BY 3.0",
    paper="Butler et al., ECCV 2012",
    kind=DepthKind.METRIC,
)
def sintel(root: Path, render: str = "final") -> Files:
    """`training/{clean,final}/<scene>/frame_0001.png` with `training/depth/...dpt` and `training/camdata_left/...cam`."""
    base = Path(root) / "training"
    files = {
        "depth": "depth/{scene}/frame_{frame}.dpt",
        "photo": f"{render}/{{scene}}/frame_{{frame}}.png",
        "camera": "camdata_left/{scene}/frame_{frame}.cam",
    }
    entries = match(base if base.is_dir() else root, "{scene}/{frame}", files, optional=("camera",))
    facts = Facts("rendered", "none", f"training, {render}", sharp=True, note="the film's units stand for metres")
    return Files("sintel", entries, _read_sintel, facts)


def _read_sintel(id: str, entry: Entry) -> Sample:
    depth = io.read(entry["depth"])
    camera = pose = None
    if "camera" in entry:
        K, pose = read_cam(entry["camera"])
        camera = Camera.from_opencv(K, depth.size[1], depth.size[0])
    return Sample(photo(entry["photo"], id, camera), with_camera(depth, camera), id, pose=pose)


def read_cam(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(K [3 3], world-from-camera [4 4]) of a Sintel .cam: a float32 tag, then 3x3 and 3x4 float64 by rows (world to camera)."""
    content = path.read_bytes()
    if len(content) != 4 + 21 * 8 or np.frombuffer(content, "<f4", 1)[0] != TAG:
        raise FileError(path, f"expected a Sintel .cam of 172 bytes that opens with {TAG}, found another file")
    values = np.frombuffer(content, "<f8", offset=4).astype(np.float64)
    world_to_camera = np.vstack([values[9:].reshape(3, 4), [0, 0, 0, 1]])
    return values[:9].reshape(3, 3), np.linalg.inv(world_to_camera)


@register(
    "spring",
    summary="Spring, training half, 1920 x 1080 with depth at twice that (needs h5py)",
    license="CC BY 4.0",
    paper="Mehl et al., CVPR 2023",
    kind=DepthKind.METRIC,
)
def spring(root: Path) -> Files:
    """`train/<scene>/{frame_left,disp1_left,cam_data}`; disparity at 3840 x 2160 in pixels of 1920, 0 is sky, NaN unknown."""
    base = Path(root) / "train"
    files = {
        "depth": "{scene}/disp1_left/disp1_left_{frame}.dsp5",
        "photo": "{scene}/frame_left/frame_left_{frame}.png",
        "camera": "{scene}/cam_data/intrinsics.txt",
    }
    entries = match(base if base.is_dir() else root, "{scene}/{frame}", files)
    facts = Facts(
        "rendered", "NaN", "train", sharp=True, note="depth has twice the picture's size; film units as metres"
    )
    return Files("spring", entries, _read_spring, facts)


def _read_spring(id: str, entry: Entry) -> Sample:
    image = photo(entry["photo"], id)
    rows = numbers(entry["camera"], (-1, 4))  # fx fy cx cy of each frame, frames count from 1
    fx, fy, cx, cy = rows[int(id.rsplit("/", 1)[1]) - 1]
    camera = Camera.from_opencv([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], image.size[1], image.size[0])
    disparity = hdf5(entry["depth"], "disparity").astype(np.float64)
    with np.errstate(divide="ignore"):
        z = np.where(disparity == 0, np.inf, fx * SPRING_BASELINE / disparity)
    return Sample(aimed(image, camera), metres(z, camera), id)
