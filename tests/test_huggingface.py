"""The transformers adapter on small random networks of each class, saved in the hub's layout and loaded by folder and by hub id."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keendepth import pipeline
from keendepth.cli import contracts
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.predictors import specs
from keendepth.predictors.hf import copies
from keendepth.predictors.hf import feeding as feeding_module
from keendepth.predictors.hf import files as files_module
from keendepth.predictors.hf.feeding import FAMILIES, HALVES, Feeding, FeedingError, border, feeding
from keendepth.predictors.hub import HubError
from keendepth.predictors.huggingface import ALIASES, CARDS, HUB_IDS, HuggingFacePredictor
from keendepth.predictors.licences import forbids_commercial

torch = pytest.importorskip("torch", reason="needs keendepth[hub]")
pytest.importorskip("transformers", reason="needs keendepth[hub]")

KINDS = {
    "depth-anything": DepthKind.DISPARITY,
    "depth-anything-metric": DepthKind.METRIC,
    "prompt-depth-anything": DepthKind.METRIC,
    "dpt": DepthKind.DISPARITY,
    "dpt-beit": DepthKind.DISPARITY,
    "dpt-dinov2": DepthKind.METRIC,
    "zoedepth": DepthKind.METRIC,
    "glpn": DepthKind.METRIC,
    "depth-pro": DepthKind.METRIC,
}
SIZES = ((48, 64), (64, 48), (7, 5), (1, 1), (3, 200))
MULTIPLE = {"depth-anything": 14, "depth-anything-metric": 14, "prompt-depth-anything": 14, "dpt-dinov2": 14}
NECK = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16}
VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
STAGES = {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False}


def tiny_config(name: str) -> Any:
    import transformers

    trunk = transformers.Dinov2Config(**VIT, **STAGES, mlp_ratio=2, image_size=56, patch_size=14)
    beit = {**VIT, **STAGES, "intermediate_size": 64, "image_size": 64, "use_relative_position_bias": True}
    anything = {**NECK, "patch_size": 14, "reassemble_hidden_size": 32, "head_hidden_size": 8, "backbone_config": trunk}
    patches = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    patches |= {"mlp_ratio": 2, "image_size": 16, "patch_size": 4}
    build: dict[str, Callable[[], Any]] = {
        "depth-anything": lambda: transformers.DepthAnythingConfig(**anything),
        "depth-anything-metric": lambda: transformers.DepthAnythingConfig(
            **anything, depth_estimation_type="metric", max_depth=20
        ),
        "prompt-depth-anything": lambda: transformers.PromptDepthAnythingConfig(
            **anything, depth_estimation_type="metric", max_depth=1
        ),
        "dpt": lambda: transformers.DPTConfig(
            **VIT, **NECK, intermediate_size=64, image_size=64, backbone_out_indices=[0, 1, 2, 3]
        ),
        "dpt-beit": lambda: transformers.DPTConfig(**NECK, backbone_config=transformers.BeitConfig(**beit)),
        "dpt-dinov2": lambda: transformers.DPTConfig(**NECK, backbone_config=trunk),
        "zoedepth": lambda: transformers.ZoeDepthConfig(
            **NECK,
            backbone_config=transformers.BeitConfig(**beit),
            bottleneck_features=16,
            num_attractors=[4, 4, 2, 1],
            bin_embedding_dim=8,
            num_relative_features=8,
            bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
        ),
        "glpn": lambda: transformers.GLPNConfig(
            hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
        ),
        "depth-pro": lambda: transformers.DepthProConfig(
            patch_size=16,
            fusion_hidden_size=16,
            intermediate_hook_ids=[1, 0],
            intermediate_feature_dims=[8, 8],
            scaled_images_feature_dims=[16, 16, 8],
            use_fov_model=True,
            image_model_config=dict(patches),
            patch_model_config=dict(patches),
            fov_model_config=dict(patches),
        ),
    }
    return build[name]()


PREPROCESSORS: dict[str, dict[str, Any]] = {
    "depth-anything": {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
    "depth-anything-metric": {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True},
    "prompt-depth-anything": {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
    "dpt": {"size": 64},
    "dpt-beit": {"size": {"height": 64, "width": 64}, "keep_aspect_ratio": True, "ensure_multiple_of": 32},
    "dpt-dinov2": {
        "do_resize": False,
        "do_rescale": False,
        "image_mean": [123.675, 116.28, 103.53],
        "image_std": [58.395, 57.12, 57.375],
    },
    "zoedepth": {"size": {"height": 64, "width": 96}, "keep_aspect_ratio": True, "do_pad": True, "resample": 2},
    "glpn": {"size": {"height": 64, "width": 96}, "size_divisor": 32, "do_resize": True},
}


def save(name: str, folder: Path) -> Path:
    """A network of the class with random weights wide enough that its depth varies and its last ReLU is not shut."""
    from transformers import AutoModelForDepthEstimation
    from transformers.utils import logging as chatter

    torch.manual_seed(7)
    network = AutoModelForDepthEstimation.from_config(tiny_config(name)).eval()
    with torch.no_grad():
        for key, weight in network.named_parameters():
            if weight.dim() > 1 and "embed" not in key and "token" not in key:
                weight.normal_(std=1.2 / (weight[0].numel() ** 0.5))
        if name in ("depth-anything", "dpt", "dpt-beit", "dpt-dinov2", "depth-pro"):
            last = [module for module in network.head.modules() if isinstance(module, torch.nn.Conv2d)][-1]
            last.weight.mul_(0.3)
            last.bias.fill_(2.0)
        if name == "depth-pro":
            network.fov_model.head.layers[-1].bias.fill_(60.0)
    chatter.disable_progress_bar()
    network.save_pretrained(folder)
    chatter.enable_progress_bar()
    if name in PREPROCESSORS:
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS[name]))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- depth\n---\n# A model\n")
    return folder


@pytest.fixture(autouse=True)
def _on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the adapter, on torch; test_runtimes has the copies, whose making takes seconds."""
    monkeypatch.setattr(copies, "possible", lambda: False)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: save(name, root / name) for name in KINDS}


