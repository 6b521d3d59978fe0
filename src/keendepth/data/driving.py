"""Street data sets with depth files: KITTI (three ways), Virtual KITTI 2, DrivingStereo."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from keendepth import io
from keendepth.core.types import Camera, DepthKind
from keendepth.data import register
from keendepth.data.files import (
    Entry,
    Files,
    aimed,
    checked_root,
    first_match,
    match,
    numbers,
    photo,
    read_text,
    with_camera,
)
from keendepth.data.lidar import scatter
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

_KITTI = {"license": "CC BY-NC-SA 3.0", "paper": "Geiger et al., IJRR 2013", "kind": DepthKind.METRIC}
KITTI_CAP = 80.0  # metres; Eigen et al. 2014
_DRIVE = "{date}_drive_{number}_sync"


@register("kitti", summary="KITTI with the denser depth of 2017 (Eigen split by a list)", **_KITTI)
def kitti(
    root: Path, split: str = "val", listing: Path | None = None, raw: Path | None = None, crop: str = "kitti-garg"
) -> Files:
    """`<split>/<drive>/proj_depth/groundtruth/image_02/<frame>.png` with the raw pictures `<date>/<drive>/image_02/data/`.

    `split` may be "*" for both halves; `raw` is another root for the pictures. `listing` is a text file of the Eigen split
    (BTS's or monodepth2's; ids are drive/camera/frame), which leaves 652 of 697 pictures. v/256 m, 0 unknown.
    """
    half = "{half}" if split == "*" else split
    rest = f"{_DRIVE}/proj_depth/groundtruth/{{camera}}/{{frame}}.png"
    files = _raw_files(f"{half}/{rest}" if (Path(root) / split).is_dir() or split == "*" else rest)
    elsewhere = {name: Path(raw) for name in files} if raw else None
    entries = match(root, f"{_DRIVE}/{{camera}}/{{frame}}", files, ("calibration",), elsewhere)
    if listing:
        entries = _listed(entries, Path(listing))
    facts = Facts("eleven lidar sweeps, cleaned by stereo", "0 (four fifths)", split, crop, cap=KITTI_CAP)
    return Files("kitti", entries, _read_kitti, facts)


def _raw_files(first: str) -> dict[str, str]:
    return {
        "depth": first,
        "photo": f"{{date}}/{_DRIVE}/{{camera}}/data/{{frame}}.png",
        "calibration": "{date}/calib_cam_to_cam.txt",
    }


def _listed(entries: dict, listing: Path) -> dict:
    """The entries that a list names, in the list's order. Names without depth are skipped, as every evaluation does."""
    chosen = [id for id in listed_ids(listing) if id in entries]
    if not chosen:
        raise FileError(listing, f"names none of the {len(entries)} pictures found: is it for this root and split?")
    return {id: entries[id] for id in chosen}


def listed_ids(listing: Path) -> list[str]:
    """Ids drive/camera/frame from lines as "2011_09_26/2011_09_26_drive_0002_sync 0000000069 l" (monodepth2) or with whole paths (BTS)."""
    ids = []
    for line in read_text(listing).splitlines():
        drive = re.search(r"\d{4}_\d\d_\d\d_drive_\d{4}_sync", line)
        frame = re.search(r"(?:/|\s)(\d{1,10})(?:\.\w+|\s|$)", line)
        if drive and frame:
            right = re.search(r"image_03|\sr\s*$", line)
            ids.append(f"{drive[0]}/image_0{3 if right else 2}/{int(frame[1]):010d}")
    return ids


def _read_kitti(id: str, entry: Entry) -> Sample:
    image = photo(entry["photo"], id)
    camera = _kitti_camera(entry, id.split("/")[1][-2:], image.size)
    depth = io.read(entry["depth"], convention="kitti")
    return Sample(aimed(image, camera), with_camera(depth, camera), id, domain="street")


def _kitti_camera(entry: Entry, number: str, size: tuple[int, int]) -> Camera | None:
    if "calibration" not in entry:
        return None
    P = calibration(entry["calibration"])[f"P_rect_{number}"].reshape(3, 4)
    return Camera.from_opencv(P[:, :3], size[1], size[0])


def calibration(path: Path) -> dict[str, np.ndarray]:
    """The numbers of each line "name: numbers" of a KITTI calibration file; other lines are left out."""
    found = {}
    for line in read_text(path).splitlines():
        name, _, rest = line.partition(":")
        try:
            found[name.strip()] = np.array([float(word) for word in rest.split()])
        except ValueError:
            continue  # calib_time holds a date
    return found


