"""SharpDepth's recipe and the generative model before it: a few steps from scenes and photos to a refiner, resumed to the bit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch
from scipy import ndimage

from keendepth import predictors, refiners
from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.nn.denoise_net import CHANNELS, DenoiseNet
from keendepth.refiners.sharp import Sharp
from keendepth.refiners.sharp_network import TorchSharpener, of_path
from keendepth.training import pictures, recipes, runs
from keendepth.training.config import FIT, FitOptions, read_preset, resolve
from keendepth.training.methods import train, trained
from keendepth.training.recipe import StepContext
from keendepth.training.scenes import SceneCache
from keendepth.training.sharp import SharpRecipe, SharpTraining
from made_data import made_cache, made_pairs, near_of

NET = ["stride=4", "channels=[8, 12]", "longest=64", "size=[48, 64]", "validation=2"]
LOOP = [
    "batch_size=2",
    "validate_every=0",
    "warmup=2",
    "lr=3e-3",
    "threads=1",
    "ema_decay=0.8",
    "log_every=1",
    "steps=5",
]


class Blurred:
    """A metric predictor for the scenes of `made_data`, whose colour is nearness: right in metres, blunt at edges."""

    kind = DepthKind.METRIC
    card = Card("blurred", "", "", kind=DepthKind.METRIC)

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        near = ndimage.gaussian_filter(image.rgb[..., 0].astype(np.float32) / 255, 3) + np.float32(0.02)
        return DepthMap(1 / near, self.kind, image.camera)


@pytest.fixture(scope="module", autouse=True)
def _teacher() -> Iterator[None]:
    predictors.register("blurred", summary="", license="", kind=DepthKind.METRIC)(Blurred)
    yield
    del predictors.registry._entries["blurred"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, held-out scenes, photos, and a trained generative model beside them."""
    root = tmp_path_factory.mktemp("sharp")
    made_cache(root / "scenes", count=3)
    made_cache(root / "held", count=2, first=1_000_000)
    made_pairs(root / "photos", exact=False)
    train(runs.Run(root / "onestep", "onestep", (str(root / "scenes"), str(root / "held"))), sets=[*NET, *LOOP])
    return root


def sharp_run(root: Path, folder: Path, *sets: str, names: tuple[str, ...] = ("scenes", "held", "photos")) -> runs.Run:
    run = runs.Run(folder, "sharp", tuple(str(root / name) for name in names))
    own = [f"generator={root / 'onestep'}", "metric=blurred"]
    train(run, sets=[*NET, *LOOP, *own, *sets])
    return run


def test_a_generative_model_learns_and_is_exported(data: Path) -> None:
    log = runs.read_log(data / "onestep")
    assert {"latent", "edges", "matching"} <= log[1].keys()
    assert log[-2]["loss"] < log[1]["loss"]
    assert 0 < log[-1]["validation"]["abs_rel"] < 2
    import onnxruntime

    session = onnxruntime.InferenceSession(data / "onestep" / "model.onnx")
    given = {"rgb": np.zeros((1, 3, 24, 40), np.float32), "noise": np.zeros((1, 1, 24, 40), np.float32)}
    assert session.run(None, given)[0].shape == (1, 1, 24, 40)


