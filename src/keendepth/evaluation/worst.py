"""Pictures of a benchmark's worst cases: photo, prediction, ground truth and error side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage

from keendepth import viz
from keendepth.core.types import DepthMap, Image
from keendepth.evaluation.plan import slug
from keendepth.evaluation.scoring import align_to
from keendepth.evaluation.tables import Table
from keendepth.io.atomic import atomic

RANKED_BY = (("abs_rel", True), ("boundary_f1", False))  # the figure, and whether large is bad
MOST_ERROR = 0.5  # relative error that is drawn white
HEIGHT = 360  # pixels of a strip


def worst(table: Table, model: str, count: int) -> list[tuple[str, str, float]]:
    """(picture, figure, value) of the worst `count` pictures, worst first; those without the figure are left out."""
    for figure, large_is_bad in RANKED_BY:
        values = table.values(model, figure)
        known = np.flatnonzero(np.isfinite(values))
        if known.size:
            order = known[np.argsort(-values[known] if large_is_bad else values[known], kind="stable")]
            return [(table.ids[i], figure, float(values[i])) for i in order[:count]]
    return []


def strip(image: Image, prediction: DepthMap, reference: DepthMap, alignment: str) -> UInt8[np.ndarray, "h w 3"]:
    """Photo | prediction | ground truth | relative error, the two depths in one range of colours; black = no error, white = 50 % or more."""
    aligned = align_to(prediction, reference, alignment.removesuffix(" in 1/z")).depth
    both = DepthMap(np.concatenate([aligned.values, reference.values], axis=1), reference.kind)
    colours = viz.colourise(both)
    width = reference.size[1]
    with np.errstate(invalid="ignore"):
        error = np.abs(aligned.values - reference.values) / reference.values
    panels = (image.resized(*reference.size).rgb, colours[:, :width], colours[:, width:], heat(error))
    return viz.side_by_side(*(_lowered(panel) for panel in panels))


def heat(error: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Black, red, yellow, white for 0 to `MOST_ERROR`; what is not known in both is grey."""
    level = 3 * np.clip(np.nan_to_num(error, nan=0.0, posinf=MOST_ERROR), 0, MOST_ERROR) / MOST_ERROR
    colours = np.clip(level[..., None] - np.arange(3), 0, 1) * 255
    colours[np.isnan(error)] = viz.UNKNOWN[0] * 2
    return np.rint(colours).astype(np.uint8)


def _lowered(picture: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    height, width = picture.shape[:2]
    if height <= HEIGHT:
        return np.ascontiguousarray(picture)
    small = PillowImage.fromarray(np.ascontiguousarray(picture)).resize(
        (max(1, round(width * HEIGHT / height)), HEIGHT), PillowImage.Resampling.BOX
    )
    return np.asarray(small)


def write_strip(folder: Path, name: Sequence[str], picture: UInt8[np.ndarray, "h w 3"]) -> Path:
    """A PNG called after `name`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'.'.join(slug(part) for part in name)}.png"
    with atomic(path) as temporary:
        PillowImage.fromarray(picture).save(temporary, "PNG")
    return path
