"""Inputs for training: seeded, in the mixture that was asked for, with the errors they claim; batches are a function of their number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from keendepth.training import degrade as d  # noqa: E402
from keendepth.training import rows  # noqa: E402
from keendepth.training import scenes as s  # noqa: E402
from keendepth.training.pairs import is_pairs  # noqa: E402
from keendepth.training.retexture import retextured  # noqa: E402
from keendepth.training.views import ViewOptions, Views  # noqa: E402
from made_data import made_cache, made_pairs, near_of  # noqa: E402


def test_the_same_seed_gives_the_same_input_and_the_target_is_left_alone() -> None:
    near = near_of()
    before = near.copy()
    for seed in range(12):
        first, second = (d.degrade(near, np.random.default_rng(seed), d.Degrade()) for _ in range(2))
        assert first.kind == second.kind
        np.testing.assert_array_equal(first.low, second.low)
        np.testing.assert_array_equal(near, before)
    low = [d.degrade(near, np.random.default_rng(seed), d.Degrade()).low for seed in (0, 1)]
    assert not np.array_equal(*low)


def test_kinds_come_in_their_shares() -> None:
    near, rng = near_of((32, 32)), np.random.default_rng(0)
    kinds = [d.degrade(near, rng, d.Degrade()).kind for _ in range(300)]
    shares = d.Mixture()
    assert kinds.count("sensor") / 300 == pytest.approx(shares.sensor, abs=0.09)
    assert kinds.count("clean") / 300 == pytest.approx(shares.clean, abs=0.05)
    assert "real" not in kinds  # there was none at hand
    pair = near, near
    assert "real" in [d.degrade(near, rng, d.Degrade(), pair).kind for _ in range(60)]


@pytest.mark.parametrize("kind", ["clean", "near_clean", "sensor", "predicted"])
@pytest.mark.parametrize("sky", [False, True])
def test_inputs_are_finite_and_clean_ones_are_clean(kind: str, sky: bool) -> None:
    near = near_of(sky=sky)
    only = d.Degrade(
        d.Mixture(**{name: float(name == kind) for name in ("clean", "near_clean", "sensor", "predicted", "real")})
    )
    worst = 0.0
    for seed in range(20):
        made = d.degrade(near, np.random.default_rng(seed), only)
        assert made.kind == kind
        assert made.low.dtype == np.float32
        for values in (made.low, made.high):
            if values is not None:
                assert values.shape == near.shape
                assert np.isfinite(values).all()
                assert values.min() >= 0
        worst = max(worst, float(np.abs(made.low - near).mean()) / d.span(near))
    assert {"clean": worst == 0, "near_clean": worst < 0.02, "sensor": 0.02 < worst < 0.3, "predicted": worst < 0.3}[
        kind
    ]


def test_constant_maps_stay_as_they_are() -> None:
    flat = np.full((40, 50), 0.25, np.float32)
    for seed in range(5):
        np.testing.assert_array_equal(d.degrade(flat, np.random.default_rng(seed), d.Degrade()).low, flat)


def test_local_inconsistency_has_the_planted_spread_and_keeps_jumps() -> None:
    near = near_of((256, 320))
    surfaces = d.components(near)
    gains = []
    for seed in range(20):
        out = d.inconsistent(near, surfaces, 64, (0.15, 0.0), np.random.default_rng(seed))
        gains.append(out / near)
    # Four Hann weights that sum to 1, of independent draws: the spread is at most the planted one and at least 4 / 9 of it.
    assert 0.4 * 0.15 < np.std(gains) < 0.16
    assert np.mean(gains) == pytest.approx(1, abs=0.02)
    smooth = np.abs(np.diff(gains[0], axis=1))[surfaces[:, 1:] == surfaces[:, :-1]]
    assert smooth.max() < 0.05  # within a surface the error is smooth: no new edges
    across = np.abs(np.diff(out, axis=1))[surfaces[:, 1:] != surfaces[:, :-1]]
    assert np.median(across) > 0.5 * np.median(np.abs(np.diff(near, axis=1))[surfaces[:, 1:] != surfaces[:, :-1]])


def test_edge_deformation_acts_at_edges_only() -> None:
    near = near_of((128, 160))
    out = d.deformed(near, 0.6, 2, np.random.default_rng(3))
    from scipy import ndimage

    far = ndimage.distance_transform_edt(~d.jumps(near)) > 14
    assert np.abs(out - near)[far].max() < 0.005
    assert np.abs(out - near).max() > 0.05


def test_components_are_parted_by_jumps() -> None:
    labels = d.components(near_of())
    assert len({labels[0, 0], labels[30, 30], labels[70, 90]}) == 3
    assert labels[0, 0] == labels[95, 5]


def test_holes_have_their_share_and_never_all() -> None:
    near = near_of()
    for share in (0.02, 0.25):
        assert d.holes(near, np.random.default_rng(0), share).mean() == pytest.approx(share, abs=0.01)
    assert not d.holes(np.full((2, 2), 1, np.float32), np.random.default_rng(0), 1.0).all()


def test_a_shift_moves_whole_pixels() -> None:
    near = near_of()
    moved = d.shifted(near, np.array([1.0, -2.0]))
    np.testing.assert_array_equal(moved[1:, :-2], near[:-1, 2:])


# ---- the cache of scenes


def test_the_code_of_nearness_is_exact_enough_and_keeps_the_sky() -> None:
    near = near_of(sky=True)
    code, low, high = s.encode(near)
    back = s.decode(code, low, high)
    assert np.abs(back - near).max() <= (high - low) / 131_000 + 1e-7
    np.testing.assert_array_equal(back == 0, near == 0)
    nothing = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(s.decode(*s.encode(nothing)), nothing)


def test_a_cache_gives_back_windows_and_knows_what_is_done(tmp_path: Path) -> None:
    cache = made_cache(tmp_path / "cache")
    whole, part = cache.read(1), cache.read(1, s.Window(10, 13, 50, 60))
    np.testing.assert_array_equal(part.near, whole.near[10:60, 13:73])
    np.testing.assert_array_equal(part.edge, whole.edge[10:60, 13:73])
    np.testing.assert_array_equal(whole.edge, d.jumps(np.roll(near_of(), 7, axis=1)))
    assert cache.image(0).camera.fx == 100
    np.lib.format.open_memmap(tmp_path / "cache" / rows.DONE, "r+")[0] = 0
    again = s.SceneCache(tmp_path / "cache")
    assert len(again) == 2
    np.testing.assert_array_equal(again.read(0).near, whole.near)
    apart = again.set_apart(1)
    assert (len(again), len(apart)) == (1, 1)


def test_a_cache_of_other_settings_is_refused(tmp_path: Path) -> None:
    made_cache(tmp_path / "cache")
    with pytest.raises(rows.RowsError, match="count"):
        s.create(tmp_path / "cache", s.SceneOptions(count=4, size=(96, 128), kinds={"room": 1.0}))
    with pytest.raises(rows.RowsError, match="no scene cache"):
        s.SceneCache(tmp_path)


@pytest.mark.slow
def test_rendering_a_cache_can_be_stopped_and_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="needs the scenes extra")
    options = s.SceneOptions(count=2, size=(48, 64), kinds={"room": 1.0})
    whole = s.render_cache(tmp_path / "a", options)
    s.create(tmp_path / "b", options)
    s._render_row(str(tmp_path / "b"), options, 1)
    assert len(s.SceneCache(tmp_path / "b")) == 1
    told: list[tuple[int, int]] = []
    resumed = s.render_cache(tmp_path / "b", options, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 1)]
    for number in range(2):
        np.testing.assert_array_equal(whole.read(number).near, resumed.read(number).near)
        np.testing.assert_array_equal(whole.read(number).rgb, resumed.read(number).rgb)


# ---- views


def options(**changes: object) -> ViewOptions:
    return replace(ViewOptions(size=(64, 80), pair_share=0.4), **changes)


def test_a_batch_is_a_function_of_seed_and_number(tmp_path: Path) -> None:
    cache, pairs = made_cache(tmp_path / "cache"), made_pairs(tmp_path / "pairs", exact=True)
    first, second = (Views([cache], [pairs], options(), 4, seed) for seed in (7, 7))
    first.batch(0)
    for number in (3, 0):
        one, two = first.batch(number), second.batch(number)
        assert one.keys() == two.keys()
        for name in one:
            assert torch.equal(one[name].nan_to_num(-1), two[name].nan_to_num(-1)), name
    assert not torch.equal(first.batch(0)["low"], first.batch(1)["low"])
    assert not torch.equal(first.batch(0)["low"], Views([cache], [pairs], options(), 4, 8).batch(0)["low"])


def test_a_batch_has_the_networks_shapes_and_is_finite_where_valid(tmp_path: Path) -> None:
    views = Views([made_cache(tmp_path / "cache")], [made_pairs(tmp_path / "pairs", exact=False)], options(), 6, 0)
    batch = views.batch(0)
    assert batch["rgb"].shape == (6, 3, 64, 80)
    for name in ("low", "high", "target", "edge_weight", "label", "valid", "regions"):
        assert batch[name].shape == (6, 1, 64, 80), name
    for name in ("low", "high", "target", "rgb", "edge_weight", "units"):
        assert batch[name].isfinite().all(), name
    assert batch["regions"].dtype == torch.int64
    assert batch["valid"].dtype == torch.bool
    assert 0 <= batch["rgb"].min() <= batch["rgb"].max() <= 1
    middle = batch["low"].flatten(1).median(1).values
    assert (middle >= -0.1).all()
    assert (middle <= 1.1).all()


def test_targets_of_clean_inputs_are_the_inputs(tmp_path: Path) -> None:
    made = options(degrade=d.Degrade(d.Mixture(1, 0, 0, 0, 0)), pair_share=0.0, guide=0.0)
    batch = Views([made_cache(tmp_path / "cache")], [], made, 4, 0).batch(0)
    torch.testing.assert_close(batch["low"], batch["target"])
    torch.testing.assert_close(batch["high"], batch["target"])
    near = batch["low"][:, 0] * batch["units"][:, 1, None, None] + batch["units"][:, 0, None, None]
    assert 0.12 < near.min() < near.max() < 0.51  # back in 1/m


def test_the_second_map_is_the_sharpest_one_along_the_photo(tmp_path: Path) -> None:
    made = options(degrade=d.Degrade(d.Mixture(0, 0, 1, 0, 0)), pair_share=0.0, guide=1.0)
    batch = Views([made_cache(tmp_path / "cache")], [], made, 8, 0).batch(0)
    error = {name: (batch[name] - batch["target"]).abs().mean() for name in ("low", "high")}
    assert 0 < error["high"] < error["low"]


def test_scenes_are_dressed_in_photos_and_keep_their_depth(tmp_path: Path) -> None:
    cache, pairs = made_cache(tmp_path / "cache"), made_pairs(tmp_path / "pairs", exact=False)
    plain, dressed = (
        Views([cache], [pairs], options(pair_share=0.0, retexture=share), 4, 0).view for share in (0.0, 1.0)
    )
    rgb, near = cache.read(0).rgb, cache.read(0).near
    photo = np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    out = retextured(rgb, near, [photo], np.random.default_rng(0))
    assert out.shape == rgb.shape
    assert (out != rgb).any(-1).mean() > 0.2
    np.testing.assert_array_equal(out, retextured(rgb, near, [photo], np.random.default_rng(0)))
    one, two = plain(np.random.default_rng(3)), dressed(np.random.default_rng(3))
    assert one.rgb.shape == two.rgb.shape


def test_photos_are_not_supervised_at_edges_and_wait_for_labels(tmp_path: Path) -> None:
    views = Views([], [made_pairs(tmp_path / "pairs", exact=False)], options(size=(96, 128)), 2, 0)
    batch = views.batch(0)
    assert 0.1 < (~batch["valid"]).float().mean() < 0.8
    assert batch["label"].isnan().all()
    assert batch["regions"].max() == 0
    torch.testing.assert_close(batch["target"], batch["low"], atol=1e-4, rtol=0)


def test_regions_come_when_they_are_wanted(tmp_path: Path) -> None:
    views = Views([made_cache(tmp_path / "cache")], [], options(labels_from=2, pair_share=0.0), 4, 0)
    assert views.batch(1)["regions"].max() == 0
    assert views.batch(2)["regions"].max() == 4


def test_no_data_and_small_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Views([], [], options(), 2, 0)
    with pytest.raises(ValueError, match="smaller than the crop"):
        Views([], [made_pairs(tmp_path / "pairs", exact=True)], options(size=(200, 80)), 2, 0).batch(0)
    assert is_pairs(tmp_path / "pairs")
    assert not is_pairs(tmp_path)
