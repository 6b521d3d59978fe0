"""Accuracy metrics: by hand, invariances, alignments, failures that must cost, degenerate maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keendepth.core.types import Camera, DepthKind, DepthMap, KindError
from keendepth.evaluation import METRICS, metrics
from keendepth.evaluation.scoring import ALIGNMENTS, align_to

CAMERA = Camera.from_focal(50, 40, 30)


def depth(values, kind: DepthKind = DepthKind.METRIC, camera: Camera | None = None) -> DepthMap:
    return DepthMap(np.asarray(values, np.float32), kind, camera)


def wall(seed: int = 0) -> np.ndarray:
    """30 x 40 depths between 1 and 9 m."""
    rng = np.random.default_rng(seed)
    return np.linspace(2, 8, 40) + rng.uniform(-1, 1, (30, 40))


def figures_of(found: dict[str, float]) -> dict[str, float]:
    return {name: found[name] for name in metrics.ACCURACY}


def test_by_hand():
    found = metrics.accuracy(depth([[1.0, 4.0]]), depth([[2.0, 4.0]]))
    log = np.log(2)
    expected = {
        "abs_rel": 0.25,
        "sq_rel": 0.25,
        "rmse": np.sqrt(0.5),
        "rmse_log": log / np.sqrt(2),
        "log10": np.log10(2) / 2,
        "silog": 100 * log / 2,
        "delta1": 0.5,
        "delta2": 0.5,
        "delta3": 0.5,
    }
    assert figures_of(found) == pytest.approx(expected, rel=1e-6)
    assert (found["pixels"], found["coverage"], found["clamped"]) == (2, 1, 0)


def test_delta_excludes_its_bound_and_grows_with_its_power():
    found = metrics.accuracy(depth([[1.25, 1.5, 1.9, 2.0]]), depth(np.ones((1, 4))))
    assert (found["delta1"], found["delta2"], found["delta3"]) == (0, 0.5, 0.75)


def test_identical_maps_are_perfect_and_float_stays_float():
    g = depth(wall() + 0.001234)  # an evaluator that casts the reference to uint8 gives abs_rel above 0.01 here
    found = metrics.accuracy(g, g)
    expected = {name: 1.0 if figure.better == "higher" else 0.0 for name, figure in metrics.ACCURACY.items()}
    assert figures_of(found) == expected


@given(st.floats(0.1, 50), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_scale_alignments_undo_a_scale(scale, seed):
    g = wall(seed)
    for alignment in ("scale", "median", "scale_shift", "trimmed", "disparity"):
        found = metrics.accuracy(depth(g * scale), depth(g), alignment=alignment)
        assert found["abs_rel"] < 1e-4, alignment
        assert found["delta1"] == 1


def test_unit_changes_only_the_figures_in_metres():
    g, p = wall(), wall(1)
    one, many = metrics.accuracy(depth(p), depth(g)), metrics.accuracy(depth(16 * p), depth(16 * g))
    for name in ("abs_rel", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3"):
        assert one[name] == pytest.approx(many[name], rel=1e-6), name
    assert many["rmse"] == pytest.approx(16 * one["rmse"])
    assert many["sq_rel"] == pytest.approx(16 * one["sq_rel"])


def test_silog_ignores_scale_and_rmse_log_does_not():
    g, p = wall(), wall(1)
    one, many = metrics.accuracy(depth(p), depth(g)), metrics.accuracy(depth(3 * p), depth(g))
    assert one["silog"] == pytest.approx(many["silog"], rel=1e-5)
    assert many["rmse_log"] > 2 * one["rmse_log"]


@pytest.mark.parametrize("kind", [DepthKind.AFFINE_INVARIANT, DepthKind.DISPARITY])
def test_affine_kinds_are_fitted_in_their_own_space(kind):
    g = wall()
    own = 0.3 * g - 5 if kind is DepthKind.AFFINE_INVARIANT else 7 / g - 0.5
    found = metrics.accuracy(depth(own, kind), depth(g))
    assert found["abs_rel"] < 1e-4
    assert found["clamped"] == 0


def test_cascade_scores_under_every_weaker_alignment():
    g = wall()
    p = 1.3 * g + 2
    found = metrics.cascade(depth(p), depth(g))
    assert list(found) == ["none", "scale", "median", "scale_shift", "disparity"]
    assert found["none"]["rmse"] > found["scale"]["rmse"] > found["scale_shift"]["rmse"]
    assert found["scale_shift"]["abs_rel"] < 1e-4
    assert found["none"] == metrics.accuracy(depth(p), depth(g))
    kinds = {kind: len(metrics.cascade(depth(g, kind), depth(g))) for kind in DepthKind}
    assert list(kinds.values()) == [5, 4, 1, 1]


def test_alignments_that_a_kind_forbids_name_the_way_out():
    g = depth(wall())
    with pytest.raises(KindError, match="scale_shift"):
        metrics.accuracy(depth(wall(), DepthKind.AFFINE_INVARIANT), g, alignment="none")
    with pytest.raises(KindError, match="disparity"):
        metrics.accuracy(depth(wall(), DepthKind.DISPARITY), g, alignment="median")
    with pytest.raises(ValueError, match="known: natural"):
        metrics.accuracy(g, g, alignment="best")
    with pytest.raises(KindError, match="reference"):
        metrics.accuracy(g, depth(wall(), DepthKind.DISPARITY))


@pytest.mark.parametrize("alignment", ["scale_shift", "disparity"])
@pytest.mark.parametrize("clip", [False, True])
def test_what_is_aligned_below_zero_costs_and_is_no_inlier(alignment, clip):
    """Two outliers that the fit carries below zero, on the nearest and on the farthest reference pixel."""
    g = np.linspace(1, 9, 2000).reshape(40, 50)
    p = g.copy() if alignment == "scale_shift" else 1 / g
    kind = DepthKind.AFFINE_INVARIANT if alignment == "scale_shift" else DepthKind.DISPARITY
    worse = p.copy()
    worse[0, 0] = worse[-1, -1] = -4.0
    good = metrics.accuracy(depth(p, kind), depth(g))
    bad = metrics.accuracy(depth(worse, kind), depth(g), cap=(0.5, 9.5), clip=clip)
    assert bad["clamped"] == 2
    assert bad["pixels"] == 2000  # kept, not masked out
    assert bad["delta3"] <= 1 - 2 / 2000
    for name, figure in metrics.ACCURACY.items():
        assert bad[name] > good[name] if figure.better == "lower" else bad[name] < good[name], name
    aligned = align_to(depth(worse, kind), depth(g))
    assert aligned.failed.sum() == 2
    assert (aligned.depth.values > 0).all()


def test_predicted_sky_on_a_finite_reference_is_no_inlier():
    g, p = wall(), wall()
    p[0, :3] = np.inf
    found = metrics.accuracy(depth(p), depth(g))
    assert found["sky"] == 3
    assert found["delta3"] == pytest.approx(1 - 3 / 1200)
    assert found["rmse"] > 0.3


def test_reference_sky_and_unknown_pixels_are_not_scored():
    g, p = wall(), wall() * 1.1
    g[0], g[1] = np.nan, np.inf
    p[2, :20] = np.nan
    found = metrics.accuracy(depth(p), depth(g))
    assert found["pixels"] == 1200 - 80 - 20
    assert found["coverage"] == pytest.approx(1 - 20 / 1120)
    assert found["abs_rel"] == pytest.approx(0.1, rel=1e-4)


def test_cap_and_region_choose_reference_pixels_and_clip_clips():
    g = depth([[1.0, 5.0, 90.0]])
    p = depth([[1.0, 200.0, 90.0]])
    assert metrics.accuracy(p, g, cap=(0.001, 80))["pixels"] == 2
    assert metrics.accuracy(p, g, cap=(0.001, 80))["abs_rel"] == pytest.approx(39 / 2)
    assert metrics.accuracy(p, g, cap=(0.001, 80), clip=True)["abs_rel"] == pytest.approx(15 / 2)
    region = np.array([[True, False, True]])
    assert metrics.accuracy(p, g, region=region)["rmse"] == 0


def test_the_fit_sees_only_what_is_scored():
    g = np.r_[np.linspace(1, 5, 50), 50 * np.ones(50)].reshape(1, 100)
    p = np.r_[2 * np.linspace(1, 5, 50), 3 * np.ones(50)].reshape(1, 100)
    found = metrics.accuracy(depth(p), depth(g), alignment="scale", cap=(0, 10))
    assert found["abs_rel"] < 1e-6


def test_another_size_is_resized_to_the_reference():
    g = np.repeat(np.repeat(np.linspace(2, 3, 20)[None], 30, 0), 2, 1)
    found = metrics.accuracy(depth(g[::2, ::2]), depth(g))
    assert found["pixels"] == g.size
    assert found["abs_rel"] < 0.01


@pytest.mark.parametrize("alignment", ["natural", "scale", "disparity"])
def test_nothing_to_score_gives_nan_and_zero_pixels(alignment):
    known, unknown = depth(wall()), depth(np.full((30, 40), np.nan))
    sky = depth(np.full((30, 40), np.inf))
    for p, g in ((known, unknown), (unknown, known), (unknown, unknown), (known, sky)):
        found = metrics.accuracy(p, g, alignment=alignment)
        assert np.isnan(list(figures_of(found).values())).all()
        assert found["pixels"] == 0
    found = metrics.accuracy(known, known, region=np.zeros((30, 40), bool))
    assert np.isnan(found["delta1"])
    assert found["pixels"] == 0


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_constant_and_single_pixel_maps_do_not_crash(alignment):
    constant = metrics.accuracy(depth(np.full((30, 40), 3)), depth(wall()), alignment=alignment)
    assert constant["pixels"] == 1200
    assert np.isfinite(constant["abs_rel"])
    single = metrics.accuracy(depth([[2.0]]), depth([[2.0]]), alignment=alignment)
    assert single["abs_rel"] == pytest.approx(0, abs=1e-6)


def test_cloud_fscore_by_hand():
    plane = depth(np.full((30, 40), 2.0), camera=CAMERA)
    same = metrics.cloud_fscore(plane, plane)
    assert same == {"fscore_05cm": 1.0, "fscore_10cm": 1.0, "fscore_30cm": 1.0, "cloud_points": 1200.0}
    values = np.full((30, 40), 2.0)
    values[:, :20] = 2.2  # half the points 0.2 m behind: outside 5 and 10 cm, inside 30
    half = metrics.cloud_fscore(depth(values), plane)
    assert half["fscore_30cm"] == 1
    assert 0.4 < half["fscore_05cm"] < 0.6
    assert metrics.cloud_fscore(depth(values + 5), plane)["fscore_30cm"] == 0


def test_cloud_fscore_is_seeded_and_little_changed_by_sampling():
    g, p = depth(wall(), camera=CAMERA), depth(wall() + 0.05)
    some = metrics.cloud_fscore(p, g, samples=300, seed=1)
    assert some == metrics.cloud_fscore(p, g, samples=300, seed=1)
    assert some["fscore_05cm"] == pytest.approx(metrics.cloud_fscore(p, g)["fscore_05cm"], abs=0.1)


def test_cloud_fscore_needs_a_camera_and_points():
    for p, g in ((wall(), depth(wall())), (np.full((30, 40), np.nan), depth(wall(), camera=CAMERA))):
        found = metrics.cloud_fscore(depth(p), g)
        assert np.isnan(found["fscore_10cm"])
        assert found["cloud_points"] == 0


def test_accuracy_metrics_are_registered():
    assert METRICS.build("accuracy").sort == METRICS.build("cloud").sort == "accuracy"
    assert METRICS.build("accuracy").figures["delta1"].better == "higher"
    assert METRICS.build("accuracy").figures["rmse"].unit == "m"
