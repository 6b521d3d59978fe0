"""A depth map knows what it is: construction, conversion between kinds, and alignment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keendepth.core.types import Camera, Card, DepthKind, DepthMap, KindError

METRIC, SCALE, AFFINE, DISPARITY = DepthKind
POSITIVE = (METRIC, SCALE)
NAN, INF = np.nan, np.inf
quick = settings(deadline=None, max_examples=60, derandomize=True)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def row(kind: DepthKind, *values: float, camera: Camera | None = None, source: Card | None = None) -> DepthMap:
    """A map of one row."""
    return DepthMap(np.array([values]), kind, camera, source)


def ramp(kind: DepthKind = METRIC, camera: Camera | None = None) -> DepthMap:
    """Depth 1..4 with one unknown pixel and one of sky."""
    values = np.linspace(1, 4, 30).reshape(5, 6)
    values[1, 2], values[0, 5] = NAN, INF
    return DepthMap(values, kind, camera)


@pytest.mark.parametrize("kind", DepthKind)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.uint16, np.int32, np.int64])
def test_any_numbers_become_float32(kind: DepthKind, dtype: type) -> None:
    depth = DepthMap(np.array([[1, 2, 3], [4, 5, 6]], dtype), kind)
    assert depth.values.dtype == np.float32
    assert depth.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert depth.kind is kind
    assert depth.size == (2, 3)


@pytest.mark.parametrize("kind", DepthKind)
def test_unknown_and_sky_are_kept_in_every_kind(kind: DepthKind) -> None:
    depth = row(kind, 1.0, NAN, INF)
    assert depth.valid.tolist() == [[True, False, False]]
    assert depth.sky.tolist() == [[False, False, True]]
    assert np.isnan(depth.values[0, 1])
    assert not DepthMap(np.full((2, 2), NAN), kind).valid.any()
    assert DepthMap(np.full((2, 2), INF), kind).sky.all()


@pytest.mark.parametrize("kind", DepthKind)
@pytest.mark.parametrize("lowest", [0.0, -0.0, -1.0])
def test_only_kinds_without_an_offset_must_be_positive(kind: DepthKind, lowest: float) -> None:
    values = np.array([[1.0, NAN, lowest, INF]])
    if kind.positive:
        with pytest.raises(ValueError, match=r"must be above 0, found -?[01]\.0; .* NaN .*from_sensor"):
            DepthMap(values, kind)
    else:
        assert DepthMap(values, kind).values[0, 2] == lowest


@pytest.mark.parametrize("kind", DepthKind)
def test_minus_infinity_means_nothing(kind: DepthKind) -> None:
    with pytest.raises(ValueError, match=r"found -inf.*unknown pixels as NaN and sky as \+inf"):
        row(kind, 1.0, -INF, NAN)


def test_float64_beyond_float32_is_infinitely_far() -> None:
    depth = row(METRIC, 1e300, 1.0)
    assert depth.sky.tolist() == [[True, False]]
    with pytest.raises(ValueError, match="-inf"):
        row(AFFINE, -1e300, 1.0)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (3,), (), (2, 3, 1), (1, 2, 3, 4)])
def test_a_map_is_h_w_with_a_pixel(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected numbers \[h w\] with at least one pixel, found float64 \["):
        DepthMap(np.ones(shape), METRIC)


@pytest.mark.parametrize("values", [[[True]], [["far"]], [[1 + 2j]], [[None]]])
def test_a_map_holds_numbers(values: list) -> None:
    with pytest.raises(ValueError, match="expected numbers"):
        DepthMap(np.array(values), METRIC)


@pytest.mark.parametrize("name", ["metres", "", "METRIC"])
def test_a_wrong_kind_lists_the_right_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name!r}.*metric, scale_invariant, affine_invariant, disparity"):
        DepthKind(name)
    assert DepthKind("disparity") is DISPARITY


def test_the_array_is_read_only_and_the_callers_is_left_alone() -> None:
    mine = np.array([[1.0, 2.0]], np.float32)
    depth = DepthMap(mine, METRIC)
    with pytest.raises(ValueError, match="read-only"):
        depth.values[0, 0] = 5
    mine[0, 0] = 3  # still ours to write
    frozen = np.array([[1.0, 2.0]], np.float32)
    frozen.flags.writeable = False
    assert DepthMap(frozen, METRIC).values.tolist() == [[1, 2]]
    with pytest.raises(AttributeError):
        depth.kind = AFFINE


def test_a_transposed_array_is_laid_out_anew() -> None:
    assert DepthMap(np.arange(1.0, 7).reshape(2, 3).T, METRIC).values.flags.c_contiguous


@quick
@given(
    hnp.arrays(np.float64, sizes, elements=st.floats(allow_nan=True, allow_infinity=True)), st.sampled_from(DepthKind)
)
def test_every_array_gives_a_map_or_a_reason(values: np.ndarray, kind: DepthKind) -> None:
    before = values.copy()
    with np.errstate(over="ignore"):
        lowest = np.fmin.reduce(values.astype(np.float32), axis=None)
    if lowest == -INF or (kind.positive and lowest <= 0):
        with pytest.raises(ValueError, match=r"depth: .* NaN"):
            DepthMap(values, kind)
    else:
        depth = DepthMap(values, kind)
        assert not np.isneginf(depth.values).any()
        assert not kind.positive or not (depth.values <= 0).any()
        assert np.array_equal(np.isnan(depth.values), np.isnan(values))
    np.testing.assert_array_equal(values, before)


def test_sensor_zeros_and_negatives_are_unknown() -> None:
    raw = np.array([[0, 1500, 65535]], np.uint16)
    np.testing.assert_allclose(DepthMap.from_sensor(raw, 0.001).values, [[NAN, 1.5, 65.535]], rtol=1e-6)
    floats = DepthMap.from_sensor(np.array([[-1.0, NAN, INF, -INF, 2.0, 1e-60, 1e300]]))
    np.testing.assert_array_equal(floats.values, np.float32([[NAN, NAN, INF, NAN, 2, NAN, INF]]))
    assert floats.kind is METRIC
    assert raw.tolist() == [[0, 1500, 65535]]


def test_units() -> None:
    assert [kind.unit for kind in DepthKind] == ["m", "1", "1", "1"]
    assert ramp().unit == "m"
    assert [kind.positive for kind in DepthKind] == [True, True, False, False]


def test_disparity_is_one_over_z() -> None:
    for kind in POSITIVE:
        depth = row(kind, 0.5, 4.0, NAN, INF, source=Card("n", "s", "l"))
        disparity = depth.to_disparity()
        np.testing.assert_array_equal(disparity.values, np.float32([[2, 0.25, NAN, INF]]))
        assert disparity.kind is DISPARITY
        assert disparity.source is depth.source
        assert disparity.to_disparity() is disparity


def test_a_tiny_depth_does_not_become_sky() -> None:
    depth = row(METRIC, 1e-40, 1.0)  # 1/z is beyond float32
    assert not depth.to_disparity().sky.any()
    assert np.isfinite(depth.inverse()).all()


@quick
@given(hnp.arrays(np.float32, sizes, elements=st.floats(0.0625, 1e4, width=32)))
def test_there_and_back_through_disparity(values: np.ndarray) -> None:
    back = DepthMap(values, METRIC).to_disparity().with_scale_and_shift(1, 0)
    assert back.kind is METRIC
    np.testing.assert_allclose(back.values, values, rtol=3e-7)


def test_a_scale_makes_metres() -> None:
    metric = ramp(SCALE).with_scale(2.5)
    assert metric.kind is METRIC
    np.testing.assert_allclose(metric.values, ramp().values * 2.5, rtol=1e-6)


@pytest.mark.parametrize("scale", [0, -1, NAN, INF])
def test_a_senseless_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="a scale must be a positive number, found"):
        ramp(SCALE).with_scale(scale)


@pytest.mark.parametrize("kind", DepthKind)
def test_scale_and_shift_make_metres_of_any_kind(kind: DepthKind) -> None:
    depth = row(kind, 1.0, 3.0, NAN, INF)
    metric = depth.with_scale_and_shift(2, 0.5)
    assert metric.kind is METRIC
    near, far = (1 / 2.5, 1 / 6.5) if kind is DISPARITY else (2.5, 6.5)
    np.testing.assert_allclose(metric.values, [[near, far, NAN, INF]], rtol=1e-6)


@pytest.mark.parametrize("kind", DepthKind)
@pytest.mark.parametrize(
    ("scale", "shift"), [(0.0, 2.0), (0.0, 0.0), (-1.0, 2.0), (1.0, -2.0), (1e-20, 0.0), (1e-300, 0.0)]
)
def test_what_lands_behind_the_camera_is_unknown_and_sky_stays(kind: DepthKind, scale: float, shift: float) -> None:
    depth = row(kind, 1e-30, 1.0, 2.0, 3.0, NAN, INF)
    metric = depth.with_scale_and_shift(scale, shift).values[0]
    mapped = scale * np.array([1e-30, 1, 2, 3]) + shift
    assert np.isnan(metric[:4][mapped <= 0]).all()
    assert np.isnan(metric[4])
    assert metric[5] == INF


def test_stereo_disparity_by_hand() -> None:
    disparity = row(DISPARITY, 100.0, 10.0, 0.0, NAN, INF)
    metric = disparity.metric_from_stereo(focal=700, baseline=0.5)
    np.testing.assert_allclose(metric.values, [[3.5, 35, NAN, NAN, INF]], rtol=1e-6)
    shifted = disparity.metric_from_stereo(700, 0.5, offset=40)  # Middlebury's doffs
    np.testing.assert_allclose(shifted.values, [[2.5, 7, 8.75, NAN, INF]], rtol=1e-6)
    for focal, baseline in ((0, 1), (700, 0), (-700, 0.5), (NAN, 1)):
        with pytest.raises(ValueError, match="focal and baseline must be above 0"):
            disparity.metric_from_stereo(focal, baseline)


REFUSED = {
    "affine to disparity": (lambda: ramp(AFFINE).to_disparity(), r"\.with_scale_and_shift\(.*\.aligned_to\("),
    "affine by a scale": (lambda: ramp(AFFINE).with_scale(2), r"\.with_scale_and_shift\(.*\.aligned_to\("),
    "disparity by a scale": (lambda: ramp(DISPARITY).with_scale(2), r"\.with_scale_and_shift\(.*\.aligned_to\("),
    "affine fitted to disparity": (lambda: ramp(AFFINE).aligned_to(ramp(DISPARITY)), r"\.with_scale_and_shift\("),
    "disparity fitted to affine": (lambda: ramp(DISPARITY).aligned_to(ramp(AFFINE)), r"\.with_scale_and_shift\("),
    "metric as stereo": (lambda: ramp(METRIC).metric_from_stereo(1, 1), "needs disparity in pixels, found metric"),
    "points of scale": (lambda: ramp(SCALE).points(), r"found scale_invariant.*\.with_scale\(.*\.aligned_to\("),
    "points of affine": (lambda: ramp(AFFINE).points(), r"found affine_invariant.*\.with_scale_and_shift\("),
    "points of disparity": (lambda: ramp(DISPARITY).points(), r"found disparity.*\.metric_from_stereo\("),
    "metric wanted otherwise": (lambda: ramp().require(DISPARITY, "this"), r"this needs disparity.*\.to_disparity\(\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_kind_does_not_allow_names_the_way_out(case: str) -> None:
    call, way_out = REFUSED[case]
    with pytest.raises(KindError, match=way_out):
        call()


@pytest.mark.parametrize("kind", DepthKind)
def test_inverse_grows_towards_the_camera(kind: DepthKind) -> None:
    depth = row(kind, 1.0, 2.0, 4.0, NAN, INF)
    near = depth.inverse()[0]
    assert near.dtype == np.float32
    expected = {AFFINE: [-1, -2, -4], DISPARITY: [1, 2, 4]}.get(kind, [1, 0.5, 0.25])
    assert near[:3].tolist() == expected
    assert np.isnan(near[3])
    assert near[4] <= near[:3].min()
    assert np.isfinite(row(kind, INF, INF).inverse()).all()


def test_with_values_keeps_the_rest_and_the_camera_follows() -> None:
    depth = ramp(AFFINE, Camera.from_fov(60, 6, 5))
    other = depth.with_values(np.ones((10, 12)))
    assert other.kind is AFFINE
    assert other.camera == depth.camera.resized(10, 12)
    assert depth.with_values(np.ones((5, 6))).camera is depth.camera


def test_filled_takes_the_nearest_and_leaves_sky() -> None:
    depth = row(METRIC, 1.0, NAN, NAN, NAN, 5.0, INF)
    filled = depth.filled().values[0]
    assert filled[[0, 1, 3, 4, 5]].tolist() == [1, 1, 5, 5, INF]
    assert filled[2] in (1, 5)
    blind = DepthMap(np.full((2, 2), NAN), METRIC)
    assert blind.filled() is blind
    full = DepthMap(np.ones((2, 2)), METRIC)
    assert full.filled() is full


def test_resizing_a_map_takes_the_camera_along() -> None:
    depth = ramp(camera=Camera.from_fov(60, 6, 5))
    assert depth.resized(5, 6) is depth
    larger = depth.resized(10, 18)
    assert larger.size == (10, 18)
    assert larger.camera == depth.camera.resized(10, 18)
    assert larger.kind is METRIC
    with pytest.raises(ValueError, match="height and width must be at least 1, found 0 x 3"):
        depth.resized(0, 3)


# ---- alignment ----

PAIRS = [
    (own, other) for own in DepthKind for other in DepthKind if {own, other} not in ({AFFINE, DISPARITY},)
]  # the two refused pairs stand above


def planted(own: DepthKind, scale: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """(values of `own`, z or 1/z they stand for): the second is scale * first + shift."""
    values = np.random.default_rng(3).uniform(0.5, 4, (12, 15))
    values[0, 0], values[3, 4] = INF, NAN
    return values, scale * values + shift


@pytest.mark.parametrize(("own", "other"), PAIRS)
@pytest.mark.parametrize("method", ["scale", "scale_shift", "median", "trimmed"])
def test_alignment_finds_what_was_planted(own: DepthKind, other: DepthKind, method: str) -> None:
    scale, shift = 1.7, 0.3 if method in ("scale_shift", "trimmed") else 0.0
    values, mapped = planted(own, scale, shift)
    inverse = DISPARITY in (own, other)
    if inverse and own is not DISPARITY:  # the fit is made in 1/z: plant it there
        values = np.where(np.isinf(values), INF, 1 / values)
    if inverse and other is not DISPARITY:
        mapped = np.where(np.isinf(mapped), INF, 1 / mapped)
    reference = DepthMap(mapped, other)
    answer = DepthMap(values, own).aligned_to(reference, method)
    assert answer.kind is other
    np.testing.assert_allclose(answer.values, reference.values, rtol=2e-5)


@pytest.mark.parametrize(("own", "other"), [pair for pair in PAIRS if not pair[0].positive])
@pytest.mark.parametrize("far", [2.0, -3.0])
def test_a_flat_or_opposite_reference_keeps_sky_and_holes(own: DepthKind, other: DepthKind, far: float) -> None:
    far = abs(far) if other.positive else far
    depth = row(own, 1.0, 2.0, 3.0, NAN, INF)
    flat = depth.aligned_to(DepthMap(np.full((1, 5), far), other))
    np.testing.assert_allclose(flat.values, [[far, far, far, NAN, INF]], rtol=1e-6)
    if not other.positive:
        opposite = depth.aligned_to(row(other, -1.0, -2.0, -3.0, 1, NAN))
        np.testing.assert_allclose(opposite.values, [[-1, -2, -3, NAN, INF]], rtol=1e-6)


@pytest.mark.parametrize("own", [METRIC, SCALE])
def test_values_that_a_fit_puts_behind_the_camera_are_unknown(own: DepthKind) -> None:
    reference = row(METRIC, NAN, NAN, 1.0, 3.0)
    answer = row(own, 1.0, 2.0, 3.0, 4.0).aligned_to(reference)  # z = 2 v - 5
    np.testing.assert_allclose(answer.values, [[NAN, NAN, 1, 3]], rtol=1e-6)
    zero = row(DISPARITY, 0.0, 1.0, 2.0).aligned_to(row(SCALE, 3.0, 1.0, 0.5), "scale")
    assert np.isnan(zero.values[0, 0])


def test_alignment_to_a_map_of_another_size() -> None:
    z = np.repeat(np.repeat(np.random.default_rng(0).uniform(1, 5, (6, 8)), 3, 0), 3, 1)
    camera = Camera.from_fov(50, 24, 18)
    own = DepthMap(z * 0.5 - 0.2, AFFINE, camera)
    answer = own.aligned_to(DepthMap(z[1::3, 1::3], METRIC))
    assert answer.size == (18, 24)
    assert answer.camera is camera
    np.testing.assert_allclose(answer.values, z, rtol=1e-5)


def test_no_shared_pixel_is_an_error_and_an_unknown_method_too() -> None:
    left, right = row(METRIC, 1.0, NAN), row(METRIC, NAN, 1.0)
    for method in ("scale", "scale_shift", "median", "trimmed"):
        with pytest.raises(ValueError, match="share no pixel where both are known"):
            left.aligned_to(right, method)
    with pytest.raises(ValueError, match="unknown method 'ransac'; known: none, scale, "):
        left.aligned_to(left, "ransac")
    assert left.aligned_to(right, "none").values[0, 0] == 1


def test_a_card_is_plain_data() -> None:
    card = Card("n", "s", "l", kind=METRIC, native_size=(224, 224))
    assert card.to_dict()["kind"] == "metric"
