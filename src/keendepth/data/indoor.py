"""Indoor data sets, and DIODE with its outdoor half: NYUv2, iBims-1, DIODE, TUM RGB-D, ScanNet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from keendepth import io
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.data import register
from keendepth.data.files import (
    Entry,
    Files,
    aimed,
    checked_root,
    hdf5_item,
    masked,
    match,
    metres,
    natural,
    numbers,
    photo,
    rigid,
    table,
    with_camera,
)
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

# NYUv2 toolbox, camera_params.m: the colour camera of the 640 x 480 frames.
NYU_K = ((518.85790117450188, 0, 325.58244941119034), (0, 519.46961112127485, 253.73616633400465), (0, 0, 1))
NYU_CAP = 10.0  # metres; where the Kinect's range ends and files are clipped

# DIODE devkit, intrinsics.txt: 60 and 45 degrees over 1024 x 768.
DIODE_K = ((886.81, 0, 512), (0, 927.06, 384), (0, 0, 1))

# TUM RGB-D, "Intrinsic camera calibration of the Kinect": fx fy cx cy of the colour cameras; the default is ROS's.
TUM_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
TUM_DEFAULT = (525.0, 525.0, 319.5, 239.5)
TUM_SECONDS = 0.02  # of associate.py: pictures farther apart in time do not belong together

_NYU_CARD = {"license": "research use; no explicit licence", "kind": DepthKind.METRIC}
_NYU_PAPER = "Silberman et al., ECCV 2012"


@register("nyu", summary="NYUv2 as 16-bit PNG (BTS folders), 654 test pictures", paper=_NYU_PAPER, **_NYU_CARD)
def nyu(root: Path, split: str = "test") -> Files:
    """`<split>/<scene>/rgb_00045.jpg` with `sync_depth_00045.png`, millimetres; 0 and what is clipped at 10 m are unknown."""
    root = checked_root(root)
    base = root / split if (root / split).is_dir() else root
    files = {"depth": "{scene}/sync_depth_{frame}.png", "photo": "{scene}/rgb_{frame}.jpg"}
    return Files("nyu", match(base, "{scene}/{frame}", files), read_nyu, _nyu_facts(split))


def read_nyu(id: str, entry: Entry) -> Sample:
    """A NYUv2 pair in millimetres with the toolbox's camera; what is clipped at 10 m is unknown."""
    camera = Camera.from_opencv(NYU_K, 640, 480)
    depth = with_camera(io.read(entry["depth"], convention="mm"), camera)
    return Sample(photo(entry["photo"], id, camera), masked(depth, depth.values < NYU_CAP), id, domain="indoor")


def _nyu_facts(split: str) -> Facts:
    return Facts(
        "Kinect", "0, and 10 m and beyond", split, "nyu-eigen", cap=NYU_CAP, note="edges are blurred and holed"
    )


@register("nyu-mat", summary="NYUv2 from nyu_depth_v2_labeled.mat", paper=_NYU_PAPER, **_NYU_CARD)
def nyu_mat(root: Path, split: str = "test") -> Files:
    """`nyu_depth_v2_labeled.mat` with `splits.mat` beside it (needs h5py); ids are the toolbox's numbers from 1, depth is `rawDepths`."""
    root = checked_root(root)
    from scipy.io import loadmat

    splits = root / "splits.mat"
    if not splits.is_file():
        raise FileError(splits, "no such file: it comes with the NYUv2 toolbox and holds trainNdxs and testNdxs")
    chosen = loadmat(splits)[f"{split}Ndxs"].ravel()
    entries = {f"{number:04d}": (root / "nyu_depth_v2_labeled.mat", int(number) - 1) for number in sorted(chosen)}
    return Files("nyu-mat", entries, _read_nyu_mat, _nyu_facts(split))


def _read_nyu_mat(id: str, entry: tuple[Path, int]) -> Sample:
    path, index = entry
    camera = Camera.from_opencv(NYU_K, 640, 480)
    rgb = np.ascontiguousarray(hdf5_item(path, "images", index).transpose(2, 1, 0))  # MATLAB: colour, column, row
    depth = metres(np.ascontiguousarray(hdf5_item(path, "rawDepths", index).T), camera)
    return Sample(Image(rgb, camera, id), masked(depth, depth.values < NYU_CAP), id, domain="indoor")


IBIMS_LABELS = ("edges", "mask_wall", "mask_floor", "mask_table")


