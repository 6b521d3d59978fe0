"""Real pictures with ground truth from public repositories: the small set that benchmarks and tests read through `--data`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from keendepth import io
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.data import register
from keendepth.data.files import Files, aimed, checked_root, masked, numbers, photo, with_camera
from keendepth.data.indoor import NYU_CAP, NYU_K, TUM_DEFAULT
from keendepth.data.sample import Facts, Sample
from keendepth.data.stereo import read_calibration
from keendepth.io import FileError

# Metric3D's kitti_demo, fx fy cx cy of that drive.
KITTI_K = ((707.0493, 0, 604.0814), (0, 707.0493, 180.5066), (0, 0, 1))
# Middlebury 2014 Motorcycle at a quarter (its calib.txt, divided by 4): f, cx, cy, doffs in px and the baseline in metres.
MOTORCYCLE = (994.978, 311.193, 254.877, 31.086, 0.193001)


@dataclass(frozen=True)
class Pair:
    """One picture: its files (in the tables below the root), the function that makes its depth, and what it shows."""

    photo: str | Path
    depth: str | Path
    read: Callable[[Path, Image], DepthMap]
    domain: str


def _sensor(path: Path, image: Image, convention: str, K: tuple | None) -> DepthMap:
    """A 16-bit file of a sensor, with the camera that is known to have taken it."""
    camera = Camera.from_opencv(K, image.size[1], image.size[0]) if K else None
    return with_camera(io.read(path, convention=convention), camera)


def _clipped(path: Path, image: Image, **how: object) -> DepthMap:
    """NYUv2 from files in which 10 m means clipped."""
    depth = _sensor(path, image, "mm", NYU_K)
    return masked(depth, depth.values < NYU_CAP)


def _motorcycle(path: Path, image: Image) -> DepthMap:
    focal, cx, cy, offset, baseline = MOTORCYCLE
    camera = Camera.from_opencv([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], image.size[1], image.size[0])
    disparity = io.read(path, units="disparity")
    return with_camera(disparity.metric_from_stereo(focal, baseline, offset), camera)


def _disparity(path: Path, image: Image) -> DepthMap:
    return io.read(path, units="disparity")


def _calibrated(path: Path, image: Image) -> DepthMap:
    camera, baseline, offset = read_calibration(path.with_name(path.name.replace("disp0.pfm", "calib.txt")))
    disparity = io.read(path, units="disparity")
    return with_camera(disparity.metric_from_stereo(camera.fx, baseline, offset), camera)


_TUM_K = ((TUM_DEFAULT[0], 0, TUM_DEFAULT[2]), (0, TUM_DEFAULT[1], TUM_DEFAULT[3]), (0, 0, 1))
_primesense = partial(_sensor, convention="mm", K=_TUM_K)
_RGBD, _ADIRONDACK, _ETH3D = "open3d_rgbd/RGBD_", "middlebury_adirondack_cones/", "eth3d_terrace_playground/"

NYU = {
    **{
        f"metric3d/{n}": Pair(f"metric3d_nyu/rgb_{n}.jpg", f"metric3d_nyu/depth_{n}.png", _clipped, "indoor")
        for n in ("00000", "00050", "00100")
    },
    "unidepth": Pair("unidepth_demo/rgb.png", "unidepth_demo/depth.png", _clipped, "indoor"),
}
RGBD = {
    **{
        f"primesense/{n:05d}": Pair(f"{_RGBD}color_{n:05d}.jpg", f"{_RGBD}depth_{n:05d}.png", _primesense, "indoor")
        for n in range(5)
    },
    "tum": Pair(
        f"{_RGBD}other_formats_TUM_color.png",
        f"{_RGBD}other_formats_TUM_depth.png",
        partial(_sensor, convention="tum", K=_TUM_K),
        "indoor",
    ),
    "sun": Pair(
        f"{_RGBD}other_formats_SUN_color.jpg",
        f"{_RGBD}other_formats_SUN_depth.png",
        partial(_sensor, convention="sun", K=None),
        "indoor",
    ),
}
KITTI = {
    n: Pair(
        f"metric3d_kitti/rgb_{n}.png",
        f"metric3d_kitti/depth_{n}.png",
        partial(_sensor, convention="kitti", K=KITTI_K),
        "street",
    )
    for n in ("0000000005", "0000000050", "0000000100")
}
MIDDLEBURY = {
    "motorcycle": Pair(
        "middlebury_motorcycle/motorcycle_left.png",
        "middlebury_motorcycle/motorcycle_disp.npz",
        _motorcycle,
        "closeup",
    ),
    "aloe": Pair("middlebury_aloe/aloeL.jpg", "middlebury_aloe/aloeGT.png", _disparity, "closeup"),
    "adirondack": Pair(f"{_ADIRONDACK}Adirondack_left.png", f"{_ADIRONDACK}Adirondack_gt.png", _disparity, "closeup"),
    "cones": Pair(f"{_ADIRONDACK}cones_left.png", f"{_ADIRONDACK}cones_gt.png", _disparity, "closeup"),
}
ETH3D = {
    name: Pair(f"{_ETH3D}{name}_im0.png", f"{_ETH3D}{name}_disp0.pfm", _calibrated, "outdoor")
    for name in ("terrace", "playground")
}


def _family(root: Path, name: str, pairs: dict[str, Pair], facts: Facts) -> Files:
    """The pairs whose files are there."""
    root = checked_root(root)
    placed = {id: replace(pair, photo=root / pair.photo, depth=root / pair.depth) for id, pair in pairs.items()}
    found = {id: pair for id, pair in placed.items() if Path(pair.depth).is_file() and Path(pair.photo).is_file()}
    if not found:
        raise FileError(
            root, f"expected {next(iter(pairs.values())).depth} and the like, found none of {len(pairs)} pairs"
        )
    return Files(name, found, _read, facts)


def _read(id: str, pair: Pair) -> Sample:
    image = photo(Path(pair.photo), id)
    depth = pair.read(Path(pair.depth), image)
    pose = _trajectory(Path(pair.photo).parent, int(id[-1])) if "primesense/" in id else None
    return Sample(aimed(image, depth.camera), depth, id, pose=pose, domain=pair.domain)


def _trajectory(folder: Path, frame: int) -> np.ndarray | None:
    """World from camera of one frame of Open3D's trajectory.log: a line of three numbers, then a 4x4 matrix, for each."""
    path = folder / "RGBD_trajectory.log"
    return numbers(path).reshape(-1, 19)[frame, 3:].reshape(4, 4) if path.is_file() else None


