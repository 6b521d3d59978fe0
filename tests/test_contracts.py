"""The contract over everything registered, at the sizes and in the modes that photos come in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from keendepth import io, pipeline, predictors, refiners
from keendepth.cli import contracts
from keendepth.core.types import Camera, DepthKind, DepthMap, Image

PREDICTORS = predictors.shipped()  # models of the hub have tests of their own, with small random weights


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictor_contract(name: str) -> None:
    assert contracts.check_predictor(name) == "ok"


@pytest.mark.parametrize("name", list(refiners.registry))
def test_refiner_contract(name: str) -> None:
    assert contracts.check_refiner(name) == "ok"


def test_contracts_catch_offenders() -> None:
    class Wrong:
        kind = DepthKind.METRIC

        def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
            return DepthMap(np.ones((2, 2)), DepthKind.METRIC)

        def refine(self, image: Image, depth: DepthMap, predictor: object = None) -> DepthMap:
            return depth.with_values(depth.values * 1.5)

    predictors.register("wrong-predictor", summary="", license="", kind=DepthKind.METRIC)(Wrong)
    refiners.register("wrong-refiner", summary="", license="")(Wrong)
    try:
        assert "(2, 2)" in contracts.check_predictor("wrong-predictor")
        assert "scale" in contracts.check_refiner("wrong-refiner")
    finally:
        del predictors.registry._entries["wrong-predictor"]
        del refiners.registry._entries["wrong-refiner"]


@pytest.mark.slow
@pytest.mark.parametrize("name", refiners.alone())
def test_12_megapixels(name: str) -> None:
    image = contracts.picture((3000, 4000))
    small = contracts.example_depth(contracts.picture((192, 256)), DepthKind.METRIC)
    refined = pipeline.refine(image, small, name)
    assert refined.size == image.size
    assert 0 < refined.sky.mean() < 0.02
    assert 0 < np.isnan(refined.values).mean() < 0.01


MODES = {
    "grey": lambda rgb: PillowImage.fromarray(rgb).convert("L"),
    "alpha": lambda rgb: PillowImage.fromarray(rgb).convert("RGBA"),
    "palette": lambda rgb: PillowImage.fromarray(rgb).convert("P"),
    "16-bit": lambda rgb: PillowImage.fromarray(rgb[..., 0].astype(np.uint16) * 257),
    "CMYK": lambda rgb: PillowImage.fromarray(rgb).convert("CMYK"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_photo_gives_depth_of_its_size(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("photo.tiff" if mode == "CMYK" else "photo.png")
    MODES[mode](contracts.picture((50, 70)).rgb).save(path)
    assert pipeline.load()(path).size == (50, 70)


def test_rotated_exif_gives_upright_depth(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(contracts.picture((40, 60)).rgb).save(tmp_path / "photo.jpg", exif=exif)
    assert pipeline.load()(tmp_path / "photo.jpg").size == (60, 40)


def test_one_picture_gives_the_same_answer_alone_and_in_a_batch() -> None:
    made = pipeline.load()
    pictures = [contracts.picture((60, 80), seed) for seed in range(3)]
    together = [made(image).values for image in pictures]
    for image, values in zip(reversed(pictures), reversed(together), strict=True):
        np.testing.assert_array_equal(pipeline.load()(image).values, values)


def test_a_camera_given_stays_and_a_guess_says_so() -> None:
    rgb = contracts.picture((60, 80)).rgb
    given = pipeline.load()(Image(rgb, Camera.from_fov(90, 80, 60))).camera
    guessed = pipeline.load()(Image(rgb)).camera
    assert given is not None
    assert guessed is not None
    assert (given.source, round(given.fov_degrees)) == ("given", 90)
    assert (guessed.source, round(guessed.fov_degrees)) == ("guess", 60)


def test_shipped_weights_match_their_cards() -> None:
    import hashlib

    for card in predictors.WEIGHTS.glob("*.json"):
        import json

        expected = json.loads(card.read_text())["sha256"]
        assert hashlib.sha256(card.with_suffix(".onnx").read_bytes()).hexdigest() == expected


def test_saved_names_of_the_command_line_are_the_pipelines() -> None:
    from keendepth.cli import batch, commands

    assert tuple(pipeline.FILES) == batch.SAVED
    assert pipeline.DEFAULT == commands.DEFAULT_MODEL
    assert refiners.DEFAULT == commands.DEFAULT_REFINER
    assert {io.WRITABLE[0], ".exr", ".npz"} <= set(io.WRITABLE)
