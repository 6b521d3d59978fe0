"""Resizing by hand-made examples and by rule, for pictures and for depth with holes; the pixel grid and normals."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keendepth.core import geometry
from keendepth.core.geometry import resample_taps, resize, resize_depth


def resize_matrix(n_in: int, n_out: int, method: str) -> np.ndarray:
    """The taps and weights of one axis as a dense matrix [n_out n_in]."""
    matrix = np.zeros((n_out, n_in))
    taps, weights = resample_taps(n_in, n_out, method)
    np.add.at(matrix, (np.arange(n_out)[:, None], taps), weights)
    return matrix


METHODS = ["nearest", "linear", "cubic", "area"]
NAN, INF = np.float32(np.nan), np.float32(np.inf)
quick = settings(deadline=None, max_examples=60, derandomize=True)
lengths = st.integers(1, 40)


def noise(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 9, (h, w)).astype(np.float32)


# ---- pictures ----


@pytest.mark.parametrize(
    ("method", "values", "n", "expected"),
    [
        ("linear", [0, 4], 4, [0, 1, 3, 4]),
        ("linear", [0, 3, 6], 6, [0, 0.75, 2.25, 3.75, 5.25, 6]),
        (
            "linear",
            [0, 4, 8, 12],
            2,
            [2.5, 9.5],
        ),  # tent of two pixels' width, borders repeated: (0 + 3*0 + 3*4 + 8) / 8
        ("nearest", [1, 2, 3, 4], 2, [2, 4]),
        ("nearest", [1, 2], 4, [1, 1, 2, 2]),
        ("area", [1, 2, 3, 4, 5, 6], 3, [1.5, 3.5, 5.5]),
        ("area", [1, 2, 3], 2, [4 / 3, 8 / 3]),
        (
            "cubic",
            [0, 0, 1, 0, 0],
            10,
            [0, 0, -0.0703125, 0.2265625, 0.8671875, 0.8671875, 0.2265625, -0.0703125, 0, 0],
        ),
    ],
)
def test_by_hand(method: str, values: list[float], n: int, expected: list[float]) -> None:
    if method == "cubic":  # Keys a = -0.5 at distances 0.25, 0.75, 1.25, 1.75; the last is -0.0234375
        expected = [expected[0], -0.0234375, *expected[2:8], -0.0234375, expected[9]]
    row = np.array([values], np.float32)
    np.testing.assert_allclose(resize(row, (1, n), method)[0], expected, atol=1e-6)
    np.testing.assert_allclose(resize(row.T, (n, 1), method)[:, 0], expected, atol=1e-6)


@quick
@given(lengths, lengths, st.sampled_from(METHODS))
def test_rows_sum_to_one(n_in: int, n_out: int, method: str) -> None:
    matrix = resize_matrix(n_in, n_out, method)
    assert matrix.shape == (n_out, n_in)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    if method != "cubic":
        assert matrix.min() >= 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_the_same_length_is_the_identity(n: int, method: str) -> None:
    np.testing.assert_array_equal(resize_matrix(n, n, method), np.eye(n, dtype=np.float32))


@quick
@given(lengths, lengths, lengths, lengths, st.sampled_from(METHODS))
def test_a_constant_stays(h: int, w: int, h2: int, w2: int, method: str) -> None:
    out = resize(np.full((h, w), 7.25, np.float32), (h2, w2), method)
    assert out.shape == (h2, w2)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, 7.25, rtol=2e-6)


@quick
@given(lengths, lengths, lengths, lengths, st.sampled_from(METHODS))
def test_the_axes_are_independent(h: int, w: int, h2: int, w2: int, method: str) -> None:
    values = noise(h, w)
    rows, columns = resize_matrix(h, h2, method), resize_matrix(w, w2, method)
    np.testing.assert_allclose(resize(values, (h2, w2), method), rows @ values @ columns.T, rtol=1e-5, atol=1e-5)


@quick
@given(lengths, lengths, lengths, lengths, st.sampled_from(["linear", "cubic", "area"]))
def test_flips_and_transposes_commute(h: int, w: int, h2: int, w2: int, method: str) -> None:
    values = noise(h, w)
    out = resize(values, (h2, w2), method)
    np.testing.assert_allclose(resize(values[::-1], (h2, w2), method), out[::-1], rtol=1e-4)
    np.testing.assert_allclose(resize(values[:, ::-1], (h2, w2), method), out[:, ::-1], rtol=1e-4)
    np.testing.assert_allclose(resize(values.T, (w2, h2), method), out.T, rtol=1e-4)


@quick
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 6), st.integers(1, 6))
def test_area_is_the_mean_of_blocks(h: int, w: int, fy: int, fx: int) -> None:
    values = noise(h * fy, w * fx)
    blocks = values.reshape(h, fy, w, fx).mean((1, 3))
    np.testing.assert_allclose(resize(values, (h, w), "area"), blocks, rtol=1e-5)


@quick
@given(lengths, lengths)
def test_area_keeps_the_mean(n_in: int, n_out: int) -> None:
    assume(n_out <= n_in)
    values = noise(1, n_in)
    assert resize(values, (1, n_out), "area").mean() == pytest.approx(values.mean(), rel=1e-5)


@pytest.mark.parametrize("method", ["linear", "cubic", "area"])
def test_shrinking_does_not_alias(method: str) -> None:
    """A checkerboard is grey from afar; picking pixels would turn it black, white or into stripes."""
    board = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    for size in ((16, 16), (17, 19), (50, 50)):
        small = resize(board, size, method)[2:-2, 2:-2]
        np.testing.assert_allclose(small, 127.5, atol=40 if size[0] == 50 else 9)


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_a_ramp_stays_a_ramp(method: str) -> None:
    ramp = np.tile(np.arange(48) + 0.5, (3, 1))
    for n in (96, 24, 12, 144):
        out = resize(ramp, (3, n), method)[0] * (n / 48)
        border = max(2, 2 * n // 48)
        np.testing.assert_allclose(out[border:-border], (np.arange(n) + 0.5)[border:-border], rtol=1e-5)


def test_channels_are_resized_alike() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    out = resize(rgb, (20, 5))
    assert out.shape == (20, 5, 3)
    for c in range(3):
        np.testing.assert_allclose(out[..., c], resize(rgb[..., c], (20, 5)), rtol=1e-6)


def test_the_input_is_left_alone() -> None:
    values = noise(6, 7)
    before = values.copy()
    values.flags.writeable = False
    for method in METHODS:
        resize(values, (12, 3), method)
        resize_depth(values, (12, 3), method)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("call", [resize, resize_depth])
def test_wrong_sizes_and_methods(call: object) -> None:
    for size in ((0, 3), (3, 0), (-1, 3)):
        with pytest.raises(ValueError, match="height and width must be at least 1"):
            call(noise(4, 4), size)
    with pytest.raises(ValueError, match="unknown method 'lanczos'; known: nearest, linear, cubic, area"):
        call(noise(4, 4), (2, 2), "lanczos")


def test_sizes_that_fit() -> None:
    assert geometry.fit_inside((3000, 4000), 1000) == (750, 1000)
    assert geometry.fit_inside((30, 40), 1000) == (30, 40)
    assert geometry.fit_inside((1, 4000), 100) == (1, 100)
    assert geometry.to_multiple((480, 641), 32) == (480, 640)
    assert geometry.to_multiple((5, 700), 14) == (14, 700)


# ---- depth ----


@quick
@given(lengths, lengths, lengths, lengths, st.sampled_from(METHODS), st.integers(0, 99))
def test_depth_stays_in_range_whatever_is_unknown(h: int, w: int, h2: int, w2: int, method: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = noise(h, w, seed)
    values[rng.random((h, w)) < 0.3] = NAN
    values[rng.random((h, w)) < 0.3] = INF
    out = resize_depth(values, (h2, w2), method)
    assert out.dtype == np.float32
    assert out.shape == (h2, w2)
    assert not np.isneginf(out).any()
    known = values[np.isfinite(values)]
    if np.isfinite(out).any():
        assert known.min() <= out[np.isfinite(out)].min()
        assert out[np.isfinite(out)].max() <= known.max()
    if not np.isnan(values).any():
        assert not np.isnan(out).any()
    if not np.isinf(values).any():
        assert not np.isinf(out).any()


@quick
@given(lengths, lengths, lengths, lengths, st.sampled_from(METHODS))
def test_depth_without_holes_gets_none(h: int, w: int, h2: int, w2: int, method: str) -> None:
    values = noise(h, w)
    out = resize_depth(values, (h2, w2), method)
    assert values.min() <= out.min()
    assert out.max() <= values.max()
    if method in ("linear", "area"):
        np.testing.assert_allclose(out, resize(values, (h2, w2), method), rtol=1e-5)


@pytest.mark.parametrize("hole", [NAN, INF])
@pytest.mark.parametrize("method", METHODS)
def test_holes_and_sky_do_not_leak(hole: np.float32, method: str) -> None:
    """The right half is unknown, or sky: what is known keeps its one value, and the border stays in the middle."""
    values = np.full((8, 16), 3, np.float32)
    values[:, 8:] = hole
    for h, w in ((16, 32), (4, 8), (8, 48), (3, 4)):
        out = resize_depth(values, (h, w), method)
        np.testing.assert_allclose(out[:, : w // 2], 3, rtol=1e-6)
        np.testing.assert_array_equal(out[:, w // 2 :], np.full((h, w - w // 2), hole))


def test_rounding_opens_no_holes_between_sky_and_the_rest() -> None:
    """Weights that are a half each fall on either side of it in float32: one of both must win."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        h, w, h2, w2 = rng.integers(1, 12, 4)
        values = np.where(rng.random((h, w)) < 0.5, INF, np.float32(2))
        assert not np.isnan(resize_depth(values, (int(h2), int(w2)))).any()