@register(
    "ibims",
    summary="iBims-1: 100 laser-scanned rooms with edges and planes",
    license="CC BY-NC-SA 4.0 (check the set's page)",
    paper="Koch et al., ECCV Workshops 2018",
    kind=DepthKind.METRIC,
)
def ibims(root: Path) -> Files:
    """`ibims1_core_raw/{rgb,depth,calib,edges,mask_*}/<name>.png`, or `ibims1_core_mat/<name>.mat`.

    Unknown is 0, and what `mask_invalid` or `mask_transp` (glass, mirrors) put at 0. Regions: "edges" (bool) and the numbered
    planes "wall", "floor", "table".
    """
    facts = Facts(
        "laser scanner", "0, and outside mask_invalid and mask_transp", crop="none", cap=50.0, sharp=True
    )  # the PNG ends at 50 m
    root = checked_root(root)
    raw, mat = root / "ibims1_core_raw", root / "ibims1_core_mat"
    if mat.is_dir() and not raw.is_dir():
        return Files("ibims", match(mat, "{name}", {"mat": "{name}.mat"}), _read_ibims_mat, facts)
    masks = {name: f"{name}/{{name}}.png" for name in (*IBIMS_LABELS, "mask_invalid", "mask_transp")}
    files = {"depth": "depth/{name}.png", "photo": "rgb/{name}.png", "camera": "calib/{name}.txt", **masks}
    entries = match(raw if raw.is_dir() else root, "{name}", files, optional=("camera", *masks))
    return Files("ibims", entries, _read_ibims, facts)


def _read_ibims(id: str, entry: Entry) -> Sample:
    depth = io.read(entry["depth"], convention="ibims")
    labels = {name: _grey(entry[name]) for name in entry if name.startswith(("edges", "mask_"))}
    camera = None
    if "camera" in entry:
        fx, fy, cx, cy = numbers(entry["camera"], (4,))
        camera = Camera.from_opencv(_K(fx, fy, cx, cy), depth.size[1], depth.size[0])
    return _ibims_sample(id, photo(entry["photo"], id, camera), with_camera(depth, camera), labels)


def _read_ibims_mat(id: str, entry: Entry) -> Sample:
    from scipy.io import loadmat

    content = loadmat(entry["mat"], squeeze_me=True)["data"]
    fields = {name: content[name].item() for name in content.dtype.names}
    height, width = fields["depth"].shape
    camera = Camera.from_opencv(fields["calib"], width, height)
    labels = {name: fields[name] for name in (*IBIMS_LABELS, "mask_invalid", "mask_transp") if name in fields}
    image = Image(np.ascontiguousarray(fields["rgb"]), camera, id)
    return _ibims_sample(id, image, metres(fields["depth"], camera), labels)


def _ibims_sample(id: str, image: Image, depth: DepthMap, labels: dict[str, np.ndarray]) -> Sample:
    known = np.ones(depth.size, bool)
    for name in ("mask_invalid", "mask_transp"):
        known &= labels.get(name, known) > 0
    regions = {name.removeprefix("mask_"): labels[name] for name in IBIMS_LABELS if name in labels}
    if "edges" in regions:
        regions["edges"] = regions["edges"] > 0
    return Sample(image, masked(depth, known), id, regions=regions, domain="indoor")


def _grey(path: Path) -> np.ndarray:
    """Labels of an 8-bit or 1-bit picture."""
    from PIL import Image as PillowImage

    with PillowImage.open(path) as picture:
        return np.asarray(picture.convert("L") if picture.mode == "1" else picture)


