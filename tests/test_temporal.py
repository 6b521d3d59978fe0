"""Depth held steady: flicker goes, accuracy stays, cuts are seen, nothing drifts, and a break changes nothing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import keendepth
from keendepth.core.geometry import resize_depth
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.temporal import Stabiliser, Steadiness, motion
from keendepth.temporal.correction import fit_line
from made_clip import Shot, shots


@pytest.fixture(scope="module")
def walk() -> list[Shot]:
    return shots(40)


def flickering(walk: list[Shot], spread: float = 0.05, seed: int = 1) -> list[DepthMap]:
    """What a network makes of it: exact depth times a factor that jumps from frame to frame, and a smooth error of shape that jumps too."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:96j, -1:1:128j]
    made = []
    for shot in walk:
        a, b, c = rng.normal(0, spread, 3)
        made.append(
            shot.depth.with_values(shot.depth.values * np.exp(a + 0.5 * b * x + 0.5 * c * y).astype(np.float32))
        )
    return made


def held(walk: list[Shot], maps: list[DepthMap], steadiness: Steadiness | None = None) -> list[DepthMap]:
    hold = Stabiliser(steadiness)
    return [hold(shot.image, depth) for shot, depth in zip(walk, maps, strict=True)]


def flicker(walk: list[Shot], maps: list[DepthMap]) -> float:
    level = [
        np.median(np.log(depth.values[seen(shot)] / shot.depth.values[seen(shot)]))
        for shot, depth in zip(walk, maps, strict=True)
    ]
    return float(np.abs(np.diff(level)).mean())


def abs_rel(walk: list[Shot], maps: list[DepthMap]) -> float:
    errors = [np.abs(d.values / s.depth.values - 1)[seen(s)].mean() for s, d in zip(walk, maps, strict=True)]
    return float(np.mean(errors))


def seen(shot: Shot) -> np.ndarray:
    return shot.depth.valid


def test_the_motion_of_the_camera_is_found(walk: list[Shot]) -> None:
    for before, now in pairwise(walk[10:15]):
        grey, old = motion.small_grey(now.image.rgb), motion.small_grey(before.image.rgb)
        K = now.depth.camera.resized(*grey.shape).K
        near = resize_depth(1 / now.depth.values, grey.shape, "area")
        found = motion.find(grey, old, near, K)
        assert found.likeness > 0.95
        step = before.turn.T @ (now.eye - before.eye)
        assert np.linalg.norm(found.step - step) < 0.2 * np.linalg.norm(step)
        turn = before.turn.T @ now.turn
        assert np.degrees(np.arccos(np.clip((np.trace(found.turn.T @ turn) - 1) / 2, -1, 1))) < 0.1


@pytest.mark.parametrize("smooth", [0.0, 0.8])
def test_flicker_is_halved_at_equal_accuracy(walk: list[Shot], smooth: float) -> None:
    maps = flickering(walk)
    out = held(walk, maps, Steadiness(smooth=smooth))
    assert flicker(walk, out) < 0.5 * flicker(walk, maps)
    assert abs_rel(walk, out) < 1.01 * abs_rel(walk, maps)


@pytest.mark.slow
def test_the_shipped_network_flickers_half_as_much_in_rendered_rooms() -> None:
    pytest.importorskip("numba", reason="rendering needs keendepth[scenes]")
    from keendepth.data.synthetic import render

    network = keendepth.load("indoor-small")
    gains = []
    for seed in (91000, 91002):
        clip = [Shot(f.image, f.depth, f.pose[:3, :3], f.pose[:3, 3]) for f in render(seed, (120, 160), "room", 12)]
        maps = [network(shot.image) for shot in clip]
        out = held(clip, maps)
        assert flicker(clip, out) < 0.5 * flicker(clip, maps)
        gains.append(abs_rel(clip, out) / abs_rel(clip, maps))
    assert np.mean(gains) < 1.01  # one short clip may gain or lose a little: its first frames decide about the level


def test_the_correction_of_shape_makes_each_point_steadier(walk: list[Shot]) -> None:
    maps = flickering(walk)
    rough, smooth = (held(walk, maps, Steadiness(smooth=share)) for share in (0.0, 0.8))
    corner = [
        np.log([d.values[20, 20] / s.depth.values[20, 20] for s, d in zip(walk, each, strict=True)])
        for each in (rough, smooth)
    ]
    assert np.abs(np.diff(corner[1])).mean() < 0.5 * np.abs(np.diff(corner[0])).mean()


def test_right_depth_stays_right_on_a_walk(walk: list[Shot]) -> None:
    """Coming nearer changes every depth; that is not flicker."""
    out = held(walk, [shot.depth for shot in walk])
    assert abs_rel(walk, out) < 0.005
    assert abs_rel(walk[-3:], out[-3:]) < 0.005


def test_the_level_returns_to_the_networks_own(walk: list[Shot]) -> None:
    """A first frame that is 20 % off does not spoil the clip, and no error is carried for good."""
    maps = [walk[0].depth.with_values(walk[0].depth.values * np.float32(1.2)), *(shot.depth for shot in walk[1:])]
    out = held(walk, maps, Steadiness(memory=5))
    assert abs_rel(walk[1:2], out[1:2]) > 0.1  # held ...
    assert abs_rel(walk[-1:], out[-1:]) < 0.01  # ... and let go


