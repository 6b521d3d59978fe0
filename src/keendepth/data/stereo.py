"""Stereo and multi-view benchmarks: ETH3D in two forms, Middlebury 2005 to 2021."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from keendepth import io
from keendepth.core.types import Camera, DepthKind, DepthMap
from keendepth.data import register
from keendepth.data.files import (
    Entry,
    Files,
    aimed,
    checked_root,
    first_match,
    match,
    metres,
    photo,
    read_text,
    rigid,
    table,
    with_camera,
)
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

# Middlebury 2005 and 2006 (Scharstein and Pal; Hirschmueller and Scharstein, CVPR 2007): px of the full size, and metres.
MIDDLEBURY_2006_FOCAL, MIDDLEBURY_2006_BASELINE = 3740.0, 0.160
FULL_SIZE_WIDTH = 1000  # full-size pictures have 1240 to 1396 columns, half-size 620 to 698

_ETH3D = {"license": "CC BY-NC-SA 4.0", "paper": "Schoeps et al., CVPR 2017", "kind": DepthKind.METRIC}
_MIDDLEBURY = {"license": "no formal licence; cite the papers"}


@register("eth3d", summary="ETH3D high-resolution multi-view, training, 6048 x 4032", **_ETH3D)
def eth3d(root: Path) -> Files:
    """`<scene>/{images,ground_truth_depth}/dslr_images/<name>.JPG` (the depth is bare float32) with `dslr_calibration_jpg/`."""
    files = {
        "depth": "{scene}/ground_truth_depth/dslr_images/{name}.JPG",
        "photo": "{scene}/images/dslr_images/{name}.JPG",
        "cameras": "{scene}/dslr_calibration_jpg/cameras.txt",
        "poses": "{scene}/dslr_calibration_jpg/images.txt",
    }
    entries = match(root, "{scene}/{name}", files, optional=("cameras", "poses"))
    facts = Facts(
        "laser scanner", "inf and 0", "training", sharp=True, note="the lens is distorted: the camera is close"
    )
    return Files("eth3d", entries, _read_eth3d, facts)


def _read_eth3d(id: str, entry: Entry) -> Sample:
    image = photo(entry["photo"], id)
    camera, pose = None, None
    if "cameras" in entry and "poses" in entry:
        camera, pose = colmap(entry["cameras"], entry["poses"], f"dslr_images/{id.split('/')[1]}.JPG")
        image = aimed(image, camera)
    values = np.fromfile(entry["depth"], "<f4")
    if values.size != image.size[0] * image.size[1]:
        raise FileError(
            entry["depth"],
            f"expected {image.size[0] * image.size[1]} floats, as the picture has pixels, found {values.size}",
        )
    values = np.where(np.isfinite(values), values, 0).reshape(image.size)
    return Sample(image, metres(values, camera), id, pose=pose)


def colmap(cameras: Path, poses: Path, name: str) -> tuple[Camera, np.ndarray]:
    """The camera (its lens distortion left out; source "approximate") and world-from-camera [4 4] of one picture of a COLMAP text model."""
    found = next((words for words in table(poses) if len(words) == 10 and words[9] == name), None)
    if found is None:
        raise FileError(poses, f"expected a line for {name}, found none")
    line = next((words for words in table(cameras) if words[0] == found[8]), None)
    if line is None:
        raise FileError(cameras, f"expected camera {found[8]}, found none")
    width, height, fx, fy, cx, cy = map(float, line[2:8])
    camera = Camera(fx, fy, cx, cy, int(width), int(height), "approximate")  # COLMAP's pixel centres are at halves too
    pose = rigid([float(word) for word in found[1:5]], [float(word) for word in found[5:8]])
    return camera, np.linalg.inv(pose)


@register("eth3d-stereo", summary="ETH3D low-resolution two-view, training, grey", **_ETH3D)
def eth3d_stereo(root: Path) -> Files:
    """`two_view_training/<scene>/{im0.png,calib.txt}` with `disp0GT.pfm` and `mask0nocc.png` from `two_view_training_gt/`, or all in one."""
    root = checked_root(root)
    base = {"photo": "two_view_training/{scene}/im0.png", "calibration": "two_view_training/{scene}/calib.txt"}
    truth = {"depth": "two_view_training_gt/{scene}/disp0GT.pfm", "seen": "two_view_training_gt/{scene}/mask0nocc.png"}
    together = {
        "depth": "{scene}/disp0GT.pfm",
        "photo": "{scene}/im0.png",
        "calibration": "{scene}/calib.txt",
        "seen": "{scene}/mask0nocc.png",
    }
    entries = first_match(root, [("{scene}", {**truth, **base}), ("{scene}", together)], optional=("seen",))
    facts = Facts("laser scanner", "inf", "training", sharp=True)
    return Files("eth3d-stereo", entries, read_stereo, facts)


@register(
    "middlebury",
    summary="Middlebury 2014, 2021 and MiddEval3: structured light, sharp to a fraction of a pixel",
    paper="Scharstein et al., GCPR 2014",
    kind=DepthKind.METRIC,
    **_MIDDLEBURY,
)
def middlebury(root: Path) -> Files:
    """`<scene>/{im0.png,disp0.pfm,calib.txt}` (2014, 2021) or `<scene>/{im0.png,disp0GT.pfm,calib.txt}` (MiddEval3's trainingF, H, Q)."""
    files = {"photo": "{scene}/im0.png", "calibration": "{scene}/calib.txt"}
    layouts = [
        ("{scene}", {"depth": "{scene}/disp0.pfm", **files}),
        ("{scene}", {"depth": "{scene}/disp0GT.pfm", "seen": "{scene}/mask0nocc.png", **files}),
    ]
    entries = first_match(root, layouts, optional=("seen",))
    facts = Facts("structured light", "inf", "all with truth", sharp=True, note="z = f B / (d + doffs)")
    return Files("middlebury", entries, read_stereo, facts)


def read_stereo(id: str, entry: Entry) -> Sample:
    """METRIC depth from a float disparity and calib.txt; region "nonoccluded" where the other camera sees it too."""
    camera, baseline, offset = read_calibration(entry["calibration"])
    depth = io.read(entry["depth"], units="disparity").metric_from_stereo(camera.fx, baseline, offset)
    regions = {}
    if "seen" in entry:
        regions["nonoccluded"] = photo(entry["seen"], id).rgb[..., 0] == 255
    return Sample(photo(entry["photo"], id, camera), with_camera(depth, camera), id, regions=regions)


def read_calibration(path: Path) -> tuple[Camera, float, float]:
    """(camera, baseline in metres, offset of the principal points in pixels) from Middlebury's calib.txt, where lengths are mm."""
    found = dict(re.findall(r"^(\w+)\s*=\s*(.+)$", read_text(path), re.MULTILINE))
    try:
        K = np.array([float(word) for word in re.findall(r"[-+.\deE]+", found["cam0"])]).reshape(3, 3)
        camera = Camera.from_opencv(K, int(found["width"]), int(found["height"]))
        return camera, float(found["baseline"]) / 1000, float(found["doffs"])
    except (KeyError, ValueError) as error:
        raise FileError(
            path, f"expected cam0, width, height, baseline and doffs, found something else ({error})"
        ) from error


@register(
    "middlebury-2006",
    summary="Middlebury 2005 and 2006, any size: 8-bit disparity",
    paper="Hirschmueller and Scharstein, CVPR 2007",
    kind=DepthKind.DISPARITY,
    **_MIDDLEBURY,
)
def middlebury_2006(root: Path) -> Files:
    """`<scene>/{view1.png,disp1.png}`, and `dmin.txt`. 0 is unknown; the steps are pixels of the full size, whatever the size.

    Full-size scenes with `dmin.txt`, the disparity that the crop took away, are METRIC; the others are DISPARITY.
    """
    files = {"depth": "{scene}/disp1.png", "photo": "{scene}/view1.png", "offset": "{scene}/dmin.txt"}
    entries = match(root, "{scene}", files, optional=("offset",))
    facts = Facts(
        "structured light", "0", note="1 px steps limit thin edges; without dmin.txt known up to an affine map"
    )
    return Files("middlebury-2006", entries, _read_2006, facts)


def _read_2006(id: str, entry: Entry) -> Sample:
    depth: DepthMap = io.read(entry["depth"], units="disparity")
    if "offset" in entry and depth.size[1] > FULL_SIZE_WIDTH:
        offset = float(read_text(entry["offset"]).split()[0])
        depth = depth.metric_from_stereo(MIDDLEBURY_2006_FOCAL, MIDDLEBURY_2006_BASELINE, offset)
    return Sample(photo(entry["photo"], id), depth, id, domain="closeup")
