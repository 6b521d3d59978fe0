"""Marigold and Lotus by parts, on tiny random checkpoints saved offline in the hub's layout."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keendepth.core.types import Camera, Card, DepthKind, Image
from keendepth.predictors import diffusion, hub, marigold
from keendepth.predictors.diffusion import EMPTY_PROMPT, Checkpoint, CheckpointError
from keendepth.predictors.marigold import MarigoldPredictor, combine

pytest.importorskip("torch", reason="needs the extra diffusion")
pytest.importorskip("diffusers", reason="needs the extra diffusion")
pytest.importorskip("transformers", reason="needs the extra diffusion")

from made_checkpoint import WIDTH, save_checkpoint

SMALL = 64  # the longer side to process at here


def photo(height: int = 40, width: int = 56, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)), np.ones((8, 8, 1)))
    return Image(blocks[:height, :width].astype(np.uint8), Camera.from_fov(60, width, height))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny checkpoint, made at its first use."""
    root, made = tmp_path_factory.mktemp("checkpoints"), {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = save_checkpoint(root / f"{family}-depth", family)
        return made[family]

    return get


@pytest.fixture
def copied(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy to break, whose empty prompt nobody has made yet."""
    return lambda family, name="copy": Path(
        shutil.copytree(checkpoints(family), tmp_path / name, ignore=shutil.ignore_patterns("*.npy"))
    )


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


FAMILIES = ("v1-0", "v1-1", "lcm", "lotus-g", "lotus-d")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_contract(checkpoints: Callable[[str], Path], family: str) -> None:
    predictor = MarigoldPredictor(str(checkpoints(family)), steps=1, longest=SMALL)
    image = photo()
    before = image.rgb.copy()
    depth = predictor.predict(image)
    assert depth.size == image.size
    assert depth.kind is predictor.kind is DepthKind.AFFINE_INVARIANT
    assert depth.camera == image.camera
    assert depth.source is predictor.card
    assert depth.valid.all()
    assert 0 <= depth.values.min() < depth.values.max() <= 1
    np.testing.assert_array_equal(image.rgb, before)
    again = MarigoldPredictor(str(checkpoints(family)), steps=1, longest=SMALL).predict(image)
    np.testing.assert_array_equal(again.values, depth.values)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (61, 33), (33, 61), (90, 4), (200, 120)])
def test_tiny_odd_and_portrait_pictures(checkpoints: Callable[[str], Path], size: tuple[int, int]) -> None:
    depth = MarigoldPredictor(str(checkpoints("lotus-g")), longest=SMALL).predict(photo(*size))
    assert depth.size == size
    assert depth.valid.all()


@pytest.mark.parametrize("size", [(24, 40), (19, 45), (1, 1)])
def test_a_size_asked_for_is_the_size_processed_at(checkpoints: Callable[[str], Path], size: tuple[int, int]) -> None:
    predictor = MarigoldPredictor(str(checkpoints("lotus-d")))
    seen: list[tuple[int, ...]] = []
    hook = predictor._network.vae.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    depth = predictor.predict(photo(), size)
    hook.remove()
    assert predictor.processing_size((40, 56), size) == size
    assert seen == [(1, 3, -(-size[0] // 8) * 8, -(-size[1] // 8) * 8)]
    assert depth.size == (40, 56)


def test_the_longer_side_is_768_unless_the_checkpoint_says_otherwise(copied: Callable[..., Path]) -> None:
    folder = copied("v1-0")
    assert MarigoldPredictor(str(folder)).processing_size((100, 200)) == (384, 768)
    assert MarigoldPredictor(str(folder)).processing_size((3000, 2000)) == (768, 512)
    edit(folder / "model_index.json", default_processing_resolution=512)
    assert MarigoldPredictor(str(folder)).processing_size((100, 200)) == (256, 512)


def test_the_seed_decides_and_lotus_d_has_none(checkpoints: Callable[[str], Path]) -> None:
    def values(family: str, seed: int) -> np.ndarray:
        return MarigoldPredictor(str(checkpoints(family)), seed=seed, steps=1, longest=SMALL).predict(photo()).values

    assert np.abs(values("v1-1", 0) - values("v1-1", 1)).max() > 1e-3
    np.testing.assert_array_equal(values("lotus-d", 0), values("lotus-d", 1))


@pytest.mark.parametrize(("family", "steps"), [("v1-1", 1), ("lcm", 2), ("lotus-g", 0)])
def test_a_picture_and_a_member_do_not_depend_on_their_neighbours(
    checkpoints: Callable[[str], Path], family: str, steps: int
) -> None:
    """LCM draws noise at every step, so its generators must follow their members too."""
    one = MarigoldPredictor(str(checkpoints(family)), steps=steps, longest=SMALL, ensemble=4)
    three = MarigoldPredictor(str(checkpoints(family)), steps=steps, longest=SMALL, ensemble=4, batch=3)
    first = one.predict(photo(seed=1)).values
    one.predict(photo(seed=2))
    np.testing.assert_array_equal(one.predict(photo(seed=1)).values, first)
    np.testing.assert_allclose(three.predict(photo(seed=1)).values, first, atol=1e-4)


def test_the_answer_is_that_of_diffusers_own_pipeline(checkpoints: Callable[[str], Path]) -> None:
    """The same noise through MarigoldDepthPipeline, at a size that needs no resizing and no padding."""
    import torch
    from diffusers import MarigoldDepthPipeline

    predictor = MarigoldPredictor(str(checkpoints("v1-1")), longest=SMALL, steps=4)
    image = photo(48, 64)
    values = predictor.predict(image).values
    parts = predictor._network
    theirs = MarigoldDepthPipeline(parts.unet, parts.vae, parts.scheduler, None, None)
    theirs.empty_text_embedding = parts.prompt
    theirs.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4, 6, 8), generator=torch.Generator().manual_seed(marigold._member_seed(0, 0)))
    rgb = torch.from_numpy(image.rgb.transpose(2, 0, 1)[None] / np.float32(255))
    expected = theirs(rgb, num_inference_steps=4, processing_resolution=64, latents=noise).prediction[0, ..., 0]
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_lotus_is_one_evaluation_at_999_with_the_task(checkpoints: Callable[[str], Path]) -> None:
    import torch

    predictor = MarigoldPredictor(str(checkpoints("lotus-g")), longest=SMALL)
    unet, calls = predictor._network.unet, []
    hook = unet.register_forward_pre_hook(lambda _, a, k: calls.append((a, k)), with_kwargs=True)
    predictor.predict(photo())
    hook.remove()
    ((latents, t), options), *more = calls
    assert not more
    assert int(t) == 999
    assert latents.shape[1] == 8
    torch.testing.assert_close(options["class_labels"], torch.tensor([[0.84147098, 0.0, 0.54030231, 1.0]]))


def test_few_steps_of_v1_0_start_at_the_end(checkpoints: Callable[[str], Path]) -> None:
    def first_time(steps: int) -> int:
        scheduler = MarigoldPredictor(str(checkpoints("v1-0")), steps=steps)._network.scheduler
        scheduler.set_timesteps(steps or 10)
        return int(scheduler.timesteps[0])

    assert first_time(0) == 901  # the authors' own spacing at their own 10 steps
    assert first_time(1) == 999


# Disparity


@pytest.mark.parametrize("where", ["name", "index"])
def test_disparity_checkpoints_give_disparity(copied: Callable[..., Path], where: str) -> None:
    folder = copied("lotus-d", "lotus-depth-d-v2-0-disparity" if where == "name" else "plain")
    if where == "index":
        edit(folder / "model_index.json", prediction_type="disparity")
    predictor = MarigoldPredictor(str(folder), longest=SMALL)
    assert predictor.predict(photo()).kind is predictor.kind is predictor.card.kind is DepthKind.DISPARITY


def test_disparity_is_seen_in_the_hubs_own_cache(copied: Callable[..., Path], tmp_path: Path) -> None:
    snapshot = tmp_path / "models--jingheya--lotus-depth-d-v2-0-disparity" / "snapshots" / "0f3a"
    snapshot.parent.mkdir(parents=True)
    copied("lotus-d").rename(snapshot)
    assert MarigoldPredictor(str(snapshot)).kind is DepthKind.DISPARITY


# The ensemble


def test_ensemble_gives_median_and_spread(checkpoints: Callable[[str], Path]) -> None:
    predictor = MarigoldPredictor(str(checkpoints("lotus-g")), longest=SMALL, ensemble=5)
    depth, spread = predictor.predict_with_uncertainty(photo())
    assert spread.shape == depth.size == (40, 56)
    assert spread.dtype == np.float32
    assert 0 <= spread.min() < spread.max() < 1
    np.testing.assert_array_equal(predictor.predict(photo()).values, depth.values)
    with pytest.raises(ValueError, match="ensemble of 3 or more"):
        MarigoldPredictor(str(checkpoints("lotus-g")), ensemble=2).predict_with_uncertainty(photo())


def test_combine_undoes_scales_and_shifts_and_finds_where_members_differ() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((30, 40)).astype(np.float32)
    scales, shifts = rng.uniform(0.3, 1.5, 7), rng.uniform(-0.3, 0.3, 7)
    members = np.stack([s * truth + t for s, t in zip(scales, shifts, strict=True)]).astype(np.float32)
    middle, spread = combine(members)
    np.testing.assert_allclose(middle, (truth - truth.min()) / np.ptp(truth), atol=1e-5)
    assert spread.max() < 1e-5
    members[:, :5] += rng.normal(0, 0.2, (7, 5, 40)).astype(np.float32)
    _, spread = combine(members)
    assert np.median(spread[:5]) > 5 * np.median(spread[5:])


def test_combine_outvotes_a_member_that_is_wrong_and_never_turns_one_over() -> None:
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    wrong = ramp.copy()
    wrong[:4] = 1
    middle, _ = combine(np.stack([wrong, ramp, ramp, ramp, ramp]))
    np.testing.assert_allclose(middle, ramp, atol=1e-3)
    middle, _ = combine(np.stack([ramp, 1 - ramp, ramp]))
    assert np.corrcoef(middle.ravel(), ramp.ravel())[0, 1] > 0.99
    flat, spread = combine(np.full((3, 4, 4), 0.5, np.float32))
    assert flat.max() == spread.max() == 0


# The empty prompt


def test_the_text_encoder_is_read_once(copied: Callable[..., Path]) -> None:
    folder = copied("lotus-d")
    first = MarigoldPredictor(str(folder), longest=SMALL).predict(photo()).values
    assert np.load(folder / EMPTY_PROMPT).shape == (1, 2, WIDTH)  # the start and the end token
    shutil.rmtree(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")
    np.testing.assert_array_equal(MarigoldPredictor(str(folder), longest=SMALL).predict(photo()).values, first)
    (folder / EMPTY_PROMPT).unlink()
    with pytest.raises(CheckpointError, match=f"neither {EMPTY_PROMPT} nor a text_encoder"):
        MarigoldPredictor(str(folder)).predict(photo())


def test_an_embedding_of_another_checkpoint_or_a_damaged_one_is_refused(copied: Callable[..., Path]) -> None:
    folder = copied("lotus-d")
    np.save(folder / EMPTY_PROMPT, np.zeros((1, 2, WIDTH * 2), np.float32))
    with pytest.raises(CheckpointError, match="is 64 wide, this U-Net takes 32"):
        MarigoldPredictor(str(folder)).predict(photo())
    np.save(folder / EMPTY_PROMPT, np.zeros(5, np.float32))
    with pytest.raises(CheckpointError, match="damaged"):
        MarigoldPredictor(str(folder)).predict(photo())


def test_a_folder_that_cannot_be_written_to_works(copied: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied("lotus-d")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    assert MarigoldPredictor(str(folder), longest=SMALL).predict(photo()).valid.all()
    assert not list(folder.glob("*.npy"))


# Other autoencoders and precisions


def test_a_tiny_autoencoder(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    import torch
    from diffusers import AutoencoderTiny

    torch.manual_seed(1)
    blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    AutoencoderTiny(**blocks, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4).save_pretrained(tmp_path)
    folder = str(checkpoints("lotus-g"))
    depth = MarigoldPredictor(folder, longest=SMALL, vae=str(tmp_path)).predict(photo(37, 51))
    assert depth.size == (37, 51)
    assert depth.valid.all()
    assert not np.allclose(depth.values, MarigoldPredictor(folder, longest=SMALL).predict(photo(37, 51)).values)


def test_half_precision_is_near_full(checkpoints: Callable[[str], Path]) -> None:
    def values(dtype: str) -> np.ndarray:
        return MarigoldPredictor(str(checkpoints("lotus-d")), longest=SMALL, dtype=dtype).predict(photo()).values

    np.testing.assert_allclose(values("bfloat16"), values("float32"), atol=0.05)


# Wrong checkpoints


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("unet/config.json", {"in_channels": 4}, "text-to-image.*marigold-depth-v1-1"),
        ("unet/config.json", {"in_channels": 9}, "inpainting"),
        ("unet/config.json", {"out_channels": 8}, "gives 8"),
        ("model_index.json", {"_class_name": "MarigoldNormalsPipeline"}, "predicts normals, not depth"),
        ("model_index.json", {"_class_name": "MarigoldIntrinsicsPipeline"}, "predicts intrinsics"),
        ("scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler"}, "expected DDIMScheduler or LCMScheduler"),
    ],
)
def test_other_checkpoints_are_refused(
    copied: Callable[..., Path], file: str, changes: dict[str, Any], says: str
) -> None:
    folder = copied("v1-1")
    edit(folder / file, **changes)
    with pytest.raises(CheckpointError, match=says):
        MarigoldPredictor(str(folder)).predict(photo())


def test_a_lotus_that_predicts_noise_is_refused(copied: Callable[..., Path]) -> None:
    folder = copied("lotus-g")
    edit(folder / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(CheckpointError, match="expected 'sample'"):
        MarigoldPredictor(str(folder)).predict(photo())


def test_lotus_normals_are_known_by_their_name(copied: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="predicts normal, not depth"):
        Checkpoint.read(copied("lotus-g", "lotus-normal-g-v1-1"))


def test_options_that_do_not_fit_are_refused(checkpoints: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match="deterministic"):
        MarigoldPredictor(str(checkpoints("lotus-d")), ensemble=3).predict(photo())
    with pytest.raises(CheckpointError, match="one step, asked for 5"):
        MarigoldPredictor(str(checkpoints("lotus-g")), steps=5).predict(photo())
    with pytest.raises(ValueError, match="dtype must be one of"):
        MarigoldPredictor("x", dtype="int8")
    with pytest.raises(ValueError, match="1 or more"):
        MarigoldPredictor("x", ensemble=0)
    with pytest.raises(ValueError, match="1 x 1 or more"):
        MarigoldPredictor(str(checkpoints("lotus-g"))).predict(photo(), (0, 8))
    card = Card("mine", "", "MIT", kind=DepthKind.DISPARITY)
    with pytest.raises(CheckpointError, match="its card says disparity"):
        MarigoldPredictor(str(checkpoints("lotus-g")), card).predict(photo())


def test_numbers_that_are_not_finite_are_refused(copied: Callable[..., Path]) -> None:
    folder = copied("lotus-d")
    np.save(folder / EMPTY_PROMPT, np.full((1, 2, WIDTH), 1e38, np.float32))
    with pytest.raises(ValueError, match="not finite"):
        MarigoldPredictor(str(folder), longest=SMALL).predict(photo())


# Faults, one line each


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("no/such/folder", "no such folder, and no hub id"),
        ("./nowhere", "no such folder"),
        ("prs-eth/marigold-depth-v1-1", "network|cache"),
    ],
)
def test_a_model_that_is_not_there(model: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEENDEPTH_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(hub.HubError, match=says) as caught:
        MarigoldPredictor(model).predict(photo())
    assert "\n" not in str(caught.value)


def test_damaged_files(copied: Callable[..., Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no model_index.json; expected a folder"):
        MarigoldPredictor(str(tmp_path / "empty")).predict(photo())
    folder = copied("lotus-d")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(hub.HubError, match="cannot be loaded") as caught:
        MarigoldPredictor(str(folder)).predict(photo())
    assert "\n" not in str(caught.value)
    whole = load_file(copied("lotus-d", "whole") / "unet" / weights.name)
    whole.pop("conv_in.weight")
    save_file(whole, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="tensors are missing"):
        MarigoldPredictor(str(folder)).predict(photo())
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        MarigoldPredictor(str(folder)).predict(photo())


@pytest.mark.parametrize("package", ["torch", "diffusers", "transformers"])
def test_a_missing_extra_names_the_line_that_installs_it(
    checkpoints: Callable[[str], Path], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(checkpoints("lotus-d"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(hub.MissingExtraError, match=rf"{package}.*pip install 'keendepth\[diffusion\]'"):
        MarigoldPredictor(folder).predict(photo())


def test_loading_and_predicting_print_nothing(copied: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    MarigoldPredictor(str(copied("v1-1")), longest=SMALL, steps=1).predict(photo())
    assert capfd.readouterr() == ("", "")


# Aliases


def test_aliases_have_cards_and_know_their_kind_without_reading_anything() -> None:
    names = [card.name for card, _ in marigold.CARDS]
    assert names[0] == "marigold"
    assert len(set(names)) == len(names) == len(marigold.HUB_IDS)
    for card, factory in marigold.CARDS:
        made = factory(ensemble=1, seed=4)
        assert made.kind is card.kind
        assert made.card is card
        assert marigold.HUB_IDS[made.model] == card.name
        assert ("disparity" in made.model) == (card.kind is DepthKind.DISPARITY)
        assert "Apache-2.0" in card.license
        assert 945e6 < card.parameters < 955e6


def test_the_tiny_trailing_rule_leaves_v1_1_alone(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("v1-1")
    scheduler = diffusion.load_scheduler(folder, Checkpoint.read(folder), 1)
    assert scheduler.config.rescale_betas_zero_snr
    assert scheduler.config.timestep_spacing == "trailing"