def test_a_lone_unknown_pixel_vanishes_and_a_lone_known_one_too() -> None:
    values = np.full((8, 8), 2, np.float32)
    values[3, 3] = NAN
    np.testing.assert_allclose(resize_depth(values, (2, 2), "area"), 2)
    lone = np.full((8, 8), NAN)
    lone[3, 3] = 2
    assert np.isnan(resize_depth(lone, (2, 2), "area")).all()
    assert np.isnan(resize_depth(np.full((4, 4), NAN), (7, 3))).all()
    assert np.isinf(resize_depth(np.full((4, 4), INF), (7, 3))).all()


def test_known_unknown_and_sky_by_hand() -> None:
    blocks = {
        (1, 3, INF, NAN): 2,  # half is known
        (1, 1, INF, INF): 1,
        (1, INF, INF, NAN): INF,  # more sky than known
        (1, INF, NAN, NAN): NAN,  # neither prevails
        (INF, NAN, NAN, NAN): INF,  # a quarter of sky, nothing known
        (1, NAN, NAN, NAN): NAN,
    }
    row = np.array([value for block in blocks for value in block], np.float32)[None]
    np.testing.assert_array_equal(resize_depth(row, (1, len(blocks)), "area")[0], [*blocks.values()])
    eighth = np.array([[INF] + [NAN] * 7 + [2] * 8], np.float32)  # too little sky to be sky
    np.testing.assert_array_equal(resize_depth(eighth, (1, 2), "area"), [[NAN, 2]])


