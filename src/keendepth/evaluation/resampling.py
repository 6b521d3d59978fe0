"""How sure a mean over pictures is: percentile bootstrap, paired where two models saw the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

# With fewer pictures not even a difference of one sign throughout is unlikely to be luck: a sign test gives 2^(1 - n) >= 0.05 up to n = 5.
LEAST_PICTURES = 6
CHUNK = 4_000_000  # resampled values held at once


@dataclass(frozen=True)
class Resampling:
    """How many resamples, of what coverage, from which seed."""

    resamples: int = 10_000
    coverage: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 100 or not 0 < self.coverage < 1:
            raise ValueError(
                f"resampling: expected at least 100 resamples and a coverage between 0 and 1, found {self.resamples} and {self.coverage}"
            )


@dataclass(frozen=True)
class Summary:
    """A mean over `count` pictures, their standard deviation (n - 1), and the interval of the mean; NaN where there is too little."""

    mean: float
    spread: float
    low: float
    high: float
    count: int

    @property
    def beyond_zero(self) -> bool:
        """Whether a *difference* with this summary is marked: its interval leaves out 0 and enough pictures stand behind it."""
        return self.count >= LEAST_PICTURES and bool(self.low > 0 or self.high < 0)


def summarise(values: Float64[np.ndarray, " n"], how: Resampling = Resampling()) -> Summary:
    """Mean, spread and interval of the values that are finite; one value has no interval, none has no mean."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return Summary(np.nan, np.nan, np.nan, np.nan, 0)
    if known.size == 1:
        return Summary(float(known[0]), np.nan, np.nan, np.nan, 1)
    low, high = interval(known.size, lambda chosen: known[chosen].mean(axis=1), how)
    return Summary(float(known.mean()), float(known.std(ddof=1)), low, high, int(known.size))


def paired(
    values: Float64[np.ndarray, " n"], baseline: Float64[np.ndarray, " n"], how: Resampling = Resampling()
) -> Summary:
    """The same for values - baseline, picture by picture; a picture that either lacks (NaN) is left out of both."""
    with np.errstate(invalid="ignore"):  # inf - inf
        return summarise(values - baseline, how)


def interval(
    count: int, statistic: Callable[[np.ndarray], Float64[np.ndarray, " r"]], how: Resampling = Resampling()
) -> tuple[float, float]:
    """Percentile interval of `statistic`, which takes indices [r n] into the pictures and gives one number per row (Efron 1979).

    The same count and seed draw the same pictures, so statistics of two models are resampled in pairs.
    """
    rng = np.random.default_rng(how.seed)
    rows = max(1, CHUNK // count)
    found = [
        statistic(rng.integers(0, count, (min(rows, how.resamples - start), count)))
        for start in range(0, how.resamples, rows)
    ]
    tail = (1 - how.coverage) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return float(low), float(high)