def test_the_network_that_ships_is_small() -> None:
    parameters = sum(value.numel() for value in DenoiseNet(48, 16, CHANNELS).parameters())
    assert 2e6 < parameters < 3e6  # 12 MB as ONNX


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five steps of SharpDepth."""
    folder = tmp_path_factory.mktemp("run") / "sharp"
    sharp_run(data, folder)
    return folder


def test_five_steps_make_a_refiner(run: Path) -> None:
    log = runs.read_log(run)
    assert {"sds", "reconstruction"} <= log[1].keys()
    figures = log[-1]["validation"]
    assert list(figures) == ["edge_ratio", "abs_rel", "input_abs_rel", "boundary_f1", "input_f1"]
    assert all(value is not None for value in figures.values())
    refiner = refiners.build(f"sharp:{run}")
    assert isinstance(refiner, Sharp)
    facts = refiner.network.facts
    assert (facts.space, facts.longest, facts.multiple) == ("inverse", 64, 8)
    assert facts.errors is not None
    assert all(0 <= y < 5 for y in facts.errors.y)
    near = near_of((100, 150))
    image = Image(np.repeat(np.uint8(255 * near)[..., None], 3, -1), Camera.from_fov(60, 150, 100))
    depth = Blurred().predict(image)
    through_onnx = refiner.refine(image, depth)
    assert through_onnx.kind is DepthKind.METRIC
    made = of_path(run)
    (run / "model.onnx").rename(run / "aside")
    try:
        through_torch = of_path(run)
        assert isinstance(through_torch, TorchSharpener)
        assert replace(through_torch.facts, errors=made.facts.errors) == made.facts
        np.testing.assert_allclose(Sharp(through_torch).refine(image, depth).values, through_onnx.values, rtol=1e-3)
    finally:
        (run / "aside").rename(run / "model.onnx")


def test_a_stopped_run_goes_on_to_the_bit(data: Path, run: Path, tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    def stop(moment: object) -> None:
        if moment.step == 3:
            raise EnoughError

    own = [*NET, *LOOP, f"generator={data / 'onestep'}", "metric=blurred", "save_every=2"]
    half = runs.Run(tmp_path / "half", "sharp", tuple(str(data / name) for name in ("scenes", "held", "photos")))
    with pytest.raises(EnoughError):
        train(half, sets=own, watch=stop)
    assert runs.load_checkpoint(half.folder)["step"] == 2
    train(replace(half, resume=True), sets=own)
    for name in ("student.safetensors", "model.onnx"):
        first, second = (trained(folder)[0].student.state_dict() for folder in (run, half.folder))
        assert all(torch.equal(first[key], second[key]) for key in first), name
    strip = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in runs.read_log(x)] for x in (run, half.folder)
    ]
    assert strip[0] == strip[1]


ABLATIONS = {
    "noise only": ["pure=1.0"],
    "clean latent": ["gate=clean", "pure=0.0"],
    "without SDS": ["sds=0.0"],
    "without reconstruction": ["reconstruction=0.0"],
    "frozen first answer": ["first=teacher"],
    "live first answer": ["first=student", "gate=paper", "align=quantile", "down=max"],
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_runs(name: str, data: Path, tmp_path: Path) -> None:
    sharp_run(data, tmp_path / "run", "steps=2", *ABLATIONS[name])
    line = runs.read_log(tmp_path / "run")[1]
    assert np.isfinite(line["loss"])
    assert ("sds" in line, "reconstruction" in line) == (name != "without SDS", name != "without reconstruction")
    assert (tmp_path / "run" / "model.onnx").exists() == (name != "live first answer")  # quantiles stay in torch


ALONG = ["start=depth", "gate=clean", "pure=0", "whole=0.2", "along=true", "bounds=[0.02, 0.1]", "fine=8", "generator="]


def test_a_refiner_can_be_the_teacher(data: Path, tmp_path: Path) -> None:
    own = [*ALONG, "answer=refiner", "refiner=bilateral", "matching=0.5"]
    sharp_run(data, tmp_path / "run", *own)
    assert {"sds", "matching", "reconstruction"} <= runs.read_log(tmp_path / "run")[1].keys()
    facts = of_path(tmp_path / "run").facts
    assert (facts.along, facts.bounds, facts.whole) == (True, (0.02, 0.1), 0.2)
    assert facts.errors is not None


def test_what_a_refiner_says_is_in_the_units_of_the_start(data: Path) -> None:
    folders = [data / "scenes", data / "photos"]
    learned, _ = pictures.find(folders, "blurred", "sharp", along=True, refiner="bilateral")
    for number in (0, len(learned) - 1):
        view = learned.read(number)
        image, given = Image(view.rgb), DepthMap(1 / view.given, DepthKind.METRIC)
        for name, values in (("median", view.along), ("bilateral", view.refined)):
            np.testing.assert_allclose(1 / values, refiners.build(name).refine(image, given).values, rtol=1e-5)
        whole = pictures.cut(view, pictures.PictureOptions(view.rgb.shape[:2], space="inverse"), None)
        batch = pictures.collate([whole], pictures.PictureOptions(view.rgb.shape[:2], space="inverse"))
        low, high = -view.along.max(), -view.along.min()
        for name, values in (("depth", view.along), ("refined", view.refined)):
            unit = np.clip((-values - low) / (high - low) * 2 - 1, -1.5, 1.5)
            np.testing.assert_allclose(batch[name][0, 0].numpy(), unit, atol=1e-4)


def test_only_the_kinds_that_are_asked_for_count(data: Path) -> None:
    cache = SceneCache(data / "scenes")
    (kind,) = {cache.read(number).kind for number in range(len(cache))}
    assert len(SceneCache(data / "scenes").only(())) == len(SceneCache(data / "scenes").only((kind, "street"))) == 3
    with pytest.raises(ValueError, match="learns from data"):
        pictures.find([data / "scenes"], "blurred", "sharp", kinds=("unknown",))


def recipe_of(data: Path) -> tuple[SharpRecipe, dict[str, torch.Tensor]]:
    options = SharpTraining(str(data / "onestep"), channels=(8, 12), longest=64, size=(48, 64), metric="blurred")
    recipe = SharpRecipe(options)
    recipe.begin()
    learned, _ = pictures.find([data / "scenes"], "blurred", "sharp")
    made = pictures.PictureOptions((48, 64))
    return recipe, pictures.Pictures(learned, made, 2, 0).batch(0)


def context_of(recipe: SharpRecipe, ema: torch.nn.Module, seed: int = 0) -> StepContext:
    return StepContext(0, 9, ema, torch.Generator().manual_seed(seed), torch.device("cpu"), Path())


def test_no_gradient_reaches_the_teacher_or_the_average(data: Path) -> None:
    recipe, batch = recipe_of(data)
    ema = recipe_of(data)[0].student.requires_grad_(True)
    recipe.teacher.requires_grad_(True)
    losses = recipe.losses(batch, context_of(recipe, ema))
    sum(losses.values()).backward()
    assert all(p.grad is None for p in (*ema.parameters(), *recipe.teacher.parameters()))
    assert all(p.grad is not None for p in recipe.student.parameters())


def test_at_the_start_the_teacher_is_the_student_and_chance_comes_from_the_context(data: Path) -> None:
    recipe, batch = recipe_of(data)
    for mine, theirs in zip(recipe.student.parameters(), recipe.teacher.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    values = [recipe.losses(batch, context_of(recipe, recipe.teacher, seed))["sds"].item() for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_views_follow_from_seed_and_number(data: Path) -> None:
    learned, held = pictures.find([data / "scenes", data / "photos"], "blurred", "sharp")
    made = pictures.PictureOptions((48, 64))
    one, two = (pictures.Pictures(learned, made, 4, 7) for _ in range(2))
    two.batch(0)
    first, second = one.batch(3), two.batch(3)
    assert all(torch.equal(first[key].nan_to_num(-1), second[key].nan_to_num(-1)) for key in first)
    assert first["depth"].amin() == -1
    assert first["depth"].amax() == 1
    assert len(held) == 1  # set apart, as no folder is held out
    assert len(learned) == 2 + 2


def test_data_and_models_that_do_not_fit_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give --data"):
        train(runs.Run(tmp_path / "a", "sharp"), sets=["metric=blurred"])
    with pytest.raises(ValueError, match="found neither"):
        train(runs.Run(tmp_path / "b", "sharp", (str(tmp_path),)), sets=["metric=blurred"])
    with pytest.raises(ValueError, match="expected a metric model, toy gives affine_invariant"):
        train(runs.Run(tmp_path / "c", "sharp", (str(data / "scenes"),)), sets=["metric=toy"])
    with pytest.raises(ValueError, match="no exact depth"):
        train(runs.Run(tmp_path / "d", "onestep", (str(data / "photos"),)))
    with pytest.raises(ValueError, match="set space=inverse"):
        sharp_run(data, tmp_path / "e", "space=depth")
    with pytest.raises(ValueError, match="multiples of 8, found 50 x 64"):
        sharp_run(data, tmp_path / "f", "size=[50, 64]")
    with pytest.raises(ValueError, match="not both"):
        sharp_run(data, tmp_path / "g", "checkpoint=owner/name")
    with pytest.raises(ValueError, match="does not fit DenoiseNet"):
        sharp_run(data, tmp_path / "h", "channels=[8, 16]")


@pytest.mark.parametrize("preset", ["sharp-tiny", "sharp-depth", "sharp-paper", "onestep-tiny", "onestep-depth"])
def test_presets_fit_their_recipe(preset: str) -> None:
    name = read_preset(preset)["recipe"]
    assert resolve({FIT: FitOptions, name: recipes.build(name).options}, [preset])[name]
