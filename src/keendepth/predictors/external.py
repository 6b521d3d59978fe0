"""Depth from the research packages of other people (UniDepth, UniK3D, MoGe, Metric3D, Depth Anything 3), imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from keendepth.core import geometry
from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.predictors.hub import MissingExtraError
from keendepth.predictors.packages import HUB_IDS, MODELS

__all__ = ["ADAPTERS", "CARDS", "HUB_IDS", "Adapter", "Answer", "ExternalPredictor", "PackageError", "missing"]

# None of these packages can be a dependency: UniDepth wants numpy>=2 where Depth Anything 3 wants numpy<2, Metric3D is no package
# at all. Their interfaces are called as their READMEs and sources describe them in 2025.
UNIDEPTH = "pip install git+https://github.com/lpiccinelli-eth/UniDepth"
UNIK3D = "pip install git+https://github.com/lpiccinelli-eth/UniK3D"
MOGE = "pip install git+https://github.com/microsoft/MoGe"
METRIC3D = "pip install torch torchvision mmengine timm  (torch.hub then fetches and runs github.com/YvanYin/Metric3D)"
DA3 = "pip install git+https://github.com/ByteDance-Seed/Depth-Anything-3"


class PackageError(ValueError):
    """A research package that cannot load what it was asked for, or does not answer as it is documented to."""


@dataclass(frozen=True)
class Answer:
    """What a package said of one picture: z at any size, sky as True, and a camera for the picture if it predicts one."""

    z: np.ndarray  # [h w], checked in _clean with a message for people
    camera: Camera | None = None
    sky: Bool[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class Adapter:
    """How one package is loaded and called."""

    module: str  # what is imported when the first picture comes
    install: str
    load: Callable[[Any, str], Any]  # (the module, hub id or folder or name) -> the model
    call: Callable[[Any, Image, Camera | None], Answer]  # (the model, the picture, its camera where one is known)
    focal: bool = False  # its metres hold for one focal length: without a camera one is guessed


class ExternalPredictor:
    """A model of a research package: its depth in our kinds and units, its camera in our convention.

    `adapter` is a name in `ADAPTERS`, `model` the hub id, folder or name that its package loads. A picture's camera is passed on where
    the package takes one, unless it is a guess; where there is none, the model's own camera comes back with the depth (source "model").
    The package is imported at the first picture: MissingExtraError has the line that installs it, PackageError what it said when loading.
    """

    def __init__(self, adapter: str, model: str, card: Card, device: str = "") -> None:
        if adapter not in ADAPTERS:
            raise ValueError(f"no research package is called {adapter!r}; known: {', '.join(ADAPTERS)}")
        if card.kind is None:
            raise ValueError(f"{card.name}: a predictor's card must say its kind")
        self.adapter, self.model, self.card, self.kind = ADAPTERS[adapter], model, card, card.kind
        self.device = device

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """Depth of `kind` at the picture's size; NaN where the model gave no distance in front of the camera, +inf where it says sky.

        `size`: the (height, width) to which the picture is resized before the package sees it; None: the picture as it is (the package
        resizes to its own). Models whose metres hold for one focal length take a guessed camera for a picture without one.
        """
        if size is not None and min(size) < 1:
            raise ValueError(
                f"{self.card.name}: the size to process at must be 1 x 1 or more, found {size[0]} x {size[1]}"
            )
        given = image.camera if image.camera and image.camera.source != "guess" else None
        if given is None and self.adapter.focal:
            given = _guessed(image)
        seen = Image(image.rgb, given, image.name).resized(*(size or image.size))
        answer = self._asked(seen)
        values = geometry.resize_depth(_clean(answer, self.kind), image.size)
        camera = given or (answer.camera.resized(*image.size) if answer.camera else image.camera)
        return DepthMap(values, self.kind, camera, self.card)

    def _asked(self, image: Image) -> Answer:
        network = self._network
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they warn of autocast without CUDA, of options left at defaults, ...
                return self.adapter.call(network, image, image.camera)
        except (AttributeError, KeyError, TypeError) as error:
            raise PackageError(
                f"{self.card.name}: its package does not answer as documented ({type(error).__name__}: {error}); "
                f"this adapter is made for its version of 2025: {self.adapter.install}"
            ) from error

    @cached_property
    def _network(self) -> Any:
        self._imported("torch")
        module = self._imported(self.adapter.module)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = self.adapter.load(module, self.model)
        except Exception as error:  # a package of research code may raise anything for a missing file or a wrong name
            cause = " ".join(str(error).split())[:200]
            raise PackageError(
                f"{self.card.name}: {self.model} cannot be loaded: {type(error).__name__}: {cause}"
            ) from error
        return network.to(self.device or _best_device()).eval()

    def _imported(self, module: str) -> Any:
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f"{self.card.name} needs {module}, which cannot be imported ({error}): {self.adapter.install}"
            ) from error


def _guessed(image: Image) -> Camera:
    from keendepth.io.image import resolve_camera

    return resolve_camera(Image(image.rgb, image.camera))


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"  # none of the packages runs on mps throughout


def _clean(answer: Answer, kind: DepthKind) -> Float32[np.ndarray, "h w"]:
    """float32, unknown where not above 0 (the kinds that must be) or NaN, infinite where sky."""
    values = np.asarray(answer.z, dtype=np.float32)
    if values.ndim != 2:
        raise PackageError(
            f"expected depth [h w] of the package, found {list(values.shape)}: its interface has changed"
        )
    with np.errstate(invalid="ignore"):
        known = values > 0 if kind.positive else values > -np.inf
    values = np.where(known, values, np.float32(np.nan))
    return values if answer.sky is None else np.where(answer.sky, np.float32(np.inf), values)


def _numpy(tensor: Any) -> np.ndarray:
    """A tensor of any device and precision as float32 numbers."""
    return np.asarray(tensor.detach().float().cpu().numpy())


def _picture(image: Image) -> Any:
    """uint8 [3 h w]: UniDepth V1 takes a dark picture of floats for a normalised one."""
    import torch

    return torch.from_numpy(image.rgb.transpose(2, 0, 1).copy())


def _pinhole(K: np.ndarray, image: Image) -> Camera:
    """A model's 3x3 matrix, whose pixel centres are at halves like ours, for the picture."""
    (fx, _, cx), (_, fy, cy), _ = K.reshape(-1, 3, 3)[0].tolist()
    return Camera(fx, fy, cx, cy, image.size[1], image.size[0], source="model")