@quick
@given(lengths, lengths, lengths, lengths)
def test_nearest_copies_pixels_of_any_sort(h: int, w: int, h2: int, w2: int) -> None:
    values = noise(h, w)
    values[::3, ::2], values[1::4, 1::3] = NAN, INF
    out = resize_depth(values, (h2, w2), "nearest")
    rows, columns = ((2 * np.arange(n) + 1) * m // (2 * n) for m, n in ((h, h2), (w, w2)))  # in whole numbers
    expected = values[rows[:, None], columns]
    assert (np.isclose(out, expected, equal_nan=True)).mean() > 0.8  # a centre that falls on a border may go either way
    np.testing.assert_array_equal(resize_depth(values, (3 * h, 5 * w), "nearest"), values.repeat(3, 0).repeat(5, 1))


def test_fill_nearest_takes_the_nearest() -> None:
    values = noise(12, 17)
    holes = np.random.default_rng(1).random(values.shape) < 0.7
    filled = geometry.fill_nearest(values, holes)
    np.testing.assert_array_equal(filled[~holes], values[~holes])
    known = np.argwhere(~holes)
    for y, x in np.argwhere(holes):
        distance = ((known - (y, x)) ** 2).sum(1)
        candidates = known[distance == distance.min()]
        assert filled[y, x] in values[candidates[:, 0], candidates[:, 1]]


# ---- pixels and space ----


def test_pixel_centres_lie_at_halves() -> None:
    u, v = geometry.pixel_grid(2, 3)
    assert u.tolist() == [0.5, 1.5, 2.5]
    assert v.tolist() == [0.5, 1.5]
    rays = geometry.pixel_rays(2, 3, [[2, 0, 1.5], [0, 4, 1], [0, 0, 1]])
    assert rays[0, 0].tolist() == [-0.5, -0.125, 1]
    assert rays[1, 2].tolist() == [0.5, 0.125, 1]


def test_rays_and_projection_under_torch() -> None:
    torch = pytest.importorskip("torch")
    K = torch.tensor([[50.0, 0, 4], [0, 60, 3], [0, 0, 1]], dtype=torch.float64)
    rays = geometry.pixel_rays(6, 8, K.numpy())
    z = torch.from_numpy(np.random.default_rng(0).uniform(1, 5, (2, 6, 8)))
    points = geometry.unproject(z, torch.from_numpy(rays))
    assert points.shape == (2, 6, 8, 3)
    u, v, back = geometry.project(points, K)
    np.testing.assert_allclose(u, np.broadcast_to(np.arange(8) + 0.5, u.shape), rtol=1e-12)
    np.testing.assert_allclose(v, np.broadcast_to(np.arange(6)[:, None] + 0.5, v.shape), rtol=1e-12)
    np.testing.assert_array_equal(back, z)
    np.testing.assert_array_equal(points.numpy(), geometry.unproject(z.numpy(), rays))


def test_normals_face_the_camera_and_are_nan_around_holes() -> None:
    rays = geometry.pixel_rays(7, 9, [[10, 0, 4.5], [0, 10, 3.5], [0, 0, 1]])
    points = (2 * rays).astype(np.float32)
    np.testing.assert_allclose(geometry.normals(points), np.broadcast_to([0, 0, -1], points.shape), atol=1e-6)
    points[3, 4] = NAN
    unknown = np.isnan(geometry.normals(points)).all(-1)
    assert {tuple(p) for p in np.argwhere(unknown)} == {(3, 4), (2, 4), (4, 4), (3, 3), (3, 5)}
