"""Diffusion checkpoints in the hub's layout as one-step models and as refiners, on tiny random ones saved offline."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("diffusers", reason="needs the extra diffusion")
pytest.importorskip("transformers", reason="needs the extra diffusion")

import torch

from keendepth import refiners
from keendepth.nn import checkpoint, diffusion
from keendepth.nn.diffusion import Schedule, UnetDenoiser, VaeCodec
from keendepth.nn.sharpen import Sharpener
from keendepth.predictors import one_step
from keendepth.predictors.diffusion import CheckpointError
from keendepth.refiners.sharp import Sharp, SharpOptions
from made_checkpoint import save_checkpoint
from made_data import made_pairs
from test_sharp import CODE, noise, scene


def test_the_schedule_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert Schedule().alpha_bar == pytest.approx(float(theirs.alphas_cumprod[-1]), rel=1e-4)
    z, eps = noise(2, 4, 5, 6), noise(2, 4, 5, 6, seed=1)
    torch.testing.assert_close(
        Schedule().noised(z, eps), theirs.add_noise(z, eps, torch.tensor([999, 999])), rtol=1e-4, atol=1e-5
    )


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    for family in ("v1-0", "v1-1", "lotus-g", "lotus-d"):
        save_checkpoint(root / f"{family}-depth", family)
    return root


@pytest.mark.parametrize(
    ("family", "velocity", "alpha_bar"), [("lotus-g", False, 0.00466), ("v1-0", True, 0.00466), ("v1-1", True, 0.0)]
)
def test_checkpoints_become_one_step_models(hub: Path, family: str, velocity: bool, alpha_bar: float) -> None:
    model = one_step.load(str(hub / f"{family}-depth"))
    assert isinstance(model.denoiser, UnetDenoiser)
    assert (model.denoiser.velocity, model.denoiser.task) == (velocity, not velocity)
    assert model.schedule.alpha_bar == pytest.approx(alpha_bar, abs=1e-5)
    assert (model.codec.stride, model.longest) == (8, 768)
    with torch.no_grad():
        sharp, e = Sharpener(model, CODE)(
            torch.rand(1, 3, 32, 40), noise(1, 1, 32, 40).clamp(-1, 1), noise(1, 2, 32, 40)
        )
    assert sharp.shape == e.shape == (1, 1, 32, 40)
    assert torch.isfinite(sharp).all()
    assert not any(p.requires_grad for p in model.denoiser.parameters())


def test_lotus_is_what_the_predictor_makes_of_it(hub: Path) -> None:
    """Two adapters of one checkpoint give one latent: x0 from (1, 0), the last step, and the mean of the autoencoder."""
    from keendepth.predictors.marigold import MarigoldPredictor

    folder = str(hub / "lotus-g-depth")
    model, theirs = one_step.load(folder), MarigoldPredictor(folder)._network
    rgb, eps = 2 * torch.rand(1, 3, 32, 32) - 1, noise(1, 4, 4, 4)
    with torch.no_grad():
        picture = model.codec.picture(rgb)
        torch.testing.assert_close(picture, theirs._encode(rgb))
        torch.testing.assert_close(
            model.denoiser(picture, eps), theirs._lotus(torch.cat([picture, eps], 1), theirs.prompt)
        )


def test_checkpoints_that_do_not_fit_are_refused_with_one_that_does(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"takes 4 channels.*expected 8: take jingheya/lotus-depth-g-v1-0"):
        one_step.load(str(hub / "lotus-d-depth"))
    other = save_checkpoint(tmp_path / "lotus-disparity", "lotus-g")
    with pytest.raises(CheckpointError, match="gives disparity; sharp works on depth"):
        one_step.load(str(other))
    noisy = save_checkpoint(tmp_path / "noisy-depth", "v1-0")
    path = noisy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "epsilon"}))
    with pytest.raises(CheckpointError, match="prediction_type 'epsilon', expected 'v_prediction'"):
        one_step.load(str(noisy))


def test_a_tiny_autoencoder_fits_the_same_contract() -> None:
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    vae = AutoencoderTiny(latent_channels=4, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4, **widths)
    codec = VaeCodec(vae)
    assert isinstance(codec, diffusion.Codec)
    depth = noise(2, 1, 32, 24).clamp(-1, 1).requires_grad_()
    latent = codec.depth(depth)
    assert (codec.stride, latent.shape) == (8, (2, 4, 4, 3))
    codec.decode(latent).sum().backward()
    assert depth.grad.abs().sum() > 0
    assert all(p.grad is None for p in vae.parameters())


def test_a_checkpoint_of_the_hub_is_a_refiner(hub: Path) -> None:
    image, depth = scene((32, 40))
    refiner = refiners.build(f"sharp:{hub / 'lotus-g-depth'}")
    assert isinstance(refiner, Sharp)
    refiner.options = SharpOptions(longest=48)
    refined = refiner.refine(image, depth)
    assert refined.size == image.size
    assert refined.valid.all()


def test_a_checkpoint_is_trained_with_another_as_its_teacher_and_run_from_its_folder(hub: Path, tmp_path: Path) -> None:
    """The paper's own set-up, tiny: Lotus as the student, Marigold as the teacher (ablation F), a store of a metric model."""
    pytest.importorskip("accelerate", reason="needs the train extra")
    from keendepth.training import runs
    from keendepth.training.methods import train

    made_pairs(tmp_path / "photos", exact=False)
    sets = [
        f"checkpoint={hub / 'lotus-g-depth'}", f"teacher={hub / 'v1-0-depth'}", "space=depth", "size=[48, 64]", "validation=0",
        "steps=2", "batch_size=1", "accumulation=2", "validate_every=0", "warmup=1", "threads=1", "log_every=1",
    ]  # fmt: skip
    outcome = train(runs.Run(tmp_path / "run", "sharp", (str(tmp_path / "photos"),)), sets=sets)
    assert outcome.finished
    assert not (tmp_path / "run" / "model.onnx").exists()
    assert "stay in torch" in (tmp_path / "run" / "report.md").read_text()
    before, after = (checkpoint.load(path)[0] for path in (
        hub / "lotus-g-depth" / "unet" / "diffusion_pytorch_model.safetensors", tmp_path / "run" / "student.safetensors"))  # fmt: skip
    assert {f"unet.{key}" for key in before} == after.keys()
    assert any(not torch.equal(before[key], after[f"unet.{key}"]) for key in before)
    refiner = refiners.build(f"sharp:{tmp_path / 'run'}")
    assert isinstance(refiner, Sharp)
    refiner.options = SharpOptions(longest=48, most=0)
    image, depth = scene((32, 40))
    assert refiner.refine(image, depth).valid.all()
