"""Research packages through their adapters, on small stand-ins with the signatures that the packages document.

The real packages cannot be installed beside each other (nor here): what is tested is that our side calls them as documented and maps
what they return to our kinds, units and cameras; nothing here runs a line of theirs.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keendepth import pipeline
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.predictors import external, hub
from keendepth.predictors.external import ExternalPredictor, PackageError
from keendepth.predictors.licences import forbids_commercial

torch = pytest.importorskip("torch", reason="needs torch")

FACTORIES = {card.name: factory for card, factory in external.CARDS}
Install = Callable[[str, str, type], None]


def photo(height: int = 24, width: int = 32, camera: Camera | None = None) -> Image:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(rgb, camera)


def ramp(height: int, width: int) -> torch.Tensor:
    """z from 1 at the top to 2 at the bottom."""
    return torch.linspace(1, 2, height)[:, None].expand(height, width).clone()


class Network(torch.nn.Module):
    """What the stand-ins share: a parameter, from_pretrained, and a note of how they were called."""

    calls: list[dict[str, Any]]

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model, self.calls = model, []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    @classmethod
    def from_pretrained(cls, model: str) -> Network:
        return cls(model)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a class into a module of that name, parents included."""

    def add(module: str, name: str, thing: type) -> None:
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            path = ".".join(parts[:count])
            if path not in sys.modules:
                package = ModuleType(path)
                package.__path__ = []
                monkeypatch.setitem(sys.modules, path, package)
        monkeypatch.setattr(sys.modules[module], name, thing, raising=False)

    return add


def run(name: str, image: Image, size: tuple[int, int] | None = None) -> tuple[DepthMap, Any]:
    predictor = FACTORIES[name](device="cpu")
    depth = predictor.predict(image, size)
    assert depth.size == image.size
    assert depth.kind is predictor.kind is predictor.card.kind
    assert depth.source is predictor.card
    return depth, predictor._network


# UniDepth: infer(rgb uint8 [3 h w], camera matrix or None) -> depth [b 1 h w], intrinsics [b 3 3], always the predicted ones


class UniDepth(Network):
    def infer(self, rgb: torch.Tensor, camera: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        assert rgb.dtype == torch.uint8  # V1 takes floats of a dark picture for normalised ones
        height, width = rgb.shape[-2:]
        warnings.warn("!! self.resolution_level not set, using default bounds !!", stacklevel=1)
        self.calls.append({"shape": (height, width), "camera": camera})
        K = torch.tensor([[[40.0, 0, width / 2], [0, 42.0, height / 2], [0, 0, 1]]])
        return {
            "depth": ramp(height, width)[None, None],
            "intrinsics": K,
            "points": torch.full((1, 3, 2, 2), torch.nan),
        }


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_unidepth_predicts_a_camera_or_takes_ours(install: Install, version: str) -> None:
    install("unidepth.models", f"UniDepth{version.upper()}", UniDepth)
    depth, network = run(f"unidepth-{version}", photo())
    assert network.model == f"lpiccinelli/unidepth-{version}-vitl14"
    assert network.calls[0]["camera"] is None
    assert depth.camera == Camera(40, 42, 16, 12, 32, 24, "model")
    assert depth.kind is DepthKind.METRIC
    np.testing.assert_allclose(depth.values[:, 0], np.linspace(1, 2, 24), rtol=1e-6)
    given = Camera(50, 51, 15, 13, 32, 24)
    depth, network = run(f"unidepth-{version}", photo(camera=given))
    assert depth.camera == given
    np.testing.assert_allclose(network.calls[0]["camera"].numpy(), given.K[None], rtol=1e-6)


def test_a_guessed_camera_is_not_passed_on(install: Install) -> None:
    install("unidepth.models", "UniDepthV2", UniDepth)
    depth, network = run("unidepth-v2", photo(camera=Camera.from_fov(60, 32, 24, source="guess")))
    assert network.calls[0]["camera"] is None
    assert depth.camera is not None
    assert depth.camera.source == "model"


def test_a_size_shrinks_the_picture_and_the_camera_follows(install: Install) -> None:
    install("unidepth.models", "UniDepthV2", UniDepth)
    depth, network = run("unidepth-v2", photo(camera=Camera(50, 51, 15, 13, 32, 24)), (12, 16))
    assert network.calls[0]["shape"] == (12, 16)
    assert network.calls[0]["camera"][0, 0, 0] == 25
    assert depth.camera == Camera(50, 51, 15, 13, 32, 24)
    depth, _ = run("unidepth-v2", photo(), (12, 16))
    assert depth.camera == Camera(80, 84, 16, 12, 32, 24, "model")
    with pytest.raises(ValueError, match="1 x 1 or more"):
        run("unidepth-v2", photo(), (0, 4))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 9)])
