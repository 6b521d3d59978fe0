"""Real depth reduced, then refined with its photo: our refiners next to interpolation and OpenCV's guided filter, in one table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keendepth import DepthKind, DepthMap, Image, pipeline, read, read_image, refiners
from keendepth.core import edges, geometry
from keendepth.evaluation.boundary import boundary_f1
from keendepth.evaluation.contours import pdbe
from keendepth.evaluation.metrics import accuracy

EDGE_BAND = 3  # pixels from a jump of 15 %, as in data_and_training.md, so that figures compare


def scenes(data: Path) -> dict[str, tuple[Image, DepthMap]]:
    """Middlebury pictures with metric depth; Aloe and cones have no calibration here, so their depth is in units of 100 / disparity."""
    folder, pair = data / "middlebury_motorcycle", data / "middlebury_adirondack_cones"
    loaded = np.load(folder / "motorcycle_disp.npz")
    disparity = loaded[loaded.files[0]]
    motorcycle = np.where(np.isfinite(disparity), 994.978 * 0.193001 / (disparity + 31.086), 0)
    found = {"Motorcycle": (read_image(folder / "motorcycle_left.png"), DepthMap.from_sensor(motorcycle))}
    for name, photo, truth in (
        ("Aloe", data / "middlebury_aloe/aloeL.jpg", data / "middlebury_aloe/aloeGT.png"),
        ("Adirondack", pair / "Adirondack_left.png", pair / "Adirondack_gt.png"),
        ("cones", pair / "cones_left.png", pair / "cones_gt.png"),
    ):
        found[name] = read_image(photo), read(truth, units="disparity").with_scale_and_shift(0.01, 0.0)
    return found


def opencv_guided(image: Image, depth: DepthMap) -> np.ndarray:
    import cv2  # opencv-contrib-python-headless: a peer, not a dependency

    plain = depth.resized(*image.size).values
    return cv2.ximgproc.guidedFilter(image.rgb, plain, 8, 1e-4 * 255**2)


def ways() -> dict[str, Callable[[Image, DepthMap], np.ndarray]]:
    """Every way to enlarge a depth map that is compared here."""
    found: dict[str, Callable[[Image, DepthMap], np.ndarray]] = {
        name: lambda image, depth, method=method: depth.resized(*image.size, method).values
        for name, method in (("nearest", "nearest"), ("bilinear", "linear"), ("bicubic", "cubic"))
    }
    try:
        from cv2 import ximgproc  # noqa: F401

        found["OpenCV guided filter"] = opencv_guided
    except ImportError:
        print("(OpenCV with ximgproc is not installed: its row is left out)")
    for name in refiners.alone():
        found[f"keendepth {name}"] = lambda image, depth, name=name: pipeline.refine(image, depth, name).values
    return found


def score(values: np.ndarray, truth: DepthMap) -> dict[str, float]:
    prediction = DepthMap(np.maximum(values, 1e-3), DepthKind.METRIC)  # OpenCV's filter overshoots below zero
    near = edges.boundary_distance(edges.depth_edges(truth.filled().values, 1.15)) <= EDGE_BAND
    shared = near & truth.valid & prediction.valid
    edge_error = float(np.abs(np.log(values[shared] / truth.values[shared])).mean())
    figures = accuracy(prediction, truth) | boundary_f1(prediction, truth) | pdbe(prediction, truth)
    return {"rmse": figures["rmse"], "abs_rel": figures["abs_rel"], "edge_log": edge_error, **_sharp(figures)}


def _sharp(figures: dict[str, float]) -> dict[str, float]:
    return {name: figures[name] for name in ("boundary_f1", "pdbe_acc", "pdbe_comp")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--factor", type=int, nargs="+", default=[8])
    parser.add_argument("--reduce", choices=("area", "nearest"), default="area")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for factor in options.factor:
        for name, (image, truth) in scenes(options.data).items():
            size = -(-truth.size[0] // factor), -(-truth.size[1] // factor)
            whole = truth.filled()
            small = whole.with_values(geometry.resize(whole.values, size, options.reduce))
            for way, enlarge in ways().items():
                rows.append({"scene": name, "factor": factor, "way": way, **score(enlarge(image, small), truth)})
    print_table(rows, options.reduce)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2))


def print_table(rows: list[dict], reduce: str) -> None:
    print(
        f"Ground truth (holes filled) reduced by {reduce}, enlarged again with the photo; scored where the truth is known."
    )
    print(
        "RMSE in m (Motorcycle) or units of 100/px; edge = mean |ln ratio| within 3 px of a 15 % jump; F1 = Depth Pro's.\n"
    )
    print(
        "| scene | x | way | RMSE | / bicubic | AbsRel | edge | F1 | PDBE acc | PDBE comp |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        same = [r for r in rows if (r["scene"], r["factor"], r["way"]) == (row["scene"], row["factor"], "bicubic")]
        ratio = row["rmse"] / same[0]["rmse"]
        print(
            f"| {row['scene']} | {row['factor']} | {row['way']} | {row['rmse']:.4f} | {ratio:.2f} | {row['abs_rel']:.4f} "
            f"| {row['edge_log']:.4f} | {row['boundary_f1']:.3f} | {row['pdbe_acc']:.2f} | {row['pdbe_comp']:.2f} |"
        )


if __name__ == "__main__":
    main()
