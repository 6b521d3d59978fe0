"""DEE, mCE and mRR against the published tables, and stability without ground truth."""

from __future__ import annotations

import numpy as np
import pytest

from keendepth.core.types import Camera, DepthKind, DepthMap, Image, KindError
from keendepth.data.corruptions import KITTI_C
from keendepth.evaluation import robustness as rb

SMALL = rb.Plan(types=("fog", "gaussian"), severities=(1, 5))


def picture(seed: int) -> Image:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, 64)[None, :, None] + rng.normal(0, 10, (48, 64, 3))
    return Image(np.clip(ramp, 0, 255).astype(np.uint8), Camera.from_fov(60, 64, 48), f"p{seed}")


def brightness_as_depth(image: Image) -> DepthMap:
    return DepthMap(1 + image.rgb.mean(2).astype(np.float32) / 50, DepthKind.METRIC)


@pytest.mark.parametrize("name", rb.PUBLISHED)
def test_published_rows_to_two_decimals(name):
    row = rb.PUBLISHED[name]
    found = rb.robustness(row.clean, row.dee)
    assert round(found.mCE, 2) == row.mce
    assert round(found.mRR, 2) == row.mrr


def test_golden_rows_of_the_facts_sheet():
    golden = {"MonoDepth2-R18": (100, 84.46), "MonoViT": (79.33, 89.15), "Lite-Mono-tiny": (92.92, 86.69)}
    assert {name: (rb.PUBLISHED[name].mce, rb.PUBLISHED[name].mrr) for name in golden} == golden


def test_dee_by_hand():
    assert rb.dee(0.0, 1.0) == 0
    assert rb.dee(0.115, 0.877) == pytest.approx(0.119)  # MonoDepth2 on clean KITTI: the baseline's first cell


def test_no_loss_is_a_full_rate():
    found = rb.robustness(0.1, dict.fromkeys(KITTI_C, 0.1))
    assert found.mRR == pytest.approx(100)
    assert all(v == pytest.approx(100) for v in found.RR.values())


def test_mce_wants_exactly_the_baselines_corruptions():
    with pytest.raises(ValueError, match="missing: brightness"):
        rb.robustness(0.1, {"fog": 0.2})
    with pytest.raises(ValueError, match="not in the baseline: rain"):
        rb.robustness(0.1, dict.fromkeys((*KITTI_C, "rain"), 0.2))
    with pytest.raises(ValueError, match="below 1"):
        rb.robustness(1.0, dict.fromkeys(KITTI_C, 0.2))


def test_aliases_name_the_same_corruption():
    dees = dict(rb.BASELINE.dee)
    dees["defocus_blur"] = dees.pop("defocus")
    assert rb.robustness(rb.BASELINE.clean, dees).mCE == pytest.approx(100)


def test_measure_is_the_dee_of_the_mean_figures():
    images = [picture(0), picture(1)]
    samples = [(image, brightness_as_depth(image)) for image in images]
    clean, dees = rb.measure(brightness_as_depth, samples, SMALL)
    assert clean == pytest.approx(0, abs=1e-6)
    assert list(dees) == ["fog", "gaussian"]
    assert all(0 < v < 1 for v in dees.values())
    with pytest.raises(ValueError, match="no picture"):
        rb.measure(brightness_as_depth, [], SMALL)


def test_a_constant_model_is_stable():
    flat = DepthMap(np.tile(np.linspace(1, 9, 64, dtype=np.float32), (48, 1)), DepthKind.METRIC)
    found = rb.stability(lambda image: flat, [picture(0)], SMALL).by()[()]
    assert found.error == pytest.approx((0, 0), abs=1e-9)
    assert found.kept == (1, 0)
    assert found.drift == (0, 0)
    assert found.count == 4


def test_summaries_group_the_changes():
    found = rb.stability(brightness_as_depth, [picture(0), picture(1)], SMALL)
    assert len(found.changes) == 8
    by = found.by("type", "severity")
    assert list(by) == [("fog", 1), ("fog", 5), ("gaussian", 1), ("gaussian", 5)]
    assert by["gaussian", 5].error[0] > by["gaussian", 1].error[0] > 0
    assert by["gaussian", 5].kept[0] < by["gaussian", 1].kept[0] < 1
    mean = np.mean([c.error for c in found.changes if c.type == "fog"])
    assert found.by("type")["fog",].error[0] == pytest.approx(mean)


def test_depth_aware_types_use_the_models_own_clean_depth():
    found = rb.stability(brightness_as_depth, [picture(0)], rb.Plan(types=("fog_depth",), severities=(3,)))
    assert found.changes[0].error > 0
    relative = DepthMap(np.ones((48, 64), np.float32), DepthKind.DISPARITY)
    with pytest.raises(KindError):
        rb.stability(lambda image: relative, [picture(0)], rb.Plan(types=("rain",)))


def test_compare_removes_scale_and_shift_and_reports_the_drift():
    rng = np.random.default_rng(0)
    z = rng.uniform(2, 10, (20, 30)).astype(np.float32)
    clean, scaled = DepthMap(z, DepthKind.METRIC), DepthMap(1.3 * z, DepthKind.METRIC)
    error, kept, drift = rb.compare(clean, scaled)
    assert error == pytest.approx(0, abs=1e-5)
    assert kept == 1
    assert drift == pytest.approx(0.3, abs=1e-5)
    error, kept, drift = rb.compare(DepthMap(z, DepthKind.DISPARITY), DepthMap(4 * z + 2, DepthKind.DISPARITY))
    assert error == pytest.approx(0, abs=1e-5)
    assert kept == 1
    assert np.isnan(drift)


def test_compare_counts_lost_pixels():
    z = np.random.default_rng(0).uniform(2, 10, (20, 30)).astype(np.float32)
    half = z.copy()
    half[:10] = np.nan
    clean = DepthMap(z, DepthKind.METRIC)
    assert rb.compare(clean, DepthMap(half, DepthKind.METRIC))[1] == pytest.approx(0.5)
    lost = rb.compare(clean, DepthMap(np.full((20, 30), np.nan, np.float32), DepthKind.METRIC))
    assert lost[1] == 0
    assert np.isnan(lost[0])
    assert rb.compare(clean, clean.resized(40, 60))[0] < 0.5
    with pytest.raises(KindError, match="one kind"):
        rb.compare(clean, DepthMap(z, DepthKind.DISPARITY))