def test_tiny_and_portrait_pictures(install: Install, size: tuple[int, int]) -> None:
    install("unidepth.models", "UniDepthV2", UniDepth)
    install("unik3d.models", "UniK3D", UniK3D)
    assert run("unidepth-v2", photo(*size))[0].valid.all()
    assert run("unik3d", photo(*size))[0].valid.all()


def test_depth_that_is_not_in_front_of_the_camera_is_unknown(install: Install) -> None:
    class Odd(UniDepth):
        def infer(self, rgb: torch.Tensor, camera: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            out = super().infer(rgb, camera)
            out["depth"][..., 0, :4] = torch.tensor([0.0, -1.0, torch.nan, torch.inf])
            return out

    install("unidepth.models", "UniDepthV2", Odd)
    values = run("unidepth-v2", photo())[0].values
    assert np.isnan(values[0, :3]).all()
    assert values[0, 3] == np.inf
    assert np.isfinite(values[1:]).all()


# UniK3D: infer(rgb, camera object) -> depth [b 1 h w] (z), rays [b 3 h w] (unit)


class UniK3D(Network):
    bend = 0.0

    def infer(self, rgb: torch.Tensor, camera: Any = None) -> dict[str, torch.Tensor]:
        height, width = rgb.shape[-2:]
        self.calls.append({"camera": camera})
        u, v = torch.arange(width) + 0.5, torch.arange(height) + 0.5
        x = ((u - 0.4 * width) / 30)[None].expand(height, width)
        y = ((v - 0.6 * height) / 33)[:, None].expand(height, width)
        rays = torch.stack([x + self.bend * x**3, y, torch.ones(height, width)])
        return {"depth": ramp(height, width)[None, None], "rays": (rays / rays.norm(dim=0))[None]}


def test_unik3d_finds_the_pinhole_camera_of_its_rays(install: Install) -> None:
    install("unik3d.models", "UniK3D", UniK3D)
    depth, _ = run("unik3d", photo())
    camera = depth.camera
    assert camera is not None
    np.testing.assert_allclose([camera.fx, camera.fy, camera.cx, camera.cy], [30, 33, 12.8, 14.4], rtol=1e-3)
    assert camera.source == "model"


def test_unik3d_of_a_lens_that_is_no_pinhole_gives_no_camera(install: Install) -> None:
    install("unik3d.models", "UniK3D", type("Fisheye", (UniK3D,), {"bend": 2.0}))
    assert run("unik3d", photo())[0].camera is None


def test_unik3d_takes_our_camera_as_parameters(install: Install) -> None:
    install("unik3d.models", "UniK3D", UniK3D)
    install("unik3d.utils.camera", "Pinhole", SimpleNamespace)
    given = Camera(50, 51, 15, 13, 32, 24)
    depth, network = run("unik3d", photo(camera=given))
    assert depth.camera == given
    assert network.calls[0]["camera"].params.tolist() == [50, 51, 15, 13]


# MoGe: infer(image 0..1 [3 h w], fov_x, use_fp16) -> depth [h w], inf beyond the mask, intrinsics over width and height


class MoGe(Network):
    def infer(self, image: torch.Tensor, fov_x: float | None = None, use_fp16: bool = True) -> dict[str, torch.Tensor]:
        assert 0 <= image.min() < image.max() <= 1
        self.calls.append({"fov_x": fov_x, "use_fp16": use_fp16})
        depth = ramp(*image.shape[-2:])
        depth[:3] = torch.inf
        return {"depth": depth, "intrinsics": torch.tensor([[0.8, 0, 0.5], [0, 1.1, 0.5], [0, 0, 1]])}


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [("moge-1", "moge.model.v1", DepthKind.SCALE_INVARIANT), ("moge-2", "moge.model.v2", DepthKind.METRIC)],
)
def test_moge(install: Install, name: str, module: str, kind: DepthKind) -> None:
    install(module, "MoGeModel", MoGe)
    depth, network = run(name, photo())
    assert depth.kind is kind
    assert network.calls == [{"fov_x": None, "use_fp16": False}]
    assert depth.sky[:3].all()
    assert depth.valid[3:].all()
    camera = depth.camera
    assert camera is not None
    np.testing.assert_allclose(camera.K, [[25.6, 0, 16], [0, 26.4, 12], [0, 0, 1]], rtol=1e-6)
    assert camera.source == "model"
    given = Camera.from_fov(70, 32, 24)
    depth, network = run(name, photo(camera=given))
    assert network.calls[0]["fov_x"] == pytest.approx(70)
    assert depth.camera == given


