"""Before/after pictures for the documentation: photo, the base model's depth, and refined depth, whole and with the crop where they differ most; last, how
far off the last model expects to be, where it says so (black: least, yellow: most)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from keendepth import pipeline, read_image, viz
from keendepth.core import geometry
from keendepth.core.types import DepthMap

SIDE = 330  # pixels of a panel's longer side
CROP = 0.3  # of the longer side: what the second row shows
GAP = 6


def main() -> None:
    """One JPEG per photo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["indoor-small", "indoor-small+median", "indoor-small+sddr"])
    parser.add_argument("--prefix", default="refined", help="of the files' names")
    parser.add_argument("--longest", type=int, default=1600, help="photos are reduced to this first")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    pipes = [pipeline.load(name) for name in given.models]
    for path in given.photos:
        image = read_image(path)
        image = image.resized(*geometry.fit_inside(image.size, given.longest))
        sheet = compared(image.rgb, [pipe(image) for pipe in pipes])
        Pillow.fromarray(sheet).save(given.out / f"{given.prefix}-{path.stem}.jpg", quality=80)


def compared(photo: np.ndarray, maps: list[DepthMap]) -> np.ndarray:
    """Two rows of panels: the whole pictures, and the square in which the last map differs most from the first."""
    between = viz.span(maps[0])
    panels = [photo, *(viz.colourise(one, between=between) for one in maps)]
    if maps[-1].expected_error is not None:
        panels.append(expected(maps[-1].expected_error))
    change = np.abs(maps[-1].inverse() - maps[0].inverse())
    top, left, side = busiest(np.where(np.isfinite(change), change, 0), round(CROP * max(photo.shape[:2])))
    scale = SIDE / max(photo.shape[:2])
    whole = [_scaled(x, (round(photo.shape[0] * scale), round(photo.shape[1] * scale))) for x in panels]
    width = whole[0].shape[1]
    close = [_scaled(x[top : top + side, left : left + side], (width, width)) for x in panels]
    return np.concatenate([_row(whole), _row(close)], axis=0)


def expected(error: np.ndarray) -> np.ndarray:
    """Expected errors in colours, from their least to their largest."""
    known = np.isfinite(error)
    low, high = float(error[known].min()), float(error[known].max())
    index = np.where(known, (error - low) / max(high - low, 1e-6), 0) * 255
    return viz.colour_bar("inferno", 256)[np.clip(index, 0, 255).astype(np.uint8)]


def busiest(change: np.ndarray, side: int) -> tuple[int, int, int]:
    """(top, left, side) of the square with the largest sum of `change`."""
    side = min(side, *change.shape)
    total = np.pad(change.astype(float).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), side


def _scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Pillow.fromarray(picture).resize(size[::-1], Pillow.Resampling.LANCZOS))


def _row(panels: list[np.ndarray]) -> np.ndarray:
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    row = np.concatenate([x for panel in panels for x in (panel, gap)][:-1], axis=1)
    return np.concatenate([row, np.full((GAP, row.shape[1], 3), 255, np.uint8)], axis=0)


if __name__ == "__main__":
    main()
