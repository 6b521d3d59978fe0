"""Sharpness metrics: against a slow reference, by hand, on steps, on degenerate maps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import slow_reference as slow
from keendepth.core.types import Camera, DepthKind, DepthMap, KindError
from keendepth.evaluation import METRICS, boundary, contours, ordinal, surfaces
from keendepth.evaluation.scoring import align_to, figures


def shared_folder() -> Path:
    """Where the real pictures lie; skips where they are missing."""
    folder = Path(os.environ.get("KEENDEPTH_SHARED", Path(__file__).parents[1].parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real pictures are missing: no folder {folder.name} beside the checkout, KEENDEPTH_SHARED not set")
    return folder


def metric(values, camera: Camera | None = None) -> DepthMap:
    return DepthMap(np.asarray(values, np.float32), DepthKind.METRIC, camera)


def step(shift: int = 0, near: float = 2.0, far: float = 8.0) -> DepthMap:
    """64 x 64, far left of column 32 + shift, near from there on."""
    values = np.full((64, 64), far)
    values[:, 32 + shift :] = near
    return metric(values)


def scene(seed: int = 0, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Boxes before a slanted wall, which stays free at the right: edges in every direction, jumps of many ratios."""
    rng = np.random.default_rng(seed)
    values = 1 / (np.linspace(0.16, 0.11, size[1])[None] - np.linspace(0, 0.01, size[0])[:, None])
    for _ in range(12):
        y, x = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 44)
        right = min(x + rng.integers(3, 40), size[1] - 32)
        values[y : y + rng.integers(3, 40), x:right] = rng.uniform(1.5, 6)
    return values


def blurred(values: np.ndarray, sigma: float) -> DepthMap:
    return metric(ndimage.gaussian_filter(values, sigma), CAMERA)


CAMERA = Camera.from_fov(60, 128, 96)
BEST = {"lower": 0.0, "higher": 1.0}
depths = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0.5, 4, width=32))