# Metric3D: torch.hub entries; inference({"input": normalised [1 3 h w]}) -> (depth for f = 1000, confidence, more)

HUBCONF = """
dependencies = ['torch']
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def inference(self, given):
        x = given["input"]
        self.seen = x
        depth = torch.linspace(10, 20, x.shape[-2])[None, None, :, None].expand(1, 1, *x.shape[-2:])
        return depth, torch.ones_like(depth), {}

def metric3d_vit_small(pretrain=False, **kwargs):
    assert pretrain
    return Model()

metric3d_convnext_tiny = metric3d_vit_small
"""


def metric3d(tmp_path: Path, install: Install, name: str, entry: str) -> ExternalPredictor:
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    install("mmengine", "Config", object)
    return FACTORIES[name](model=f"{tmp_path}:{entry}", device="cpu")


@pytest.mark.parametrize(
    ("name", "entry", "frame"),
    [
        ("metric3d-v2-small", "metric3d_vit_small", (616, 1064)),
        ("metric3d-v1-tiny", "metric3d_convnext_tiny", (544, 1216)),
    ],
)
def test_metric3d_undoes_the_canonical_focal_length(
    tmp_path: Path, install: Install, name: str, entry: str, frame: tuple[int, int]
) -> None:
    predictor = metric3d(tmp_path, install, name, entry)
    given = Camera.from_focal(40, 32, 24)
    depth = predictor.predict(photo(camera=given))
    seen = predictor._network.seen
    assert seen.shape == (1, 3, *frame)
    factor = frame[0] / 24  # the picture fills the frame's height
    width = int(32 * factor)
    left = (frame[1] - width) // 2
    assert (seen[..., :left] == 0).all()  # the mean colour
    assert (seen[..., left + width :] == 0).all()
    assert seen[..., left : left + width].std() > 0.3
    assert depth.kind is DepthKind.METRIC
    assert depth.values.mean() == pytest.approx(15 * 40 * factor / 1000, rel=1e-3)
    twice = predictor.predict(photo(camera=Camera.from_focal(80, 32, 24)))
    np.testing.assert_allclose(twice.values, 2 * depth.values, rtol=1e-6)
    half = predictor.predict(photo(camera=given), (12, 16))
    np.testing.assert_allclose(half.values, depth.values, rtol=1e-3)  # the same metres at another size


def test_metric3d_without_a_camera_says_that_it_guessed(tmp_path: Path, install: Install) -> None:
    predictor = metric3d(tmp_path, install, "metric3d-v2-small", "metric3d_vit_small")
    guessed = predictor.predict(photo())
    assert guessed.camera == Camera.from_fov(60, 32, 24, source="guess")
    given = predictor.predict(photo(camera=Camera.from_fov(60, 32, 24)))
    np.testing.assert_array_equal(guessed.values, given.values)


@pytest.mark.parametrize("size", [(1, 1), (3, 300), (300, 3)])
def test_metric3d_fits_any_shape_into_its_frame(tmp_path: Path, install: Install, size: tuple[int, int]) -> None:
    predictor = metric3d(tmp_path, install, "metric3d-v2-small", "metric3d_vit_small")
    assert predictor.predict(photo(*size)).valid.all()


# Depth Anything 3: inference([rgb]) -> depth [n h w] at its own size, sky, intrinsics [n 3 3] at that size


class DepthAnything3(Network):
    sky = True

    def inference(self, image: list[np.ndarray]) -> SimpleNamespace:
        (rgb,) = image
        assert rgb.dtype == np.uint8
        height, width = rgb.shape[0] // 2, rgb.shape[1] // 2
        sky = np.zeros((1, height, width), bool)
        sky[:, :2] = True
        K = np.array([[[10.0, 0, width / 2], [0, 12.0, height / 2], [0, 0, 1]]], np.float32)
        depth = ramp(height, width).numpy()[None]
        return SimpleNamespace(depth=depth, sky=sky if self.sky else None, intrinsics=K)


def test_depth_anything_3_metric_scales_by_the_focal_length_of_what_it_saw(install: Install) -> None:
    install("depth_anything_3.api", "DepthAnything3", DepthAnything3)
    given = Camera(60, 64, 16, 12, 32, 24)
    depth, _ = run("depth-anything-3-metric", photo(camera=given))
    assert depth.camera == given
    assert depth.sky[:2].all()
    assert depth.values[-1, 0] == pytest.approx(2 * 31 / 300, rel=1e-5)  # (60 + 64) / 2, at half the size
    guessed, _ = run("depth-anything-3-metric", photo())
    assert guessed.camera is not None
    assert guessed.camera.source == "guess"


