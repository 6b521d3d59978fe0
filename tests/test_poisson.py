"""Poisson fusion solves its normal equations (against a dense solve), and behaves as fusion must."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keendepth.core import poisson

quick = settings(deadline=None, max_examples=25, derandomize=True)
SHAPES = [(1, 1), (1, 6), (6, 1), (2, 2), (5, 7), (9, 4)]


def pair(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 5, shape), rng.uniform(1, 5, shape)


def differences(h: int, w: int) -> np.ndarray:
    """Dense matrix of all forward differences, those to the right first."""
    index = np.arange(h * w).reshape(h, w)
    pairs = [*zip(index[:, :-1].ravel(), index[:, 1:].ravel(), strict=True)]
    pairs += [*zip(index[:-1].ravel(), index[1:].ravel(), strict=True)]
    G = np.zeros((len(pairs), h * w))
    for row, (a, b) in enumerate(pairs):
        G[row, a], G[row, b] = -1, 1
    return G


def omegas(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    half = np.zeros(shape)
    half[:, shape[1] // 2 :] = 1
    return {"zero": np.zeros(shape), "one": np.ones(shape), "half": half, "soft": rng.random(shape)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mu", [1e-3, 0.1, 10.0])
def test_fuse_is_the_exact_minimum(shape: tuple[int, int], mu: float) -> None:
    low, high = pair(shape)
    G = differences(*shape)
    dense = np.linalg.solve(mu * np.eye(low.size) + G.T @ G, mu * low.ravel() + G.T @ (G @ high.ravel()))
    np.testing.assert_allclose(poisson.fuse(low, high, mu).ravel(), dense, rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["zero", "one", "half", "soft"])
@pytest.mark.parametrize(("mu", "flat"), [(0.01, 0.05), (0.1, 0.0), (1.0, 1.0)])
def test_fuse_weighted_is_the_minimum(shape: tuple[int, int], name: str, mu: float, flat: float) -> None:
    """The docstring's energy, written out: mu + 1 - omega on values, omega on HIGH's gradients, (1 - omega) flat on LOW's."""
    low, high = pair(shape)
    omega = omegas(shape)[name]
    G = differences(*shape)
    between = abs(G) @ omega.ravel() / 2
    data = np.diag(mu + 1 - omega.ravel())
    sharp, smooth = np.diag(between), np.diag(flat * (1 - between))
    matrix = data + G.T @ (sharp + smooth) @ G
    right = data @ low.ravel() + G.T @ (sharp @ G @ high.ravel() + smooth @ G @ low.ravel())
    answer = poisson.fuse_weighted(low, high, omega, mu, flat, iterations=200)
    np.testing.assert_allclose(answer.ravel(), np.linalg.solve(matrix, right), atol=2e-3)
    residual = matrix @ answer.ravel() - right
    start = matrix @ low.ravel() - right
    assert np.linalg.norm(residual) <= 1.01e-5 * np.linalg.norm(start) + 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (33, 47)])
def test_fusing_a_map_with_itself_changes_nothing(shape: tuple[int, int], dtype: type) -> None:
    low = pair(shape)[0].astype(dtype)
    before = low.copy()
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    for omega in omegas(shape).values():
        fused = poisson.fuse_weighted(low, low, omega.astype(dtype))
        assert fused.dtype == dtype
        np.testing.assert_allclose(fused, low, rtol=tolerance)
    assert poisson.fuse(low, low).dtype == dtype
    np.testing.assert_allclose(poisson.fuse(low, low), low, rtol=tolerance)
    np.testing.assert_array_equal(low, before)


@quick
@given(st.floats(0.1, 20), st.floats(-10, 10), st.sampled_from([(1, 7), (6, 8), (13, 5)]), st.integers(0, 9))
def test_both_follow_a_change_of_unit_and_offset(scale: float, shift: float, shape: tuple[int, int], seed: int) -> None:
    low, high = pair(shape, seed)
    omega = np.random.default_rng(seed).random(shape)
    for fuse in (poisson.fuse, lambda a, b: poisson.fuse_weighted(a, b, omega)):
        moved = fuse(scale * low + shift, scale * high + shift)
        np.testing.assert_allclose(moved, scale * fuse(low, high) + shift, atol=1e-3 * scale)


def test_an_offset_of_high_does_not_matter_and_means_are_lows() -> None:
    low, high = pair((8, 11))
    fused = poisson.fuse(low, high)
    np.testing.assert_allclose(poisson.fuse(low, high + 100), fused, rtol=1e-9)
    assert fused.mean() == pytest.approx(low.mean())


def test_mu_goes_from_highs_shape_to_lows_values() -> None:
    low, high = pair((8, 11))
    np.testing.assert_allclose(poisson.fuse(low, high, 1e6), low, atol=1e-4)
    np.testing.assert_allclose(poisson.fuse(low, high, 1e-9), high - high.mean() + low.mean(), atol=1e-6)


def test_a_blurred_step_is_sharpened_where_omega_says_so() -> None:
    x = np.arange(64)
    sharp = np.tile(np.where(x < 32, 1.0, 3.0), (16, 1))
    blurred = np.tile(2 + np.clip((x - 31.5) / 8, -1, 1), (16, 1))
    omega = np.tile((abs(x - 31.5) < 12).astype(float), (16, 1))
    fused = poisson.fuse_weighted(blurred, sharp, omega)
    assert abs(fused - sharp).max() < 0.25 * abs(blurred - sharp).max()
    np.testing.assert_allclose(poisson.fuse_weighted(blurred, sharp, 0 * omega), blurred, atol=1e-6)


def test_it_has_converged_at_its_own_number_of_rounds() -> None:
    """Thirty rounds on a picture of real size come within 1e-3 of the answer that two hundred give."""
    rng = np.random.default_rng(0)
    low = rng.uniform(1, 5, (30, 40)).repeat(4, 0).repeat(4, 1)
    high = low + rng.normal(0, 0.1, low.shape)
    omega = (rng.random(low.shape) < 0.1).astype(float)
    few, many = (poisson.fuse_weighted(low, high, omega, iterations=n) for n in (30, 200))
    np.testing.assert_allclose(few, many, atol=1e-3)