def maps(seed: int, size=(23, 31), holes: float = 0.1, sky: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Two random maps of few values (so that many pairs tie with no edge) with unknown pixels and sky."""
    rng = np.random.default_rng(seed)
    both = []
    for _ in range(2):
        values = rng.choice([1.0, 1.04, 1.1, 1.2, 1.3, 2.0], size).astype(np.float32)
        values[rng.random(size) < holes] = np.nan
        values[rng.random(size) < sky] = np.inf
        both.append(values)
    return both[0], both[1]


# ---- against the slow reference --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_the_slow_reference_on_maps_with_holes_and_sky(seed):
    p, g = maps(seed)
    fast = boundary.depth_pro_counts(p, g)
    np.testing.assert_array_equal(fast, slow.depth_pro_counts(p, g))
    for radius in (1, 2, 3):
        np.testing.assert_array_equal(boundary.moge_counts(p, g, radius), slow.moge_counts(p, g, radius))


@given(depths, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_counts_equal_the_slow_reference_on_any_map(g, seed):
    p = g * np.random.default_rng(seed).choice(np.float32([1, 1.05, 1.3]), g.shape)
    fast = boundary.depth_pro_counts(p, g)
    np.testing.assert_array_equal(fast, slow.depth_pro_counts(p, g))
    np.testing.assert_array_equal(boundary.moge_counts(p, g, 1), slow.moge_counts(p, g, 1))
    if fast[:, 2, 0].any():
        found = boundary.boundary_f1(metric(p), metric(g))["boundary_f1"]
        assert found == pytest.approx(slow.depth_pro_f1(p, g), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_both_slow_ways_on_dense_maps(seed):
    p, g = maps(seed, holes=0, sky=0)
    found = boundary.boundary_f1(metric(p), metric(g)) | boundary.moge_f1(metric(p), metric(g))
    assert found["boundary_f1"] == pytest.approx(slow.depth_pro_f1(p, g), abs=1e-12)
    assert found["boundary_f1"] == pytest.approx(slow.depth_pro_f1_by_threshold(p, g), abs=1e-12)
    for radius in (1, 2, 3):
        assert found[f"moge_f1_r{radius}"] == pytest.approx(slow.moge_f1(p, g, radius), abs=1e-12)
        assert found[f"moge_f1_r{radius}"] == pytest.approx(slow.moge_f1_by_threshold(p, g, radius), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_matte_recall_equals_the_slow_reference(seed):
    p, _ = maps(seed, sky=0)
    inside = np.random.default_rng(seed).random(p.shape) < 0.5
    found = boundary.matte_recall(metric(p), inside.astype(float))["matte_recall"]
    assert found == pytest.approx(slow.matte_recall(p, inside), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("holes", [0.0, 0.02])
def test_canny_equals_the_slow_reference(seed, holes):
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.random((40, 50)), 1.5) * 4
    known = rng.random(values.shape) >= holes
    for sigma, low, high in (contours.PDBE_CANNY, contours.DBE_CANNY, contours.EDGE_CANNY):
        fast = contours.canny(values, sigma, low, high, known)
        np.testing.assert_array_equal(fast, slow.canny(values, sigma, low, high, known))
        assert fast.any()
        assert not fast[[0, -1]].any()


@pytest.mark.parametrize("seed", range(3))
def test_distances_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    start, goal = rng.random((2, 40, 30)) < 0.03
    apart = np.linalg.norm(np.argwhere(start)[:, None] - np.argwhere(goal)[None], axis=-1)
    np.testing.assert_allclose(contours.distances(start, goal), apart.min(1), rtol=1e-15)
    assert np.isposinf(contours.distances(start, np.zeros((40, 30), bool))).all()


@pytest.mark.parametrize("seed", range(3))
def test_pdbe_and_soft_edge_error_equal_the_slow_reference(seed):
    g = scene(seed)
    p = ndimage.gaussian_filter(scene(seed), 1.5)
    g[40:44, 20:90] = np.nan
    p, g = p.astype(np.float32), g.astype(np.float32)
    found = contours.pdbe(metric(p), metric(g), as_published=True)
    assert (found["pdbe_acc"], found["pdbe_comp"]) == pytest.approx(
        slow.pdbe(p.astype(float), g.astype(float)), abs=1e-12
    )
    see = surfaces.soft_edge_error(metric(p), metric(g))["see"]
    assert see == pytest.approx(slow.soft_edge_error(p.astype(float), g.astype(float), surfaces.EDGE_RATIO), abs=1e-12)


def test_real_maps_equal_the_slow_reference():
    path = shared_folder() / "data" / "middlebury_motorcycle" / "motorcycle_disp.npz"
    if not path.is_file():
        pytest.skip("Middlebury Motorcycle is missing from the shared folder")
    archive = np.load(path)
    disparity = archive[archive.files[0]]
    g = np.where(np.isfinite(disparity), 994.978 * 0.193001 / (disparity + 31.086), np.nan).astype(np.float32)
    p = ndimage.gaussian_filter(np.where(np.isnan(g), 3, g), 0.7)[100:360, 200:560]
    g = g[100:360, 200:560]
    fast = boundary.depth_pro_counts(p, g)
    assert fast[:, 0, 0].min() > 100
    np.testing.assert_array_equal(fast, slow.depth_pro_counts(p, g))
    np.testing.assert_array_equal(boundary.moge_counts(p, g, 2), slow.moge_counts(p, g, 2))
    found = contours.pdbe(metric(p), metric(g))
    assert (found["pdbe_acc"], found["pdbe_comp"]) == pytest.approx(
        slow.pdbe(p.astype(float), g.astype(float)), abs=1e-12
    )
    assert found["pdbe_edges"] > 100


# ---- every metric: the best, the worse, the degenerate ------------------------------------------------------------------


def test_identical_maps_score_the_best_possible():
    g = metric(scene(), CAMERA)
    found = boundary.sharpness(g, g)
    sharp = {name: f for name, f in figures().items() if name in found and name != "plane_rms"}
    assert len(sharp) > 18
    assert {name: found[name] for name in sharp} == pytest.approx(
        {n: BEST[f.better] for n, f in sharp.items()}, abs=1e-6
    )
    assert found["boundary_f1_ceiling"] == 1
    assert found["plane_rms"] < 0.005 * 9


def test_a_blurred_map_is_worse_than_a_sharp_one_in_every_figure():
    g = metric(scene(), CAMERA)
    sharp, soft = boundary.sharpness(blurred(scene(), 0.6), g), boundary.sharpness(blurred(scene(), 3), g)
    edged = {n: f for n, f in figures().items() if n in sharp and not n.startswith(("plane", "edge_acc"))}
    for name, figure in edged.items():
        worse = sharp[name] < soft[name] if figure.better == "lower" else sharp[name] > soft[name]
        assert worse, f"{name}: {sharp[name]} with little blur, {soft[name]} with much"


def test_scale_leaves_the_scale_invariant_figures_alone():
    g, p = scene(), scene() * np.random.default_rng(0).uniform(0.9, 1.1, (96, 128))
    one = boundary.sharpness(metric(p, CAMERA), metric(g, CAMERA))
    eight = boundary.sharpness(metric(8 * p, CAMERA), metric(8 * g, CAMERA))
    in_metres = {"see", "plane_rms"}
    tied = {n for n in one if n.startswith("edge_")}  # a shift of log depth decides ties of Canny by rounding
    assert {n: one[n] for n in one.keys() - in_metres - tied} == pytest.approx(
        {n: eight[n] for n in eight.keys() - in_metres - tied}, rel=1e-5
    )
    assert {n: one[n] for n in tied} == pytest.approx({n: eight[n] for n in tied}, rel=0.05)
    assert eight["see"] == pytest.approx(8 * one["see"])
    assert eight["plane_rms"] == pytest.approx(8 * one["plane_rms"])


@pytest.mark.parametrize(
    "g",
    [
        np.full((48, 48), 3.0),
        np.full((48, 48), np.nan),
        np.full((48, 48), np.inf),
        np.full((1, 1), 2.0),
        np.full((1, 1), np.nan),
        np.full((2, 7), 2.0),
        np.full((5, 1), 2.0),
    ],
    ids=["constant", "unknown", "sky", "one", "one unknown", "two rows", "column"],
)
def test_a_reference_without_edges_gives_nan_and_a_count_of_zero(g):
    p = np.where(np.isnan(g), 2.0, g) * np.linspace(1, 3, g.shape[1])
    found = boundary.sharpness(metric(p), metric(g))
    ours = {n: found[n] for n in figures() if n in found and n not in ("plane_rms", "plane_angle")}
    graded = {n: v for n, v in ours.items() if not n.startswith(("ord", "d3r"))}
    assert np.isnan(list(graded.values())).all(), graded
    counts = ("boundary_edges", "moge_edges_r1", "moge_edges_r3", "pdbe_edges", "dbe_edges", "edge_edges", "d3r_pairs")
    assert [found[n] for n in (*counts, "see_pixels", "flying_pixels", "thin_pixels", "planes")] == [0.0] * 11
    assert np.isnan([found["d3r"], found["d3r_depth"], found["plane_rms"]]).all()


@pytest.mark.parametrize("value", [np.nan, 3.0], ids=["unknown", "constant"])
def test_a_prediction_without_edges_is_never_flattered(value):
    g = metric(scene(), CAMERA)
    found = boundary.sharpness(metric(np.full((96, 128), value)), g)
    assert found["boundary_f1"] == found["boundary_recall"] == found["moge_f1_r2"] == found["edge_f1"] == 0
    assert found["pdbe_acc"] == found["dbe_acc"] == found["dbe_comp"] == 10
    assert found["pdbe_comp"] == found["edge_comp"] == pytest.approx(np.hypot(96, 128))
    if np.isnan(value):
        assert np.isnan([found[n] for n in ("see", "flying", "thin_delta1", "plane_rms", "ord", "d3r")]).all()
        assert found["ord_pairs"] == found["see_pixels"] == 0
    else:
        assert found["d3r"] == found["d3r_depth"] == 1


def test_kinds_and_sizes_are_checked_with_a_way_out():
    g = metric(scene())
    with pytest.raises(KindError, match="align_to"):
        boundary.boundary_f1(DepthMap(np.float32(scene()), DepthKind.DISPARITY), g)
    with pytest.raises(ValueError, match="align_to"):
        contours.pdbe(metric(scene()[:50]), g)
    disparity = DepthMap((7 / scene() + 2).astype(np.float32), DepthKind.DISPARITY)
    assert boundary.sharpness(disparity, g)["boundary_f1"] > 0.9


def test_registry_describes_every_figure():
    assert {"depth-pro", "moge", "pdbe", "dbe", "edges", "ordinal", "see", "flying", "thin", "planarity"} <= set(
        METRICS
    )
    g = metric(scene(), CAMERA)
    for name in METRICS:
        entry = METRICS.build(name)
        assert METRICS.card(name).summary
        found = entry.score(g, g)
        assert set(entry.figures) <= set(found), name
        assert all(isinstance(value, float) for value in found.values()), name


def test_documentation_has_a_row_for_every_figure():
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    assert [name for name in figures() if f"`{name}`" not in text] == []


# ---- Depth Pro and MoGe-2 by hand ------------------------------------------------------------------------------------


def test_depth_pro_by_hand():
    g, p = metric([[2, 2, 1, 1]]), metric([[2, 1, 1, 1]])
    # One reference jump (third pixel nearer than the second: "right"), one predicted, elsewhere: no hit.
    assert boundary.boundary_f1(p, g)["boundary_f1"] == 0
    # The same map: one direction of four has edges, so P = R = 1/4 at every threshold, and so is F1.
    same = boundary.boundary_f1(g, g)
    assert (same["boundary_f1"], same["boundary_f1_ceiling"], same["boundary_edges"]) == pytest.approx((0.25, 0.25, 1))


def test_depth_pro_weights_thresholds_by_themselves():
    g = metric([[1, 1.2, 1], [1.2, 1, 1.2], [1, 1.2, 1]])  # 1.2 exceeds 1.05 ... 1.1833, seven of ten
    limits = np.linspace(1.05, 1.25, 10)
    assert boundary.boundary_f1(g, g)["boundary_f1"] == pytest.approx(limits[limits < 1.2].sum() / limits.sum())


def test_unknown_reference_pixels_are_not_counted_and_unknown_predictions_cost_recall():
    g, p = scene(), scene()
    g[20:60, 30:70] = np.nan
    assert boundary.boundary_f1(metric(p), metric(g))["boundary_f1"] == 1
    found = boundary.boundary_f1(metric(g), metric(p))
    assert found["boundary_recall"] < found["boundary_precision"] == 1


def test_moge_by_hand():
    g, p = np.ones((3, 4)), np.ones((3, 4))
    g[:, 2:], p[:, 2:] = 2, 2
    p[1, 3] = 1  # breaks no counted pair of radius 1: (1, 2) -> (1, 3) drops in depth, (1, 1) -> (1, 2) stays
    found = boundary.moge_f1(metric(p), metric(g), radii=(1, 2))
    assert (found["moge_f1_r1"], found["moge_edges_r1"]) == (1, 1)
    assert np.isnan(found["moge_f1_r2"])
    assert found["moge_edges_r2"] == 0


def test_disk_has_its_pixels():
    assert [len(list(boundary.disk(radius))) for radius in (1, 2, 3)] == [4, 12, 28]


def test_matte_recall_thins_ramps_to_their_steepest_step():
    alpha = np.zeros((6, 8))
    alpha[:, 4:] = 1
    sharp = metric(np.where(alpha > 0, 2.0, 8.0))
    assert boundary.matte_recall(sharp, alpha) == pytest.approx({"matte_recall": 0.25, "matte_edges": 6})
    ramp = metric(np.repeat([[8, 8, 6, 5, 4, 2, 2, 2.0]], 6, 0))  # steepest one pixel to the right of the matte
    assert boundary.matte_recall(ramp, alpha)["matte_recall"] == 0
    assert np.isnan(boundary.matte_recall(sharp, np.zeros((6, 8)))["matte_recall"])
    with pytest.raises(ValueError, match="resize"):
        boundary.matte_recall(sharp, np.zeros((3, 3)))


# ---- edge distances ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1, 3, 7])
def test_a_shifted_step_has_a_pdbe_of_its_shift_less_a_half(shift):
    found = contours.pdbe(step(shift), step())
    assert (found["pdbe_acc"], found["pdbe_comp"]) == (shift - 0.5, shift - 0.5)


def test_a_step_beyond_reach_keeps_its_true_completeness_unless_as_published():
    ours, published = contours.pdbe(step(12), step()), contours.pdbe(step(12), step(), as_published=True)
    assert (ours["pdbe_acc"], ours["pdbe_comp"]) == (10, 11.5)
    assert (published["pdbe_acc"], published["pdbe_comp"]) == (10, 10)


def test_dbe_of_ibims_cuts_at_ten_and_takes_annotated_edges():
    near, far = contours.dbe(step(3), step()), contours.dbe(step(12), step())
    assert near["dbe_acc"] == near["dbe_comp"] == pytest.approx(2.5, abs=0.5)
    assert (far["dbe_acc"], far["dbe_comp"]) == (10, 10)
    annotated = np.zeros((64, 64), bool)
    annotated[1:-1, 35] = True
    found = contours.dbe(step(3), step(), edges=annotated)
    assert found["dbe_acc"] <= 0.5
    assert found["dbe_edges"] == 62
    assert np.isnan(contours.dbe(step(), step(), edges=np.zeros((64, 64), bool))["dbe_acc"])


def test_sky_is_an_edge_of_the_disparity_channel():
    values = np.full((40, 40), 5.0)
    values[:20] = np.inf
    values[30:, :20] = 2.0
    found = contours.pdbe(metric(values), metric(values))
    assert (found["pdbe_acc"], found["pdbe_comp"]) == (0, 0)
    assert contours.pseudo_edges(values, np.ones((40, 40), bool))[18:22, 5:35].any()


def test_edge_f1_forgives_two_pixels_in_part():
    scores = [contours.edge_distance(step(k), step())["edge_f1"] for k in (0, 2, 20)]
    assert scores[0] == 1 > scores[1] > scores[2] == 0


# ---- ordinal ----------------------------------------------------------------------------------------------------------


def test_order_and_pairs_by_hand():
    a, b = np.array([1.0, 1.0, 1.0, 0.0, np.nan]), np.array([2.0, 1.0, 0.5, 0.0, 1.0])
    assert ordinal.order(a, b, 1.03).tolist() == [-1, 0, 1, 0, 0]
    places = ordinal.superpixels(metric(scene()))
    count = len(places.centres)
    assert 96 * 128 / 16 * 0.8 < count <= 96 * 128 / 16 * 1.1
    assert (places.touching[:, 0] < places.touching[:, 1]).all()
    assert len(np.unique(places.touching, axis=0)) == len(places.touching)
    assert places.centres.max(0) == pytest.approx([95, 127], abs=6)


def test_superpixels_follow_edges_and_are_cached():
    values = scene()
    labels = ordinal.slic((values - values.min()) / np.ptp(values), 700)
    spread = [np.ptp(values[labels == k]) for k in np.unique(labels)]
    assert np.median(spread) < 0.3
    first = ordinal.superpixels(metric(values))
    assert ordinal.superpixels(metric(values.copy())) is first
    assert ordinal.superpixels(metric(values), seed=1) is not first
    np.testing.assert_array_equal(ordinal.superpixels(metric(values), seed=1).touching, first.touching)


def test_a_flipped_map_scores_two_and_noise_in_between():
    g = metric(scene())
    flipped = metric(1 / (1 / 1.2 - 1 / scene() + 0.02))
    found = ordinal.ordinal(flipped, g)
    assert min(found["ord_depth"], found["d3r_depth"], found["ord"], found["d3r"]) > 1.5
    noise = ordinal.ordinal(metric(np.random.default_rng(0).uniform(1, 9, (96, 128))), g)
    assert 0.7 < noise["d3r_depth"] < 1.3


def test_ordinal_figures_of_depth_do_not_mind_scale():
    g, p = metric(scene()), blurred(scene(), 1)
    one, ten = ordinal.ordinal(p, g), ordinal.ordinal(p.with_scale(10), g)
    assert one == pytest.approx(ten, rel=1e-6)


# ---- surfaces ---------------------------------------------------------------------------------------------------------


def test_flying_pixels_by_hand():
    g = step()
    values = g.values.copy()
    values[:, 31] = 4.0  # half way in log depth, one column of the six judged
    found = surfaces.flying_pixels(metric(values), g)
    assert found == pytest.approx({"flying": 1 / 6, "flying_pixels": 6 * 64})
    biased = surfaces.flying_pixels(metric(g.values * np.float32(0.9)), g)
    assert biased["flying"] == 0


def test_soft_edge_error_punishes_smears_not_shifts():
    assert surfaces.soft_edge_error(step(3), step())["see"] == 0  # beside the edge both surfaces are in the window
    smeared = surfaces.soft_edge_error(metric(ndimage.uniform_filter(step().values, 3)), step())
    assert smeared == pytest.approx({"see": 2.0, "see_pixels": 128})  # 6 m and 4 m between 8 m and 2 m
    edges = np.zeros((64, 64), bool)
    edges[5, 5] = True
    assert surfaces.soft_edge_error(metric(step().values + 1), step(), edges=edges) == {"see": 1.0, "see_pixels": 1.0}


def test_thin_structures_are_found_and_scored():
    values = np.full((40, 60), 8.0)
    values[:, 20:23] = 2.0  # thin
    values[:, 40:55] = 3.0  # not
    lost = values.copy()
    lost[:, 20:22] = 8.0
    found = surfaces.thin_delta1(metric(lost), metric(values))
    assert found == pytest.approx({"thin_delta1": 1 / 3, "thin_pixels": 120})


def test_planarity_by_hand():
    camera = Camera.from_focal(100, 64, 64)
    wall = np.full((64, 64), 5.0)
    rng = np.random.default_rng(0)
    noisy = wall + rng.choice([-0.01, 0.01], wall.shape)
    found = surfaces.planarity(metric(noisy, camera), metric(wall, camera))
    assert found["planes"] == 4
    assert found["plane_rms"] == pytest.approx(0.01, rel=0.02)
    u = (np.arange(64) + 0.5 - 32) / 100
    slanted = np.repeat((5 / (1 - np.tan(np.radians(20)) * u))[None], 64, 0)  # z = 5 + x tan 20
    turned = surfaces.planarity(metric(slanted, camera), metric(wall, camera))
    assert turned["plane_angle"] == pytest.approx(20, abs=1e-3)
    assert turned["plane_rms"] < 1e-5
    assert np.isnan(surfaces.planarity(metric(wall), metric(wall))["plane_rms"])


def test_aligned_maps_keep_the_size_and_camera_of_the_reference():
    g = metric(scene(), CAMERA)
    small = DepthMap(np.float32(3 * scene()[::2, ::2] + 1), DepthKind.AFFINE_INVARIANT)
    aligned = align_to(small, g)
    assert aligned.depth.size == g.size
    assert aligned.depth.camera == CAMERA
    assert aligned.depth.kind is DepthKind.METRIC
    assert aligned.scale == pytest.approx(1 / 3, rel=0.05)
