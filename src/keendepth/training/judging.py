"""What a refiner in training is judged by: fixed views of held-out scenes, and figures of one batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from torch import Tensor

from keendepth.core.types import DepthKind, DepthMap
from keendepth.evaluation.boundary import boundary_f1
from keendepth.training.degrade import Degrade, Mixture
from keendepth.training.recipe import Batch
from keendepth.training.scenes import SceneCache
from keendepth.training.views import KINDS, View, ViewOptions, Views, collate

VALIDATED = ("sensor", "predicted", "clean")  # kinds of input that are looked at, each by itself
SEED = 20_240_917
FARTHEST = 100  # pixels farther than this multiple of the nearest are not scored, and no depth counts as farther
FIGURES = ("ratio", "sensor_ratio", "predicted_ratio", "abs_rel", "boundary_f1", "input_f1", "harm")


def validation_batches(
    scenes: Sequence[SceneCache], options: ViewOptions, count: int, size: int
) -> list[dict[str, Tensor]]:
    """About `count` fixed views of `scenes`, `size` in a batch, each batch of one kind of input; none without scenes."""
    if not sum(map(len, scenes)):
        return []
    batches = []
    for number, kind in enumerate(VALIDATED):
        mixture = Mixture(**{entry.name: float(entry.name == kind) for entry in fields(Mixture)})
        made = replace(options, degrade=Degrade(mixture))
        views = Views(scenes, [], made, size, SEED)
        drawn: list[View] = [
            views.view(np.random.default_rng([SEED, number, k])) for k in range(max(1, count // len(VALIDATED)))
        ]
        batches += [collate(drawn[k : k + size], made, labelled=False) for k in range(0, len(drawn), size)]
    return batches


def figures(batch: Batch, depth: Tensor) -> dict[str, float]:
    """Means over the pictures of a batch, NaN for what none of them can give.

    ratio: RMSE of nearness over that of the input, below 1 is better (also by kind); abs_rel; boundary_f1 (Depth Pro's) and input_f1, what
    the input had; harm: mean |ln z/z*| near the edges of perfect inputs, 0 at best.
    """
    names = [KINDS[int(kind)] for kind in batch["kind"]]
    rows = [_figures(name, *_numpy(batch, depth, k)) for k, name in enumerate(names)]
    return {key: _mean([row[key] for row in rows if key in row]) for key in FIGURES}


def _numpy(
    batch: Batch, depth: Tensor, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """(refined, input, truth) as nearness [h w] of picture k, and (valid, near an edge)."""
    bottom, span = batch["units"][k].tolist()
    maps = (
        x[k, 0].float().cpu().numpy() * np.float32(span) + np.float32(bottom)
        for x in (depth, batch["low"], batch["target"])
    )
    valid, weight = batch["valid"][k, 0].cpu().numpy(), batch["edge_weight"][k, 0].cpu().numpy()
    return (*maps, (valid, weight > 1))


def _figures(
    kind: str, found: np.ndarray, given: np.ndarray, truth: np.ndarray, regions: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """What one view adds to the figures of `SddrRecipe.validate`."""
    valid, edge = regions
    floor = np.float32(
        max(float(truth[valid].max(initial=0)) / 1000, 1e-9)
    )  # sky is 1000 times as far as the nearest thing
    seen = valid & (truth > floor)
    if not seen.any():
        return {}
    z, z_given, z_truth = (1 / np.maximum(x, floor) for x in (found, given, truth))
    if kind == "clean":
        close = seen & edge
        return {"harm": float(np.abs(np.log(z[close] / z_truth[close])).mean())} if close.any() else {}
    before, after = (float(np.sqrt(np.mean((x - truth)[valid] ** 2))) for x in (given, found))
    ratio = after / before if before > 0 else float("nan")
    maps = (DepthMap(x, DepthKind.METRIC) for x in (z, z_given, z_truth))
    ours, theirs, reference = maps
    return {
        "ratio": ratio,
        f"{kind}_ratio": ratio,
        "abs_rel": float((np.abs(z - z_truth) / z_truth)[seen].mean()),
        "boundary_f1": boundary_f1(ours, reference)["boundary_f1"],
        "input_f1": boundary_f1(theirs, reference)["boundary_f1"],
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