@register("kitti-velodyne", summary="KITTI with one lidar sweep, as Eigen et al. scored it (697 pictures)", **_KITTI)
def kitti_velodyne(root: Path, listing: Path, crop: str = "kitti-garg") -> Files:
    """The raw set only: `<date>/<drive>/{image_02/data,velodyne_points/data}`, `<date>/calib_*.txt`; `listing` as for "kitti"."""
    root = checked_root(root)
    entries = {}
    for id in listed_ids(Path(listing)):
        drive, camera, frame = id.split("/")
        day = root / drive[:10]
        entries[id] = {
            "photo": day / drive / camera / "data" / f"{frame}.png",
            "points": day / drive / "velodyne_points" / "data" / f"{frame}.bin",
            "calibration": day / "calib_cam_to_cam.txt",
            "lidar": day / "calib_velo_to_cam.txt",
        }
    if not entries:
        raise FileError(listing, "expected lines with a drive and a frame, found none")
    facts = Facts(
        "one lidar sweep", "where no ray fell", "eigen", crop, cap=KITTI_CAP, note="the lidar sees past edges"
    )
    return Files("kitti-velodyne", entries, _read_velodyne, facts)


def _read_velodyne(id: str, entry: Entry) -> Sample:
    """x = P_rect R_rect T_velo X (KITTI raw devkit). Pixels count from 1 there, hence the offset that every published number shares."""
    number = id.split("/")[1][-2:]
    image = photo(entry["photo"], id)
    camera = _kitti_camera(entry, number, image.size)
    cameras, lidar = calibration(entry["calibration"]), calibration(entry["lidar"])
    to_rect = np.eye(4)
    to_rect[:3, :3] = cameras["R_rect_00"].reshape(3, 3)
    to_camera = np.eye(4)
    to_camera[:3] = np.column_stack([lidar["R"].reshape(3, 3), lidar["T"]])
    points = np.fromfile(entry["points"], np.float32).reshape(-1, 4)[:, :3]
    forward = points[points[:, 0] >= 0]
    P = cameras[f"P_rect_{number}"].reshape(3, 4) @ to_rect @ to_camera
    depth = scatter(forward, P, image.size, pixel_offset=-1.0, depths=forward[:, 0])
    return Sample(aimed(image, camera), with_camera(depth, camera), id, domain="street")


@register("kitti-selection", summary="KITTI's 1,000 cropped validation pictures (depth_selection)", **_KITTI)
def kitti_selection(root: Path) -> Files:
    """`depth_selection/val_selection_cropped/{image,groundtruth_depth,intrinsics}`, 1216 x 352."""
    base = Path(root) / "depth_selection" / "val_selection_cropped"
    files = {
        "depth": "groundtruth_depth/{drive}_sync_groundtruth_depth_{frame}_{camera}.png",
        "photo": "image/{drive}_sync_image_{frame}_{camera}.png",
        "camera": "intrinsics/{drive}_sync_image_{frame}_{camera}.txt",
    }
    entries = match(base if base.is_dir() else root, "{drive}_sync/{camera}/{frame}", files, optional=("camera",))
    facts = Facts("eleven lidar sweeps, cleaned by stereo", "0", "selection", cap=KITTI_CAP)
    return Files("kitti-selection", entries, partial(_read_plain, convention="kitti"), facts)


def _read_plain(id: str, entry: Entry, convention: str) -> Sample:
    """A street picture, its 16-bit depth, and a camera from a text file of nine numbers."""
    depth = io.read(entry["depth"], convention=convention)
    camera = None
    if "camera" in entry:
        camera = Camera.from_opencv(numbers(entry["camera"], (3, 3)), depth.size[1], depth.size[0])
    return Sample(photo(entry["photo"], id, camera), with_camera(depth, camera), id, domain="street")


