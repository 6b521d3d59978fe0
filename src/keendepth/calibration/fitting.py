"""One scale and shift from values to known numbers: robust, with error bars; pure functions of arrays."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

# Three robust standard deviations: what lies beyond is an outlier (Rousseeuw and Leroy, Robust Regression, 1987, take 2.5).
CUT = 3.0
FLOOR = 1e-4  # relative; residuals below it are rounding, not noise
TRIALS = 500  # pairs tried for a start: enough for 99.9 % at 2/5 outliers many times over
JUDGES = 4  # points beyond the unknowns from which an outlier can be told from noise (ours: with 2, the bars cover half of what they say)
WITHIN_ONE = 0.8413447  # the normal distribution's share below one deviation
DENSE = 64  # from so many points on, error bars come from leaving out groups of them


def fit(
    values: Float[np.ndarray, " n"], target: Float[np.ndarray, " n"], shifts: bool
) -> tuple[float, float, Bool[np.ndarray, " n"]]:
    """(scale, shift, inliers) so that scale * values + shift is closest to target (above 0), relative to the target.

    The start is the pair of points (of at most `TRIALS`) with the least median residual (Rousseeuw 1984), or the median ratio
    for a scale alone; then what lies beyond `CUT` robust deviations is left out and the rest is fitted by least squares.
    One or two points are met exactly; up to `JUDGES` more count every one, as noise and outliers look alike then. ValueError where no positive scale fits.
    """
    if shifts and np.ptp(values) <= 1e-6 * max(float(np.abs(values).max()), 1e-12):
        raise ValueError(
            "calibration: the map has one value at all known points, which cannot tell scale from shift: add points at other distances"
        )
    scale, shift = _start(values, target, shifts)
    inliers = np.ones(len(values), bool)
    unknowns = 2 if shifts else 1
    if len(values) >= unknowns + JUDGES:
        scale, shift, inliers = _trimmed(values, target, (scale, shift), shifts)
    if len(values) > unknowns and (len(values) < unknowns + JUDGES or scale <= 0):  # then every one counts
        inliers = np.ones(len(values), bool)
        scale, shift = _least_squares(values, target, shifts)
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(
            "calibration: the known depths say that what the map calls farther is nearer: check pixels and depths, whether the map "
            "is depth or disparity, and that the points are not all about equally far"
        )
    return float(scale), float(shift), inliers


def _start(values: np.ndarray, target: np.ndarray, shifts: bool) -> tuple[float, float]:
    if not shifts:
        positive = values > 0
        if not positive.any():
            raise ValueError(
                "calibration: the map is 0 or below at the known points, so no scale fits: give two points or more"
            )
        return float(np.median(target[positive] / values[positive])), 0.0
    n = len(values)
    if n * (n - 1) // 2 <= TRIALS:
        first, second = np.triu_indices(n, 1)
    else:
        first, second = np.random.default_rng(0).integers(0, n, (2, TRIALS))
    apart = np.abs(values[first] - values[second]) > 1e-3 * np.ptp(values)
    first, second = first[apart], second[apart]
    scales = (target[second] - target[first]) / (values[second] - values[first])
    offsets = target[first] - scales * values[first]
    judges = slice(None, None, max(1, n // 500))
    residuals = np.abs((scales[:, None] * values[judges] + offsets[:, None]) / target[judges] - 1)
    medians = np.median(residuals, axis=1)
    medians[scales <= 0] += 1e6 if (scales > 0).any() else 0  # near is near, where any pair says so
    best = int(np.argmin(medians))
    return float(scales[best]), float(offsets[best])


def _trimmed(
    values: np.ndarray, target: np.ndarray, start: tuple[float, float], shifts: bool
) -> tuple[float, float, np.ndarray]:
    """Least squares on what is near the fit so far, until the same points stay."""
    (scale, shift), inliers = start, np.zeros(len(values), bool)
    fewest = 2 if shifts else 1
    for _ in range(20):
        residual = np.abs((scale * values + shift) / target - 1)
        # The median of |r| over 0.6745 is the deviation of normal noise; the factor is Rousseeuw and Leroy's for few points.
        spread = 1.4826 * (1 + 5 / max(len(values) - fewest, 1)) * float(np.median(residual))
        kept = residual <= CUT * max(spread, FLOOR)
        if np.array_equal(kept, inliers) or np.count_nonzero(kept) < fewest:
            break
        inliers = kept
        scale, shift = _least_squares(values[kept], target[kept], shifts)
    return scale, shift, inliers


def _least_squares(values: np.ndarray, target: np.ndarray, shifts: bool) -> tuple[float, float]:
    """Scale and shift of the least squared relative error."""
    design = _design(values, target, shifts)
    solution = np.linalg.lstsq(design, np.ones(len(values)), rcond=None)[0]
    return float(solution[0]), float(solution[1]) if shifts else 0.0


def _design(values: np.ndarray, target: np.ndarray, shifts: bool) -> np.ndarray:
    columns = [values / target, 1 / target] if shifts else [values / target]
    return np.stack(columns, axis=1)


def errors(
    values: np.ndarray, target: np.ndarray, inliers: np.ndarray, shifts: bool, groups: np.ndarray | None
) -> tuple[float | None, float | None]:
    """One standard deviation of scale and of shift (0 for none); None where no point is left over to judge by."""
    parameters = 2 if shifts else 1
    values, target = values[inliers], target[inliers]
    if groups is not None and len(values) >= DENSE:
        bars = jackknife(values, target, shifts, groups[inliers])
        if bars is not None:
            return bars
    spare = len(values) - parameters
    if spare < 1:
        return None, None
    from scipy.special import stdtrit

    design = _design(values, target, shifts)
    solution = np.linalg.lstsq(design, np.ones(len(values)), rcond=None)[0]
    variance = float(((design @ solution - 1) ** 2).sum()) / spare
    covariance = variance * np.linalg.pinv(design.T @ design)
    # Student's t: with few points to spare, the deviation itself is uncertain, and 68 % lie within more than one of it.
    bars_ = np.sqrt(np.maximum(np.diag(covariance), 0)) * float(stdtrit(spare, WITHIN_ONE))
    return float(bars_[0]), float(bars_[1]) if shifts else 0.0


def jackknife(values: np.ndarray, target: np.ndarray, shifts: bool, groups: np.ndarray) -> tuple[float, float] | None:
    """Deviations from leaving out one part of the picture at a time (Efron and Tibshirani 1993, chapter 11): neighbours err alike,
    so counting pixels would make the bars far too small."""
    names = [name for name in np.unique(groups) if np.count_nonzero(groups != name) >= DENSE // 2]
    if len(names) < 4:
        return None
    fits = np.array([_least_squares(values[groups != name], target[groups != name], shifts) for name in names])
    count = len(fits)
    bars = np.sqrt((count - 1) / count * ((fits - fits.mean(0)) ** 2).sum(0))
    return float(bars[0]), float(bars[1])
