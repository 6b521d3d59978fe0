"""Scent-Depth's base: losses, networks, the recipe and its run, on films made by hand; acceptance tests of scent_depth.md, section 11."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from keendepth import pipeline  # noqa: E402
from keendepth.core.types import Image  # noqa: E402
from keendepth.data import corruptions  # noqa: E402
from keendepth.losses import photometric  # noqa: E402
from keendepth.nn import checkpoint  # noqa: E402
from keendepth.nn.depth_net import DepthNet  # noqa: E402
from keendepth.nn.pose_net import PoseNet  # noqa: E402
from keendepth.training import twins  # noqa: E402
from keendepth.training.config import FIT, FitOptions, resolve  # noqa: E402
from keendepth.training.frames import collate  # noqa: E402
from keendepth.training.methods import train, trained  # noqa: E402
from keendepth.training.recipe import StepContext  # noqa: E402
from keendepth.training.reprojection import Rules, Target  # noqa: E402
from keendepth.training.runs import Run, read_log  # noqa: E402
from keendepth.training.scent import ScentMethod, ScentOptions, ScentRecipe, between  # noqa: E402
from keendepth.training.scent_judging import truth_figures  # noqa: E402
from keendepth.training.triplets import RenderedTriplets, TripletOptions, render_triplets  # noqa: E402
from made_film import write_film, write_kitti  # noqa: E402
from test_film import triplet  # noqa: E402

SMALL = ScentOptions(size=(32, 64), channels=(8, 8, 16, 16), jitter=0.0)
TINY = ["size=[32, 64]", "channels=[8, 8, 16, 16]", "device=cpu", "threads=1", "validation=2"]


def context(step: int = 0, total: int = 10) -> StepContext:
    return StepContext(
        step, total, torch.nn.Identity(), torch.Generator().manual_seed(step), torch.device("cpu"), Path()
    )


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    return collate([triplet(0.3)] * count)


# ---- losses


def test_the_distance_of_a_picture_to_itself_is_zero_and_symmetric() -> None:
    a, b = torch.rand(2, 3, 8, 9), torch.rand(2, 3, 8, 9)
    assert float(photometric.ssim_distance(a, a).abs().max()) < 1e-5
    torch.testing.assert_close(photometric.photometric_error(a, b), photometric.photometric_error(b, a))


def test_ssims_own_gradient_is_autograds() -> None:
    a = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, 2, 5, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: photometric.ssim_distance(x, b), (a,))
    pooled = [
        torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (1, 1, 1, 1), "reflect"), 3, 1)
        for x in (a, b, a * a, b * b, a * b)
    ]
    ma, mb, aa, bb, ab = pooled
    ssim = (
        (2 * ma * mb + 1e-4) * (2 * (ab - ma * mb) + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (aa - ma**2 + bb - mb**2 + 9e-4))
    )
    torch.testing.assert_close(photometric.ssim_distance(a, b), ((1 - ssim) / 2).clamp(0, 1))


def test_smoothness_does_not_know_the_scale_and_forgives_edges() -> None:
    sigma, picture = torch.rand(2, 1, 8, 9) + 0.1, torch.rand(2, 3, 8, 9)
    one, other = photometric.smoothness(sigma, picture), photometric.smoothness(5 * sigma, picture)
    torch.testing.assert_close(one, other)
    assert photometric.smoothness(sigma, torch.zeros_like(picture)) > one
    assert float(photometric.smoothness(torch.ones(1, 1, 4, 4), picture[:1, :, :4, :4])) == 0


def test_frames_that_do_not_differ_teach_nothing() -> None:
    frames = torch.rand(2, 1, 3, 16, 24).expand(2, 3, 3, 16, 24)
    K = torch.tensor([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]).expand(2, 3, 3)
    motion = torch.eye(4).repeat(2, 2, 1, 1)
    motion[:, :, 0, 3] = 0.5
    net = DepthNet((4, 4), scales=2)
    sigmas = [sigma.detach().requires_grad_() for sigma in net(torch.rand(2, 3, 16, 24))]
    target = Target.of(frames, motion, K, Rules())
    losses = target.losses(sigmas, net, torch.Generator().manual_seed(0))
    losses["photometric"].backward()
    assert float(losses["photometric"].detach()) < 1e-4
    assert all(float(sigma.grad.abs().max()) == 0 for sigma in sigmas)
    loud = Target.of(frames, motion, K, Rules(auto_mask=False)).losses(sigmas, net)
    assert float(loud["photometric"].detach()) > 0.01


def test_the_exact_depth_has_the_least_loss() -> None:
    data = batch()
    target = Target.of(data["frames"], data["motion"].transpose(0, 1), data["K"], Rules())
    errors = {scale: float(target.errors(scale / data["near"])[0].amin(0).mean()) for scale in (0.8, 1.0, 1.25)}
    assert errors[1.0] < 0.7 * min(errors[0.8], errors[1.25])


def test_pixels_that_no_source_shows_are_left_out() -> None:
    errors = torch.tensor([[1.0, 3.0, 5.0], [2.0, 1.0, 7.0]]).reshape(2, 1, 1, 1, 3)
    inside = torch.tensor([[True, True, False], [True, False, False]]).reshape(2, 1, 1, 1, 3)
    loss, used = photometric.minimum_reprojection(errors, None, inside)
    assert (float(loss), float(used)) == (2.0, pytest.approx(2 / 3))


# ---- networks


def test_a_sigmoid_map_is_depth_between_its_bounds() -> None:
    net = DepthNet((4, 4), d_min=0.5, d_max=40.0, scales=2)
    sigma = torch.linspace(0, 1, 11).reshape(1, 1, 1, 11)
    depth = net.depth(sigma).flatten()
    assert float(depth[0]) == pytest.approx(40)
    assert float(depth[-1]) == pytest.approx(0.5)
    assert (depth.diff() < 0).all()


def test_maps_come_finest_first_at_any_size_that_the_stride_divides() -> None:
    net = DepthNet(scales=3)
    maps = net(torch.rand(1, 3, 48, 80))
    assert [tuple(x.shape[2:]) for x in maps] == [(48, 80), (24, 40), (12, 20)]
    assert [tuple(x.shape[1:]) for x in net.features(torch.rand(1, 3, 48, 80))] == [
        (16, 24, 40), (32, 12, 20), (64, 6, 10), (96, 3, 5)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="d_min"):
        DepthNet(d_min=3.0, d_max=1.0)


def test_motions_lead_from_the_middle_frame_to_both_others() -> None:
    torch.manual_seed(0)
    axis_angle, step = PoseNet((4, 4))(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))
    assert axis_angle.shape == step.shape == (2, 3)
    moves = torch.zeros(2, 1, 6)
    moves[:, :, 5] = -0.7  # a camera that goes ahead: points come nearer
    motion = between(moves)
    assert motion[0, 0, 2, 3] == pytest.approx(0.7)
    assert motion[1, 0, 2, 3] == pytest.approx(-0.7)


# ---- the recipe


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"photometric", "smooth"}),
        ({"poses": "net", "velocity": 0.02}, {"photometric", "smooth", "velocity"}),
        ({"poses": "net", "align_from": 0.0}, {"photometric", "smooth", "pose"}),
        ({"poses": "warmup"}, {"photometric", "smooth", "pose"}),
        ({"geometry": 0.2}, {"photometric", "smooth", "geometry"}),
        ({"twin": 0.5}, {"photometric", "smooth", "twin_photometric", "twin_smooth", "consistency"}),
    ],
)
def test_each_part_adds_its_losses_and_a_gradient(settings: dict, names: set[str]) -> None:
    torch.manual_seed(0)
    recipe = ScentRecipe(replace(SMALL, **settings))
    data = {key: value[..., :32, :64] if key in ("frames", "seen", "near") else value for key, value in batch().items()}
    losses = recipe.losses(data, context(step=1))
    assert set(losses) == names
    sum(losses.values()).backward()
    norms = {name: p.grad is not None and float(p.grad.norm()) > 0 for name, p in recipe.student.named_parameters()}
    assert all(norms.values()), [name for name, there in norms.items() if not there]


def test_after_the_warm_up_the_network_gives_the_motion() -> None:
    recipe = ScentRecipe(replace(SMALL, poses="warmup", warmup_share=0.3))
    assert "pose" in recipe.losses(batch(), context(step=2))
    assert "pose" not in recipe.losses(batch(), context(step=3))


def test_aligned_motion_has_the_datas_length_where_speed_is_known() -> None:
    recipe = ScentRecipe(replace(SMALL, poses="net", velocity=0.02, align_from=0.5))
    data = batch()
    seen = recipe.student(data["seen"][:, 1], 2, data["seen"])
    motion, losses = recipe._motion(seen, data, context(step=5))
    lengths, known = (m[:, :, :3, 3].norm(dim=2) for m in (motion, data["motion"].transpose(0, 1)))
    torch.testing.assert_close(lengths, known)
    assert not motion.requires_grad
    assert set(losses) == {"velocity", "pose"}
    assert set(recipe._motion(seen, data, context(step=4))[1]) == {"velocity"}


def test_the_twins_supervision_is_clean() -> None:
    """The photographed frames that its losses compare with are those of the film, whatever the network sees."""
    torch.manual_seed(0)
    recipe = ScentRecipe(replace(SMALL, twin=1.0, consistency=0.0))
    recipe.teaching.perturbed = lambda rgb, rng: rgb  # a perturbation that does nothing
    losses = recipe.losses(batch(), context(step=5))
    torch.testing.assert_close(losses["twin_smooth"], losses["smooth"])
    torch.testing.assert_close(losses["twin_photometric"], losses["photometric"], atol=1e-4, rtol=0)  # other tie-breaks


def test_a_twin_seen_instead_of_the_picture_must_explain_the_clean_film() -> None:
    torch.manual_seed(0)
    plain, shown = ScentRecipe(SMALL), ScentRecipe(replace(SMALL, twin_share=1.0))
    shown.student.load_state_dict(plain.student.state_dict())
    seen = []
    shown.teaching.perturbed = lambda rgb, rng: seen.append(rgb) or rgb  # a perturbation that does nothing
    given = batch()
    losses, other = (recipe.losses(given, context(step=5)) for recipe in (plain, shown))
    torch.testing.assert_close(other["photometric"], losses["photometric"], atol=1e-4, rtol=0)  # other tie-breaks
    assert torch.equal(seen[0], given["seen"][:, 1])
    shown.teaching.perturbed = lambda rgb, rng: 1 - rgb
    assert not torch.allclose(shown.losses(given, context(step=5))["smooth"], losses["smooth"], rtol=1e-6)


def test_no_operation_of_training_is_a_corruption_of_the_test() -> None:
    options = resolve({FIT: FitOptions, "scent": ScentOptions}, ["scent-tiny"])["scent"]
    assert options.jitter == 0
    assert not set(ScentOptions().twin_operations) & set(corruptions.CORRUPTIONS)


def test_figures_know_a_ratio_from_an_error() -> None:
    near = torch.rand(2, 1, 6, 7) * 0.2 + 0.05
    same = truth_figures(3 / near, near, 80.0)
    assert same["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert same["abs_rel_metres"] == pytest.approx(2, rel=1e-5)
    assert same["scale_spread"] == pytest.approx(0, abs=1e-6)
    flicker = truth_figures(torch.stack([1 / near[0], 2 / near[1]]), near, 80.0)
    assert flicker["scale_spread"] > 0.2
    assert truth_figures(3 / near, torch.full_like(near, torch.nan), 80.0) == {}


def test_without_motion_the_data_are_refused(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film")
    (film / "poses.txt").unlink()
    with pytest.raises(ValueError, match="poses=net"):
        ScentMethod().plan(SMALL, FitOptions(), [film])
    assert ScentMethod().plan(replace(SMALL, poses="net"), FitOptions(), [film]).facts["triplets"] == 3


def test_a_run_ships_the_depth_network_alone(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film")
    run = Run(tmp_path / "run", "scent", (str(film),))
    sets = [*TINY, "poses=warmup", "velocity=0.02", "twin=0.5", "steps=3"]
    outcome = train(run, ["scent-tiny", "smoke"], sets)
    assert outcome.finished
    state, _ = checkpoint.load(tmp_path / "run" / "depth.safetensors")
    assert set(state) == set(DepthNet(SMALL.channels).state_dict())
    assert any(key.startswith("pose.") for key in checkpoint.load(tmp_path / "run" / "student.safetensors")[0])
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["kind"] == "metric"
    recipe, _ = trained(tmp_path / "run")
    rgb = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    depth = pipeline.load(str(tmp_path / "run" / "model.onnx"))(Image(rgb))
    with torch.no_grad():
        network = recipe.student.depth
        wanted = network.depth(network(torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255.0)[0])
    np.testing.assert_allclose(depth.values, wanted[0, 0], rtol=1e-4)


def test_kittis_command_line_in_its_smoke_size(tmp_path: Path) -> None:
    """The documented command line (docs/scent.md) with a small network and a few steps."""
    from typer.testing import CliRunner

    from keendepth.cli.commands import app

    raw = write_kitti(tmp_path / "raw")
    listing = tmp_path / "train_files.txt"
    listing.write_text("".join(f"2011_09_26/2011_09_26_drive_0001_sync {k} l\n" for k in (1, 2, 3, 4)))
    words = ["train", "scent", "-o", str(tmp_path / "run"), "--data", str(raw), "--preset", "scent-kitti"]
    small = [*TINY, "amp=no", "batch_size=2", "steps=2", "stage=2", f"listing={listing}"]
    found = CliRunner().invoke(app, [*words, *(word for text in small for word in ("--set", text))])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "run" / "model.onnx").is_file()
    figures = [line["validation"] for line in read_log(tmp_path / "run") if "validation" in line]
    assert set(figures[-1]) == {"reprojection", "identity", "teaching"}  # KITTI's raw layout has no dense truth


# ---- rendered triplets


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> RenderedTriplets:
    pytest.importorskip("numba")
    options = TripletOptions(count=8, first=1000, samples=4)
    return render_triplets(tmp_path_factory.mktemp("triplets") / "cache", options)


@pytest.mark.slow
def test_rendered_triplets_are_exact(rendered: RenderedTriplets) -> None:
    from keendepth.training.geometry_test import ORDER, five_numbers

    data = collate([rendered.read(number) for number in range(len(rendered))])
    depth = 1 / data["near"].clamp(min=1e-3)
    numbers = five_numbers(data["frames"], depth, data["motion"].transpose(0, 1), data["K"])
    values = [numbers[name] for name in ORDER]
    assert values == sorted(values), numbers
    assert numbers["exact"] < 0.6 * numbers["identity"]
    assert numbers["inverted"] > numbers["identity"]
    one = rendered.read(0)
    assert one.labels.max() > 0
    assert (one.near[one.labels == 0] == 0).all()  # sky


@pytest.mark.slow
def test_middle_frames_are_photos_for_robust_training(rendered: RenderedTriplets) -> None:
    learned, judged = twins.find([rendered.folder], twins.TwinOptions())
    assert len(learned) == len(rendered)
    assert not len(judged)
    drawn = learned.draw(twins.TwinOptions(), np.random.default_rng(0))
    assert drawn.near is None
    assert any(np.array_equal(drawn.rgb, rendered.read(number).frames[1]) for number in range(len(rendered)))


@pytest.mark.slow
def test_150_steps_learn_depth(rendered: RenderedTriplets, tmp_path: Path) -> None:
    """scent_depth.md 11.9 with seven scenes and at one scale: the loss falls, and a scene that it has not seen comes out better."""
    run = Run(tmp_path / "run", "scent", (str(rendered.folder),))
    sets = [
        "steps=150",
        "scales=1",
        "ema_decay=0.9",
        "warmup=10",
        "validate_every=0",
        "log_every=10",
        "validation=4",
        "threads=1",
    ]
    train(run, ["scent-tiny"], sets)
    log = read_log(tmp_path / "run")
    losses = [line["photometric"] for line in log if "photometric" in line]
    figures = [line["validation"] for line in log if "validation" in line]
    assert losses[-1] < 0.85 * losses[0]
    assert figures[-1]["abs_rel"] < 0.8 * figures[0]["abs_rel"]
    assert figures[-1]["reprojection"] < figures[-1]["identity"]
