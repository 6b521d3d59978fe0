"""The unit facts of SharpDepth's step, and the refiner around it: exact where it must be, seeded, of any size and kind."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from scipy import ndimage

from keendepth import io, pipeline, predictors, refiners
from keendepth.cli import contracts
from keendepth.core.monotone import Curve, fit_curve, pooled
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.losses.score import noise_aware_reconstruction, score_distillation
from keendepth.nn import diffusion, sharpen
from keendepth.nn.diffusion import OneStep, PixelCodec, Schedule
from keendepth.nn.sharpen import Gate, Sharpener, SharpenOptions
from keendepth.refiners import restore
from keendepth.refiners.restore import KEEP, Far, Span, brought_back, share
from keendepth.refiners.sharp import Sharp, SharpOptions
from keendepth.refiners.sharp_network import SharpFacts, TorchSharpener, of_model, of_path, small_model
from made_data import near_of

CODE = SharpenOptions()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny(seed: int = 0) -> OneStep:
    torch.manual_seed(seed)
    model = small_model(4, (8, 12), 1, 64)
    model.denoiser.eval().requires_grad_(False)
    return model


def scene(size: tuple[int, int] = (96, 128)) -> tuple[Image, DepthMap]:
    near = near_of(size)
    return Image(np.repeat(np.uint8(400 * near)[..., None], 3, -1)), DepthMap(1 / near, DepthKind.METRIC)


# ---- the numbers of the specification


def test_the_task_embedding_and_the_schedule() -> None:
    np.testing.assert_allclose(diffusion.TASK, [0.8415, 0, 0.5403, 1], atol=5e-5)
    assert Schedule().alpha_bar == pytest.approx(0.0046601, abs=5e-8)
    assert Schedule().alpha_bar ** 0.5 == pytest.approx(0.068265, abs=1e-6)
    assert (1 - Schedule().alpha_bar) ** 0.5 == pytest.approx(0.997667, abs=1e-6)
    assert Schedule.of({"rescale_betas_zero_snr": True}).alpha_bar == 0
    assert diffusion.last_alpha_bar(schedule="linear") < Schedule().alpha_bar
    with pytest.raises(ValueError, match="found 'cosine'"):
        diffusion.last_alpha_bar(schedule="cosine")


def test_x0_of_a_velocity() -> None:
    x0, eps, ab = noise(1, 4, 3, 3), noise(1, 4, 3, 3, seed=1), 0.3
    x, v = ab**0.5 * x0 + (1 - ab) ** 0.5 * eps, ab**0.5 * eps - (1 - ab) ** 0.5 * x0
    torch.testing.assert_close(diffusion.x0_of_velocity(v, x, ab), x0)


def test_the_gradient_of_score_distillation() -> None:
    z, x0 = noise(2, 4, 6, 8).requires_grad_(), noise(2, 4, 6, 8, seed=1).requires_grad_()
    ab = Schedule().alpha_bar
    loss = score_distillation(z, x0, ab)
    loss.backward()
    torch.testing.assert_close(z.grad, (1 - ab) * (z - x0).detach() / z.numel())
    assert x0.grad is None
    assert loss.item() == pytest.approx(0.5 * (1 - ab) ** 2 * (z - x0).square().mean().item(), rel=1e-4)
    broken = x0.detach().clone()
    broken[0, 0, 0, 0] = float("nan")
    assert torch.isfinite(score_distillation(z, broken, ab))


def test_reconstruction_weighs_what_differs() -> None:
    depth, e = noise(2, 1, 4, 4), torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    e[0, 0, 0, 0] = 0
    found = (depth + 0.6).requires_grad_()
    loss = noise_aware_reconstruction(found, depth, e.requires_grad_())
    assert loss.item() == pytest.approx(0.3, abs=1e-5)
    loss.backward()
    assert e.grad is None
    assert float(found.grad[0, 0, 0, 0]) == 0
    assert noise_aware_reconstruction(found, depth, torch.zeros_like(e)).item() == 0
    alone = [noise_aware_reconstruction(found[k : k + 1], depth[k : k + 1], e[k : k + 1]) for k in (0, 1)]
    assert loss.item() == pytest.approx(sum(alone).item() / 2, rel=1e-6)


# ---- difference map and gate


def test_the_difference_map_is_0_to_1_and_each_picture_has_its_own_peak() -> None:
    a, d = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1)
    a[1] = d[1] + 0.01 * (a[1] - d[1])
    e = sharpen.difference_map(a, d, CODE)
    assert e.amin() >= 0
    torch.testing.assert_close(e.amax((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(e[1:], sharpen.difference_map(a[1:], d[1:], CODE))
    assert sharpen.difference_map(d, d, CODE).abs().max() == 0
    clipped = sharpen.difference_map(a, d, SharpenOptions(peak=0.9))
    assert (clipped == 1).float().mean() > 0.08


def test_the_difference_map_does_not_know_metres() -> None:
    metres = 1 / near_of((16, 16))
    generated = noise(1, 1, 16, 16)
    maps = [Span.of(x).unit(x) for x in (metres, metres * 3 + 5)]
    one, two = (sharpen.difference_map(generated, torch.from_numpy(x)[None, None], CODE) for x in maps)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["minmax", "lstsq", "quantile"])
def test_alignment_undoes_scale_and_shift(method: str) -> None:
    d = noise(2, 1, 9, 7)
    torch.testing.assert_close(sharpen.aligned(3 * d + 2, d, method), d, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(sharpen.aligned(torch.ones_like(d), d, method)).all()


def test_ways_to_shrink_the_difference_map() -> None:
    e = torch.arange(64.0).reshape(1, 1, 8, 8) / 63
    torch.testing.assert_close(
        sharpen.shrunk(e, 4, "nearest"), torch.nn.functional.interpolate(e, scale_factor=0.25, mode="nearest")
    )
    assert sharpen.shrunk(e, 4, "max")[0, 0, 1, 1] == 1
    assert float(sharpen.shrunk(e, 4, "area").mean()) == pytest.approx(float(e.mean()))


def test_the_limits_of_the_gate() -> None:
    clean, eps = noise(2, 4, 5, 6), noise(2, 4, 5, 6, seed=1)
    e = torch.zeros(2, 1, 5, 6)
    assert torch.equal(sharpen.gated(clean, eps, e), clean)
    assert torch.equal(sharpen.gated(clean, eps, e + 1), eps)


@pytest.mark.parametrize("form", ["code", "paper", "clean"])
def test_forms_of_the_gate(form: str) -> None:
    codec, depth = PixelCodec(4), noise(2, 1, 16, 24).clamp(-1, 1)
    first, eps = codec.depth(-depth).requires_grad_(), noise(2, 16, 4, 6, seed=3)
    x, e = Gate(codec, Schedule(), SharpenOptions(gate=form))(first, depth, eps)
    assert not x.requires_grad
    assert not e.requires_grad
    small = sharpen.shrunk(e, 4, "nearest")
    source = {"code": Schedule().noised(first, eps), "paper": eps, "clean": codec.depth(depth)}[form]
    torch.testing.assert_close(x, small * source + (1 - small) * codec.depth(depth))


# ---- codecs and denoisers


def test_pixels_as_latents_are_lossless_and_unit_noise_stays_unit_noise() -> None:
    codec, depth = PixelCodec(4), noise(2, 1, 32, 64)
    assert torch.equal(codec.decode(codec.depth(depth)), depth)
    assert codec.picture(noise(2, 3, 32, 64)).shape == (2, 48, 8, 16)
    latent = diffusion.noise_latent(depth, codec)
    assert sorted(latent.flatten().tolist()) == sorted(depth.flatten().tolist())


def test_the_step_sees_each_picture_by_itself() -> None:
    sharpener = Sharpener(tiny(), CODE)
    rgb, depth, eps = torch.rand(2, 3, 16, 24), noise(2, 1, 16, 24).clamp(-1, 1), noise(2, 2, 16, 24)
    together = sharpener(rgb, depth, eps)
    for k in (0, 1):
        for both, alone in zip(together, sharpener(rgb[k : k + 1], depth[k : k + 1], eps[k : k + 1]), strict=True):
            torch.testing.assert_close(both[k : k + 1], alone, atol=2e-5, rtol=1e-4)


# ---- the way back


@given(scale=st.floats(0.1, 50), shift=st.floats(-5, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_an_affine_answer_is_restored_exactly(scale: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.uniform(-1, 1, (12, 16)).astype(np.float32)
    metres = np.float32(scale) * unit + np.float32(shift)
    e = rng.random((12, 16)).astype(np.float32)
    wrong = unit.copy()
    wrong[e >= 0.5] += 7  # what the mask leaves out
    back = brought_back(wrong, metres, e, Span(0, 1), "lstsq")
    np.testing.assert_allclose(back[e < 0.5], metres[e < 0.5], atol=1e-4 * scale)
    nothing_sure = brought_back(unit, metres, np.ones_like(e), Span(0, 1), "lstsq")
    np.testing.assert_allclose(nothing_sure, metres, atol=1e-4 * scale)


def test_the_range_goes_there_and_back() -> None:
    metres = 1 / near_of()
    span = Span.of(metres)
    unit = span.unit(metres)
    assert (unit.min(), unit.max()) == (-1, 1)
    np.testing.assert_allclose(span.back(unit), metres, rtol=1e-5)
    np.testing.assert_allclose(brought_back(unit, metres, unit, span, "minmax"), metres, rtol=1e-5)
    turned = brought_back(-unit, metres, np.zeros_like(unit), span, "lstsq")
    np.testing.assert_allclose(turned, span.back(-unit), rtol=1e-5)  # never near for far by a negative scale
    assert Span.of(np.full((3, 3), 2.0, np.float32)) is None


@pytest.mark.parametrize("space", ["depth", "inverse"])
@pytest.mark.parametrize("kind", list(DepthKind))
def test_far_and_back_for_every_kind(kind: DepthKind, space: restore.Space) -> None:
    values = near_of() + 1
    values[:4], values[9, 9] = np.inf, np.nan
    far = Far.of(DepthMap(values, kind), space)
    assert np.isfinite(far.values).all()
    np.testing.assert_allclose(far.back(far.values), values, rtol=1e-5)
    if kind.positive:
        assert np.nanmin(far.back(far.values - 1000)) >= 0.49 * np.nanmin(values)
        assert np.isfinite(far.back(far.values + 1000)[20:]).all()
    first, last = far.values[50, 5], far.values[25, 30]
    assert (first < last) == (
        values[50, 5] < values[25, 30] if kind is not DepthKind.DISPARITY else values[50, 5] > values[25, 30]
    )


# ---- the refiner


class Timid:
    """A random network whose answer counts for a fifth: what it says alone may move the mean by more than the contract's 2 %."""

    def __init__(self) -> None:
        self.made = of_model(tiny())
        self.facts = self.made.facts

    def __call__(self, rgb: np.ndarray, depth: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sharp, difference = self.made(rgb, depth, noise)
        return depth + (sharp - depth) / 5, difference


def test_the_contract_holds_for_a_random_network() -> None:
    made = Sharp(Timid())
    refiners.register("sharp-random", summary="", license="")(lambda: made)
    try:
        assert contracts.check_refiner("sharp-random") == "ok"
    finally:
        del refiners.registry._entries["sharp-random"]


def test_low_differences_keep_every_bit() -> None:
    image, depth = scene()
    for space in ("depth", "inverse"):
        made = Sharp(of_model(tiny(), space)).sharpen(image, depth)
        kept = share(made.difference, KEEP) <= 0
        assert 0.05 < kept.mean() < 1
        np.testing.assert_array_equal(made.depth.values[kept], depth.values[kept])
        assert (made.depth.values != depth.values).any()


def test_a_start_along_the_photo_is_kept_and_told_as_a_difference() -> None:
    class Keep:
        """Leaves what it is given, so that all that is new is the median along the photo."""

        facts = SharpFacts("inverse", 64, 8, along=True, bounds=(0.02, 0.1), whole=0.2)

        def __call__(self, rgb: np.ndarray, depth: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return depth, np.zeros_like(depth)

    image, exact = scene((64, 80))
    near = np.kron(1 / exact.values[4::8, 4::8], np.ones((8, 8), np.float32))
    blurred = DepthMap(1 / ndimage.gaussian_filter(near, 4), DepthKind.METRIC)
    made = Sharp(Keep()).sharpen(image, blurred)
    median = refiners.build("median").refine(image, blurred)
    whole, kept = made.difference >= 0.1, made.difference <= 0.02
    assert whole.mean() > 0.02
    assert kept.mean() > 0.1
    np.testing.assert_allclose(made.depth.values[whole], median.values[whole], rtol=1e-4)
    np.testing.assert_array_equal(made.depth.values[kept], blurred.values[kept])
    span = np.ptp(1 / blurred.values)
    told = np.abs(1 / median.values - 1 / blurred.values) / (0.2 * span / 2)
    np.testing.assert_allclose(made.difference, np.clip(told, 0, 1), atol=1e-3)


def test_facts_of_a_card_come_back(tmp_path: Path) -> None:
    facts = SharpFacts("inverse", 320, 32, Curve((0.0, 1.0), (0.1, 0.2)), True, (0.02, 0.1), 0.2)
    (tmp_path / "a.onnx").touch()
    (tmp_path / "a.json").write_text(json.dumps({"sharp": facts.to_dict()}))
    assert SharpFacts.read(tmp_path / "a.onnx") == facts


@pytest.mark.parametrize("form", ["residual", "lstsq", "minmax"])
def test_a_network_that_keeps_keeps_everything(form: restore.Form) -> None:
    class Keep:
        facts = SharpFacts("depth", 64, 8)

        def __call__(self, rgb: np.ndarray, depth: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert not depth.shape[0] % 8
            assert noise.shape == (2, *depth.shape) == (2, *rgb.shape[:2])
            return depth, np.ones_like(depth)

    image, depth = scene((61, 53))
    for most in (0, 2048):
        refined = Sharp(Keep(), SharpOptions(restore=form, most=most, longest=64)).refine(image, depth)
        np.testing.assert_allclose(refined.values, depth.values, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (61, 33), (90, 4), (96, 200)])
def test_any_size_is_answered_the_same_twice(size: tuple[int, int]) -> None:
    image, depth = scene(size)
    one, two = (Sharp(of_model(tiny())).refine(image, depth) for _ in range(2))
    assert one.size == size
    assert one.kind is DepthKind.METRIC
    np.testing.assert_array_equal(one.values, two.values)
    assert (one.values > 0).all()


def test_the_seed_changes_the_noise() -> None:
    image, depth = scene()
    one, two = (Sharp(of_model(tiny()), SharpOptions(seed=k)).refine(image, depth).values for k in (0, 1))
    assert np.abs(one - two).max() > 1e-4


def test_large_pictures_go_through_in_tiles_and_small_ones_are_enlarged() -> None:
    seen: list[tuple[int, int]] = []
    made = of_model(tiny())

    class Watch:
        facts = made.facts

        def __call__(self, rgb: np.ndarray, depth: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.append(depth.shape)
            return made(rgb, depth, noise)

    image, depth = scene((150, 200))
    Sharp(Watch()).refine(image, depth)
    assert len(seen) > 6
    assert max(map(max, seen)) <= 64
    seen.clear()
    Sharp(Watch(), SharpOptions(most=0)).refine(image, depth)
    assert seen == [(48, 64)]
    assert Sharp(Watch()).processing_size((20, 32)) == (40, 64)


def test_unknown_pixels_and_sky_stay() -> None:
    image, depth = scene()
    values = depth.values.copy()
    values[0], values[-3:, -3:] = np.inf, np.nan
    refined = Sharp(of_model(tiny())).refine(image, depth.with_values(values))
    np.testing.assert_array_equal(np.isnan(refined.values), np.isnan(values))
    np.testing.assert_array_equal(np.isinf(refined.values), np.isinf(values))


def test_half_precision_is_close() -> None:
    image, depth = scene()
    full = Sharp(of_model(tiny())).refine(image, depth).values
    made = TorchSharpener(lambda: Sharpener(tiny(), CODE), SharpFacts("depth", 64, 8), "cpu", "bfloat16")
    assert np.median(np.abs(Sharp(made).refine(image, depth).values - full) / full) < 0.02


def test_what_cannot_be_built_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a registered name, sddr:PATH or sharp:PATH"):
        refiners.build("median:here")
    if "sharp" not in refiners.registry:
        with pytest.raises(ValueError, match="give one of yours as sharp:PATH"):
            pipeline.load("toy+sharp")
    with pytest.raises(FileNotFoundError, match="no sharpener at"):
        of_path(tmp_path / "nothing" / "here")
    with pytest.raises(FileNotFoundError, match="no sharpener at"):
        Sharp(tmp_path / "none.onnx").refine(*scene())
    (tmp_path / "config.toml").write_text('recipe = "sddr"\n')
    with pytest.raises(ValueError, match="a run of another recipe"):
        of_path(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a card a\.json"):
        Sharp(tmp_path / "a.onnx").refine(*scene())


# ---- expected errors


def test_a_rising_curve_is_the_best_one() -> None:
    np.testing.assert_allclose(
        pooled(np.array([1.0, 3, 2, 2, 5]), np.array([1.0, 1, 1, 2, 1])), [1, 2.25, 2.25, 2.25, 5]
    )
    rng = np.random.default_rng(0)
    x = rng.random(4000)
    curve = fit_curve(x, x**2 + rng.normal(0, 0.05, 4000))
    grid = np.linspace(0.05, 0.95, 50)
    assert np.abs(curve(grid) - grid**2).max() < 0.03
    assert (np.diff(curve(np.linspace(-1, 2, 99))) >= 0).all()
    assert Curve.of(json.loads(json.dumps(curve.to_dict()))) == curve
    assert fit_curve(np.zeros(5), np.arange(5.0)).y == (0.0,) or fit_curve(np.zeros(5), np.arange(5.0)).x == (0.0,)
    with pytest.raises(ValueError, match="both rising"):
        Curve((0.0, 1.0), (1.0, 0.0))


def calibrated() -> Sharp:
    made = of_model(tiny())
    made.facts = replace(made.facts, errors=Curve((0.0, 1.0), (0.02, 0.5)))
    return Sharp(made)


def test_a_calibrated_sharpener_says_how_far_off_it_may_be(tmp_path: Path) -> None:
    image, depth = scene()
    values = depth.values.copy()
    values[0, 0] = np.nan
    refiner = calibrated()
    refined = refiner.refine(image, depth.with_values(values))
    difference = refiner.sharpen(image, depth.with_values(values)).difference
    assert np.isnan(refined.expected_error[0, 0])
    np.testing.assert_allclose(refined.expected_error[1:], 0.02 + 0.48 * difference[1:], atol=1e-6)
    path = io.write_errors(tmp_path / "a.confidence.png", refined)
    codes = np.asarray(PillowImage.open(path)).astype(float)
    assert codes[0, 0] == 0
    np.testing.assert_allclose((codes[1:] - 1) * 1e-4, refined.expected_error[1:], atol=5.1e-5)
    with pytest.raises(io.FileError, match="is not depth"):
        io.read(path)
    with pytest.raises(ValueError, match="does not know how far off"):
        io.write_errors(tmp_path / "b.png", depth)


def test_errors_follow_the_map_and_the_cloud_leaves_out_what_is_unreliable(tmp_path: Path) -> None:
    error = np.full((96, 128), 0.05, np.float32)
    error[:30] = 0.9
    depth = DepthMap(1 / near_of(), DepthKind.METRIC, Camera.from_fov(60, 128, 96), expected_error=error)
    assert depth.cropped(20, 5, 40, 50).expected_error.shape == (40, 50)
    assert depth.resized(48, 64).expected_error.shape == (48, 64)
    assert depth.with_values(depth.values).expected_error is None
    with pytest.raises(ValueError, match="expected errors of 0 or more"):
        replace(depth, expected_error=error[:5])
    facts = [json.loads(io.write(tmp_path / f"{k}.ply", x).with_name(f"{k}.ply.json").read_text()) for k, x in
             enumerate((depth, replace(depth, expected_error=None)))]  # fmt: skip
    assert facts[0]["encoding"]["unreliable_points_dropped"] == 30 * 128
    assert facts[0]["encoding"]["points"] < 0.75 * facts[1]["encoding"]["points"]


def test_confidence_is_saved_where_it_is_known_and_refused_before_the_work_where_not(tmp_path: Path) -> None:
    image, _ = scene()
    made = calibrated()
    refiners.register("sharp-calibrated", summary="", license="")(lambda: made)
    try:
        loaded = pipeline.load("toy+sharp-calibrated")
        assert loaded.knows_errors
        files = pipeline.save(loaded(image), image, tmp_path / "a", ["confidence"])
        assert [file.name for file in files] == ["a.confidence.png"]
    finally:
        del refiners.registry._entries["sharp-calibrated"]
    plain = pipeline.load("toy+median")
    assert not plain.knows_errors
    with pytest.raises(ValueError, match="--save confidence"):
        pipeline.check_savable(plain.kind, ["confidence"], plain.knows_errors)


# ---- what ships


def test_what_ships_sharpens_rooms_and_says_how_far_off_it_is(tmp_path: Path) -> None:
    """Held-out rendered room: edges where there were none, metres kept, errors expected where edges are."""
    from keendepth.data import synthetic
    from keendepth.evaluation.boundary import boundary_f1

    (frame,) = synthetic.render(1_002_100, (240, 320), "room")
    metric = predictors.registry.build("indoor-small").predict(frame.image)
    found = refiners.build("sharp").refine(frame.image, metric)
    before, after = (boundary_f1(x.resized(240, 320), frame.depth)["boundary_f1"] for x in (metric, found))
    assert after > 1.3 * before
    assert np.median(found.values / metric.resized(240, 320).values) == pytest.approx(1, abs=0.01)
    assert found.expected_error is not None
    moved = np.abs(found.values / metric.resized(240, 320).values - 1)
    assert found.expected_error[moved > 0.1].mean() > found.expected_error[moved < 0.01].mean()
