"""Depth edges: jumps by hand and by symmetry, sky and unknown pixels, rank masks with ties, distances to boundaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keendepth.core import edges

NAN, INF = np.float32(np.nan), np.float32(np.inf)
quick = settings(deadline=None, max_examples=80, derandomize=True)
sizes = st.tuples(st.integers(1, 8), st.integers(1, 8))
depths = hnp.arrays(
    np.float32, sizes, elements=st.one_of(st.floats(0.125, 1000, width=32), st.sampled_from([1.0, 2.0, NAN, INF]))
)
levels = st.sampled_from([-INF, -1.0, 0.0, 0.0, 1.0, 2.0, INF, NAN])


def test_jumps_by_hand() -> None:
    depth = np.array([[1, 1.04, 1.2, NAN, NAN, INF, INF, 2], [1, 1, 1, 1, 1, 1, 1, 2]], np.float32)
    across, down = edges.depth_jumps(depth)
    assert across[0].tolist() == [False, True, True, False, False, False, True]
    assert down[0].tolist() == [False, False, True, True, True, True, True, False]
    assert edges.depth_jumps(np.array([[1, 1.5]], np.float32), ratio=2)[0].tolist() == [[False]]


@quick
@given(depths, st.floats(1.01, 2))
def test_a_jump_is_a_jump_from_either_side(depth: np.ndarray, ratio: float) -> None:
    across, down = edges.depth_jumps(depth, ratio)
    assert across.shape == (depth.shape[0], depth.shape[1] - 1)
    assert down.shape == (depth.shape[0] - 1, depth.shape[1])
    np.testing.assert_array_equal(edges.depth_jumps(depth[:, ::-1].copy(), ratio)[0], across[:, ::-1])
    np.testing.assert_array_equal(edges.depth_jumps(depth[::-1].copy(), ratio)[1], down[::-1])
    np.testing.assert_array_equal(edges.depth_jumps(depth.T.copy(), ratio)[0], down.T)
    np.testing.assert_array_equal(edges.depth_edges(depth.T.copy(), ratio), edges.depth_edges(depth, ratio).T)
    np.testing.assert_array_equal(edges.depth_edges(4 * depth, ratio), edges.depth_edges(depth, ratio))


@quick
@given(depths)
def test_edges_are_both_sides_of_jumps(depth: np.ndarray) -> None:
    across, down = edges.depth_jumps(depth)
    edge = edges.depth_edges(depth)
    assert edge.any() == (across.any() or down.any())
    for y, x in np.argwhere(across):
        assert edge[y, x]
        assert edge[y, x + 1]
    for y, x in np.argwhere(down):
        assert edge[y, x]
        assert edge[y + 1, x]


def test_sky_and_unknown_against_known_are_edges_but_not_against_each_other() -> None:
    for other in (NAN, INF):
        assert edges.depth_edges(np.array([[5, other]], np.float32)).all()
        assert not edges.depth_edges(np.array([[other, other]], np.float32)).any()
    assert not edges.depth_edges(np.array([[NAN, INF]], np.float32)).any()
    assert not edges.depth_edges(np.full((3, 3), 3.4e38, np.float32)).any()


def test_gradients_of_a_ramp() -> None:
    across = np.tile(np.arange(6, dtype=np.float32), (5, 1))
    np.testing.assert_allclose(edges.gradient_magnitude(3 * across)[:, 1:-1], 3)  # 8 * slope over 8
    np.testing.assert_allclose(
        edges.gradient_magnitude(across + across.T[:5].repeat(1, 0)[:1].T)[1:-1, 1:-1], 1, atol=2
    )
    plane = 2 * np.mgrid[:5, :6][0] - np.mgrid[:5, :6][1]
    np.testing.assert_allclose(edges.gradient_magnitude(plane.astype(np.float64))[1:-1, 1:-1], 3)
    np.testing.assert_allclose(edges.gradient_magnitude(3 * across)[:, 0], 1.5)  # replicated border: half a step
    assert not edges.gradient_magnitude(np.full((1, 1), 7.0)).any()


def test_gradients_are_unknown_around_the_unknown() -> None:
    values = np.zeros((5, 5), np.float32)
    values[2, 2] = NAN
    unknown = np.isnan(edges.gradient_magnitude(values))
    assert unknown[1:4, 1:4].all()
    assert unknown.sum() == 9


@quick
@given(hnp.arrays(np.float64, sizes, elements=levels), st.floats(0, 1))
def test_the_top_share_is_a_share_whatever_the_ties(values: np.ndarray, share: float) -> None:
    chosen = edges.top_share(values, share)
    known = ~np.isnan(values)
    assert chosen.sum() == round(share * known.sum())
    assert not (chosen & ~known).any()
    if chosen.any() and (known & ~chosen).any():
        assert values[chosen].min() >= values[known & ~chosen].max()


def test_the_top_share_of_ties_is_deterministic() -> None:
    flat = np.zeros((2, 5))
    assert edges.top_share(flat, 0.3).tolist() == [[False] * 5, [False, False, True, True, True]]
    assert edges.top_share(np.arange(10.0).reshape(2, 5), 0.2).ravel().tolist() == [False] * 8 + [True] * 2
    assert edges.top_share(flat, 1).all()
    assert edges.top_share(flat, 5).all()
    assert not edges.top_share(flat, 0).any()
    assert not edges.top_share(np.full((2, 2), np.nan), 1).any()
    assert edges.top_share(np.array([[-np.inf, np.nan]]), 1.0).tolist() == [[True, False]]
    assert edges.top_share(np.asfortranarray(np.arange(6.0).reshape(2, 3)), 0.5).tolist() == [[False] * 3, [True] * 3]


def test_distances_by_brute_force() -> None:
    edge = np.random.default_rng(0).random((9, 13)) < 0.06
    assert edge.any()
    y, x = np.mgrid[:9, :13]
    points = np.argwhere(edge)
    brute = np.sqrt(np.min([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0))
    np.testing.assert_allclose(edges.boundary_distance(edge), brute)
    assert np.isposinf(edges.boundary_distance(np.zeros((2, 3), bool))).all()
    assert not edges.boundary_distance(np.ones((2, 3), bool)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_single_row_or_column(shape: tuple[int, int]) -> None:
    assert not edges.depth_edges(np.ones(shape, np.float32)).any()
    assert edges.boundary_distance(np.ones(shape, bool)).shape == shape


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 5), (40, 30)])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_window_extremes_are_those_of_scipy(shape: tuple[int, int], radius: int) -> None:
    from scipy import ndimage

    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    least, most = edges.window_extremes(values, radius)
    width = 2 * radius + 1
    np.testing.assert_array_equal(least, ndimage.minimum_filter(values, width, mode="nearest"))
    np.testing.assert_array_equal(most, ndimage.maximum_filter(values, width, mode="nearest"))