# UniDepth V1 and V2 (Piccinelli et al., CVPR 2024; arXiv 2502.20110). `intrinsics` is always the prediction, even where a camera is
# given, and V1's points then use the wrong one: only the z of `depth` is read.


def _load_named(name: str) -> Callable[[Any, str], Any]:
    """The loader of packages whose class `name` has from_pretrained."""
    return lambda module, model: getattr(module, name).from_pretrained(model)


def _call_unidepth(network: Any, image: Image, camera: Camera | None) -> Answer:
    import torch

    K = None if camera is None else torch.from_numpy(camera.K.astype(np.float32)[None])
    out = network.infer(_picture(image), K)
    return Answer(_numpy(out["depth"])[0, 0], _pinhole(_numpy(out["intrinsics"]), image))


# UniK3D (Piccinelli et al., CVPR 2025): any lens, so rays instead of a matrix; `depth` is z, `distance` runs along the ray.


def _call_unik3d(network: Any, image: Image, camera: Camera | None) -> Answer:
    import torch

    lens = None
    if camera is not None:
        cameras = importlib.import_module("unik3d.utils.camera")
        lens = cameras.Pinhole(params=torch.tensor([camera.fx, camera.fy, camera.cx, camera.cy], dtype=torch.float32))
    out = network.infer(_picture(image), lens)
    return Answer(_numpy(out["depth"])[0, 0], _pinhole_of_rays(_numpy(out["rays"])[0]))


def _pinhole_of_rays(rays: Float32[np.ndarray, "3 h w"]) -> Camera | None:
    """The pinhole camera nearest to rays, by least squares of u = fx * x / z + cx; None for a lens that sees sideways or is no pinhole."""
    height, width = rays.shape[1:]
    if height < 2 or width < 2 or rays[2].min() < 0.05:  # 0.05: 174 degrees of view, where x / z leaves every scale
        return None
    u, v = geometry.pixel_grid(height, width)
    across, down = (rays[0] / rays[2]).mean(0), (rays[1] / rays[2]).mean(1)
    (fx, cx), (fy, cy) = np.polyfit(across, u, 1), np.polyfit(down, v, 1)
    bent = max(np.abs(fx * across + cx - u).max() / width, np.abs(fy * down + cy - v).max() / height)
    return None if min(fx, fy) <= 0 or bent > 0.02 else Camera(fx, fy, cx, cy, width, height, source="model")


# MoGe-1 and 2 (Wang et al., CVPR 2025; arXiv 2507.02546): z with the shift recovered, in metres for 2; pixels beyond its mask (sky) are
# infinite; `intrinsics` are in units of width and height; it takes the horizontal field of view.


def _call_moge(network: Any, image: Image, camera: Camera | None) -> Answer:
    device = next(network.parameters()).device
    out = network.infer(
        (_picture(image).float() / 255).to(device),
        fov_x=camera.fov_degrees if camera else None,
        use_fp16=device.type == "cuda",
    )
    height, width = image.size
    K = _numpy(out["intrinsics"]) * np.array([[width], [height], [1]])
    return Answer(_numpy(out["depth"]), _pinhole(K, image))


# Metric3D v1 and v2 (Yin et al., ICCV 2023; Hu et al., TPAMI 2024): depth for a camera of focal length 1000, in pixels of the input
# (canonical camera space, section 3.1), undone here; the picture is fitted into a fixed frame and padded with the mean colour.

