"""What a metric is, the registry of them, and how a prediction is brought into the reference's metres before it is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64

from keendepth.core import align
from keendepth.core.registry import Registry
from keendepth.core.types import DepthKind, DepthMap, KindError

# "disparity" is scale and shift in 1/z; the others act on z, but on 1/z for a prediction that is DISPARITY itself.
ALIGNMENTS = ("none", "scale", "median", "scale_shift", "trimmed", "disparity")
NATURAL = {
    DepthKind.METRIC: "none",
    DepthKind.SCALE_INVARIANT: "scale",
    DepthKind.AFFINE_INVARIANT: "scale_shift",
    DepthKind.DISPARITY: "disparity",
}
ALLOWED = {
    DepthKind.METRIC: ALIGNMENTS,
    DepthKind.SCALE_INVARIANT: ALIGNMENTS[1:],
    DepthKind.AFFINE_INVARIANT: ("scale_shift", "trimmed"),
    DepthKind.DISPARITY: ("disparity", "scale_shift", "trimmed"),
}


@dataclass(frozen=True)
class Figure:
    """One number a metric reports: which way is better, its unit, and what it says."""

    better: Literal["lower", "higher"]
    unit: str
    summary: str


@dataclass(frozen=True)
class Metric:
    """A function of two METRIC maps of one size, and the figures it returns; its other keys are counts."""

    score: Callable[[DepthMap, DepthMap], dict[str, float]]
    figures: dict[str, Figure] = field(default_factory=dict)
    sort: Literal["accuracy", "sharpness"] = "sharpness"


METRICS: Registry[Metric] = Registry("metric")


def figures() -> dict[str, Figure]:
    """Every figure of every registered metric, by name."""
    return {name: figure for metric in METRICS for name, figure in METRICS.build(metric).figures.items()}


@dataclass(frozen=True)
class Aligned:
    """A prediction in the reference's metres and size, and how it came there."""

    depth: DepthMap
    failed: Bool[
        np.ndarray, "h w"
    ]  # where the fit gave a depth or an inverse depth at or near zero or below, since raised
    scale: float
    shift: float


def align_to(
    prediction: DepthMap,
    reference: DepthMap,
    alignment: str = "natural",
    region: Bool[np.ndarray, "h w"] | None = None,
) -> Aligned:
    """`prediction`, any kind and size, as METRIC depth of the reference's size, fitted over the pixels that both know.

    `alignment` is one of `ALIGNMENTS`, or "natural": no more than the prediction's kind needs. The fit sees only `region` where given.
    A shift may carry values to zero or beyond: then a depth is raised to half the nearest reference depth, an inverse depth to half the smallest
    (twice the farthest depth). The pixel stays, and fails delta1 to delta3 wherever it lies (2 > 1.25^3); its edges stay finite (a floor such as 1 mm
    would flatten the disparity channel of PDBE). NaN stays NaN, sky stays sky. Without a shared pixel everything is NaN.
    Raises KindError where the kind forbids the alignment, ValueError for a name unknown.
    """
    reference.require(DepthKind.METRIC, "scoring against a reference")
    alignment = _check_alignment(prediction.kind, alignment)
    own = prediction.resized(*reference.size)
    inverse = alignment == "disparity" or own.kind is DepthKind.DISPARITY
    values = own.values.astype(np.float64)
    target = reference.values.astype(np.float64)
    shared = own.valid & reference.valid & (True if region is None else region)
    if not shared.any():
        return Aligned(_metric(own, np.full(own.size, np.nan), reference), np.zeros(own.size, bool), np.nan, np.nan)
    if inverse:
        target = _inverse(target)
        values = values if own.kind is DepthKind.DISPARITY else _inverse(values)
    method = "scale_shift" if alignment == "disparity" else alignment
    scale, shift = align.fit(values[shared], target[shared], method)
    fitted = np.where(own.valid, scale * np.where(own.valid, values, 0) + shift, np.nan)
    least = target[reference.valid].min() / 2 if method in ("scale_shift", "trimmed") else 0.0
    with np.errstate(invalid="ignore"):
        failed = fitted < least
        raised = np.maximum(fitted, least)
    metres = _inverse(raised) if inverse else raised
    return Aligned(_metric(own, np.where(own.sky, np.inf, metres), reference), failed, scale, shift)


def _check_alignment(kind: DepthKind, alignment: str) -> str:
    """The alignment to use, or the reason why not."""
    if alignment == "natural":
        return NATURAL[kind]
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment: unknown name {alignment!r}; known: natural, {', '.join(ALIGNMENTS)}")
    if alignment not in ALLOWED[kind]:
        raise KindError(f"{kind} depth cannot be scored with alignment {alignment!r}: use {', '.join(ALLOWED[kind])}")
    return alignment


def _inverse(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 1 / values


def _metric(own: DepthMap, metres: np.ndarray, reference: DepthMap) -> DepthMap:
    """A METRIC map with the reference's camera; finite depths that float32 cannot hold are brought into its range."""
    held = np.clip(metres, np.finfo(np.float32).tiny, np.finfo(np.float32).max)
    values = np.where(np.isposinf(metres), np.inf, held).astype(np.float32)
    return replace(own, values=values, kind=DepthKind.METRIC, camera=reference.camera)


def arrays(prediction: DepthMap, reference: DepthMap) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """(prediction, reference) as float64 metres (NaN unknown, +inf sky); raises as `check_pair`."""
    check_pair(prediction, reference)
    return prediction.values.astype(np.float64), reference.values.astype(np.float64)


def check_pair(prediction: DepthMap, reference: DepthMap) -> None:
    """Raise KindError unless both are METRIC, ValueError unless they have one size."""
    for name, depth in (("prediction", prediction), ("reference", reference)):
        if depth.kind is not DepthKind.METRIC:
            raise KindError(
                f"a metric needs METRIC depth, the {name} is {depth.kind}: use align_to(prediction, reference).depth"
            )
    if prediction.size != reference.size:
        raise ValueError(
            f"a metric needs two maps of one size, found prediction {prediction.size} and reference {reference.size}: "
            "use align_to(prediction, reference).depth"
        )


def mean(values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> float:
    """Mean of [n], NaN of nothing (numpy would warn)."""
    return float(values.mean()) if values.size else float("nan")