def _K(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


@register(
    "diode",
    summary="DIODE: laser scans in and out of doors",
    license="MIT",
    paper="Vasiljevic et al., arXiv 1908.00463",
    kind=DepthKind.METRIC,
)
def diode(root: Path, split: str = "val", place: str | None = None) -> Files:
    """`<split>/{indoors,outdoor}/scene_*/scan_*/<name>.png` with `<name>_depth.npy` and `<name>_depth_mask.npy`; `place` takes one half."""
    base = checked_root(root) / split
    stem = f"{place or '{place}'}/{{scene}}/{{scan}}/{{name}}"
    files = {"depth": stem + "_depth.npy", "valid": stem + "_depth_mask.npy", "photo": stem + ".png"}
    facts = Facts("laser scanner", "mask 0", split, cap=350.0, note="the scanner's range is 350 m; spray at edges")
    return Files("diode", match(base, stem, files), _read_diode, facts)


def _read_diode(id: str, entry: Entry) -> Sample:
    camera = Camera.from_opencv(DIODE_K, 1024, 768)
    image = photo(entry["photo"], id)
    camera = camera.resized(*image.size)
    valid = np.load(entry["valid"]) > 0
    depth = masked(metres(np.load(entry["depth"]).reshape(image.size), camera), valid.reshape(image.size))
    return Sample(aimed(image, camera), depth, id, domain="indoor" if "indoors" in id else "outdoor")


@register(
    "tum",
    summary="TUM RGB-D sequences, pictures and depth joined by time stamps",
    license="CC BY 4.0",
    paper="Sturm et al., IROS 2012",
    kind=DepthKind.METRIC,
)
def tum(root: Path) -> Files:
    """A sequence (`rgb.txt`, `depth.txt`, perhaps `groundtruth.txt`), or a folder of them; v/5000 m, 0 unknown."""
    root = checked_root(root)
    sequences = [root] if (root / "rgb.txt").is_file() else sorted(path.parent for path in root.glob("*/rgb.txt"))
    entries = {id: entry for sequence in sequences for id, entry in _tum_pairs(sequence).items()}
    if not entries:
        raise FileError(root, "expected rgb.txt and depth.txt with time stamps that agree, found none")
    facts = Facts("Kinect", "0", cap=10.0, note="colour and depth up to 20 ms apart")
    return Files("tum", entries, _read_tum, facts)


def _tum_pairs(sequence: Path) -> dict[str, dict]:
    """Each colour picture with the depth nearest in time; a depth serves the nearest picture only."""
    colour, depth = (table(sequence / name) for name in ("rgb.txt", "depth.txt"))
    if not colour or not depth:
        return {}
    stamps = np.array([float(words[0]) for words in colour])
    poses = table(sequence / "groundtruth.txt") if (sequence / "groundtruth.txt").is_file() else []
    times = np.array([float(words[0]) for words in poses])
    pairs: dict[str, dict] = {}
    for words in depth:
        nearest = int(np.abs(stamps - float(words[0])).argmin())
        if abs(stamps[nearest] - float(words[0])) <= TUM_SECONDS:
            stamp, name = colour[nearest][:2]
            entry = {"photo": sequence / name, "depth": sequence / words[1], "pose": _tum_pose(stamp, times, poses)}
            entry["gap"] = abs(stamps[nearest] - float(words[0]))
            id = f"{sequence.name}/{stamp}"
            if id not in pairs or entry["gap"] < pairs[id]["gap"]:
                pairs[id] = entry
    return {id: pairs[id] for id in sorted(pairs, key=natural)}


def _tum_pose(stamp: str, times: np.ndarray, poses: list[list[str]]) -> np.ndarray | None:
    """World from camera at the time nearest to `stamp`: a line is time tx ty tz qx qy qz qw."""
    if not poses or np.abs(times - float(stamp)).min() > TUM_SECONDS:
        return None
    tx, ty, tz, qx, qy, qz, qw = map(float, poses[int(np.abs(times - float(stamp)).argmin())][1:8])
    return rigid((qw, qx, qy, qz), (tx, ty, tz))


def _read_tum(id: str, entry: dict) -> Sample:
    depth = io.read(entry["depth"], convention="tum")
    K = next((K for name, K in TUM_CAMERAS.items() if name in id), TUM_DEFAULT)
    camera = Camera.from_opencv(_K(*K), 640, 480).resized(*depth.size)
    return Sample(
        photo(entry["photo"], id, camera), with_camera(depth, camera), id, pose=entry["pose"], domain="indoor"
    )


@register(
    "scannet",
    summary="ScanNet as its SensReader exports it",
    license="ScanNet terms of use (non-commercial research)",
    paper="Dai et al., CVPR 2017",
    kind=DepthKind.METRIC,
)
def scannet(root: Path) -> Files:
    """`<scene>/{color,depth,pose,intrinsic}/`; millimetres, 0 unknown; depth is smaller than the picture."""
    files = {
        "depth": "{scene}/depth/{frame}.png",
        "photo": "{scene}/color/{frame}.jpg",
        "pose": "{scene}/pose/{frame}.txt",
        "camera": "{scene}/intrinsic/intrinsic_color.txt",
        "depth_camera": "{scene}/intrinsic/intrinsic_depth.txt",
    }
    entries = match(root, "{scene}/{frame}", files, optional=("pose", "camera", "depth_camera"))
    facts = Facts("Structure sensor", "0", cap=10.0, note="colour and depth come from two cameras")
    return Files("scannet", entries, _read_scannet, facts)


def _read_scannet(id: str, entry: Entry) -> Sample:
    image, depth = photo(entry["photo"], id), io.read(entry["depth"], convention="scannet")
    if "camera" in entry:
        image = replace(image, camera=Camera.from_opencv(numbers(entry["camera"], (4, 4)), *image.size[::-1]))
    if "depth_camera" in entry:
        depth = replace(depth, camera=Camera.from_opencv(numbers(entry["depth_camera"], (4, 4)), *depth.size[::-1]))
    pose = numbers(entry["pose"], (4, 4)) if "pose" in entry else None
    if pose is not None and not np.isfinite(pose).all():
        pose = None  # -inf where the tracking was lost
    return Sample(image, depth, id, pose=pose, domain="indoor")