def test_depth_anything_3_mono_and_any_view(install: Install) -> None:
    install("depth_anything_3.api", "DepthAnything3", type("Plain", (DepthAnything3,), {"sky": False}))
    mono, _ = run("depth-anything-3-mono", photo())
    assert (mono.kind, mono.camera) == (DepthKind.AFFINE_INVARIANT, None)
    assert mono.values[0, 0] < mono.values[-1, 0]  # as it came: near is small
    small, network = run("depth-anything-3-small", photo())
    assert network.model == "depth-anything/DA3-SMALL"
    assert small.kind is DepthKind.SCALE_INVARIANT
    assert small.camera == Camera(20, 24, 16, 12, 32, 24, "model")
    assert run("depth-anything-3-nested", photo())[0].values.max() == pytest.approx(2)


# Determinism, faults and cards


def test_the_same_picture_gives_the_same_depth_whatever_came_before(install: Install) -> None:
    install("unidepth.models", "UniDepthV2", UniDepth)
    predictor = FACTORIES["unidepth-v2"](device="cpu")
    first = predictor.predict(photo()).values
    predictor.predict(photo(10, 10))
    np.testing.assert_array_equal(predictor.predict(photo()).values, first)


@pytest.mark.parametrize("name", list(FACTORIES))
def test_a_missing_package_names_the_line_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = FACTORIES[name]()
    monkeypatch.setitem(sys.modules, predictor.adapter.module.partition(".")[0], None)
    with pytest.raises(hub.MissingExtraError, match="pip install ") as caught:
        predictor.predict(photo())
    text = str(caught.value)
    assert predictor.adapter.install in text
    assert text.startswith(name)
    assert "\n" not in text


def test_missing_says_what_to_install_without_importing(install: Install) -> None:
    assert external.missing("moge-2").startswith("pip install git+https://github.com/microsoft/MoGe")
    with pytest.raises(ValueError, match="no research package"):
        external.missing("nobody")


def test_what_a_package_raises_while_loading_is_one_line(install: Install) -> None:
    class Broken(UniDepth):
        @classmethod
        def from_pretrained(cls, model: str) -> Network:
            raise RuntimeError("no file\nat all")

    install("unidepth.models", "UniDepthV2", Broken)
    with pytest.raises(PackageError, match="unidepth-v2-vitl14 cannot be loaded: RuntimeError: no file at all"):
        run("unidepth-v2", photo())


def test_an_interface_that_changed_is_noticed(install: Install) -> None:
    class Changed(UniDepth):
        def infer(self, rgb: torch.Tensor, camera: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            return {**super().infer(rgb, camera), "depth": torch.ones(1, 2, 3, 4, 5)}

    install("unidepth.models", "UniDepthV2", Changed)
    with pytest.raises(PackageError, match=r"expected depth \[h w\]"):
        run("unidepth-v2", photo())
    install("unidepth.models", "UniDepthV2", Network)
    with pytest.raises(PackageError, match=r"does not answer as documented \(AttributeError.*pip install"):
        run("unidepth-v2", photo())


def test_cards_say_licence_kind_and_paper() -> None:
    names = [card.name for card, _ in external.CARDS]
    assert len(set(names)) == len(names)
    for card, factory in external.CARDS:
        assert factory().kind is card.kind
        assert card.license
        assert "arXiv" in card.paper
        assert card.fails_on
    forbidden = {card.name for card, _ in external.CARDS if forbids_commercial(card.license)}
    assert {"unidepth-v1", "unidepth-v2", "unik3d", "depth-anything-3-large", "depth-anything-3-nested"} <= forbidden
    free = {"moge-1", "moge-2", "depth-anything-3-metric", "depth-anything-3-mono", "depth-anything-3-small"}
    assert not free & forbidden
    assert external.HUB_IDS["Ruicheng/moge-2-vitl-normal"] == "moge-2"


def test_a_licence_is_said_once_by_the_pipeline(caplog: pytest.LogCaptureFixture) -> None:
    pipeline._tell_licence.cache_clear()
    with caplog.at_level(logging.WARNING, "keendepth"):
        for _ in range(2):
            pipeline.load("unik3d")
            pipeline.load("moge-2")
    assert [record.getMessage() for record in caplog.records] == [
        "unik3d is not for commercial use: its licence is CC-BY-NC-4.0 (code and weights)"
    ]


def test_names_that_are_not_there() -> None:
    card = external.CARDS[0][0]
    with pytest.raises(ValueError, match="no research package is called 'moge'"):
        ExternalPredictor("moge", "x", card)