@register(
    "vkitti2",
    summary="Virtual KITTI 2: rendered drives in ten lights and weathers",
    license="CC BY-NC-SA 3.0",
    paper="Cabon et al., arXiv 2001.10773",
    kind=DepthKind.METRIC,
)
def vkitti2(root: Path, variant: str = "clone", camera: str = "Camera_0") -> Files:
    """`Scene01/<variant>/frames/{rgb,depth}/<camera>/`, with `intrinsic.txt` and `extrinsic.txt` beside frames; cm, 655.35 m is sky.

    `variant`: clone, fog, rain, morning, overcast, sunset, 15-deg-left, ... or "*" for all.
    """
    light = "{light}" if variant == "*" else variant
    base = f"{{scene}}/{light}"
    files = {
        "depth": f"{base}/frames/depth/{camera}/depth_{{frame}}.png",
        "photo": f"{base}/frames/rgb/{camera}/rgb_{{frame}}.jpg",
        "camera": f"{base}/intrinsic.txt",
        "pose": f"{base}/extrinsic.txt",
    }
    entries = match(root, f"{base}/{{frame}}", files, optional=("camera", "pose"))
    facts = Facts("rendered", "none", variant, "none", cap=KITTI_CAP, sharp=True, note="sky is infinitely far")
    number = int(camera.rsplit("_", 1)[1])
    return Files("vkitti2", entries, partial(_read_vkitti, camera_number=number), facts)


def _read_vkitti(id: str, entry: Entry, camera_number: int) -> Sample:
    depth = io.read(entry["depth"], convention="vkitti")
    frame = int(id.rsplit("/", 1)[1])
    camera = pose = None
    if "camera" in entry:
        fx, fy, cx, cy = _vkitti_row(entry["camera"], frame, camera_number)
        camera = Camera.from_opencv([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], depth.size[1], depth.size[0])
    if "pose" in entry:  # world to camera
        pose = np.linalg.inv(_vkitti_row(entry["pose"], frame, camera_number).reshape(4, 4))
    return Sample(photo(entry["photo"], id, camera), with_camera(depth, camera), id, pose=pose, domain="street")


def _vkitti_row(path: Path, frame: int, camera: int) -> np.ndarray:
    """The numbers of the line that begins with frame and camera; the first line names the columns."""
    for line in read_text(path).splitlines()[1:]:
        words = line.split()
        if words[:2] == [str(frame), str(camera)]:
            return np.array([float(word) for word in words[2:]])
    raise FileError(path, f"expected a line for frame {frame} of camera {camera}, found none")


@register(
    "drivingstereo",
    summary="DrivingStereo: test set, or one of its four weathers",
    license="MIT (check the set's page)",
    paper="Yang et al., CVPR 2019",
    kind=DepthKind.METRIC,
)
def drivingstereo(root: Path, size: str = "half") -> Files:
    """`left-image-<size>-size/` with `depth-map-<size>-size/` (a weather, or the test set by drives), or `train-left-image/` with
    `train-depth-map/`; `half-image-calib/<drive>.txt` where it is. v/256 m, 0 unknown."""
    drive, calib = "{drive}_{rest}", f"{size}-image-calib/{{drive}}.txt"
    pictures, depths = f"left-image-{size}-size", f"depth-map-{size}-size"
    layouts = [
        ("{drive}_{rest}", _driving_files(f"{depths}/{drive}", f"{pictures}/{drive}", calib)),
        ("{drive}_{rest}", _driving_files(f"{depths}/{{drive}}/{drive}", f"{pictures}/{{drive}}/{drive}", calib)),
        (
            "{weather}/{drive}_{rest}",
            _driving_files(f"{{weather}}/{depths}/{drive}", f"{{weather}}/{pictures}/{drive}", calib),
        ),
        (
            "{drive}_{rest}",
            _driving_files(f"train-depth-map/{{drive}}/{drive}", f"train-left-image/{{drive}}/{drive}", calib),
        ),
    ]
    entries = first_match(root, layouts, optional=("calibration",))
    facts = Facts("lidar, filtered by stereo", "0", cap=KITTI_CAP)
    return Files("drivingstereo", entries, _read_driving, facts)


def _driving_files(depth: str, picture: str, calib: str) -> dict[str, str]:
    return {"depth": f"{depth}.png", "photo": f"{picture}.jpg", "calibration": calib}


def _read_driving(id: str, entry: Entry) -> Sample:
    depth = io.read(entry["depth"], convention="kitti")
    camera = None
    if "calibration" in entry:
        P = calibration(entry["calibration"])["P_rect_101"].reshape(3, 4)
        camera = Camera.from_opencv(P[:, :3], depth.size[1], depth.size[0])
    return Sample(photo(entry["photo"], id, camera), with_camera(depth, camera), id, domain="street")
