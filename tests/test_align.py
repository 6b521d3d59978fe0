"""Fits of one set of depth values to another: what was planted is found, by numpy and by torch, with outliers and without a spread."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keendepth.core import align

quick = settings(deadline=None, max_examples=60, derandomize=True)
FITS = ["scale", "scale_shift", "median", "trimmed"]


def sample(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.3, 6, n)
    return values, 1.4 * values + 0.2 + 0.05 * rng.normal(size=n)


@quick
@given(st.floats(-50, 50), st.floats(-50, 50), st.integers(2, 300), st.integers(0, 99))
def test_a_planted_scale_and_shift_are_found(scale: float, shift: float, n: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0, 5, n)
    for method in ("scale_shift", "trimmed"):
        found = align.fit(values, scale * values + shift, method)
        np.testing.assert_allclose(found[0] * values + found[1], scale * values + shift, atol=1e-8)
    for method in ("scale", "median"):
        assert align.fit(values, scale * values, method) == (pytest.approx(scale, rel=1e-9, abs=1e-12), 0)


def test_least_squares_is_least_squares() -> None:
    values, target = sample()
    expected = np.polyfit(values, target, 1)
    np.testing.assert_allclose(align.fit(values, target), expected, rtol=1e-9)
    assert align.fit_scale(values, target) == pytest.approx(np.linalg.lstsq(values[:, None], target)[0][0])
    assert align.fit_median(values, target) == pytest.approx(np.median(target) / np.median(values))
    assert align.fit(values, target, "none") == (1, 0)


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("n", [1, 2, 3, 400, 401])
def test_numpy_and_torch_agree(method: str, n: int) -> None:
    torch = pytest.importorskip("torch")
    values, target = sample(n)
    ours = align.fit(values, target, method)
    theirs = align.fit(torch.from_numpy(values), torch.from_numpy(target), method)
    assert all(type(number) is float for number in (*ours, *theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_the_trimmed_fit_bears_fifteen_per_cent_of_outliers(side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.5, 5, 2000)
    target = 2.5 * values + 1 + 0.01 * rng.normal(size=2000)
    target[rng.choice(2000, 300, replace=False)] += side * rng.uniform(3, 30, 300)
    scale, shift = align.fit_trimmed(values, target)
    assert scale == pytest.approx(2.5, rel=0.005)
    assert shift == pytest.approx(1, abs=0.02)
    assert abs(align.fit_scale_shift(values, target)[1] - 1) > 0.3  # which least squares does not


@pytest.mark.parametrize("share", [0.8, 0.9, 0.97])
@pytest.mark.parametrize("seed", range(6))
def test_a_wall_that_fills_the_picture_does_not_hide_the_scale(share: float, seed: int) -> None:
    """The best share is then of one depth, from which no scale can be told: the answer must stay with the whole."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(500) < share, 0.3, rng.uniform(0.5, 2, 500))
    scale, shift = rng.uniform(0.2, 5), rng.uniform(-1, 1)
    np.testing.assert_allclose(align.fit_trimmed(values, scale * values + shift), (scale, shift), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_constant_maps(n: int) -> None:
    flat, target = np.full(n, 2.0), np.linspace(4, 6, n)
    for method in ("scale_shift", "trimmed"):
        scale, shift = align.fit(flat, target, method)
        assert scale == 1
        assert shift == pytest.approx(target.mean() - 2)
    assert align.fit(flat, np.full(n, 5.0), "scale") == (2.5, 0)
    assert align.fit(flat, np.full(n, 5.0), "median") == (2.5, 0)
    for method in ("scale", "median"):
        assert align.fit(np.zeros(n), target, method) == (1, 0)
    assert align.fit(np.zeros(n), target, "scale_shift") == (1, pytest.approx(target.mean()))


def test_a_large_offset_does_not_drown_the_spread() -> None:
    values = 1000 + np.linspace(0, 1, 100)
    np.testing.assert_allclose(align.fit(values, 3 * values - 7), (3, -7), rtol=1e-6)


@pytest.mark.parametrize("method", FITS)
def test_no_pixel_is_an_error_in_plain_words(method: str) -> None:
    with pytest.raises(ValueError, match="share no pixel where both are known"):
        align.fit(np.empty(0), np.empty(0), method)


def test_an_unknown_method_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown method 'huber'; known: none, scale, scale_shift, median, trimmed"):
        align.fit(*sample(), "huber")
    for method in align.METHODS:
        assert len(align.fit(*sample(), method)) == 2


@quick
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_median_is_the_median_under_both(numbers: list[float]) -> None:
    values: Any = np.array(numbers)
    assert align.median(values) == pytest.approx(np.median(values))
    torch = pytest.importorskip("torch")
    assert align.median(torch.from_numpy(values)) == align.median(values)