_KINECT = Facts("Kinect", "0, and 10 m and beyond", "3 + 1 pictures", "nyu-eigen", cap=NYU_CAP, note="blurred at edges")
_SENSORS = Facts("structured light sensors", "0", cap=10.0, note="blurred and holed at edges")
_LIDAR = Facts("accumulated lidar", "0 (four fifths)", crop="kitti-garg", cap=80.0)
_LIGHT = Facts("structured light", "0 or inf", sharp=True, note="motorcycle is metric, the others are 8-bit disparity")
_LASER = Facts("laser scanner", "inf (half)", note="grey pictures")


@register("real-nyu", summary="four NYUv2 pairs", license="research use", kind=DepthKind.METRIC)
def real_nyu(root: Path) -> Files:
    """Metric3D's and UniDepth's demo pictures."""
    return _family(root, "real-nyu", NYU, _KINECT)


@register(
    "real-rgbd",
    summary="five PrimeSense frames in a row, TUM, SUN",
    license="MIT; CC BY 4.0; research",
    kind=DepthKind.METRIC,
)
def real_rgbd(root: Path) -> Files:
    """Open3D's test data; the five frames have poses."""
    return _family(root, "real-rgbd", RGBD, _SENSORS)


@register("real-kitti", summary="three KITTI pairs", license="CC BY-NC-SA 3.0", kind=DepthKind.METRIC)
def real_kitti(root: Path) -> Files:
    """Metric3D's demo pictures."""
    return _family(root, "real-kitti", KITTI, _LIDAR)


@register(
    "real-middlebury", summary="Motorcycle, Aloe, Adirondack, Cones", license="no formal licence; cite the papers"
)
def real_middlebury(root: Path) -> Files:
    """Motorcycle is METRIC; the others are DISPARITY, for their calibration is not at hand."""
    return _family(root, "real-middlebury", MIDDLEBURY, _LIGHT)


@register("real-eth3d", summary="two ETH3D pairs, grey", license="CC BY-NC-SA 4.0", kind=DepthKind.METRIC)
def real_eth3d(root: Path) -> Files:
    """Terrace and playground of the two-view set."""
    return _family(root, "real-eth3d", ETH3D, _LASER)


@register(
    "real", summary="all of real-nyu, real-rgbd, real-kitti, real-middlebury and real-eth3d", license="see each of them"
)
def real(root: Path) -> Files:
    """The whole family; ids open with the member's name."""
    members = {"nyu": NYU, "rgbd": RGBD, "kitti": KITTI, "middlebury": MIDDLEBURY, "eth3d": ETH3D}
    pairs = {f"{member}/{id}": pair for member, part in members.items() for id, pair in part.items()}
    facts = Facts(
        "several: see the members", "see the members", note="kinds differ: Middlebury's is disparity but for one"
    )
    return _family(root, "real", pairs, facts)
