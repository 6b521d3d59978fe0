"""Depth networks of the transformers library as predictors: by alias, hub id or folder, with the pre-processing that each was trained for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.predictors.aliases import ALIASES, HUB_IDS
from keendepth.predictors.hf.feeding import Feeding, FeedingError, feeding
from keendepth.predictors.hf.files import CONFIG, PREPROCESSOR, Files, ModelError, check_extra, first_line

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
    ModelError (a HubError), one line, for whatever is wrong with the model. `pipeline.load` tells of a non-commercial licence.
    """

    def __init__(
        self,
        source: str | Path,
        revision: str | None = None,
        card: Card | None = None,
        device: str | None = None,
        dtype: str | None = None,
        prompt: Prompt = None,
    ) -> None:
        self.source = str(source)
        check_extra(card.name if card else self.source)
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
        """The same for several pictures of one size in one pass; each result is that of the picture alone. ValueError for mixed sizes."""
        sizes = sorted({image.size for image in images})
        if len(sizes) > 1:
            raise ValueError(f"{self.card.name}: a batch must be of one size, found {', '.join(map(str, sizes))}")
        if prompts and len(prompts) != len(images):
            raise ValueError(
                f"{self.card.name}: expected a prompt for each of {len(images)} pictures, found {len(prompts)}"
            )
        opened = [self._opened(prompt) for prompt in prompts or [None] * len(images)]
        return self._predict(images, size, opened) if images else []

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
        tensor = np.stack([self.feeding.tensor(image.rgb, chosen) for image in images])
        planes, fovs = self._run(tensor, extra)
        return [self._finish(image, plane, fov) for image, plane, fov in zip(images, planes, fovs, strict=True)]

    def _run(
        self, tensor: Float32[np.ndarray, "b 3 h w"], extra: list[Float32[np.ndarray, "1 h2 w2"]]
    ) -> tuple[Float32[np.ndarray, "b h3 w3"], list[float | None]]:
        import torch

        network, place = self._network
        with torch.inference_mode(), _quiet():
            inputs = {"pixel_values": torch.from_numpy(tensor).to(**place)}
            if extra:
                inputs["prompt_depth"] = torch.from_numpy(np.stack(extra)).to(**place)
            out = network(**inputs)
        planes = out.predicted_depth.float().cpu().numpy()
        fov = getattr(out, "field_of_view", None)
        return planes, [None] * len(planes) if fov is None else fov.float().cpu().tolist()

    def _finish(self, image: Image, plane: Float32[np.ndarray, "h w"], fov: float | None) -> DepthMap:
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
        folder = self.files.weights()
        import torch

        place = self._place(torch)
        try:
            with _quiet():
                from transformers import AutoModelForDepthEstimation

                network, report = AutoModelForDepthEstimation.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
                )
        except MemoryError:
            raise
        except Exception as error:  # safetensors, torch and transformers each have their own for a damaged file
            raise ModelError(
                f"{self.source}: the weights cannot be loaded, the file is damaged or of another model ({first_line(error)})"
            ) from error
        lacking = [*report["missing_keys"], *report["mismatched_keys"]]
        if lacking:  # transformers would go on with random numbers in their place
            raise ModelError(
                f"{self.source}: {len(lacking)} of the network's tensors are missing from the weights "
                f"(the first: {lacking[0]}): the file is incomplete or of another model"
            )
        count = sum(parameter.numel() for parameter in network.parameters())
        self.card = replace(self.card, parameters=count)
        return network.to(**place).eval(), place  # here, so that a full GPU is not taken for a damaged file

    def _place(self, torch: Any) -> dict[str, Any]:
        accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        wanted = self._device or next((name for name, there in accelerators.items() if there), "cpu")
        if not accelerators.get(wanted.split(":")[0], wanted == "cpu"):
            raise ModelError(f"{self.source}: torch finds no device {wanted!r} here; use cpu")
        dtype = self._dtype or ("float16" if wanted.startswith("cuda") and self.feeding.half else "float32")
        if dtype not in ("float32", "float16", "bfloat16"):
            raise ModelError(f"{self.source}: dtype must be float32, float16 or bfloat16, found {dtype!r}")
        return {"device": torch.device(wanted), "dtype": getattr(torch, dtype)}

    def _described(self, card: Card | None) -> Card:
        """The alias's card, or one made from the model's own files, with the kind that its config says."""
        if card is None:
            name = self.source.rstrip("/").rpartition("/")[2] or "model"
            summary = f"A depth network of transformers from {name}"
            card = Card(name, summary, self.files.license() or "not stated; see the model's page")
        return replace(card, kind=self.kind, native_size=self.feeding.native)


def from_id(
    source: str, revision: str | None = None, device: str | None = None, dtype: str | None = None, prompt: Prompt = None
) -> HuggingFacePredictor:
    """The predictor of a hub id or a folder; its card is the alias's where it has one, else made from the model's own files."""
    return HuggingFacePredictor(source, revision, HUB_IDS.get(source), device, dtype, prompt)


def from_alias(
    name: str, revision: str | None = None, device: str | None = None, dtype: str | None = None, prompt: Prompt = None
) -> HuggingFacePredictor:
    """The predictor that an alias of `aliases.ALIASES` stands for."""
    hub_id, card = ALIASES[name]
    return HuggingFacePredictor(hub_id, revision, card, device, dtype, prompt)


# What the registry takes: each alias's card and the function that builds its predictor.
CARDS: tuple[tuple[Card, Callable[..., HuggingFacePredictor]], ...] = tuple(
    (card, partial(from_alias, name)) for name, (_, card) in ALIASES.items()
)


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar, log lines and third parties' deprecations; all as before afterwards."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
