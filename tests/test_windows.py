"""Windows cover every pixel with weights that sum to 1, at any size; what was constant stays constant; planted fits are found."""

import numpy as np
import pytest

from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.refiners.tiles import PredictorNeededError, Tiles, fit_flat, fit_window
from keendepth.refiners.windows import Blend, Window, cover, grid, shares, taper

SIZES = [(1, 1), (2, 3), (7, 5), (48, 64), (101, 37), (480, 640)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_pixel_is_covered_and_weights_sum_to_one(size: tuple[int, int], count: int) -> None:
    windows = grid(size, count)
    total = np.zeros(size)
    for window, share in zip(windows, shares(windows, size), strict=True):
        assert share.shape == window.size
        assert (share > 0).all()
        total[window.at] += share
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert len(windows) == count**2 or min(size) <= count


def test_round_s_has_the_papers_number_of_windows() -> None:
    assert [len(grid((1080, 1920), s + 1)) for s in (1, 2, 3)] == [4, 9, 16]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [2, 64, 200])
def test_cover_keeps_to_the_side(size: tuple[int, int], side: int) -> None:
    if max(size) / side > 100:
        pytest.skip("hundreds of windows to a side")
    windows = cover(size, side)
    assert max(max(window.size) for window in windows) <= side
    covered = np.zeros(size, bool)
    for window in windows:
        covered[window.at] = True
    assert covered.all()


def test_neighbours_overlap_as_asked() -> None:
    first, second = grid((100, 1000), 2, 0.2)[:2]
    shared = first.left + first.width - second.left
    assert shared / first.width == pytest.approx(0.2, abs=0.01)


def test_no_weight_is_lost_at_the_borders_of_the_map() -> None:
    """The released mask falls off there, so that 25 to 41 % of a photo keeps the coarse map (sddr.md 2.3)."""
    corner = taper(Window(0, 0, 40, 60), (100, 100))
    assert corner[0, 0] == 1
    assert corner[-1, 0] < 0.05
    assert taper(Window(0, 0, 5, 5), (5, 5)).min() == 1


def test_a_blend_of_equal_windows_is_seamless_and_skips_what_is_unknown() -> None:
    values = np.random.default_rng(0).normal(size=(90, 70)).astype(np.float32)
    blend = Blend(values.shape)
    for window in grid(values.shape, 3):
        blend.add(window, values[window.at])
    np.testing.assert_allclose(blend.result(), values, atol=1e-5)
    part = Blend((10, 10))
    part.add(Window(0, 0, 10, 10), np.full((10, 10), np.nan, np.float32))
    assert np.isnan(part.result()).all()
    np.testing.assert_array_equal(part.result(np.ones((10, 10), np.float32)), 1)


def test_senseless_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="count of 1 or more"):
        grid((10, 10), 0)
    with pytest.raises(ValueError, match="2 pixels or more"):
        cover((10, 10), 1)


def test_scaled_windows_touch_all_they_should() -> None:
    assert Window(10, 20, 30, 40).scaled((100, 100), (50, 200)) == Window(5, 40, 15, 80)
    assert Window(1, 1, 1, 1).scaled((3, 3), (2, 2)) == Window(0, 0, 2, 2)


def surfaces(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:120, :160].astype(np.float32)
    base = 0.3 + 0.002 * x + 0.001 * y
    base[30:80, 50:90] += 0.5
    return (base + rng.normal(0, 1e-4, base.shape)).astype(np.float32)


def test_a_planted_scale_and_shift_is_found_in_spite_of_a_wrong_region() -> None:
    rng = np.random.default_rng(1)
    base = surfaces(rng)
    values = (base - 0.25) / 1.7
    values[:20, :40] += 0.4  # a tenth of the window is wrong
    scale, shift = fit_flat(values.astype(np.float32), base)
    assert scale == pytest.approx(1.7, rel=0.01)
    assert shift == pytest.approx(0.25, abs=0.01)


def test_a_window_that_runs_backwards_or_says_nothing_keeps_the_base() -> None:
    base = surfaces(np.random.default_rng(2))
    np.testing.assert_array_equal(fit_window(-base, base), base)
    np.testing.assert_array_equal(fit_window(np.ones_like(base), base), base)
    flat = np.full_like(base, 2.0)
    assert np.isfinite(fit_window(base, flat)).all()


class Halved:
    """A predictor that knows the depth of a gradient picture up to a factor that differs with the picture's size."""

    kind = DepthKind.METRIC

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        truth = 1 + image.rgb[..., 0].astype(np.float32) / 64
        return DepthMap(truth * (image.size[0] / 100), self.kind)


def test_tiles_are_fitted_to_the_whole() -> None:
    rgb = np.zeros((100, 120, 3), np.uint8)
    rgb[..., 0] = np.linspace(0, 200, 120)[None] + np.linspace(0, 50, 100)[:, None]
    image, predictor = Image(rgb), Halved()
    depth = predictor.predict(image)
    refined = Tiles().refine(image, depth, predictor)
    np.testing.assert_allclose(refined.values, depth.values, rtol=0.02)


def test_tiles_without_a_predictor_say_what_to_do() -> None:
    image = Image(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(PredictorNeededError, match=r"indoor-small\+tiles"):
        Tiles().refine(image, DepthMap(np.ones((8, 8)), DepthKind.METRIC))