CANONICAL = 1000.0
MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # ImageNet, as their hubconf.py normalises
STD = np.array([58.395, 57.12, 57.375], np.float32)
FRAMES = {"convnext": (544, 1216), "vit": (616, 1064)}  # (height, width) for v1 and v2


def _load_metric3d(_: Any, model: str) -> Any:
    """`model`: a name of their hubconf.py, or folder:name for a clone of the repository."""
    import torch

    folder, _, name = model.rpartition(":")
    network = (
        torch.hub.load(folder, name, source="local", pretrain=True)
        if folder
        else torch.hub.load("YvanYin/Metric3D", name, pretrain=True, trust_repo=True)
    )
    network.frame = FRAMES["convnext" if "convnext" in name else "vit"]
    return network


def _call_metric3d(network: Any, image: Image, camera: Camera | None) -> Answer:
    import torch

    frame, (height, width) = network.frame, image.size
    factor = min(frame[0] / height, frame[1] / width)
    inner = max(1, int(height * factor)), max(1, int(width * factor))
    top, left = (frame[0] - inner[0]) // 2, (frame[1] - inner[1]) // 2
    part = np.s_[top : top + inner[0], left : left + inner[1]]
    tensor = np.zeros((*frame, 3), np.float32)  # the mean colour
    tensor[part] = (geometry.resize(image.rgb, inner) - MEAN) / STD
    device = next(network.parameters()).device
    with torch.inference_mode():
        depth, *_ = network.inference({"input": torch.from_numpy(tensor.transpose(2, 0, 1)[None].copy()).to(device)})
    canonical = geometry.resize(_numpy(depth).reshape(depth.shape[-2:]), frame)[part]
    focal = (camera or _guessed(image)).fx * inner[1] / width
    return Answer(canonical * np.float32(focal / CANONICAL))


# Depth Anything 3 (Lin et al., arXiv 2511.10647): METRIC gives metres for a focal length of 300 pixels of what it processed; MONO
# depth up to scale and shift; the any-view models depth up to scale with a camera; NESTED metres and a camera.

DA3_FOCAL = 300.0


def _call_da3(
    network: Any, image: Image, camera: Camera | None, metric: bool = False, camera_too: bool = False
) -> Answer:
    out = network.inference([image.rgb])
    z = np.asarray(out.depth, dtype=np.float32)[0]
    if metric:
        seen = (camera or _guessed(image)).resized(
            *z.shape
        )  # as their nested model does: intrinsics at the processed size
        z = z * np.float32((seen.fx + seen.fy) / 2 / DA3_FOCAL)
    sky = None if getattr(out, "sky", None) is None else np.asarray(out.sky)[0] >= 0.5
    K = getattr(out, "intrinsics", None) if camera_too else None
    seen_as = None if K is None else _pinhole(np.asarray(K), Image(np.zeros((*z.shape, 3), np.uint8)))
    return Answer(z, seen_as, sky)


ADAPTERS: dict[str, Adapter] = {
    "unidepth-v1": Adapter("unidepth.models", UNIDEPTH, _load_named("UniDepthV1"), _call_unidepth),
    "unidepth-v2": Adapter("unidepth.models", UNIDEPTH, _load_named("UniDepthV2"), _call_unidepth),
    "unik3d": Adapter("unik3d.models", UNIK3D, _load_named("UniK3D"), _call_unik3d),
    "moge-1": Adapter("moge.model.v1", MOGE, _load_named("MoGeModel"), _call_moge),
    "moge-2": Adapter("moge.model.v2", MOGE, _load_named("MoGeModel"), _call_moge),
    "metric3d": Adapter("mmengine", METRIC3D, _load_metric3d, _call_metric3d, focal=True),
    "da3-metric": Adapter(
        "depth_anything_3.api", DA3, _load_named("DepthAnything3"), partial(_call_da3, metric=True), True
    ),
    "da3-mono": Adapter("depth_anything_3.api", DA3, _load_named("DepthAnything3"), _call_da3),
    "da3": Adapter("depth_anything_3.api", DA3, _load_named("DepthAnything3"), partial(_call_da3, camera_too=True)),
}


# (card, factory) of each alias; the factory takes `device`, and `model` for another checkpoint of the same sort.
CARDS: tuple[tuple[Card, Callable[..., ExternalPredictor]], ...] = tuple(
    (card, partial(ExternalPredictor, adapter=adapter, model=model, card=card)) for adapter, model, card in MODELS
)


def missing(name: str) -> str:
    """The line that installs what the alias `name` needs; "" where its package is there."""
    adapters = [adapter for adapter, _, card in MODELS if card.name == name]
    if not adapters:
        raise ValueError(f"no research package has a model called {name!r}")
    adapter = ADAPTERS[adapters[0]]
    packages = ("torch", adapter.module.partition(".")[0])
    return "" if all(importlib.util.find_spec(package) for package in packages) else adapter.install
