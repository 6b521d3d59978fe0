"""The classical refiners do what they claim: sharper along the photo, nothing invented, scale kept, better than doing nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from keendepth import pipeline, refiners
from keendepth.core import geometry
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.refiners.joint import effective_size, weighted_median


def disc(size: int = 160) -> tuple[Image, DepthMap]:
    """A bright disc at 2 m before a dark wall at 4 m, with noise in the photo."""
    y, x = np.mgrid[:size, :size]
    inside = (x - size * 0.45) ** 2 + (y - size * 0.55) ** 2 < (size * 0.3) ** 2
    noise = np.random.default_rng(1).normal(0, 3, (size, size, 3))
    rgb = np.clip(np.where(inside[..., None], 190, 60) + noise, 0, 255).astype(np.uint8)
    return Image(rgb), DepthMap(np.where(inside, 2.0, 4.0), DepthKind.METRIC)


def error(values: np.ndarray, truth: DepthMap) -> float:
    return float(np.sqrt(np.mean((values - truth.values) ** 2)))


@pytest.mark.parametrize("name", ["median", "bilateral", "poisson"])
@pytest.mark.parametrize("factor", [4, 8])
def test_refining_a_reduced_map_beats_bicubic(name: str, factor: int) -> None:
    image, truth = disc()
    small = truth.with_values(geometry.resize(truth.values, (160 // factor, 160 // factor), "area"))
    plain = small.resized(160, 160, "cubic").values
    assert error(pipeline.refine(image, small, name).values, truth) < 0.6 * error(plain, truth)


def test_the_median_invents_ten_times_less_depth_than_interpolation() -> None:
    image, truth = disc()
    small = truth.resized(20, 20, "nearest")

    def invented(values: np.ndarray) -> float:
        return float(np.mean((np.abs(values - 2) > 0.05) & (np.abs(values - 4) > 0.05)))

    plain = invented(small.resized(160, 160).values)
    assert plain > 0.1
    assert invented(pipeline.refine(image, small, "median").values) < plain / 9


@pytest.mark.parametrize("name", ["median", "bilateral", "poisson"])
def test_perfect_depth_is_not_harmed(name: str) -> None:
    image, truth = disc()
    refined = pipeline.refine(image, truth, name)
    assert error(refined.values, truth) < 0.03
    assert refined.refinement is not None
    assert abs(refined.refinement.residual_scale - 1) < 1e-3


@pytest.mark.parametrize("name", refiners.alone())
def test_scaling_depth_scales_the_answer(name: str) -> None:
    image, truth = disc(96)
    small = truth.resized(12, 12)
    once = pipeline.refine(image, small, name).values
    tenfold = pipeline.refine(image, small.with_values(small.values * 10), name).values
    np.testing.assert_allclose(tenfold, once * 10, rtol=2e-3)


@pytest.mark.parametrize("name", ["median", "bilateral"])
def test_affine_kinds_commute_with_any_rising_affine_map(name: str) -> None:
    image, truth = disc(96)
    small = DepthMap(truth.resized(24, 24).values, DepthKind.AFFINE_INVARIANT)
    once = pipeline.refine(image, small, name).values
    moved = pipeline.refine(image, small.with_values(small.values * 3 - 20), name).values
    np.testing.assert_allclose(moved, once * 3 - 20, atol=1e-3)


def test_unknown_pixels_and_sky_keep_to_the_photos_edges() -> None:
    image, truth = disc()
    for missing in (np.nan, np.inf):
        holed = truth.with_values(np.where(truth.values > 3, missing, truth.values).astype(np.float32))
        small = holed.resized(20, 20, "nearest")
        refined = pipeline.refine(image, small, "median").values
        agree = np.isfinite(refined) == np.isfinite(holed.values)
        plain = np.isfinite(small.resized(160, 160, "nearest").values) == np.isfinite(holed.values)
        assert agree.mean() > 0.985 > plain.mean()


def test_holes_are_filled_on_request_only() -> None:
    image, truth = disc()
    holed = truth.with_values(np.where(np.eye(160) > 0, np.nan, truth.values).astype(np.float32))
    assert np.isnan(pipeline.refine(image, holed).values).any()
    assert np.isfinite(pipeline.refine(image, holed, fill_holes=True).values).all()


def test_strength_is_a_blend_and_zero_is_exact() -> None:
    image, truth = disc()
    small = truth.resized(20, 20)
    none, half, full = (pipeline.refine(image, small, strength=strength).values for strength in (0, 0.5, 1))
    np.testing.assert_array_equal(none, small.resized(160, 160).values)
    np.testing.assert_allclose(half, (none + full) / 2, rtol=1e-6)
    np.testing.assert_array_equal(pipeline.refine(image, truth, strength=0).values, truth.values)


@pytest.mark.parametrize("kind", list(DepthKind))
def test_kind_is_kept(kind: DepthKind) -> None:
    image, truth = disc(64)
    assert pipeline.refine(image, DepthMap(truth.values[::4, ::4], kind)).kind is kind


def test_a_rotated_depth_file_is_refused() -> None:
    image = Image(np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(ValueError, match="rotated"):
        pipeline.refine(image, DepthMap(np.ones((40, 30)), DepthKind.METRIC))


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_senseless_strength_is_refused(strength: float) -> None:
    image, truth = disc(32)
    with pytest.raises(ValueError, match="strength"):
        pipeline.refine(image, truth, strength=strength)


def test_effective_size_sees_enlargement_and_leaves_sharp_maps_alone() -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.uniform(1, 5, (16, 20)), np.ones((16, 16)))  # steps everywhere: sharp
    sharp = DepthMap(blocks, DepthKind.METRIC)
    assert effective_size(sharp) == sharp.size
    enlarged = DepthMap(rng.uniform(1, 5, (64, 80)), DepthKind.METRIC).resized(256, 320)
    height = effective_size(enlarged)[0]
    assert 64 <= height <= 128


def test_weighted_median_by_hand() -> None:
    values = np.array([[3, 1, 2], [5, np.inf, 4], [np.nan, 7, 7]], np.float32)
    weights = np.array([[1, 1, 3], [1, 5, 1], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(weighted_median(values, weights), np.array([2, np.inf, np.nan], np.float32))


@pytest.mark.parametrize("name", ["median", "bilateral", "poisson"])
def test_a_real_picture_is_refined_better_than_by_interpolation(name: str, shared: Path) -> None:
    """Motorcycle's ground truth reduced 8x: root mean square error no worse than bicubic, edges nearer to the truth."""
    folder = shared / "data" / "middlebury_motorcycle"
    disparity = np.load(folder / "motorcycle_disp.npz")
    disparity = disparity[disparity.files[0]]
    metres = 994.978 * 0.193001 / (disparity + 31.086)
    truth = DepthMap.from_sensor(np.where(np.isfinite(disparity), metres, 0))
    with PillowImage.open(folder / "motorcycle_left.png") as picture:
        image = Image(np.asarray(picture.convert("RGB")))
    small = truth.filled().resized(63, 93)
    known = truth.valid
    plain = small.resized(500, 741, "cubic").values
    refined = pipeline.refine(image, small, name).values

    def off(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean((values - truth.values)[known] ** 2)))

    assert off(refined) <= 1.04 * off(plain)
    steep = np.zeros(known.shape, bool)
    steep[:, 1:] = np.abs(np.diff(np.log(truth.values), axis=1)) > 0.15
    near = geometry.resize(steep, known.shape) > 0
    off_plain = np.abs(np.log(plain[near] / truth.values[near])).mean()
    off_refined = np.abs(np.log(refined[near] / truth.values[near])).mean()
    assert off_refined < off_plain


def test_poisson_works_with_a_predictor_of_one_size() -> None:
    image, truth = disc(96)

    class OneSize:
        kind = DepthKind.METRIC

        def processing_size(self, photo: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
            return 24, 24

        def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
            if size not in (None, (24, 24)):
                raise ValueError("this network takes 24 x 24 only")
            return truth.resized(24, 24).resized(*image.size)

    small = OneSize().predict(image)
    refined = refiners.build("poisson").refine(image, small, OneSize())
    assert error(refined.values, truth) < error(small.values, truth)
