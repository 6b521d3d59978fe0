"""Robust fine-tuning: the student begins as the shipped network, its batches are repeatable, its export is the same model with a card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")
pytest.importorskip("accelerate", reason="needs the train extra")

import typer  # noqa: E402
from PIL import Image as PillowImage  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from keendepth.cli import train  # noqa: E402
from keendepth.core.types import Image  # noqa: E402
from keendepth.nn import checkpoint  # noqa: E402
from keendepth.nn.exposure import DARKEST, FLATTEST, EvenExposure, luminance  # noqa: E402
from keendepth.nn.mobile_depth import Folded, load_onnx  # noqa: E402
from keendepth.nn.quiet import QuietNoise  # noqa: E402
from keendepth.nn.tracing import parity  # noqa: E402
from keendepth.predictors import WEIGHTS, registry  # noqa: E402
from keendepth.predictors.onnx import OnnxPredictor  # noqa: E402
from keendepth.training import recipes, runs  # noqa: E402
from keendepth.training.config import FitOptions  # noqa: E402
from keendepth.training.methods import train as train_run  # noqa: E402
from keendepth.training.methods import trained  # noqa: E402
from keendepth.training.recipe import StepContext  # noqa: E402
from keendepth.training.robust import RobustRecipe, RobustTraining, mixed, model_file, overlap  # noqa: E402
from keendepth.training.runs import Run  # noqa: E402
from keendepth.training.twins import TwinOptions, Whole, cut  # noqa: E402
from made_film import write_film  # noqa: E402

SHIPPED = WEIGHTS / "indoor-small.onnx"
SMALL = RobustTraining(size=(64, 64))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        picture = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        PillowImage.fromarray(picture).resize((128, 96)).save(folder / f"{number}.png")
    return folder


def context(step: int = 0) -> StepContext:
    return StepContext(
        step, 10, torch.nn.Identity(), torch.Generator().manual_seed(step), torch.device("cpu"), Path("unused")
    )


def test_the_network_from_the_file_says_what_the_file_says() -> None:
    network = load_onnx(SHIPPED).eval()
    assert sum(p.numel() for p in network.parameters()) == 1_360_786
    pictures = [[torch.rand(1, 3, h, w)] for h, w in ((224, 224), (96, 160))]
    assert parity(network, SHIPPED, *pictures) < 1e-4
    assert parity(network.plain(), SHIPPED, *pictures) < 1e-4


def test_no_part_of_the_network_has_statistics_of_batches() -> None:
    """So that training mode is evaluation mode, and dark pictures in a batch do not move what clean ones get."""
    network = load_onnx(SHIPPED).train()
    assert not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in network.modules())
    rgb = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network(rgb)[:1], network(rgb[:1]), atol=1e-5)


def test_learned_numbers_begin_at_one_order_of_magnitude() -> None:
    layers = [layer for layer in load_onnx(SHIPPED).modules() if isinstance(layer, Folded)]
    sizes = torch.cat([layer.direction.detach().flatten(1).square().mean(1).sqrt() for layer in layers])
    assert float(sizes.max()) == pytest.approx(1, abs=1e-3)
    assert len(layers) == 38


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the 38 convolutions of FastDepth"):
        load_onnx(WEIGHTS / "sddr-small.onnx")
    with pytest.raises(FileNotFoundError):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="expected a shipped network"):
        model_file("indoor-large")
    with pytest.raises(ValueError, match="found fog"):
        RobustTraining(operations=("fog",))
    with pytest.raises(ValueError, match="multiples of 32"):
        RobustRecipe(RobustTraining(size=(100, 96)))


def test_losses_are_nothing_for_the_untrained_student_on_clean_pictures() -> None:
    recipe = RobustRecipe(RobustTraining(size=(64, 64), clean_share=1.0))
    recipe.start(context())
    losses = recipe.losses({"rgb": torch.rand(2, 3, 64, 64), "truth": torch.full((2, 1, 64, 64), np.nan)}, context())
    assert set(losses) == {"consistency", "clean", "matching", "graph"}
    assert 0 < float(losses.pop("graph").detach()) < 0.01  # 296 channels do not fit into 64 numbers whole
    assert all(float(value.detach()) == pytest.approx(0, abs=1e-4) for value in losses.values()), losses


@pytest.mark.parametrize(
    "options", [{}, {"adversarial": 4.0, "adversarial_share": 0.75}, {"truth": 1.0}, {"graph": 0.0}]
)
def test_gradients_reach_the_student_and_not_the_teacher(options: dict) -> None:
    recipe = RobustRecipe(RobustTraining(size=(64, 64), clean_share=0.0, **options))
    recipe.start(context())
    batch = {"rgb": torch.rand(3, 3, 64, 64), "truth": torch.full((3, 1, 64, 64), 2.0)}
    sum(recipe.losses(batch, context()).values()).backward()
    assert all(parameter.grad is None for parameter in recipe.teacher.parameters())
    assert float(sum(p.grad.abs().sum() for p in recipe.student.network.parameters() if p.grad is not None)) > 0


def test_validation_compares_with_the_network_before() -> None:
    recipe = RobustRecipe(SMALL)
    with torch.no_grad():
        found = recipe.validate({"rgb": torch.rand(2, 3, 64, 64), "truth": torch.full((2, 1, 64, 64), 2.0)})
    assert next(iter(found)) == "twin_abs_rel"
    assert found["moved"] == 0
    assert found["twin_abs_rel"] == found["twin_before"]


def test_distil_robust_trains_exports_and_is_read_back(photos: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    train.register(app)
    sets = ("steps=2", "batch_size=2", "warmup=1", "size=[64, 64]", "prefetch=0", "threads=1")
    arguments = [
        "distil",
        "--robust",
        str(photos),
        "-o",
        str(tmp_path),
        *(word for one in sets for word in ("--set", one)),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "benchmarks/robust.py --model indoor-small" in result.output
    model = tmp_path / "run" / "model.onnx"
    card = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    assert "operations shared with the corruptions that test: none" in card["notes"]
    keys = checkpoint.load(tmp_path / "run" / runs.STUDENT)[0]
    assert any(key.startswith("graph.") for key in keys)
    recipe, step = trained(tmp_path / "run")
    assert step == 2
    assert parity(recipe.shipped().plain(), model, [torch.rand(1, 3, 64, 96)]) < 1e-4
    picture = Image(np.random.default_rng(1).integers(0, 255, (96, 128, 3), dtype=np.uint8))
    ours, before = OnnxPredictor(model).predict(picture), registry.build("indoor-small").predict(picture)
    assert ours.kind is before.kind
    assert 0 < float(np.abs(ours.values - before.values).max()) < 2


def test_a_network_from_film_is_made_robust(photos: Path, tmp_path: Path) -> None:
    """Its map of the encoder, its size and its metres are known from its run."""
    film = tmp_path / "film"
    sets = ["size=[32, 64]", "channels=[8, 8, 16, 16]", "steps=1", "device=cpu", "threads=1", "validation=2"]
    train_run(Run(film, "scent", (str(write_film(tmp_path / "frames")),)), ["scent-tiny", "smoke"], sets)
    model = film / "model.onnx"
    recipe = RobustRecipe(RobustTraining(model=str(model), even=True, quiet=True))
    assert recipe.size == (32, 64)
    method = recipes.build("robust")
    plan = method.plan(RobustTraining(model=str(model)), FitOptions(batch_size=2), [photos])
    losses = recipe.losses(plan.batches.batch(0), context())
    sum(losses.values()).backward()
    assert set(losses) == {"consistency", "clean", "matching", "graph"}
    recipe.export(tmp_path / "robust.onnx")
    picture = Image(np.random.default_rng(1).integers(90, 160, (32, 64, 3), dtype=np.uint8))
    before, after = (OnnxPredictor(path).predict(picture).values for path in (model, tmp_path / "robust.onnx"))
    assert parity(recipe.shipped().plain(), tmp_path / "robust.onnx", [torch.rand(1, 3, 32, 64)]) < 1e-4
    assert after.mean() == pytest.approx(before.mean(), rel=0.5)  # the same unit, in other contrast
    with pytest.raises(ValueError, match="multiples of 16"):
        RobustRecipe(RobustTraining(model=str(model), size=(40, 64)))


def test_an_exported_graph_holds_the_network_alone(tmp_path: Path) -> None:
    import onnx

    with_heads, without = RobustRecipe(SMALL), RobustRecipe(RobustTraining(size=(64, 64), graph=0.0))
    sizes = []
    for number, recipe in enumerate((with_heads, without)):
        recipe.export(tmp_path / f"{number}.onnx")
        graph = onnx.load(tmp_path / f"{number}.onnx").graph
        sizes.append(sum(int(np.prod(entry.dims)) for entry in graph.initializer))
    assert sizes[0] == sizes[1]
    assert (tmp_path / "0.onnx").read_bytes() == (tmp_path / "1.onnx").read_bytes()


def test_exposure_is_evened_where_it_is_unusual_and_nowhere_else() -> None:
    usual = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    dark, flat, black = 0.2 * usual**2, 0.45 + 0.05 * (usual - 0.5), torch.zeros_like(usual)
    even = EvenExposure()
    assert torch.equal(even(usual), usual)
    together = even(torch.cat([usual, dark, flat, black]))
    assert all(torch.equal(together[k : k + 1], even(x)) for k, x in enumerate((usual, dark, flat, black)))
    assert luminance(even(dark)).mean() == pytest.approx(DARKEST, abs=0.05)
    assert luminance(even(flat)).std() == pytest.approx(FLATTEST, rel=0.02)
    assert even(black).std() < 1e-4


def test_noise_is_taken_out_where_it_is_strong_and_nothing_else_is_touched() -> None:
    rng = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    plain = (0.5 + 0.3 * torch.sin(x / 15) * (y > 30)).expand(1, 3, -1, -1).contiguous()
    noise = torch.randn(plain.shape, generator=rng)
    faint, strong = plain + 0.02 * noise, plain + 0.2 * noise
    quiet = QuietNoise()
    together = quiet(torch.cat([plain, faint, strong]))
    assert torch.equal(together[0:1], plain)
    assert torch.equal(together[1:2], faint)  # photographs have as much
    assert torch.equal(together[2:3], quiet(strong))
    assert (together[2:3] - plain).square().mean() < 0.15 * (strong - plain).square().mean()
    edge = together[2, :, 34, :].mean() - together[2, :, 27, :].mean()
    assert edge == pytest.approx(float(plain[0, :, 34].mean() - plain[0, :, 27].mean()), abs=0.05)


@pytest.mark.parametrize(
    ("light", "noise", "kinds"),
    [(True, False, [EvenExposure]), (False, True, [QuietNoise]), (True, True, [EvenExposure, QuietNoise])],
)
def test_what_comes_before_a_network_ships_and_comes_back(
    tmp_path: Path, light: bool, noise: bool, kinds: list[type]
) -> None:
    recipe = RobustRecipe(RobustTraining(size=(64, 64), even=light, quiet=noise))
    recipe.export(tmp_path / "model.onnx")
    rng = torch.Generator().manual_seed(1)
    spoilt = (0.05 if light else 1) * torch.rand(1, 3, 64, 64, generator=rng)
    again = load_onnx(tmp_path / "model.onnx").eval()
    assert [type(layer) for layer in again.before] == kinds
    assert parity(again, tmp_path / "model.onnx", [spoilt]) < 1e-4
    assert not torch.allclose(again(spoilt), recipe.teacher.network(spoilt), rtol=0.01)
    notes = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["notes"]
    assert ("evens" in notes, "takes out" in notes) == (light, noise)
    further = RobustRecipe(RobustTraining(model=str(tmp_path / "model.onnx"), size=(64, 64)))
    assert [type(layer) for layer in further.shipped().before] == kinds
    assert [type(layer) for layer in further.student.network.before] == kinds[: int(light)]  # noise must be borne


def test_what_ships_lies_between_the_first_and_the_last_weights() -> None:
    before, after = load_onnx(SHIPPED), load_onnx(SHIPPED)
    with torch.no_grad():
        for weight in after.parameters():
            weight.add_(1.0)
    assert mixed(before, after, 1.0) is after
    half = mixed(before, after, 0.5)
    parts = zip(before.parameters(), half.parameters(), strict=True)
    assert all(torch.allclose(own, first + 0.5, atol=1e-5) for first, own in parts)


def test_batches_follow_from_seed_and_number(photos: Path) -> None:
    method = recipes.build("robust")
    plans = [method.plan(SMALL, FitOptions(batch_size=3, seed=7), [photos]) for _ in range(2)]
    first, again = (plan.batches.batch(5) for plan in plans)
    assert torch.equal(first["rgb"], again["rgb"])
    assert not torch.equal(first["rgb"], plans[0].batches.batch(6)["rgb"])
    assert first["rgb"].shape == (3, 3, 64, 64)
    assert bool(torch.isnan(first["truth"]).all())
    assert plans[0].facts["overlap with test corruptions"] == []
    assert overlap(("fog", "grain")) == ["fog"]
    with pytest.raises(ValueError, match=r"expected a folder|no such|found none|give --data"):
        method.plan(SMALL, FitOptions(), [photos / "none"])


def test_truth_is_in_metres_of_the_networks_camera() -> None:
    """A wall at 2 m, seen with twice the focal length of the network's, is at 1 m for it; sky and what is far are unknown."""
    near = np.full((60, 80), 0.5, np.float32)
    near[:10] = 0
    near[-10:] = 1 / 50
    options = TwinOptions(size=(32, 32), pixel_aspect=4 / 3, focal=32.0)
    seen = cut(Whole(np.zeros((60, 80, 3), np.uint8), near, 120.0), options, None)
    known = np.isfinite(seen.near)
    assert seen.near[16, 16] == pytest.approx(1.0, abs=0.02)
    assert not known[0].any()
    assert not known[-1].any()