@pytest.fixture(scope="session")
def load(folders: dict[str, Path]) -> Callable[[str], HuggingFacePredictor]:
    ready: dict[str, HuggingFacePredictor] = {}

    def build(name: str) -> HuggingFacePredictor:
        if name not in ready:
            ready[name] = HuggingFacePredictor(folders[name], device="cpu", prompt=None)
        return ready[name]

    return build


def prompt_for(image: Image, predictor: HuggingFacePredictor) -> DepthMap | None:
    if not predictor.feeding.prompted:
        return None
    size = max(1, image.size[0] // 4), max(1, image.size[1] // 4)
    return DepthMap(np.linspace(1, 3, size[0] * size[1], dtype=np.float32).reshape(size), DepthKind.METRIC)


def predict(predictor: HuggingFacePredictor, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
    return predictor.predict(image, size, prompt=prompt_for(image, predictor))


def without_camera(image: Image) -> Image:
    return replace(image, camera=None)


# The contract


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("name", KINDS)
def test_contract(name: str, size: tuple[int, int], load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load(name), contracts.picture(size)
    before = image.rgb.copy()
    first, second = predict(predictor, image), predict(predictor, image)
    assert first.kind is predictor.kind is predictor.card.kind is KINDS[name]
    assert first.unit == ("m" if KINDS[name] is DepthKind.METRIC else "1")
    assert first.size == size
    assert first.camera == image.camera
    assert first.source == predictor.card
    assert first.valid.all()
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(image.rgb, before)


@pytest.mark.parametrize("name", KINDS)
def test_alone_is_as_in_a_batch(name: str, load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor = load(name)
    images = [contracts.picture((48, 64), seed) for seed in range(3)]
    prompts = [prompt_for(image, predictor) for image in images]
    together = predictor.predict_batch(images, prompts=prompts if predictor.feeding.prompted else ())
    alone = [predict(predictor, image) for image in images]
    assert not np.allclose(alone[0].values, alone[1].values, rtol=1e-3)  # else the test could not fail
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4, atol=1e-4 * float(np.abs(one.values).max()))


@pytest.mark.parametrize("name", KINDS)
def test_another_process_gives_the_same(name: str, folders: dict[str, Path], load: Any) -> None:
    image = contracts.picture((30, 41))
    fresh = HuggingFacePredictor(folders[name], device="cpu")
    assert np.array_equal(predict(fresh, image).values, predict(load(name), image).values)
    assert fresh.card.parameters == sum(weight.numel() for weight in fresh._network[0].parameters())
    assert not fresh._network[0].training


@pytest.mark.parametrize("name", [name for name in KINDS if name != "depth-pro"])
def test_size_changes_what_the_network_sees(name: str, load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load(name), contracts.picture((48, 64))
    seen: list[tuple[int, ...]] = []
    hook = predictor._network[0].register_forward_pre_hook(
        lambda module, given, named: seen.append(tuple(named["pixel_values"].shape[-2:])), with_kwargs=True
    )
    try:
        native, larger = predict(predictor, image), predict(predictor, image, (100, 130))
    finally:
        hook.remove()
    multiple = MULTIPLE.get(name, 32)
    assert seen == [predictor.processing_size(image.size), predictor.processing_size(image.size, (100, 130))]
    assert seen[0] != seen[1]
    assert all(side % multiple == 0 and side > 0 for size in seen for side in size)
    assert all(abs(side - wanted) <= multiple for side, wanted in zip(seen[1], (100, 130), strict=True))
    assert larger.size == native.size == image.size
    assert not np.allclose(native.values, larger.values, rtol=1e-4)


def test_depth_pro_has_one_size(load: Callable[[str], HuggingFacePredictor]) -> None:
    """Its tiles fit one size only; asked for another it gives that one, so that refiners which look twice work with it."""
    predictor, image = load("depth-pro"), contracts.picture((48, 64))
    assert predictor.processing_size(image.size, (128, 100)) == predictor.processing_size(image.size) == (64, 64)
    assert np.array_equal(predictor.predict(image, (128, 100)).values, predictor.predict(image).values)


@pytest.mark.parametrize("name", KINDS)
def test_near_is_near(name: str, load: Callable[[str], HuggingFacePredictor]) -> None:
    """Depth Pro and the disparity networks give more for near, the others less: `inverse` must grow towards the camera for all."""
    predictor = load(name)
    image = contracts.picture(predictor.processing_size((64, 64)))
    raw: list[np.ndarray] = []
    hook = predictor._network[0].register_forward_hook(
        lambda module, given, out: raw.append(out.predicted_depth[0].numpy().copy())
    )
    try:
        depth = predict(predictor, image)
    finally:
        hook.remove()
    gives_nearness = name in ("depth-anything", "dpt", "dpt-beit", "depth-pro")
    near = predictor.feeding.back(raw[0], image.size) * (1 if gives_nearness else -1)
    order = np.argsort(near.ravel())
    ranked = depth.inverse().ravel()[order][:: max(1, near.size // 50)]
    assert near.max() - near.min() > 1e-3
    assert np.all(np.diff(ranked) >= -1e-6 * np.abs(ranked).max())
    assert ranked[-1] > ranked[0]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_finite_is_unknown(name: str, load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load(name), contracts.picture((64, 64))
    plane = np.full((8, 8), 2, np.float32)
    plane[3, 3], plane[4, 5] = np.nan, np.inf
    depth = predictor._finish(image, plane, 60.0)
    assert np.isnan(depth.values).any()
    assert not np.isposinf(depth.values).any()
    assert depth.valid.mean() > 0.9


# Focal length


def test_depth_pro_measures_with_the_pictures_focal_length(load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load("depth-pro"), without_camera(contracts.picture((48, 64)))
    wide, long = (
        predictor.predict(replace(image, camera=Camera.from_focal(focal, 64, 48, "exif"))) for focal in (50.0, 150.0)
    )
    np.testing.assert_allclose(long.values, 3 * wide.values, rtol=1e-4)
    assert long.camera is not None
    assert (long.camera.fx, long.camera.source) == (150.0, "exif")


@pytest.mark.parametrize("guess", [False, True], ids=["no camera", "a guess"])
def test_depth_pro_predicts_a_camera(guess: bool, load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load("depth-pro"), without_camera(contracts.picture((48, 64)))
    if guess:
        image = replace(image, camera=Camera.from_fov(20, 64, 48, source="guess"))
    depth = predictor.predict(image)
    assert depth.camera is not None
    assert depth.camera.source == "model"
    with torch.inference_mode():
        tensor = torch.from_numpy(predictor.feeding.tensor(image.rgb, (64, 64)))[None]
        fov = predictor._network[0](pixel_values=tensor).field_of_view.item()
    assert 30 < fov < 90
    assert depth.camera.fov_degrees == pytest.approx(fov, rel=1e-4)
    same = predictor.predict(replace(image, camera=replace(depth.camera, source="given")))
    np.testing.assert_allclose(same.values, depth.values, rtol=1e-5)


def test_depth_pro_formula(load: Callable[[str], HuggingFacePredictor]) -> None:
    """Equation 1 of the paper: metres = focal / (width * canonical inverse depth); nothing nearer than 1 mm, farther than 10 km."""
    predictor, image = load("depth-pro"), contracts.picture((64, 64))
    image = replace(image, camera=Camera.from_focal(128.0, 64, 64))
    plane = np.full((64, 64), 0.5, np.float32)
    plane[:8], plane[-8:] = 0, 1e9
    values = predictor._finish(image, plane, None).values
    assert values[32, 32] == pytest.approx(128 / (64 * 0.5))
    assert values.max() == pytest.approx(1e4)
    assert values.min() == pytest.approx(1e-3)


def test_depth_pro_without_a_field_of_view(load: Callable[[str], HuggingFacePredictor]) -> None:
    plane = np.ones((4, 4), np.float32)
    with pytest.raises(ValueError, match="no head for the field of view, and the picture no camera: give it one"):
        load("depth-pro")._finish(without_camera(contracts.picture((4, 4))), plane, None)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "depth-pro"])
def test_others_pass_the_camera_on(name: str, load: Callable[[str], HuggingFacePredictor]) -> None:
    assert predict(load(name), without_camera(contracts.picture((20, 20)))).camera is None


# ZoeDepth's border


def test_zoedepth_border_is_taken_off_again() -> None:
    """A network that gives back what it sees must give the photo, in place, not the photo with its border squeezed into it."""
    rule = Feeding(DepthKind.METRIC, (64, 96), 32, "closest", method="linear", mean=(0, 0, 0), std=(1, 1, 1), pads=True)
    ramp = np.broadcast_to(np.linspace(20, 235, 320)[None, :, None], (240, 320, 3)).astype(np.uint8)
    size = rule.processing_size((240, 320), (480, 640))
    seen = rule.tensor(ramp, size)[0]
    shown = rule.back(seen, (240, 320)) * 255
    assert np.abs(shown - ramp[..., 0]).max() < 2
    assert np.abs(replace(rule, pads=False).back(seen, (240, 320)) * 255 - ramp[..., 0]).max() > 20


@pytest.mark.parametrize(("side", "expected"), [(480, 46), (640, 53), (375, 41), (1242, 74), (1, 2)])
def test_zoedepth_border_is_the_authors(side: int, expected: int) -> None:
    assert border(side) == expected


# Prompt Depth Anything


def test_prompt_sets_the_scale(load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load("prompt-depth-anything"), contracts.picture((48, 64))
    near = prompt_for(image, predictor)
    assert near is not None
    far = near.with_values(near.values * 10)
    first, second = predictor.predict(image, prompt=near), predictor.predict(image, prompt=far)
    np.testing.assert_allclose(second.values, first.values * 10, rtol=1e-3)


def test_prompt_may_have_holes_be_constant_or_come_from_a_file(folders: dict[str, Path], tmp_path: Path) -> None:
    from keendepth import io

    image = contracts.picture((48, 64))
    values = np.linspace(1, 3, 12 * 16, dtype=np.float32).reshape(12, 16)
    io.write(tmp_path / "lidar.npz", DepthMap(values, DepthKind.METRIC))
    predictor = HuggingFacePredictor(folders["prompt-depth-anything"], device="cpu", prompt=tmp_path / "lidar.npz")
    whole = predictor.predict(image)
    holes = values.copy()
    holes[2:4, 3:6], holes[0] = np.nan, np.inf
    for other in (holes, np.full((12, 16), 2, np.float32), np.full((1, 1), 2, np.float32)):
        depth = predictor.predict(image, prompt=DepthMap(other, DepthKind.METRIC))
        assert depth.valid.all()
        assert not np.array_equal(depth.values, whole.values)


def test_prompt_refusals(load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor, image = load("prompt-depth-anything"), contracts.picture((48, 64))
    with pytest.raises(ValueError, match=r"needs a coarse metric depth .* give it as `prompt`"):
        predictor.predict(image)
    with pytest.raises(TypeError, match="a prompt needs metric depth, found disparity"):
        predictor.predict(image, prompt=DepthMap(np.ones((4, 4)), DepthKind.DISPARITY))
    with pytest.raises(ValueError, match="no known pixel"):
        predictor.predict(image, prompt=DepthMap(np.full((4, 4), np.nan), DepthKind.METRIC))
    with pytest.raises(ValueError, match="one of them is rotated"):
        predictor.predict(image, prompt=DepthMap(np.ones((16, 12)), DepthKind.METRIC))
    with pytest.raises(ValueError, match="takes no prompt"):
        load("glpn").predict(image, prompt=DepthMap(np.ones((4, 4)), DepthKind.METRIC))


def test_batch_refusals(load: Callable[[str], HuggingFacePredictor]) -> None:
    predictor = load("glpn")
    assert predictor.predict_batch([]) == []
    with pytest.raises(ValueError, match="a batch must be of one size"):
        predictor.predict_batch([contracts.picture((8, 8)), contracts.picture((8, 9))])
    with pytest.raises(ValueError, match="expected a prompt for each of 1 pictures, found 2"):
        load("prompt-depth-anything").predict_batch([contracts.picture((8, 8))], prompts=[None, None])


# Pre-processing


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (61, 47)], ids=str)
@pytest.mark.parametrize("name", ["depth-anything", "dpt", "dpt-beit", "glpn"])
def test_pixels_are_those_of_transformers(name: str, size: tuple[int, int], load: Any) -> None:
    """Against transformers' own Pillow processors, which round to 8 bits between and after the two passes of a resize."""
    module, cls = ("glpn", "GLPN") if name == "glpn" else ("dpt", "DPT")
    module = pytest.importorskip(f"transformers.models.{module}.image_processing_pil_{module}")
    predictor = load(name)
    image = Image((contracts.picture(size).rgb // 2 + 64).astype(np.uint8))  # Pillow clips overshoot between the passes
    options = {key: value for key, value in PREPROCESSORS[name].items() if not (name == "glpn" and key == "size")}
    if name == "depth-anything":
        options |= {"image_mean": list(feeding_module.IMAGENET_MEAN), "image_std": list(feeding_module.IMAGENET_STD)}
    theirs = getattr(module, f"{cls}ImageProcessorPil")(**options)(image.rgb, return_tensors="np")["pixel_values"][0]
    chosen = theirs.shape[-2:]
    if min(size) > 56 and name != "glpn":  # theirs shrinks less for small photos than Depth Anything's authors do
        assert predictor.processing_size(size) == chosen
    ours = predictor.feeding.tensor(image.rgb, chosen)
    assert np.abs(ours - theirs).max() < 2.1 / 255 / min(predictor.feeding.std)
    assert np.abs(ours - theirs).mean() < 0.5 / 255 / min(predictor.feeding.std)


@pytest.mark.parametrize(
    ("config", "photo", "expected"),
    [
        ({"model_type": "depth_anything"}, (480, 640), (518, 686)),
        ({"model_type": "depth_anything"}, (3000, 4000), (518, 686)),
        ({"model_type": "depth_anything"}, (640, 480), (686, 518)),
        ({"model_type": "depth_anything"}, (1, 1), (518, 518)),
        ({"model_type": "depth_anything"}, (10, 5000), (518, 3108)),
        ({"model_type": "prompt_depth_anything"}, (1440, 1920), (756, 1008)),
        ({"model_type": "dpt"}, (480, 640), (384, 384)),
        ({"model_type": "zoedepth"}, (480, 640), (384, 512)),
        ({"model_type": "zoedepth"}, (640, 240), (384, 160)),  # with its border 746 x 304: 384 / 746 is closer to 1
        ({"model_type": "glpn"}, (480, 640), (480, 640)),
        ({"model_type": "glpn", "max_depth": 80}, (375, 1242), (352, 1152)),
        ({"model_type": "depth_pro"}, (480, 640), (1536, 1536)),
        ({"model_type": "dpt", "backbone_config": {"model_type": "dinov2"}}, (3000, 4000), (770, 1022)),
    ],
)
def test_native_sizes(config: dict[str, Any], photo: tuple[int, int], expected: tuple[int, int]) -> None:
    assert feeding(config, None).processing_size(photo) == expected


def test_the_models_own_preprocessor_wins() -> None:
    rule = feeding(
        {"model_type": "dpt", "backbone_config": {"model_type": "beit", "image_size": 512}},
        {"size": {"height": 256, "width": 320}, "resample": 2, "image_mean": [0, 0, 0], "image_std": 0.25},
    )
    assert (rule.native, rule.method, rule.mean, rule.std) == ((256, 320), "linear", (0, 0, 0), (0.25,) * 3)
    assert feeding({"model_type": "dpt"}, {"do_normalize": False}).std == (1, 1, 1)
    assert feeding({"model_type": "dpt"}, {"do_rescale": False}).top == 255
    assert feeding({"model_type": "dpt"}, None).mean == HALVES
    assert not feeding({"model_type": "zoedepth"}, {"do_pad": False}).pads


def test_colours_in_bytes_are_colours_in_parts_of_one() -> None:
    image = contracts.picture((20, 30))
    config = {"model_type": "dpt", "backbone_config": {"model_type": "dinov2"}}
    parts, in_bytes = feeding(config, None), feeding(config, PREPROCESSORS["dpt-dinov2"])
    np.testing.assert_allclose(
        in_bytes.tensor(image.rgb, (28, 42)), parts.tensor(image.rgb, (28, 42)), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5)])
def test_impossible_sizes(size: tuple[int, int], load: Callable[[str], HuggingFacePredictor]) -> None:
    with pytest.raises(ValueError, match="1 x 1 or more"):
        load("dpt").predict(contracts.picture((8, 8)), size)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "model of an unnamed type"),
        ({"model_type": "bert"}, "is a bert, not a depth model"),
        ({"model_type": "dpt", "architectures": ["DPTForSemanticSegmentation"]}, "holds a DPTForSemanticSegmentation"),
        ({"model_type": "glpn", "max_depth": "far"}, "config that cannot be used"),
        ({"model_type": "depth_pro", "scaled_images_ratios": []}, "config that cannot be used"),
    ],
)
def test_wrong_class(config: dict[str, Any], message: str) -> None:
    with pytest.raises(FeedingError, match=message):
        feeding(config, None)


# The hub, as a server on this machine


class Hub:
    """What the hub answers: files of a folder by id and revision, and its error codes."""

    commit = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, body: bool) -> None:
                hub.asked.append(self.path)
                status, headers, content = hub.answer(self.path)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        match = re.fullmatch(r"/(\w+)/([\w.-]+)/resolve/([\w.-]+)/(.+)", path)
        owner, name, revision, file = match.groups() if match else ("", "", "", "")
        if owner == "gated":
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, b""
        if not (self.root / name).is_dir() or owner != "tiny":
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
        if revision not in ("main", "v1", self.commit):
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b""
        target = self.root / name / file
        if not target.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.commit}, b""
        content = target.read_bytes()
        return 200, {"ETag": f'"{hash((name, file)) & 0xFFFFFFFF:08x}"', "X-Repo-Commit": self.commit}, content


@pytest.fixture
def hub(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub(next(iter(folders.values())).parent)
    for variable in ("HF_HUB_OFFLINE", "KEENDEPTH_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its retries
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.mark.parametrize("name", ["depth-anything", "depth-pro"])  # with and without a preprocessor's file
def test_hub_id_gives_what_its_folder_gives(name: str, hub: Hub, load: Any) -> None:
    image = contracts.picture((48, 64))
    predictor = HuggingFacePredictor(f"tiny/{name}", "v1", device="cpu")
    assert predictor.kind is KINDS[name]
    assert not any("safetensors" in path for path in hub.asked)  # weights come with the first picture
    assert np.array_equal(predictor.predict(image).values, load(name).predict(image).values)
    assert predictor.card.license == "apache-2.0"
    assert predictor.card.name == name


def test_hub_id_from_the_cache_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    image = contracts.picture((20, 30))
    first = HuggingFacePredictor("tiny/depth-pro", device="cpu").predict(image)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = HuggingFacePredictor("tiny/depth-pro", device="cpu").predict(image)
    assert np.array_equal(first.values, again.values)


@pytest.mark.parametrize(
    ("source", "revision", "message"),
    [
        ("tiny/no-such-model", None, "no-such-model, or it is private"),
        ("tiny/dpt", "v9", "tiny/dpt has no revision 'v9'"),
        ("gated/dpt", None, "gated/dpt is gated: accept its terms"),
        ("no-owner", None, "no-owner: no such folder, nor a hub id"),
        ("./missing/folder", None, "no such folder"),
        ("", None, "no such folder"),
    ],
)
def test_faults_of_the_hub(source: str, revision: str | None, message: str, hub: Hub) -> None:
    with pytest.raises(HubError, match=re.escape(message)) as caught:
        HuggingFacePredictor(source, revision)
    assert "\n" not in str(caught.value)


def test_no_network(hub: Hub) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(HubError, match=r"tiny/dpt/config.json is not in the cache, and the hub cannot be reached"):
        HuggingFacePredictor("tiny/dpt")


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match="not in the cache, and the network is forbidden"):
        HuggingFacePredictor("tiny/dpt")


# Faults of a folder


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def drop_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(key for key in tensors if key.startswith("head")))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"fusion_hidden_size": 32}))


