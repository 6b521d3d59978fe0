"""Predictors: the shipped model, anybody's ONNX model with a card, cards read strictly, and the toy."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from keendepth.core import align
from keendepth.core.registry import UnknownNameError
from keendepth.core.types import Camera, DepthKind, Image
from keendepth.predictors import WEIGHTS, registry
from keendepth.predictors.card import CardError, ModelCard
from keendepth.predictors.onnx import OnnxPredictor

MODEL, CARD = WEIGHTS / "indoor-small.onnx", WEIGHTS / "indoor-small.json"
MINIMAL = {"name": "mine", "summary": "a test", "license": "CC0-1.0", "kind": "disparity", "native_size": [4, 6]}


def shared_folder() -> Path:
    folder = Path(os.environ.get("KEENDEPTH_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared material at {folder} (set KEENDEPTH_SHARED)")
    return folder


def noise(height: int, width: int, camera: Camera | None = None) -> Image:
    return Image(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8), camera)


def shipped_card() -> dict[str, Any]:
    return json.loads(CARD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small() -> OnnxPredictor:
    return registry.build("indoor-small", threads=1)


# The shipped model


def test_package_loads_no_runtime() -> None:
    code = "import sys, keendepth.predictors; print([n for n in ('onnxruntime', 'torch', 'PIL', 'onnx') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shipped_card_says_what_it_must() -> None:
    card = registry.card("indoor-small")
    assert card.kind is DepthKind.METRIC
    assert card.license == "MIT"
    assert "NYU" in card.trained_on
    assert "streets" in card.fails_on
    assert card.parameters == 1_360_786
    assert card.native_size == (224, 224)
    assert card.sha256 == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert MODEL.stat().st_size < 6_000_000
    assert "chosen on these same four" in ModelCard.read(CARD).notes


def test_every_card_in_weights_has_its_file_and_licence() -> None:
    for path in WEIGHTS.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        model = path.with_suffix(".onnx")
        assert content["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest(), path.name
        assert content["license"]
        assert content["fails_on"]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (480, 640), (90, 31), (20, 400), (64, 64)])
def test_depth_has_the_pictures_size_and_is_metric(small: OnnxPredictor, size: tuple[int, int]) -> None:
    depth = small.predict(noise(*size))
    assert depth.size == size
    assert depth.kind is small.kind is DepthKind.METRIC
    assert depth.values.dtype == np.float32
    assert depth.valid.all()
    assert 0.1 < np.median(depth.values) < 20
    assert depth.source is small.card


def test_same_picture_same_depth_and_picture_untouched(small: OnnxPredictor) -> None:
    image = noise(48, 64)
    before = image.rgb.copy()
    first, again = small.predict(image), OnnxPredictor(MODEL, CARD, threads=1).predict(image)
    small.predict(noise(30, 40))
    assert np.array_equal(first.values, again.values)
    assert np.array_equal(first.values, small.predict(image).values)
    assert np.array_equal(image.rgb, before)


def test_sizes_follow_the_pictures_shape(small: OnnxPredictor) -> None:
    assert small.processing_size((480, 640)) == (224, 224)
    assert small.processing_size((640, 480)) == (288, 160)
    assert small.processing_size((360, 640)) == (192, 256)
    assert small.processing_size((3, 30_000)) == (96, 544)
    assert small.processing_size((30_000, 3)) == (544, 96)
    assert small.processing_size((480, 640), (300, 1)) == (288, 32)


def test_a_larger_size_sees_more(small: OnnxPredictor) -> None:
    image = noise(448, 448)
    low, high = small.predict(image), small.predict(image, (448, 448))
    assert high.size == low.size == (448, 448)
    assert np.abs(np.diff(high.values, axis=0)).mean() > 1.2 * np.abs(np.diff(low.values, axis=0)).mean()


def test_a_size_below_one_is_refused(small: OnnxPredictor) -> None:
    with pytest.raises(ValueError, match=r"indoor-small: the size to process at must be 1 x 1 or more, found 0 x 32"):
        small.predict(noise(8, 8), (0, 32))


def test_metres_scale_with_the_focal_length_and_the_camera_comes_back(small: OnnxPredictor) -> None:
    wide, long = Camera.from_focal(50.0, 64, 48), Camera.from_focal(100.0, 64, 48)
    near, far = small.predict(noise(48, 64, wide)), small.predict(noise(48, 64, long))
    assert near.camera == wide
    np.testing.assert_allclose(far.values, 2 * near.values, rtol=1e-5)


def test_without_a_camera_the_training_camera_is_assumed(small: OnnxPredictor) -> None:
    for size in ((480, 640), (360, 640), (480, 480)):  # crops of NYUv2's own frame
        camera = Camera.from_focal(519.47, size[1], size[0])
        given, assumed = small.predict(noise(*size, camera)), small.predict(noise(*size))
        np.testing.assert_allclose(assumed.values, given.values, rtol=1e-3)


def test_accuracy_on_nyu(small: OnnxPredictor) -> None:
    data = shared_folder() / "data"
    names = [(f"metric3d_nyu/rgb_{n}.jpg", f"metric3d_nyu/depth_{n}.png") for n in ("00000", "00050", "00100")]
    raw, aligned = [], []
    for rgb, depth in [*names, ("unidepth_demo/rgb.png", "unidepth_demo/depth.png")]:
        metres = np.asarray(PILImage.open(data / depth)).astype(np.float64) / 1000
        known = (metres > 0) & (metres < 10)
        found = (
            small.predict(Image(np.asarray(PILImage.open(data / rgb).convert("RGB")))).values[known].astype(np.float64)
        )
        wanted = metres[known]
        scale, shift = align.fit_scale_shift(found, wanted)
        raw.append(np.mean(np.abs(found - wanted) / wanted))
        aligned.append(np.mean(np.abs(scale * found + shift - wanted) / wanted))
    assert np.mean(raw) <= 0.130
    assert np.mean(aligned) <= 0.092


def test_parity_with_the_published_network() -> None:
    """Without torch: the shipped file against the source file, both in ONNX Runtime."""
    import onnxruntime

    source = shared_folder() / "models" / "fastdepth" / "fastdepth_7.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in (source, MODEL)
    ]
    picture = PILImage.open(shared_folder() / "data" / "metric3d_nyu" / "rgb_00000.jpg").resize((224, 224))
    random = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    real = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)[None] / np.float32(255))
    for tensor in (random, real):
        theirs, ours = (s.run(None, {s.get_inputs()[0].name: tensor})[0] for s in sessions)
        assert np.abs(theirs - ours).max() < 1e-4


# Files and their checks


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(MODEL.read_bytes() + b"\0")
    predictor = OnnxPredictor(tmp_path / "m.onnx", CARD)
    found = hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=rf"m\.onnx is not .* expected sha256 {predictor.card.sha256}, found {found}"):
        predictor.predict(noise(8, 8))


def test_a_missing_model_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"indoor-small: no model file at .*gone\.onnx"):
        OnnxPredictor(tmp_path / "gone.onnx", CARD).predict(noise(8, 8))


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"m\.onnx: ONNX Runtime cannot load this model"):
        OnnxPredictor(tmp_path / "m.onnx", MINIMAL).predict(noise(8, 8))


def test_a_missing_card(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"no card at .*model\.json; a model file needs one beside it"):
        OnnxPredictor(tmp_path / "model.onnx")


def test_a_provider_that_is_not_here() -> None:
    with pytest.raises(ValueError, match=r"ONNX Runtime has no NoSuchProvider here; it has .*CPUExecutionProvider"):
        OnnxPredictor(MODEL, CARD, providers=("NoSuchProvider",)).predict(noise(8, 8))


# The registry and the toy


def test_registry_knows_what_ships() -> None:
    assert {"indoor-small", "onnx", "toy"} <= set(registry)
    with pytest.raises(UnknownNameError, match="did you mean indoor-small"):
        registry.build("indor-small")


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (30, 200), (200, 30)])
def test_toy_is_a_ramp_plus_darkness(size: tuple[int, int]) -> None:
    camera = Camera.from_fov(60, size[1], size[0])
    toy = registry.build("toy")
    depth = toy.predict(noise(*size, camera))
    assert depth.size == size
    assert depth.kind is toy.kind is DepthKind.AFFINE_INVARIANT
    assert depth.camera == camera
    assert depth.valid.all()
    assert np.array_equal(depth.values, toy.predict(noise(*size, camera)).values)
    if size[0] > 1:
        assert depth.values[0].mean() > depth.values[-1].mean()


def test_toy_puts_dark_behind_bright_and_says_what_it_is() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:, 4:] = 255
    toy = registry.build("toy")
    depth = toy.predict(Image(rgb))
    np.testing.assert_allclose(depth.values[:, 0] - depth.values[:, -1], 0.25, atol=1e-6)
    assert "not a depth estimator" in toy.card.summary.lower()
    with pytest.raises(ValueError, match="toy: the size to process at must be 1 x 1 or more, found 0 x 4"):
        toy.predict(Image(rgb), (0, 4))


def test_toy_sees_finer_at_a_larger_size() -> None:
    toy, image = registry.build("toy"), noise(128, 128)
    assert toy.predict(image, (128, 128)).values.std() > toy.predict(image, (8, 8)).values.std()
