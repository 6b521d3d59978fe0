"""What a sharpener and a generative model in training are judged by, and how far off a difference map says that depth is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float32
from torch import Tensor

from keendepth.core import align
from keendepth.core.monotone import Curve, fit_curve
from keendepth.core.types import DepthKind, DepthMap
from keendepth.evaluation.boundary import boundary_f1
from keendepth.refiners.restore import Far, Space, Span, brought_back, departure, mixed, share
from keendepth.refiners.sharp_network import SharpFacts
from keendepth.refiners.space import near_map
from keendepth.training.recipe import Batch

Map = Float32[np.ndarray, "h w"]
SAMPLED = 20_000  # pixels of one picture that a calibration looks at


def sharpened_figures(batch: Batch, sharp: Tensor, difference: Tensor, use: SharpFacts) -> dict[str, float]:
    """Means over the pictures of a batch, of depth in metres as `refiners.sharp` gives it, without alignment.

    edge_ratio: mean |ln z/z*| within 3 pixels of an occlusion over that of the metric teacher, below 1 is better; abs_rel and
    boundary_f1 (Depth Pro's), and the teacher's own.
    """
    rows = []
    for base, found, _, truth, edge in _in_use(batch, sharp, difference, use):
        before, after, exact = (_metric(x) for x in (base.values, found, near_map(truth).values))
        seen = before.valid & after.valid & exact.valid
        if not seen.any():
            continue
        off = {
            name: np.abs(np.log(x.values[seen] / exact.values[seen])) for name, x in (("new", after), ("old", before))
        }
        close = edge[seen]
        worse = float(off["old"][close].mean()) if close.any() else 0.0
        rows.append({
            "edge_ratio": float(off["new"][close].mean()) / worse if worse > 0 else float("nan"),
            "abs_rel": _abs_rel(after, exact, seen), "input_abs_rel": _abs_rel(before, exact, seen),
            "boundary_f1": boundary_f1(after, exact)["boundary_f1"], "input_f1": boundary_f1(before, exact)["boundary_f1"],
        })  # fmt: skip
    return _means(rows, ("edge_ratio", "abs_rel", "input_abs_rel", "boundary_f1", "input_f1"))


def in_metres(base: DepthMap, start: DepthMap, answer: Map, difference: Map, use: SharpFacts) -> tuple[Map, Map]:
    """(a sharpener's answer for one picture in the unit of `base`, as the refiner gives it by default; difference). `start`: what it saw."""
    far, seen = Far.of(base, use.space), Far.of(start, use.space).values
    span, whole = Span.of(seen), Span.of(far.values)
    if span is None or whole is None:
        return base.values, np.zeros_like(base.values)
    sharp = brought_back(answer, seen, difference, span, "lstsq")
    if use.along:
        difference = departure(sharp, far.values, whole, use.whole)
    return mixed(far, sharp, share(difference, use.bounds), base), difference


def generated_figures(batch: Batch, depth: Tensor, space: Space) -> dict[str, float]:
    """Means over a batch of generated depth, aligned to the truth by least squares in the model's own space: abs_rel and boundary_f1.

    Pixels of sky are not scored: alignment gives them the truth's own outline, which even noise would be praised for.
    """
    rows = []
    for answer, truth in zip(_arrays(depth), _arrays(batch["truth"]), strict=True):
        exact = near_map(truth)
        far = Far.of(exact, space)
        seen = exact.valid
        if not seen.any():
            continue
        scale, shift = align.fit_scale_shift(answer.ravel().astype(np.float64), far.values.ravel().astype(np.float64))
        found = _metric(far.back(np.float32(scale) * answer + np.float32(shift)))
        exact = _metric(np.where(seen, exact.values, np.float32(np.nan)))
        rows.append({"abs_rel": _abs_rel(found, exact, seen), **_f1(found, exact)})
    return _means(rows, ("abs_rel", "boundary_f1"))


def error_curve(answers: Iterable[tuple[Batch, Tensor, Tensor]], use: SharpFacts) -> Curve | None:
    """From a pixel's difference to its mean |z - z*| / z*, over batches with (answer, difference); None without truth."""
    xs, ys = [], []
    for batch, sharp, difference in answers:
        for _, found, e, truth, _ in _in_use(batch, sharp, difference, use):
            exact = near_map(truth).values
            seen = np.isfinite(exact) & np.isfinite(found)
            step = max(1, np.count_nonzero(seen) // SAMPLED)
            xs.append(e[seen][::step])
            ys.append((np.abs(found - exact, where=seen, out=np.zeros_like(exact))[seen] / exact[seen])[::step])
    count = sum(map(len, xs))
    return fit_curve(np.concatenate(xs).astype(np.float64), np.concatenate(ys).astype(np.float64)) if count else None


def _in_use(
    batch: Batch, sharp: Tensor, difference: Tensor, use: SharpFacts
) -> Iterable[tuple[DepthMap, Map, Map, Map, Bool[np.ndarray, "h w"]]]:
    """(given, found in its unit, difference, truth in nearness, edge) of each picture whose truth is known."""
    planes = batch["given"], batch.get("along", batch["given"]), sharp, difference, batch["truth"], batch["edge"]
    for given, start, answer, e, truth, edge in zip(*map(_arrays, planes), strict=True):
        if not np.isnan(truth).any():
            yield near_map(given), *in_metres(near_map(given), near_map(start), answer, e, use), truth, edge


def _arrays(planes: Tensor) -> Sequence[np.ndarray]:
    values = planes[:, 0].detach().cpu()
    return list(values.float().numpy() if values.is_floating_point() else values.numpy())


def _metric(values: Map) -> DepthMap:
    return DepthMap(values, DepthKind.METRIC)


def _abs_rel(found: DepthMap, exact: DepthMap, seen: Bool[np.ndarray, "h w"]) -> float:
    return (
        float((np.abs(found.values[seen] - exact.values[seen]) / exact.values[seen]).mean())
        if seen.any()
        else float("nan")
    )


def _f1(found: DepthMap, exact: DepthMap) -> dict[str, float]:
    return {"boundary_f1": boundary_f1(found, exact)["boundary_f1"]}


def _means(rows: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Of the finite values of each name; NaN where none is."""
    known = {name: [row[name] for row in rows if np.isfinite(row[name])] for name in names}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in known.items()}