def point_to_a_missing_part(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (truncate, "the weights cannot be loaded, the file is damaged"),
    "random bytes": (lambda f: (f / "model.safetensors").write_bytes(b"\x9d" * 5000), "the weights cannot be loaded"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "the weights cannot be loaded"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    "a part is missing": (point_to_a_missing_part, "model-00001-of-00002.safetensors is missing"),
    "a tensor is missing": (drop_a_tensor, "tensors are missing from the weights (the first: head"),
    "other shapes": (widen, "the weights"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "damaged config": (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
    "config is a list": (lambda f: (f / "config.json").write_text("[1]"), "expected a table, found list"),
    "damaged preprocessor": (lambda f: (f / "preprocessor_config.json").write_bytes(b"\xff\xfe"), "is damaged"),
    "senseless size": (lambda f: (f / "preprocessor_config.json").write_text('{"size": -4}'), "cannot be used"),
    "wrong class": (lambda f: (f / "config.json").write_text('{"model_type": "clip"}'), "is a clip, not a depth model"),
    "a pipeline": (lambda f: (f / "config.json").rename(f / "model_index.json"), "a diffusers pipeline"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_folder(fault: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_of(folders["depth-anything"], tmp_path / "model")
    FAULTS[fault][0](folder)
    with pytest.raises(HubError, match=re.escape(FAULTS[fault][1])) as caught:
        HuggingFacePredictor(folder, device="cpu").predict(contracts.picture((8, 8)))
    assert "\n" not in str(caught.value)


def test_weights_as_torch_saves_them(folders: dict[str, Path], tmp_path: Path, load: Any) -> None:
    """Older models on the hub (GLPN's) have pytorch_model.bin."""
    from safetensors.torch import load_file

    folder = copy_of(folders["glpn"], tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    image = contracts.picture((20, 30))
    predictor = HuggingFacePredictor(folder, device="cpu")
    assert np.array_equal(predictor.predict(image).values, load("glpn").predict(image).values)


def test_other_refusals(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, image = folders["glpn"], contracts.picture((8, 8))
    with pytest.raises(HubError, match="belongs to a hub id; this is a folder"):
        HuggingFacePredictor(folder, "main")
    with pytest.raises(HubError, match="no device 'tpu' here"):
        HuggingFacePredictor(folder, device="tpu").predict(image)
    with pytest.raises(HubError, match="dtype must be float32, float16 or bfloat16, found 'int8'"):
        HuggingFacePredictor(folder, device="cpu", dtype="int8").predict(image)
    monkeypatch.setattr(files_module, "installed", lambda package: package != "transformers")
    with pytest.raises(HubError, match=r"needs transformers: pip install 'keendepth\[hub\]'"):
        HuggingFacePredictor(folder)


@pytest.mark.parametrize("name", ["depth-anything-metric", "depth-pro"])
def test_sixteen_bits_stay_close(name: str, folders: dict[str, Path], load: Any) -> None:
    image = contracts.picture((48, 64))
    half = HuggingFacePredictor(folders[name], device="cpu", dtype="bfloat16").predict(image)
    assert half.values.dtype == np.float32
    full = load(name).predict(image)
    assert 0 < np.median(np.abs(half.values / full.values - 1)) < 0.1


# Cards


def test_every_alias_has_a_card() -> None:
    assert len(CARDS) == len(ALIASES) >= 20
    assert {"depth-anything-v2-small", "depth-pro", "midas", "zoedepth-nyu", "glpn-kitti"} <= set(ALIASES)
    for name, (hub_id, card) in ALIASES.items():
        assert card.name == name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id)
        assert card.kind is not None
        assert card.license
        assert "arXiv" in card.paper
        assert card.native_size
        assert card.parameters > 1e7


def test_an_alias_and_its_hub_id_have_one_card(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hub_id, card = ALIASES["depth-anything-v2-large"]
    assert specs._factory(card.name)[0].args == (hub_id,)
    assert HUB_IDS[hub_id] is card
    folder = str(folders["depth-anything"])
    monkeypatch.setitem(HUB_IDS, folder, card)
    source = HuggingFacePredictor(folder, device="cpu").predict(contracts.picture((8, 8))).source
    assert source is not None
    assert (source.name, source.license, source.kind) == (card.name, "CC-BY-NC-4.0", DepthKind.DISPARITY)
    assert source.native_size == (56, 56)  # what this one's own files say


def test_licences_of_weights() -> None:
    """Where page and README differ, the stricter counts."""
    forbidding = {name for name, (_, card) in ALIASES.items() if forbids_commercial(card.license)}
    v2 = {name for name in ALIASES if name.startswith("depth-anything-v2") and not name.endswith("small")}
    assert forbidding == v2 | {"depth-pro", "distill-any-depth-small", "distill-any-depth-large"}


@pytest.mark.parametrize("name", ["depth-anything", "depth-pro"])
@pytest.mark.parametrize("refiner", ["median", "poisson"])
def test_composes_with_refiners(refiner: str, name: str, folders: dict[str, Path]) -> None:
    depth = pipeline.load(f"{folders[name]}+{refiner}")(without_camera(contracts.picture((48, 64))))
    assert (depth.size, depth.kind) == ((48, 64), KINDS[name])
    assert depth.valid.all()
    assert depth.refinement is not None
    assert depth.refinement.name == refiner


def test_families_are_those_of_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES

    assert set(FAMILIES) <= set(MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES)


def test_transformers_speaks_as_before(folders: dict[str, Path]) -> None:
    from transformers.utils import logging as chatter

    before = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    HuggingFacePredictor(folders["glpn"], device="cpu").predict(contracts.picture((8, 8)))
    assert (chatter.get_verbosity(), chatter.is_progress_bar_enabled()) == before
