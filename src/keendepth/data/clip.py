"""Film as numbered frames with camera and poses: a folder of pictures as users have it, and the drives of KITTI's raw layout."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from keendepth import io
from keendepth.core.types import Camera, Image
from keendepth.data.driving import calibration, listed_ids
from keendepth.data.files import aimed, checked_root, natural, numbers, read_text
from keendepth.data.nuscenes import Tables
from keendepth.io import FileError
from keendepth.io.camera import read_camera

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
CAMERAS = ("camera*.json", "intrinsics.*", "K.txt", "calib.txt")  # in the folder of the frames
POSES = ("poses.txt", "*trajectory.log")
EARTH = 6378137.0  # metres, radius at the equator (KITTI raw devkit, convertOxtsToPose)


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in the order of time. `poses`: world from camera, metres, camera axes x right, y down, z forward; None where unknown."""

    name: str
    frames: tuple[Path, ...]
    camera: Camera | None
    poses: Float64[np.ndarray, "n 4 4"] | None = None
    middles: tuple[int, ...] = ()  # numbers of the frames to learn from; none named: all that have neighbours

    def read(self, number: int) -> Image:
        """One frame, with the clip's camera."""
        image = io.read_image(self.frames[number])
        camera = self.camera
        if camera is not None and (camera.height, camera.width) != image.size:
            raise FileError(
                self.frames[number],
                f"expected {camera.width} x {camera.height} pixels as the clip's camera, found {image.size[1]} x {image.size[0]}",
            )
        return aimed(replace(image, name=self.frames[number].stem), camera)

    def triplets(self, gap: int = 1) -> list[int]:
        """Numbers of the frames that have one `gap` before and one `gap` after."""
        wanted = self.middles or range(len(self.frames))
        return [number for number in wanted if gap <= number < len(self.frames) - gap]


def read_clip(folder: str | Path) -> Clip:
    """The numbered pictures of a folder, with the camera (`camera.json`, `intrinsics.txt`, `K.txt`, KITTI's `calib.txt`) and poses
    (`poses.txt`, 12 numbers a line as KITTI odometry; Open3D's `*trajectory.log`) that lie beside them. FileError where there is no film."""
    folder = checked_root(folder)
    frames = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and re.search(r"\d", path.stem)]
    frames.sort(key=lambda path: natural(path.name))
    if len(frames) < 3:
        raise FileError(folder, f"expected at least three numbered pictures of a film, found {len(frames)}")
    size = io.read_image(frames[0]).size
    return Clip(folder.name, tuple(frames), _camera(folder, size), _poses(folder, frames))


def film_of(folder: str | Path, listing: Path | None = None) -> list[Clip]:
    """The drives of a root in KITTI's raw layout, the scenes of a nuScenes root, else the one clip of a folder of frames."""
    folder = checked_root(folder)
    tables = sorted(folder.glob("v1.0-*/sample_data.json"))
    if tables:
        return nuscenes_films(folder, tables[0].parent.name)
    raw = any(folder.glob("*/*_sync"))
    return kitti_drives(folder, listing=listing) if raw else [read_clip(folder)]


def nuscenes_films(
    root: str | Path, version: str, channel: str = "CAM_FRONT", condition: str | None = None
) -> list[Clip]:
    """Every scene's front camera at 12 pictures a second, with the car's poses; `condition`: a word of the scene's description, as "night"."""
    root = checked_root(root)
    tables = Tables(root, version)
    clips = []
    for name, rows in tables.films(channel, tables.chosen(None, condition)).items():
        rows = [row for row in rows if (root / row["filename"]).is_file()]
        if len(rows) < 3:
            continue
        frames = tuple(root / row["filename"] for row in rows)
        size = io.read_image(frames[0]).size
        K = tables.calibrated[rows[0]["calibrated_sensor_token"]]["camera_intrinsic"]
        poses = np.stack([tables.to_world(row) for row in rows])
        clips.append(Clip(name, frames, Camera.from_opencv(K, size[1], size[0]), poses))
    if not clips:
        raise FileError(root, f"expected pictures of {channel} in samples/ and sweeps/, found none")
    return clips


def _first(folder: Path, patterns: Sequence[str]) -> Path | None:
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return next(found, None)


def _camera(folder: Path, size: tuple[int, int]) -> Camera | None:
    path = _first(folder, CAMERAS)
    if path is None:
        return None
    if path.name != "calib.txt":
        return read_camera(path, size[1], size[0])
    named = calibration(path)
    rows = [row for row in named.values() if row.size == 12] or list(numbers(path).reshape(-1, 12))
    return Camera.from_opencv(rows[0].reshape(3, 4)[:, :3], size[1], size[0])


