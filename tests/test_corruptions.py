"""Corruptions: every type and severity, growth with severity, repeatability, odd sizes, scaling with width, and what each must do."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage

from keendepth.core.registry import UnknownNameError
from keendepth.core.types import Camera, DepthKind, DepthMap, Image, KindError
from keendepth.data import corruptions
from keendepth.data.corruptions import ALIASES, CORRUPTIONS, DEPTH_AWARE, KITTI_C, SEVERITIES, corrupt, fields, scene

MOVES_WITH_WIDTH = ("defocus", "motion", "zoom", "elastic", "glass", "fog", "snow", "frost", "pixelate")


def photo_like(height: int = 192, width: int = 640, seed: int = 0) -> np.ndarray:
    """A picture with about the spectrum of photographs, a sky, hard edges and colours."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / max(height, width)
    layers = [
        np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / f**1.3, (height, width)) for _ in range(4)
    ]
    common, colour = layers[0] / layers[0].std(), np.stack([layer / layer.std() for layer in layers[1:]], -1)
    rgb = 112 + 40 * common[..., None] + 14 * colour
    rgb[height // 3 : height // 2, width // 4 : width // 2] *= 0.45
    rgb[: height // 6] = 0.4 * rgb[: height // 6] + [105, 120, 140]
    return np.clip(rgb, 0, 255).astype(np.uint8)


def road(height: int = 192, width: int = 640) -> DepthMap:
    """A ground plane with a horizon, sky above it."""
    below = np.arange(height)[:, None] / height - 0.35
    z = np.where(below > 0.01, 1.5 / np.maximum(below, 0.01), np.inf)
    return DepthMap(np.broadcast_to(z, (height, width)).astype(np.float32), DepthKind.METRIC)


PHOTO = Image(photo_like(), Camera.from_fov(80, 640, 192), "street")
ROAD = road()


def change(spoilt: Image, clean: Image) -> float:
    return float(np.abs(spoilt.rgb.astype(np.float32) - clean.rgb).mean())


def test_the_names_are_those_of_kitti_c():
    names = "brightness dark fog frost snow contrast defocus glass motion zoom elastic quant gaussian impulse shot iso"
    assert (*names.split(), "pixelate", "jpeg") == KITTI_C
    assert tuple(CORRUPTIONS) == KITTI_C + DEPTH_AWARE
    assert all(len(c.levels) == 5 and c.summary for c in CORRUPTIONS.values())
    assert set(ALIASES.values()) <= set(KITTI_C)
    assert corruptions.find("JPEG-compression").name == "jpeg"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_more(name):
    before = PHOTO.rgb.copy()
    spoilt = [corrupt(PHOTO, name, s, 3, ROAD) for s in SEVERITIES]
    assert np.array_equal(PHOTO.rgb, before)
    for image in spoilt:
        assert image.size == PHOTO.size
        assert image.camera == PHOTO.camera
        assert image.name == "street"
    changes = [change(image, PHOTO) for image in spoilt]
    assert changes[0] > 0.3
    assert all(np.diff(changes) > 0), changes


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_real_photos_more(name, shared):
    folder = shared / "data" / "photos_free"
    for file in ("coffee.png", "raccoon_face.png", "astronaut.png", "rocket.jpg"):
        with Pillow.open(folder / file) as opened:
            wide = opened.convert("RGB").resize((640, 400), Pillow.Resampling.LANCZOS)
        photo = Image(np.asarray(wide)[100:292])
        changes = [change(corrupt(photo, name, s, 0, ROAD), photo) for s in SEVERITIES]
        assert all(np.diff(changes) > 0), (file, changes)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_seeds_repeat(name):
    a, b = corrupt(PHOTO, name, 3, 7, ROAD), corrupt(Image(PHOTO.rgb, PHOTO.camera, "renamed"), name, 3, 7, ROAD)
    assert np.array_equal(a.rgb, b.rgb)
    other = corrupt(PHOTO, name, 3, 8, ROAD)
    fixed = {"brightness", "contrast", "defocus", "zoom", "quant", "pixelate", "jpeg", "fog_depth"}
    assert np.array_equal(a.rgb, other.rgb) == (name in fixed)


def test_pictures_differ_in_their_randomness():
    black, white = Image(np.zeros((40, 40, 3), np.uint8)), Image(np.full((40, 40, 3), 2, np.uint8))
    noise = [corrupt(i, "impulse", 5).rgb == 255 for i in (black, white)]
    assert not np.array_equal(*noise)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (5, 7), (1, 90), (90, 1), (211, 97)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_size(name, size):
    rng = np.random.default_rng(1)
    image = Image(rng.integers(0, 256, (*size, 3), np.uint8))
    depth = DepthMap(rng.uniform(1, 50, size).astype(np.float32), DepthKind.METRIC)
    for severity in (1, 5):
        assert corrupt(image, name, severity, 0, depth).size == size


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour(name, value):
    image = Image(np.full((48, 64, 3), value, np.uint8))
    spoilt = corrupt(image, name, 5, 0, road(48, 64)).rgb
    if name in ("defocus", "glass", "motion", "zoom", "elastic", "contrast", "pixelate"):
        assert np.array_equal(spoilt, image.rgb)


@pytest.mark.parametrize("name", ["brightness", "contrast", "quant", "defocus", "glass", "motion", "zoom", "elastic", "fog", "snow"])  # fmt: skip
def test_grey_stays_grey(name):
    grey = Image(np.repeat(PHOTO.rgb[:, :, :1], 3, axis=2))
    spoilt = corrupt(grey, name, 4).rgb.astype(int)
    assert np.ptp(spoilt, axis=2).max() <= 1


@pytest.mark.parametrize("name", MOVES_WITH_WIDTH)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_lengths_grow_with_width(name, severity):
    """A picture of twice the width, spoilt and halved, looks like the picture spoilt."""
    large = photo_like(384, 1280, 5)
    small = np.asarray(Pillow.fromarray(large).reduce(2))
    chosen = CORRUPTIONS[name]
    level = chosen.levels[severity - 1]
    spoilt = chosen.apply(small, level, np.random.default_rng(4))
    spoilt_large = chosen.apply(large, level, np.random.default_rng(4))
    halved = np.asarray(Pillow.fromarray(spoilt_large).reduce(2)).astype(np.float32)
    strength = np.abs(spoilt - small.astype(np.float32)).mean()
    # Cells that do not fall on the same pixels keep a difference in glass and pixelate.
    allowed = {"pixelate": 0.7, "glass": 0.5, "elastic": 0.5}.get(name, 0.2)
    assert np.abs(halved - spoilt).mean() < allowed * strength


def test_the_reference_width_has_the_published_lengths():
    dot = np.zeros((65, 640, 3), np.uint8)
    dot[32, 320] = 255
    streak = CORRUPTIONS["motion"].apply(dot, (10, 1e6), np.random.default_rng(0))[..., 0] > 0
    rows, columns = np.nonzero(streak)
    assert np.hypot(np.ptp(rows), np.ptp(columns)) == pytest.approx(20, abs=2)  # 2 x radius + 1 taps
    disc = fields.disc_kernel(6, 0.5)
    across = np.arange(len(disc)) - len(disc) // 2
    assert (disc.sum(0) * across**2).sum() == pytest.approx(
        6**2 / 4 + 0.5**2, rel=0.03
    )  # variance of a disc plus its rim


def test_noise_has_the_published_strength():
    grey = Image(np.full((300, 300, 3), 128, np.uint8))
    for severity, std in zip((1, 2), (0.08, 0.12), strict=True):
        assert corrupt(grey, "gaussian", severity).rgb.std() / 255 == pytest.approx(std, rel=0.02)
    seen = corrupt(grey, "shot", 1).rgb / 255
    assert seen.mean() == pytest.approx(128 / 255, rel=0.01)
    assert seen.std() == pytest.approx(np.sqrt(128 / 255 / 60), rel=0.02)  # Poisson: variance = mean / photons
    spoilt = corrupt(grey, "impulse", 4).rgb
    assert (spoilt == 255).mean() == pytest.approx(0.085, abs=0.003)
    assert (spoilt == 0).mean() == pytest.approx(0.085, abs=0.003)


def test_simple_ones_by_hand():
    rgb = np.array([[[100, 50, 0], [0, 0, 0], [250, 250, 250]]], np.uint8)
    bright = corrupt(Image(rgb), "brightness", 1).rgb[0]
    assert bright[0].tolist() == [126, 63, 0]  # V 100 -> 125.5, hue and saturation kept
    assert bright[1].tolist() == [26, 26, 26]
    assert bright[2].tolist() == [255, 255, 255]
    assert corrupt(Image(rgb), "quant", 5).rgb[0, 0].tolist() == [0, 0, 0]  # one bit
    assert corrupt(Image(rgb), "quant", 1).rgb[0, 0].tolist() == [96, 48, 0]
    flat = corrupt(Image(rgb), "contrast", 1).rgb[0, :, 0]
    assert flat.tolist() == [110, 70, 170]  # about the mean 116.7


def test_dark_squares_the_stretched_picture():
    ramp = np.repeat(np.linspace(20, 220, 200).astype(np.uint8)[None, :, None], 3, axis=2).repeat(400, axis=0)
    seen = corrupt(Image(ramp), "dark", 1).rgb.mean((0, 2)) / 255
    expected = ((ramp[0, :, 0] - 20.0) / 200) ** 2 * 0.6
    assert np.abs(seen - expected)[50:].max() < 0.01


def test_warp_is_bilinear():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (30, 40, 3), np.uint8)
    dy, dx = rng.uniform(-3, 3, (2, 30, 40)).astype(np.float32)
    rows, columns = np.mgrid[:30, :40]
    for c in range(3):
        expected = ndimage.map_coordinates(
            rgb[..., c].astype(float), [rows + dy, columns + dx], order=1, mode="nearest"
        )
        assert np.abs(fields.warp(rgb, dy, dx)[..., c] - expected).max() <= 2


def test_convolution_against_scipy():
    rng = np.random.default_rng(0)
    values, kernel = rng.random((23, 31)).astype(np.float32), rng.random((5, 9)).astype(np.float32)
    assert np.allclose(fields.convolve(values, kernel), ndimage.convolve(values, kernel, mode="nearest"), atol=1e-4)


def test_ice_is_periodic_and_as_bright_as_the_published_photographs():
    ice = corruptions.weather.ice_sheet().astype(float)
    assert ice.mean() == pytest.approx(150, abs=5)
    seam = np.abs(ice[0] - ice[-1]).mean()
    assert seam < 1.5 * np.abs(np.diff(ice, axis=0)).mean()


def test_fog_follows_koschmieder():
    z = np.tile(np.linspace(1, 200, 64, dtype=np.float32), (48, 1))
    grey = Image(np.full((48, 64, 3), 60, np.uint8))
    spoilt = corrupt(grey, "fog_depth", 3, 0, DepthMap(z, DepthKind.METRIC)).rgb
    light, air = scene.linear(spoilt)[0, :, 0], scene.airlight(grey.rgb)[0]
    clean = scene.linear(grey.rgb)[0, 0, 0]
    passed = (light - air) / (clean - air)
    assert np.allclose(passed, np.exp(-0.045 * z[0]), atol=0.02)
    sky = DepthMap(np.full((48, 64), np.inf, np.float32), DepthKind.METRIC)
    assert np.allclose(scene.linear(corrupt(grey, "fog_depth", 1, 0, sky).rgb), scene.airlight(grey.rgb), atol=0.01)


def test_rain_and_flakes_fall_only_before_what_is_seen():
    dark = Image(np.full((120, 160, 3), 30, np.uint8))
    near = DepthMap(np.full((120, 160), 1.0, np.float32), DepthKind.METRIC)
    far = DepthMap(np.full((120, 160), 20.0, np.float32), DepthKind.METRIC)
    for name in ("rain", "snow_streaks"):
        assert np.ptp(corrupt(dark, name, 5, 0, near).rgb) == 0  # nearer than every sheet: only the veil
        assert np.ptp(corrupt(dark, name, 5, 0, far).rgb) > 10


def test_night_is_darker_far_away_but_for_lamps():
    rgb = np.full((160, 320, 3), 90, np.uint8)
    rgb[60:64, 100:104] = 255
    z = np.repeat(np.linspace(2, 60, 320, dtype=np.float32)[None], 160, axis=0)
    seen = corrupt(Image(rgb), "night", 2, 0, DepthMap(z, DepthKind.METRIC)).rgb.astype(float)
    assert seen[100:, :40].mean() > 1.5 * seen[100:, -40:].mean()
    assert seen[60:64, 100:104].mean() > 150
    assert seen[56:59, 100:104].mean() > 1.5 * seen[20:24, 100:104].mean()  # its glow


def test_near_things_blur_more_in_a_long_exposure():
    rng = np.random.default_rng(0)
    rgb = np.repeat(rng.integers(0, 256, (128, 128, 1), np.uint8), 3, axis=2)
    z = np.full((128, 128), 100, np.float32)
    z[:, :64] = 0.7
    seen = corrupt(Image(rgb), "exposure_blur", 1, 0, DepthMap(z, DepthKind.METRIC)).rgb.astype(float)
    assert seen[:, :56].std() < 0.7 * seen[:, 72:].std()


def test_unknown_depth_takes_the_nearest_and_any_size_is_fitted():
    z = np.full((24, 32), np.nan, np.float32)
    z[:, :16] = 5
    image = Image(photo_like(48, 64))
    holes = corrupt(image, "fog_depth", 4, 0, DepthMap(z, DepthKind.METRIC))
    whole = corrupt(image, "fog_depth", 4, 0, DepthMap(np.full((48, 64), 5, np.float32), DepthKind.METRIC))
    assert np.array_equal(holes.rgb, whole.rgb)


def test_errors_say_what_to_do():
    with pytest.raises(UnknownNameError, match="did you mean motion"):
        corrupt(PHOTO, "motoin", 1)
    for severity in (0, 6):
        with pytest.raises(ValueError, match="from 1"):
            corrupt(PHOTO, "fog", severity)
    with pytest.raises(ValueError, match="pass depth="):
        corrupt(PHOTO, "rain", 1)
    with pytest.raises(KindError):
        corrupt(PHOTO, "night", 1, 0, DepthMap(np.ones((192, 640), np.float32), DepthKind.DISPARITY))
    with pytest.raises(ValueError, match="no known pixel"):
        corrupt(PHOTO, "night", 1, 0, DepthMap(np.full((192, 640), np.nan, np.float32), DepthKind.METRIC))
