"""Protocols: a hash that stays, refusals that name what differs, crops, alignments by kind, resampling, and published values."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from keendepth.core.types import DepthKind, DepthMap, KindError
from keendepth.evaluation import metrics, published
from keendepth.evaluation.protocol import (
    NOMINAL,
    Protocol,
    ProtocolMismatch,
    Score,
    compare,
    effective_alignment,
    evaluate,
    facts_of,
    nominal,
    pictures_of,
)
from keendepth.evaluation.resampling import LEAST_PICTURES, Resampling, Summary, interval, paired, summarise
from keendepth.evaluation.tables import Table

RULES = Protocol("nyu", "test", "654 pictures", alignment="none", crop="nyu-eigen", cap=(0.001, 10.0))


def depth(values, kind: DepthKind = DepthKind.METRIC) -> DepthMap:
    return DepthMap(np.asarray(values, np.float32), kind)


def test_the_hash_is_the_same_in_every_process_and_on_every_machine():
    assert RULES.hash == "58a58cbe6c"
    assert RULES.hash == replace(RULES).hash == Protocol(**{f.name: getattr(RULES, f.name) for f in fields(RULES)}).hash
    assert RULES.hash in RULES.text
    assert "\n" not in RULES.text


OTHERS = {
    "dataset": "kitti", "split": "train", "pictures": "1 picture", "family": "sharpness", "alignment": "scale", "crop": "none",
    "cap": None, "clip": True, "resize": "none", "valid": "mask", "reference": NOMINAL, "corruption": "fog at 3", "seed": 1,
    "facts": (("baseline", "0.1"),), "version": "2",
}  # fmt: skip


def test_every_field_changes_the_hash_and_is_named_in_the_refusal():
    assert set(OTHERS) == {field.name for field in fields(Protocol)}
    for name, value in OTHERS.items():
        other = replace(RULES, **{name: value})
        assert other.hash != RULES.hash, name
        with pytest.raises(ProtocolMismatch, match="baseline" if name == "facts" else name) as caught:
            compare(RULES, other)
        assert RULES.hash in str(caught.value)
        assert other.hash in str(caught.value)
    compare(RULES, replace(RULES))


def test_the_text_tells_every_rule():
    text = replace(RULES, clip=True, facts=facts_of({"source": "Kinect", "images": 9, "note": ""})).text
    for part in (
        "nyu",
        "test",
        "654 pictures",
        "alignment none",
        "crop nyu-eigen",
        "0.001 to 10 m, clipped",
        "source Kinect",
    ):
        assert part in text
    assert "images" not in text


def test_impossible_rules_are_refused():
    with pytest.raises(ValueError, match="crop: expected one of none"):
        replace(RULES, crop="moon")
    with pytest.raises(ValueError, match="near below far"):
        replace(RULES, cap=(5.0, 1.0))
    with pytest.raises(ValueError, match="clip"):
        replace(RULES, cap=None, clip=True)


def test_names_of_pictures_count_and_their_order_does_not():
    assert pictures_of(["a", "b"]) == pictures_of(["b", "a"]) != pictures_of(["a", "c"])
    assert pictures_of(["a"]).startswith("1 picture ")


def table(model: str, protocol: Protocol, made_under: Protocol | None = None, ids=("a", "b")) -> Table:
    rules = (made_under or protocol).each.hash
    return Table("t", protocol, ("a", "b"), {model: tuple(Score(model, i, rules, {"abs_rel": 0.1}) for i in ids)})


def test_a_table_takes_scores_of_its_own_protocol_only():
    other = replace(RULES, alignment="median")
    joined = table("m", RULES).joined(table("n", RULES))
    assert list(joined.scores) == ["m", "n"]
    with pytest.raises(ProtocolMismatch, match="alignment: 'none' and 'median'"):
        table("m", RULES).joined(table("n", other))
    with pytest.raises(ProtocolMismatch, match="scored under protocol"):
        table("m", RULES, made_under=other)
    with pytest.raises(ProtocolMismatch, match="pictures"):
        table("m", RULES, ids=("a", "c"))


def test_alignment_is_resolved_by_kind_so_that_names_cannot_deceive():
    assert effective_alignment(DepthKind.METRIC, "natural") == "none"
    assert effective_alignment(DepthKind.DISPARITY, "natural") == effective_alignment(DepthKind.METRIC, "disparity")
    assert effective_alignment(DepthKind.DISPARITY, "affine") == "disparity"
    assert effective_alignment(DepthKind.METRIC, "affine") == "scale_shift"
    assert effective_alignment(DepthKind.DISPARITY, "trimmed") != effective_alignment(DepthKind.METRIC, "trimmed")
    with pytest.raises(KindError):
        effective_alignment(DepthKind.AFFINE_INVARIANT, "none")
    with pytest.raises(ValueError, match="unknown name"):
        effective_alignment(DepthKind.METRIC, "magic")


def test_accuracy_sees_crop_and_cap_and_a_users_own_metric_is_there():
    reference = np.full((480, 640), 2.0)
    prediction = reference.copy()
    prediction[:45] = 4.0  # outside NYUv2's crop
    reference[200, 300], prediction[200, 300] = 20.0, 5.0  # beyond the cap
    found = evaluate(depth(prediction), depth(reference), RULES)
    assert found["abs_rel"] == 0
    assert found["pixels"] == 426 * 560 - 1
    assert "fscore_05cm" in found
    assert evaluate(depth(prediction), depth(reference), replace(RULES, crop="none", cap=None))["abs_rel"] > 0.09


def test_sharpness_keeps_what_a_cap_would_cut_off():
    reference = np.where(np.arange(64) < 32, 2.0, 50.0)[None].repeat(64, 0)
    found = evaluate(depth(reference), depth(reference), replace(RULES, crop="none", family="sharpness"))
    assert found["boundary_edges"] > 0
    assert found["boundary_recall"] > 0


def test_one_pair_has_no_robustness():
    with pytest.raises(ValueError, match="not robustness"):
        evaluate(depth([[1.0]]), depth([[1.0]]), replace(RULES, family="robustness"))


def test_disparity_of_unknown_offset_is_scored_in_inverse_depth_without_metres():
    rng = np.random.default_rng(0)
    disparity = depth(rng.uniform(10, 60, (40, 50)), DepthKind.DISPARITY)
    reference = nominal(disparity)
    rules = Protocol("aloe", alignment="disparity", reference=NOMINAL)
    shifted = depth(1 / (0.01 * disparity.values + 0.2))  # metric depth of another scale and offset: the same scene
    found = evaluate(shifted, reference, rules)
    assert found["abs_rel"] < 1e-5
    assert np.isnan(found["rmse"])
    assert np.isnan(found["sq_rel"])
    with pytest.raises(ValueError, match="only be scored with alignment disparity"):
        evaluate(shifted, reference, replace(rules, alignment="none"))
    with pytest.raises(KindError):
        nominal(shifted)


# Resampling


def test_the_interval_of_a_mean_is_the_analytic_one_for_gaussian_data():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = summarise(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.spread == pytest.approx(values.std(ddof=1))
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    how = Resampling(resamples=1000)
    rng = np.random.default_rng(2)
    hits = [found.low <= 0 <= found.high for found in (summarise(rng.normal(size=50), how) for _ in range(300))]
    assert 0.90 <= np.mean(hits) <= 0.98


def test_pairing_finds_a_difference_that_the_spread_over_pictures_hides():
    rng = np.random.default_rng(3)
    base = rng.uniform(0, 1, 30)
    better = base - 0.01 - rng.uniform(0, 0.005, 30)
    found = paired(better, base)
    assert found.beyond_zero
    assert found.high < 0
    assert summarise(better).low < summarise(base).mean < summarise(better).high


def test_missing_values_are_left_out_in_pairs_and_counted():
    found = paired(np.array([1.0, np.nan, 3.0, np.inf]), np.array([0.0, 1.0, np.nan, np.inf]))
    assert (found.mean, found.count) == (1.0, 1)
    assert np.isnan(found.low)
    assert summarise(np.array([np.nan])).count == 0
    assert np.isnan(summarise(np.array([])).mean)


def test_few_pictures_are_never_marked():
    assert not Summary(1.0, 0.1, 0.8, 1.2, LEAST_PICTURES - 1).beyond_zero
    assert Summary(1.0, 0.1, 0.8, 1.2, LEAST_PICTURES).beyond_zero
    assert not Summary(1.0, 0.1, -0.1, 1.2, 100).beyond_zero


def test_resampling_is_repeatable_and_chunks_do_not_matter(monkeypatch):
    values = np.random.default_rng(4).normal(size=20)
    before = summarise(values)
    assert summarise(values) == before
    assert summarise(values, Resampling(seed=1)) != before
    monkeypatch.setattr("keendepth.evaluation.resampling.CHUNK", 700)
    found = interval(20, lambda chosen: values[chosen].mean(axis=1))
    assert found == pytest.approx((before.low, before.high))
    with pytest.raises(ValueError, match="at least 100"):
        Resampling(resamples=10)


# Published values


def test_published_values_have_their_source_and_can_be_found():
    (value,) = published.find(dataset="middlebury2021", figure="abs_rel", method="ZoeDepth+SDDR", paper="2409.17880")[
        :1
    ]
    assert (value.value, value.table, value.row) == (0.100, "Table 1 (one-stage)", "ZoeDepth+SDDR")
    assert published.find(dataset="Sintel", figure="boundary_f1", method="Depth Pro")[0].value == 0.409
    assert published.find(dataset="KITTI-C", method="MonoDepth2-R18", figure="mCE")[0].value == 100.0
    assert published.find(dataset="nowhere") == []
    for value in published.everything():
        assert all((value.paper, value.table, value.row, value.protocol))
        assert value.read in ("paper", "secondary")
        assert np.isfinite(value.value)


def test_published_figures_bear_the_names_of_ours_where_we_have_them():
    ours = {"mCE", "mRR", "dee_clean", "matte_recall", *metrics.ACCURACY}
    for value in published.everything():
        assert value.figure in ours or value.figure.split("_")[0] in ("pdbe", "dbe", "boundary", "ord", "d3r"), value
