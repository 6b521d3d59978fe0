"""Depth networks of the transformers library as predictors: by alias, hub id or folder, with the pre-processing that each was trained for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.predictors.aliases import ALIASES, HUB_IDS
from keendepth.predictors.card import ModelCard
from keendepth.predictors.hf import copies, loading
from keendepth.predictors.hf.cards import model_card
from keendepth.predictors.hf.copies import Copies, sees_fov
from keendepth.predictors.hf.engines import RUNTIMES, Engine, TorchEngine, apart, open_copy
from keendepth.predictors.hf.feeding import Feeding, FeedingError, feeding
from keendepth.predictors.hf.files import CONFIG, PREPROCESSOR, Files, ModelError, check_extra
from keendepth.predictors.hub import installed
from keendepth.predictors.memory import halving

LEAST = 1e-3  # metres; some heads can give 0, which is no depth
FARTHEST = 1e4  # metres; Depth Pro's own least inverse depth is 1e-4 (Bochkovskii et al. 2025, the authors' code)
FOV_LIMITS = (1.0, 175.0)  # degrees; what Depth Pro says beyond is no pinhole camera
Prompt = DepthMap | str | Path | None


class HuggingFacePredictor:
    """A network of transformers, its config read at once, its weights loaded at the first picture.

    `source`: a hub id (owner/name) or a folder in the hub's layout; `revision`: a branch, tag or commit of the hub id.
    `device`: "cpu", "cuda", "cuda:1", "mps"; None: the best there is. `dtype`: "float32", "float16" or "bfloat16"; None: float32, and
    float16 on CUDA where the network bears it (bfloat16 has three bits less for the depth itself).
    `prompt`: for Prompt Depth Anything, a metric map or a file of one, of the same view at any size.
    `runtime`: "torch", "compile" (torch.compile), "onnx" or "openvino" (on a copy of the network, made at first use and kept in the
    user's cache); "auto": the copy on the CPU, in OpenVINO if that is installed, as it takes half of torch's time; torch elsewhere.
    ModelError (a HubError), one line, for whatever is wrong with the model. `pipeline.load` tells of a non-commercial licence.
    """

    def __init__(
        self,
        source: str | Path,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        prompt: Prompt = None,
        runtime: str = "auto",
    ) -> None:
        self.source = str(source)
        card = HUB_IDS.get(self.source)  # the alias's where it has one, else made from the model's own files
        check_extra(card.name if card else self.source)
        if runtime not in RUNTIMES:
            raise ValueError(f"{self.source}: runtime must be one of {', '.join(RUNTIMES)}, found {runtime!r}")
        if runtime in ("onnx", "openvino") and (device not in (None, "cpu") or dtype not in (None, "float32")):
            raise ValueError(f"{self.source}: the runtime {runtime} is for the CPU in float32, found {device}, {dtype}")
        self.runtime = runtime
        self.files = Files(self.source, revision)
        self.feeding = _read_feeding(self.files)
        self.prompt = self._opened(prompt)
        self._device, self._dtype = device, dtype
        self.card = self._described(card)

    @property
    def kind(self) -> DepthKind:
        return self.feeding.kind

    def predict(self, image: Image, size: tuple[int, int] | None = None, prompt: Prompt = None) -> DepthMap:
        """Depth of `kind` at the picture's size; NaN where the network gave no finite number.

        `size`: the (height, width) to process at, rounded to what the network takes; None: its own rule. `prompt`: instead of the
        constructor's. The camera is the picture's; Depth Pro measures in it, or predicts one (source "model") where there is none or a guess.
        """
        return self._predict([image], size, [self._opened(prompt)])[0]

    def predict_batch(
        self, images: Sequence[Image], size: tuple[int, int] | None = None, prompts: Sequence[Prompt] = ()
    ) -> list[DepthMap]:
        """The same for several pictures of one size in one pass; each result is that of the picture alone. ValueError for mixed sizes.

        Where memory runs out, in two passes, and so on down to single pictures.
        """
        sizes = sorted({image.size for image in images})
        if len(sizes) > 1:
            raise ValueError(f"{self.card.name}: a batch must be of one size, found {', '.join(map(str, sizes))}")
        if prompts and len(prompts) != len(images):
            raise ValueError(
                f"{self.card.name}: expected a prompt for each of {len(images)} pictures, found {len(prompts)}"
            )
        opened = [self._opened(prompt) for prompt in prompts or [None] * len(images)]
        pairs = list(zip(images, opened, strict=True))

        def work(some: Sequence[tuple[Image, DepthMap | None]]) -> list[DepthMap]:
            return self._predict([image for image, _ in some], size, [prompt for _, prompt in some])

        return halving(pairs, work, self.card.name) if pairs else []

    def processing_size(self, photo: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
        """The (height, width) that the network sees for a photo of size `photo` when `size` is asked for."""
        try:
            return self.feeding.processing_size(photo, size)
        except ValueError as error:
            raise ValueError(f"{self.card.name}: {error}") from None

    def _predict(
        self, images: Sequence[Image], size: tuple[int, int] | None, prompts: Sequence[DepthMap | None]
    ) -> list[DepthMap]:
        chosen = self.processing_size(images[0].size, size)
        extra = self._prompt_input(images, prompts)
        seen = np.stack([self.feeding.pixels(image.rgb, chosen) for image in images])
        planes, fovs = self._engine(seen, np.stack(extra) if extra else None)
        found = zip(images, planes, fovs or [None] * len(images), strict=True)
        return [self._finish(image, plane, fov) for image, plane, fov in found]

    def _finish(self, image: Image, plane: Float32[np.ndarray, "h w"], fov: float | None) -> DepthMap:
        if not np.isfinite(plane).all():
            plane = np.where(np.isfinite(plane), plane, np.float32(np.nan))
        values, camera = self.feeding.back(plane, image.size), image.camera
        if self.feeding.focal:
            camera = self._camera(image, fov)
            # Depth Pro, equation 1: inverse depth in metres is the canonical one times picture width over focal length.
            values = 1 / np.clip(values * np.float32(image.size[1] / camera.fx), 1 / FARTHEST, 1 / LEAST)
        elif self.kind.positive:
            values = np.maximum(values, np.float32(LEAST))
        return DepthMap(values, self.kind, camera, self.card)

    def _camera(self, image: Image, fov: float | None) -> Camera:
        if image.camera is not None and (image.camera.source != "guess" or fov is None):
            return image.camera
        if fov is None:
            raise ValueError(
                f"{self.card.name}: this Depth Pro has no head for the field of view, and the picture no camera: "
                "give it one with Camera.from_fov(degrees, width, height), or --fov / --focal on the command line"
            )
        height, width = image.size
        return Camera.from_fov(float(np.clip(fov, *FOV_LIMITS)), width, height, source="model")

    def _opened(self, prompt: Prompt) -> DepthMap | None:
        if prompt is None:
            return None
        if not self.feeding.prompted:
            raise ValueError(f"{self.source}: takes no prompt; a depth prompt is for prompt-depth-anything")
        from keendepth import io  # late: with it comes Pillow, and listing models must be quick

        depth = prompt if isinstance(prompt, DepthMap) else io.read(prompt)
        depth.require(DepthKind.METRIC, "a prompt")
        if not depth.valid.any():
            raise ValueError(f"{self.source}: the prompt has no known pixel")
        return depth

    def _prompt_input(
        self, images: Sequence[Image], prompts: Sequence[DepthMap | None]
    ) -> list[Float32[np.ndarray, "1 h w"]]:
        """The prompts as the network takes them: metres without holes; [] for a network without a prompt."""
        if not self.feeding.prompted:
            return []
        chosen = [own or self.prompt for own in prompts]
        tensors = []
        for image, prompt in zip(images, chosen, strict=True):
            if prompt is None:
                raise ValueError(
                    f"{self.card.name}: needs a coarse metric depth with the picture (a phone's lidar, any size): give it as `prompt`"
                )
            _check_view(image, prompt)
            tensors.append(_metres(prompt))
        if len({tensor.shape for tensor in tensors}) > 1:
            raise ValueError(f"{self.card.name}: the prompts of a batch must be of one size")
        return tensors

    @cached_property
    def _network(self) -> tuple[Any, dict[str, Any]]:
        """The network in evaluation mode, and where it lives: its device and dtype, decided once."""
        chosen = loading.place(self.source, self._device, self._dtype, self.feeding.half)
        network = self._loaded()
        return network.to(**chosen), chosen  # here, so that a full GPU is not taken for a damaged file

    def _loaded(self) -> Any:
        network = loading.load(self.files)
        self._count(sum(parameter.numel() for parameter in network.parameters()))
        return network

    def _count(self, parameters: int) -> None:
        self.card = replace(self.card, parameters=parameters)

    @cached_property
    def copies(self) -> Copies:
        """The network's copy for ONNX Runtime, made when it is asked for."""
        return Copies(self.files, self.feeding, self._loaded)

    def export(self, path: Path) -> tuple[float, ModelCard]:
        """Write the network as ONNX for pictures in 0..255, metres inside the graph; the largest relative difference from torch, and the card.

        ParityError where they differ; ValueError for a network that takes a prompt, which a card cannot feed.
        """
        if self.feeding.prompted:
            raise ValueError(f"{self.card.name}: takes a depth prompt, which a card cannot feed: it is not exported")
        network = self._loaded().to("cpu").float()
        worst = copies.write(network, self.feeding, path, for_cards=True)
        return worst, model_card(self.card, self.feeding, sees_fov(network))

    @cached_property
    def _engine(self) -> Engine:
        """What runs the network; the weights are loaded here."""
        if self.runtime in ("onnx", "openvino") or (self.runtime == "auto" and self._copy_is_best()):
            engine = self._of_copy()
            if engine is not None:
                return engine
        from keendepth.nn.whole import WholeDepth

        network, chosen = self._network
        colours = self.feeding.mean, self.feeding.std, self.feeding.top
        whole = WholeDepth(network, colours, sees_fov(network)).eval().to(chosen["device"])
        return TorchEngine(whole, chosen["device"], self.runtime == "compile")

    def _of_copy(self) -> Engine | None:
        """The engine on the copy, which is made anew once where it is damaged; None where "auto" has to do without."""
        for last in (False, True):
            copy = self.copies.get(insists=self.runtime != "auto")
            if copy is None:
                return None
            self._count(copy.parameters)
            try:
                return self._opened_copy(copy.path)
            except ModelError:
                if last:
                    raise
                self.copies.forget()
        return None

    def _opened_copy(self, path: Path) -> Engine:
        """OpenVINO is the faster of the two, and is taken by "auto" where it is installed and gives the same numbers."""
        if self.runtime != "auto":
            return open_copy(self.runtime, path, self.source)
        if not installed("openvino"):
            return open_copy("onnx", path, self.source)

        def check() -> float:
            given = copies.examples(self.feeding, copies.sizes(self.feeding)[0], channels_first=False)
            pixels, *prompts = (each.numpy() for each in given)
            one, other = (open_copy(name, path, self.source) for name in ("onnx", "openvino"))
            return apart(one, other, pixels, prompts[0] if prompts else None)

        fast = self.copies.agrees("openvino", check)
        return open_copy("openvino" if fast else "onnx", path, self.source)

    def _copy_is_best(self) -> bool:
        """On the CPU in 32 bits, where one can be made: torch's own answer on a GPU, or in half precision, is faster."""
        if self._dtype not in (None, "float32") or (self._device or "cpu") != "cpu" or not copies.possible():
            return False
        return self._device == "cpu" or not _accelerated()

    def _described(self, card: Card | None) -> Card:
        """The alias's card, or one made from the model's own files, with the kind that its config says."""
        if card is None:
            name = self.source.rstrip("/").rpartition("/")[2] or "model"
            summary = f"A depth network of transformers from {name}"
            card = Card(name, summary, self.files.license() or "not stated; see the model's page")
        return replace(card, kind=self.kind, native_size=self.feeding.native)


# What the registry takes: each alias's card and the function that builds its predictor.
CARDS: tuple[tuple[Card, Callable[..., HuggingFacePredictor]], ...] = tuple(
    (card, partial(HuggingFacePredictor, hub_id)) for hub_id, card in ALIASES.values()
)


def _accelerated() -> bool:
    """Whether torch has something better than the CPU here; a torch without it says so by its version, which spares its import."""
    if metadata.version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _read_feeding(files: Files) -> Feeding:
    config = files.json(CONFIG, required=True)
    try:
        return feeding(config or {}, files.json(PREPROCESSOR))
    except FeedingError as error:
        raise ModelError(f"{files.source}: {error}") from error


def _metres(prompt: DepthMap) -> Float32[np.ndarray, "1 h w"]:
    """Known depths, the nearest known one elsewhere; a constant map gets a millimetre of range, which the network divides by."""
    values = np.where(prompt.sky, np.float32(np.nan), prompt.values)
    filled = prompt.with_values(values).filled().values
    if filled.min() == filled.max():
        filled = np.tile(filled, (2, 2))
        filled[0, 0] += np.float32(1e-3)
    return np.array(filled[None])


def _check_view(image: Image, prompt: DepthMap) -> None:
    photo, own = image.size[0] / image.size[1], prompt.size[0] / prompt.size[1]
    if max(photo, own) > 1.1 and min(photo, own) < 1 / 1.1:
        raise ValueError(
            f"the photo is {image.size[1]} x {image.size[0]} and the prompt {prompt.size[1]} x {prompt.size[0]}: "
            "one of them is rotated; turn the prompt upright first"
        )
