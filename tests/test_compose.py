"""Models composed: `@metric` and its place, a prompt from a file, and networks exported and used again by their card."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import keendepth
from keendepth import io, pipeline
from keendepth.cli import contracts
from keendepth.cli.commands import app
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.predictors import registry, specs
from keendepth.predictors.views import InMetres, Prompted

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("toy", ("toy", None)),
        ("toy@metric", ("toy", "")),
        ("a/b@v1@metric", ("a/b@v1", "")),
        ("poisson@metric:indoor-small", ("poisson", "indoor-small")),
        ("a/b@metric2", ("a/b@metric2", None)),
        ("sddr:runs/a@metric:a/b@v1", ("sddr:runs/a", "a/b@v1")),
    ],
)
def test_metric_in_a_spec(part: str, found: tuple[str, str | None]) -> None:
    assert specs.metric_of(part) == found


def test_metric_without_a_name() -> None:
    with pytest.raises(ValueError, match=r"expected NAME@metric or NAME@metric:MODEL, found @metric"):
        keendepth.load("toy+@metric")


@pytest.fixture(scope="module")
def photo() -> Image:
    return io.read_image(COFFEE).resized(120, 160)


@pytest.mark.parametrize("spec", ["toy@metric", "toy+poisson@metric", "toy@metric+poisson", "toy@metric+median"])
def test_relative_depth_becomes_metric_where_the_spec_says(spec: str, photo: Image) -> None:
    made = keendepth.load(spec)
    depth = made(photo)
    assert made.kind is depth.kind is DepthKind.METRIC
    assert not made.is_bare
    metres = keendepth.load("indoor-small")(photo)
    assert np.median(depth.values[depth.valid]) == pytest.approx(float(np.median(metres.values)), rel=0.25)
    assert depth.calibration.method == "scale and shift of z, by map"
    assert (depth.refinement is not None) == ("+" in spec)
    assert depth.camera is not None


def test_metres_before_and_after_a_refiner_are_nearly_the_same(photo: Image) -> None:
    """A refiner's second look is in the same metres: the toy's own 0..1 would be another scene."""
    first, last = (keendepth.load(spec)(photo).values for spec in ("toy@metric+poisson", "toy+poisson@metric"))
    np.testing.assert_allclose(first, last, rtol=0.2)


def test_metric_depth_is_left_alone_unless_a_model_is_named(photo: Image) -> None:
    plain = keendepth.load("indoor-small")(photo)
    assert np.array_equal(keendepth.load("indoor-small@metric")(photo).values, plain.values)
    same = keendepth.load("indoor-small@metric:indoor-small")(photo)
    assert same.calibration.scale == pytest.approx(1, rel=1e-3)


def test_the_default_source_of_metres_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    pipeline._tell_metres.cache_clear()
    with caplog.at_level(logging.WARNING, "keendepth"):
        keendepth.load("toy@metric")
        keendepth.load("toy+median@metric")
        keendepth.load("toy@metric:indoor-small")
    (record,) = caplog.records
    assert record.getMessage().startswith("@metric: metres are those of indoor-small, made for rooms; ")


def test_other_sources_of_metres_on_the_command_line(tmp_path: Path) -> None:
    words = ["depth", COFFEE, "--save", "npz", "--save", "ply", "-o", tmp_path]
    call(*words, "--model", "toy@metric+median", "--known", "100,350=0.5m", "--known", "100,20=210cm")
    depth = io.read(tmp_path / "coffee.depth.npz")
    assert depth.values[350, 100] == pytest.approx(0.5, rel=0.1)
    assert depth.refinement is not None
    assert depth.calibration.points == 2
    said = call(*words, "--model", "toy@metric:indoor-small", "--known", "1,1=1m", code=2)
    assert "expected one way to get metres, found several" in said
    assert "one way" in call(*words, "--model", "toy@metric+median@metric", code=2)
    assert "expected a metric model, toy gives affine_invariant depth" in call(
        *words, "--model", "toy@metric:toy", code=2
    )


def test_views_keep_what_a_refiner_asks_for(photo: Image) -> None:
    depth = keendepth.load("toy@metric")(photo)
    view = InMetres(registry.build("toy"), depth.calibration)
    np.testing.assert_allclose(view.predict(photo).values, depth.values, rtol=1e-6)
    assert view.kind is DepthKind.METRIC
    assert view.processing_size(photo.size) == registry.card("toy").native_size
    with pytest.raises(ValueError, match="toy: takes no prompt"):
        Prompted(registry.build("toy"), depth)


# With small networks of transformers

pytest.importorskip("torch", reason="needs keendepth[hub]")
pytest.importorskip("transformers", reason="needs keendepth[hub]")

from keendepth.predictors.huggingface import HuggingFacePredictor  # noqa: E402
from test_huggingface import predict, save  # noqa: E402


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("prompt-depth-anything", tmp_path_factory.mktemp("prompted"))


def lidar(path: Path, metres: float) -> Path:
    from PIL import Image as Pillow

    Pillow.fromarray(np.linspace(1000, 1000 * metres, 192).astype(np.uint16).reshape(12, 16)).save(path)
    return path


def test_a_prompt_on_the_command_line(prompted: Path, tmp_path: Path) -> None:
    photos, maps = tmp_path / "photos", tmp_path / "lidar"
    photos.mkdir()
    maps.mkdir()
    for name, metres in (("near", 2), ("far", 8)):
        from PIL import Image as Pillow

        Pillow.fromarray(contracts.picture((48, 64)).rgb).save(photos / f"{name}.png")
        lidar(maps / f"{name}.png", metres)
    words = ["--model", f"{prompted}+poisson", "--runtime", "torch", "--save", "npz", "--units", "mm"]
    call("depth", photos, "-o", tmp_path / "many", *words, "--prompt", maps)
    near, far = (io.read(tmp_path / "many" / f"{name}.depth.npz") for name in ("near", "far"))
    assert near.kind is DepthKind.METRIC
    assert np.median(far.values) > 1.3 * np.median(near.values)
    call("depth", photos / "near.png", "-o", tmp_path / "one", *words, "--prompt", maps / "near.png")
    assert np.array_equal(io.read(tmp_path / "one" / "near.depth.npz").values, near.values)
    says = call("depth", photos, "-o", tmp_path / "x", *words, "--prompt", maps / "near.png", code=2)
    assert "--prompt: 2 photos need a folder with a file for each" in says
    (maps / "far.png").unlink()
    assert "has no depth file for far.png" in call(
        "depth", photos, "-o", tmp_path / "x", *words, "--prompt", maps, code=2
    )


SLOW = ("depth-anything", "zoedepth", "depth-pro")
EXPORTED = ["depth-anything-metric", "glpn", "dpt", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_model_is_used_by_its_card(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the train extra")
    folder, file = save(name, tmp_path / "hub"), tmp_path / "made.onnx"
    facts = json.loads(call("export", folder, "-o", file, "--json"))
    assert facts["parity"] <= 1e-4
    original = HuggingFacePredictor(folder, device="cpu", runtime="torch")
    (tmp_path / "made.json").rename(tmp_path / "card.json")
    again = pipeline.load(str(file), card=tmp_path / "card.json").predictor
    assert again.kind is original.kind  # metric ones give metres: there is no number to multiply by on the card
    assert again.model.output.scale == 1
    for size in ((48, 64), (64, 48), (30, 41), (1, 1)):
        image = contracts.picture(size)
        for given in (image, Image(image.rgb)):
            one, other = predict(original, given), again.predict(given)
            np.testing.assert_allclose(other.values, one.values, rtol=2e-4, atol=2e-4 * float(np.abs(one.values).max()))
            assert (other.camera is None) == (one.camera is None)
            assert other.camera is None or other.camera.fx == pytest.approx(one.camera.fx, rel=1e-4)


def test_what_cannot_be_exported_says_so(prompted: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.onnx"
    assert "takes a depth prompt, which a card cannot feed" in call("export", prompted, "-o", out, code=2)
    assert "toy: cannot be exported: only networks of transformers" in call("export", "toy", "-o", out, code=2)
    assert "an ONNX file holds one network" in call("export", "toy+median", "-o", out, code=2)
    assert "so this is no run folder" in call("export", tmp_path, "-o", out, code=2)
    assert not out.exists()


def test_an_onnx_model_is_copied_with_its_card(tmp_path: Path) -> None:
    call("export", "indoor-small", "-o", tmp_path / "mine.onnx")
    image = Image(contracts.picture((40, 60)).rgb)
    same = pipeline.load(str(tmp_path / "mine.onnx"))(image)
    assert np.array_equal(same.values, pipeline.load("indoor-small")(image).values)
    assert isinstance(same, DepthMap)
