"""The default pipeline on four real NYUv2 pictures: metric and aligned error, and sharpness, next to the network alone."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from keendepth import DepthMap, Image, load, read, read_image
from keendepth.evaluation.boundary import sharpness
from keendepth.evaluation.metrics import accuracy

MODELS = (
    "indoor-small",
    "indoor-small+median",
    "indoor-small+bilateral",
    "indoor-small+guided",
    "indoor-small+poisson",
)


def pictures(data: Path) -> list[tuple[Image, DepthMap]]:
    """Photos with Kinect depth; 10 m is where one of the files was clipped, so it counts as unknown."""
    nyu, demo = data / "metric3d_nyu", data / "unidepth_demo"
    pairs = [(nyu / f"rgb_{name}.jpg", nyu / f"depth_{name}.png") for name in ("00000", "00050", "00100")]
    pairs.append((demo / "rgb.png", demo / "depth.png"))
    found = []
    for photo, truth in pairs:
        depth = read(truth, units="mm")
        found.append((read_image(photo), depth.with_values(np.where(depth.values < 10, depth.values, np.nan))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print("Mean of 4 NYUv2 pictures (spread over pictures). Their size rule was chosen on them; the refiner was not.\n")
    print(
        "| model | AbsRel | aligned AbsRel | delta1 | Depth Pro F1 | PDBE acc | PDBE comp | EdgeComp |\n|---|---|---|---|---|---|---|---|"
    )
    for model in MODELS:
        rows = [one(load(model)(image), truth) for image, truth in pictures(options.data)]
        cells = [f"{np.mean(column):.4f} ({np.std(column):.4f})" for column in np.array(rows).T]
        print(f"| {model} | {' | '.join(cells)} |")


def one(depth: DepthMap, truth: DepthMap) -> list[float]:
    raw, aligned = accuracy(depth, truth), accuracy(depth, truth, alignment="scale_shift")
    sharp = sharpness(depth, truth, alignment="scale_shift")
    return [
        raw["abs_rel"],
        aligned["abs_rel"],
        raw["delta1"],
        *(sharp[name] for name in ("boundary_f1", "pdbe_acc", "pdbe_comp", "edge_comp")),
    ]


if __name__ == "__main__":
    main()