@pytest.mark.parametrize("kind", [DepthKind.DISPARITY, DepthKind.AFFINE_INVARIANT])
def test_scale_and_shift_of_relative_depth_are_held(walk: list[Shot], kind: DepthKind) -> None:
    rng = np.random.default_rng(2)
    exact = [1 / s.depth.values if kind is DepthKind.DISPARITY else s.depth.values for s in walk]
    maps = [DepthMap(7 * np.exp(rng.normal(0, 0.08)) * e + rng.normal(0, 0.3), kind) for e in exact]

    def unrest(made: list[DepthMap]) -> np.ndarray:
        lines = [np.polyfit(e.ravel(), d.values.ravel(), 1) for e, d in zip(exact, made, strict=True)]
        return np.abs(np.diff(lines, axis=0)).mean(0)

    assert (unrest(held(walk, maps)) < 0.5 * unrest(maps)).all()


def test_a_cut_is_seen_and_everything_starts_again(walk: list[Shot]) -> None:
    other = shots(5, seed=9)
    maps = flickering([*walk[:8], *other])
    hold = Stabiliser()
    out, cuts = [], []
    for shot, depth in zip([*walk[:8], *other], maps, strict=True):
        out.append(hold(shot.image, depth))
        cuts.append(hold.last.cut)
    assert [k for k, cut in enumerate(cuts) if cut] == [0, 8]
    assert np.array_equal(out[8].values, maps[8].values)


def test_a_new_exposure_is_no_cut(walk: list[Shot]) -> None:
    hold = Stabiliser()
    hold(walk[0].image, walk[0].depth)
    dim = Image((walk[1].image.rgb * 0.6).astype(np.uint8), walk[1].image.camera)
    hold(dim, walk[1].depth)
    assert not hold.last.cut


def test_going_on_from_a_state_changes_nothing(walk: list[Shot]) -> None:
    maps = flickering(walk)[:12]
    whole = held(walk[:12], maps)
    first = Stabiliser()
    for shot, depth in zip(walk[:6], maps[:6], strict=True):
        first(shot.image, depth)
    second = Stabiliser.restored(first.state())
    for k in range(6, 12):
        assert np.array_equal(second(walk[k].image, maps[k]).values, whole[k].values)
    assert Stabiliser.restored({}).state() == {}


def test_unknown_pixels_and_sky_stay(walk: list[Shot]) -> None:
    maps = []
    for depth in flickering(walk)[:5]:
        values = depth.values.copy()
        values[:20], values[40:50, 30:60] = np.inf, np.nan
        maps.append(depth.with_values(values))
    before = [depth.values.copy() for depth in maps]
    for old, kept, new in zip(before, maps, held(walk[:5], maps), strict=True):
        assert np.array_equal(old, kept.values, equal_nan=True)
        assert np.array_equal(np.isnan(old), np.isnan(new.values))
        assert np.array_equal(np.isinf(old), np.isinf(new.values))
        assert (new.kind, new.camera, new.size) == (kept.kind, kept.camera, kept.size)


def test_a_frame_without_known_pixels_goes_through(walk: list[Shot]) -> None:
    empty = walk[1].depth.with_values(np.full((96, 128), np.nan, np.float32))
    hold = Stabiliser()
    hold(walk[0].image, walk[0].depth)
    assert np.isnan(hold(walk[1].image, empty).values).all()
    assert np.isfinite(hold(walk[2].image, walk[2].depth).values).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 7), (9, 200), (48, 64)])
def test_any_size_works(size: tuple[int, int]) -> None:
    clip = shots(3, size)
    hold = Stabiliser()
    for shot in clip:
        assert hold(shot.image, shot.depth).size == size


def test_a_blank_picture_is_left_as_it_is(walk: list[Shot]) -> None:
    blank = Image(np.full((96, 128, 3), 90, np.uint8))
    maps = [shot.depth for shot in shots(6, still=True)]
    for depth, out in zip(maps, held([replace(walk[0], image=blank)] * 6, maps), strict=True):
        np.testing.assert_allclose(out.values, depth.values, rtol=1e-4)


def test_frames_must_fit(walk: list[Shot]) -> None:
    hold = Stabiliser()
    hold(walk[0].image, walk[0].depth)
    with pytest.raises(ValueError, match="resize the depth"):
        hold(walk[1].image, walk[1].depth.resized(48, 64))
    with pytest.raises(ValueError, match="one size"):
        hold(walk[1].image.resized(40, 60), walk[1].depth.resized(40, 60))


@pytest.mark.parametrize(("memory", "smooth"), [(0, 0.5), (30, 1.0), (30, -0.1)])
def test_impossible_steadiness_is_refused(memory: int, smooth: float) -> None:
    with pytest.raises(ValueError, match="steadiness"):
        Steadiness(memory, smooth)


def test_the_line_is_not_bent_by_things_that_move() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, 2000)
    wanted = 1.1 * values - 0.05 + rng.normal(0, 0.005, 2000)
    wanted[:500] += rng.uniform(0.1, 0.5, 500)
    line, spread = fit_line(values, wanted, slope=True)
    assert line.scale == pytest.approx(1.1, abs=0.01)
    assert line.shift == pytest.approx(-0.05, abs=0.015)  # plain least squares: 0.025
    assert spread < 0.03
