"""Fit one set of depth values to another: scale, scale and shift, median, trimmed. Written once for numpy and torch."""

from __future__ import annotations

from typing import Any

# Only operators that numpy arrays and torch tensors share are used here: + - * / abs() sum() argsort() indexing.

ENOUGH = 200_000  # samples for a fit of two numbers; sorting 12 million of them ten times takes 17 s
METHODS = ("none", "scale", "scale_shift", "median", "trimmed")


def fit(values: Any, target: Any, method: str = "scale_shift") -> tuple[float, float]:
    """(scale, shift) so that scale * values + shift is closest to target; both [n], finite, in the space of the fit (depth or 1/depth)."""
    if method == "none":
        return 1.0, 0.0
    if method == "scale":
        return fit_scale(values, target), 0.0
    if method == "median":
        return fit_median(values, target), 0.0
    if method == "scale_shift":
        return fit_scale_shift(values, target)
    if method == "trimmed":
        return fit_trimmed(values, target)
    raise ValueError(f"alignment: unknown method {method!r}; known: {', '.join(METHODS)}")


def fit_scale(values: Any, target: Any) -> float:
    """Least-squares scale, no shift."""
    _require(values, 1)
    square = float((values * values).sum())
    return float((values * target).sum()) / square if square > 0 else 1.0


def fit_median(values: Any, target: Any) -> float:
    """Ratio of the medians (the protocol of self-supervised depth, e.g. Monodepth2)."""
    _require(values, 1)
    middle = median(values)
    return median(target) / middle if middle != 0 else 1.0


def fit_scale_shift(values: Any, target: Any) -> tuple[float, float]:
    """Least-squares scale and shift (the affine-invariant protocol of MiDaS). A constant map gets scale 1 and the mean difference."""
    _require(values, 1)
    n = values.shape[0]
    mean_v, mean_t = float(values.sum()) / n, float(target.sum()) / n
    spread = values - mean_v
    variance = float((spread * spread).sum()) / n
    if _flat(mean_v, variance):
        return 1.0, mean_t - mean_v
    scale = float((spread * (target - mean_t)).sum()) / n / variance
    return scale, mean_t - scale * mean_v


def fit_trimmed(values: Any, target: Any, keep: float = 0.8, rounds: int = 10) -> tuple[float, float]:
    """Least trimmed squares: refit on the `keep` share with the smallest residuals, so that edges and outliers do not tilt it.

    Of more than `ENOUGH` values a regular sample is taken. Where the kept share has a single value (a wall that fills the
    picture), which cannot tell scale from shift, the fit before it stands.
    """
    stride = max(1, values.shape[0] // ENOUGH)
    values, target = values[::stride], target[::stride]
    scale, shift = fit_scale_shift(values, target)
    kept = min(max(2, int(keep * values.shape[0])), values.shape[0])
    for _ in range(rounds):
        order = abs(scale * values + shift - target).argsort()[:kept]
        inliers, previous = values[order], (scale, shift)
        mean = float(inliers.sum()) / kept
        if _flat(mean, float(((inliers - mean) * (inliers - mean)).sum()) / kept):
            break
        scale, shift = fit_scale_shift(inliers, target[order])
        if abs(scale - previous[0]) <= 1e-9 * abs(scale) and abs(shift - previous[1]) <= 1e-9 * (abs(shift) + 1e-9):
            break
    return scale, shift


def median(values: Any) -> float:
    """Median of [n], the mean of the two middle ones when n is even; numpy or torch (whose own median takes the lower)."""
    _require(values, 1)
    order = values[values.argsort()]
    n = order.shape[0]
    return (float(order[(n - 1) // 2]) + float(order[n // 2])) / 2


def _flat(mean: float, variance: float) -> bool:
    """Whether values with this mean and variance are one value, up to rounding."""
    return variance <= 1e-12 * (mean * mean + 1e-12)


def _require(values: Any, count: int) -> None:
    if values.shape[0] < count:
        raise ValueError("alignment: the two maps share no pixel where both are known")