def _poses(folder: Path, frames: Sequence[Path]) -> Float64[np.ndarray, "n 4 4"] | None:
    """One pose a frame; of a longer list, those of the frames' numbers."""
    path = _first(folder, POSES)
    if path is None:
        return None
    if path.suffix == ".log":  # three whole numbers before each 4 x 4
        lines = [line for line in read_text(path).splitlines() if line.strip()]
        blocks = [" ".join(lines[k + 1 : k + 5]).split() for k in range(0, len(lines), 5)]
        poses = np.array(blocks, dtype=float).reshape(-1, 4, 4)
    else:
        rows = numbers(path)
        if rows.size % 12:
            raise FileError(path, f"expected 12 numbers for each frame, found {rows.size} numbers")
        poses = np.tile(np.eye(4), (rows.size // 12, 1, 1))
        poses[:, :3] = rows.reshape(-1, 3, 4)
    if len(poses) != len(frames):
        named = [int(re.findall(r"\d+", frame.stem)[-1]) for frame in frames]
        if max(named) >= len(poses):
            raise FileError(path, f"expected a pose for each of {len(frames)} frames, found {len(poses)}")
        poses = poses[named]
    _check_rotations(path, poses)
    return poses


def _check_rotations(path: Path, poses: Float64[np.ndarray, "n 4 4"]) -> None:
    turn = poses[:, :3, :3]
    wrong = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) > 1e-2
    if wrong.any():
        raise FileError(
            path, f"pose {int(np.argmax(wrong))} is no rotation and translation: its rotation is not orthonormal"
        )


def kitti_drives(root: str | Path, camera: str = "image_02", listing: Path | None = None) -> list[Clip]:
    """The drives of KITTI's raw layout: `<date>/<date>_drive_<n>_sync/<camera>/data/*.{png,jpg}`, `<date>/calib_cam_to_cam.txt`.

    Poses come from `oxts/data/*.txt` with `calib_imu_to_velo.txt` and `calib_velo_to_cam.txt`, where they are. `listing`: a text
    file of the frames to learn from, as monodepth2's `splits/eigen_zhou/train_files.txt`; only its own camera counts.
    """
    root = checked_root(root)
    chosen: dict[str, list[str]] = {}
    for id in listed_ids(listing) if listing else []:
        drive, eye, frame = id.split("/")
        if eye == camera:
            chosen.setdefault(drive, []).append(frame)
    clips = []
    for folder in sorted(root.glob(f"*/*_sync/{camera}/data")):
        drive = folder.parent.parent
        if not listing or drive.name in chosen:
            clips.append(_drive(drive, folder, chosen.get(drive.name, [])))
    if not clips:
        raise FileError(root, f"expected drives as <date>/<date>_drive_<n>_sync/{camera}/data, found none")
    return clips


def _drive(drive: Path, folder: Path, chosen: Sequence[str]) -> Clip:
    frames = tuple(sorted((p for p in folder.iterdir() if p.suffix.lower() in PICTURES), key=lambda p: natural(p.name)))
    number = folder.parent.name[-2:]
    lines = calibration(drive.parent / "calib_cam_to_cam.txt")
    P = lines[f"P_rect_{number}"].reshape(3, 4)
    size = io.read_image(frames[0]).size
    whole = lines.get(f"S_rect_{number}", np.array([size[1], size[0]]))  # pictures may have been shrunk since
    made = Camera.from_opencv(P[:, :3], round(float(whole[0])), round(float(whole[1]))).resized(*size)
    places = {path.stem: k for k, path in enumerate(frames)}
    middles = tuple(sorted(places[name] for name in chosen if name in places))
    return Clip(drive.name, frames, made, _oxts(drive, frames, lines, P), middles)


def _oxts(
    drive: Path, frames: Sequence[Path], lines: dict[str, np.ndarray], P: Float64[np.ndarray, "3 4"]
) -> Float64[np.ndarray, "n 4 4"] | None:
    """Poses of the camera from the car's GPS and inertial unit (KITTI raw devkit); None where a file of them is missing."""
    files = [drive / "oxts" / "data" / f"{path.stem}.txt" for path in frames]
    rigs = [drive.parent / f"calib_{name}.txt" for name in ("imu_to_velo", "velo_to_cam")]
    if not all(path.is_file() for path in (*files, *rigs)):
        return None
    rows = np.array([numbers(path)[:6] for path in files])  # latitude, longitude, altitude, roll, pitch, yaw
    imu_to_velo, velo_to_cam = (_rigid(calibration(path)) for path in rigs)
    rect = np.eye(4)
    rect[:3, :3] = lines["R_rect_00"].reshape(3, 3)
    shift = np.eye(4)  # from the first camera to this one
    shift[:3, 3] = np.linalg.inv(P[:, :3]) @ P[:, 3]
    camera_from_imu = shift @ rect @ velo_to_cam @ imu_to_velo
    scale = math.cos(math.radians(rows[0, 0]))
    return np.stack([_world_from_imu(row, scale) for row in rows]) @ np.linalg.inv(camera_from_imu)


def _rigid(lines: dict[str, np.ndarray]) -> Float64[np.ndarray, "4 4"]:
    pose = np.eye(4)
    pose[:3] = np.column_stack([lines["R"].reshape(3, 3), lines["T"]])
    return pose


def _world_from_imu(row: Float64[np.ndarray, " 6"], scale: float) -> Float64[np.ndarray, "4 4"]:
    """Mercator's projection of the place, and roll, pitch, yaw."""
    latitude, longitude, altitude, roll, pitch, yaw = row.tolist()
    pose = np.eye(4)
    pose[:3, 3] = (
        scale * EARTH * math.radians(longitude),
        scale * EARTH * math.log(math.tan(math.pi * (90 + latitude) / 360)),
        altitude,
    )
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pose[:3, :3] = about_z @ about_y @ about_x
    return pose
