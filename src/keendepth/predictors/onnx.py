"""Any ONNX depth network as a predictor: a model file, a card that says how it is fed, ONNX Runtime."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from keendepth.core import geometry
from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.predictors import pixels
from keendepth.predictors.card import PILLOW, CardError, ModelCard

# The least value of a kind that must be above 0, for networks whose last layer can give 0: a millimetre, and for depth
# without a unit a millionth of whatever the network's unit is.
LEAST = {DepthKind.METRIC: 1e-3, DepthKind.SCALE_INVARIANT: 1e-6}

# Short names of execution providers; "auto" takes those that are installed, in this order. TensorRT is left out of it: it builds for minutes.
CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": CPU,
}
AUTO = ("auto",)
Raw = tuple[
    np.ndarray, float | None
]  # a plane [h w], and the focal length in pixels of the input's width, where the network says it


class OnnxPredictor:
    """Runs the network in `path` as `card` says; the file is opened, and checked against the card's sha256, at the first picture.

    `card`: a ModelCard, a mapping, the path of a JSON or TOML file, or None for the one beside the model. `providers`: ONNX
    Runtime's execution providers in order of preference, by their names or short ("cuda", "coreml", "openvino", ...); "auto" for
    the best that is installed, with the CPU to fall back on; () for the CPU. `threads`: of one picture, 0 for all cores.
    Raises CardError for a card it cannot use; FileNotFoundError, ValueError at the first picture for a model it cannot.
    """

    def __init__(
        self,
        path: str | Path,
        card: ModelCard | Mapping[str, Any] | str | Path | None = None,
        providers: Sequence[str] | str = (),
        threads: int = 0,
    ) -> None:
        self.path = Path(path)
        self.model = _model_card(card, self.path)
        self.providers = _names(providers)
        self.threads = threads

    @property
    def card(self) -> Card:
        return self.model.card

    @property
    def kind(self) -> DepthKind:
        return DepthKind(self.card.kind)

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """Depth of `kind` at the picture's size, carrying its camera; NaN where the network gave no finite number.

        `size`: the (height, width) to process at, rounded to the network's stride; None: the native one. Where the card knows
        the focal length its metres hold for, they are scaled to the picture's camera, as in the canonical camera space of
        Metric3D (Yin et al., ICCV 2023, section 3.1); a picture without a camera is taken for a crop of a training picture.
        ValueError if the network cannot take `size`.
        """
        return self.predict_batch([image], size)[0]

    def predict_batch(self, images: Sequence[Image], size: tuple[int, int] | None = None) -> list[DepthMap]:
        """As `predict` for each picture; those that the network sees at one size go through it together, if it takes batches."""
        framed = [self._framed(image) for image in images]
        sizes = [self.processing_size(rgb.shape[:2], size) for rgb in framed]
        raw: dict[int, Raw] = {}
        for wanted in dict.fromkeys(sizes):
            places = [place for place, chosen in enumerate(sizes) if chosen == wanted]
            found = self._run([self._tensor(framed[place], wanted) for place in places])
            raw |= dict(zip(places, found, strict=True))
        return [self._map(image, sizes[place], raw[place]) for place, image in enumerate(images)]

    def _map(self, image: Image, size: tuple[int, int], raw: Raw) -> DepthMap:
        plane, focal = raw
        camera, factor = self._camera(image, focal, size)
        plane = _clean(plane, self.model.output.scale * factor, self.kind)
        down, across = self._border(image.size)
        framed = image.size[0] + 2 * down, image.size[1] + 2 * across
        # Networks with a focal length of their own are Depth Pro's kin, whose authors enlarge inverse depth.
        depth = geometry.resize_depth(plane if focal is None else 1 / plane, framed)
        depth = depth if focal is None else 1 / depth
        inner = depth[down : down + image.size[0], across : across + image.size[1]]
        return DepthMap(np.ascontiguousarray(inner), self.kind, camera, self.card)

    def _framed(self, image: Image) -> UInt8[np.ndarray, "h w 3"]:
        border = self._border(image.size)
        return pixels.bordered(image.rgb, border) if any(border) else image.rgb

    def processing_size(self, photo: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
        """The (height, width) the network sees for a photo of size `photo` when `size` is asked for."""
        native = self.model.native_size(photo)
        if size is None:
            return native
        if min(size) < 1:
            raise ValueError(
                f"{self.card.name}: the size to process at must be 1 x 1 or more, found {size[0]} x {size[1]}"
            )
        if self.model.input.stride:
            return geometry.to_multiple(size, self.model.input.stride)
        if tuple(size) != native:
            raise ValueError(
                f"{self.card.name}: this network takes {native[0]} x {native[1]} (height x width) only, "
                f"asked for {size[0]} x {size[1]}: leave the size out, or choose a model whose card has a stride"
            )
        return native

    def _border(self, photo: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of reflection on each side."""
        wide = self.model.input.border
        return int(wide * math.sqrt(photo[0] / 2)), int(wide * math.sqrt(photo[1] / 2))

    def _camera(self, image: Image, focal: float | None, size: tuple[int, int]) -> tuple[Camera | None, float]:
        """The depth's camera, and how much farther things are than the network says: the focal length over the one its metres hold for."""
        camera = image.camera
        if focal is not None:  # the network's own, in pixels of the input's width
            own = focal * image.size[1] / size[1]
            if camera is None or camera.source == "guess":
                return Camera.from_focal(own, image.size[1], image.size[0], "model"), 1.0
            return camera, camera.fx / own
        if not self.model.input.focal:
            return camera, 1.0
        found = camera.fy if camera else self.model.assumed_focal(image.size)
        return camera, found * size[0] / image.size[0] / self.model.input.focal

    def _tensor(self, rgb: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Float32[np.ndarray, "1 3 h2 w2"]:
        rule = self.model.input
        low, high = rule.range
        std = np.asarray(rule.std, np.float32)
        gain = np.float32(high - low) / np.float32(255) / std
        offset = (np.float32(low) - np.asarray(rule.mean, np.float32)) / std
        by_pillow = rule.method.startswith(PILLOW)
        how = pixels.resized if by_pillow else geometry.resize
        planes = np.ascontiguousarray(how(rgb, size, rule.method.removeprefix(PILLOW)).transpose(2, 0, 1))
        return (planes * gain[:, None, None] + offset[:, None, None])[None]

    def _run(self, tensors: list[np.ndarray]) -> list[Raw]:
        """What the network says of each tensor [1 3 h w]; all tensors have one size."""
        alone = isinstance(self._session.get_inputs()[0].shape[0], int)  # a network whose batch is fixed
        groups = [[tensor] for tensor in tensors] if alone else [tensors]
        wanted = [self._output, *([self.model.output.focal] if self.model.output.focal else [])]
        found: list[Raw] = []
        for group in groups:
            out, *rest = self._session.run(wanted, self._feeds(np.concatenate(group)))
            planes = np.split(np.asarray(out), len(group)) if len(group) > 1 else [np.asarray(out)]
            focals = np.asarray(rest[0], np.float64).ravel().tolist() if rest else [None] * len(group)
            found += [(self._plane(plane), focal) for plane, focal in zip(planes, focals, strict=True)]
        return found

    def _plane(self, out: np.ndarray) -> Float32[np.ndarray, "h w"]:
        repeat = self.model.output.repeat
        return np.ascontiguousarray(_plane(out, self.path.name).astype(np.float32)[::repeat, ::repeat])

    def _feeds(self, tensor: Float32[np.ndarray, "n 3 h w"]) -> dict[str, np.ndarray]:
        """The network's inputs by name, of the types it takes."""
        given = self._session.get_inputs()[0]
        wanted = "float16" if given.type == "tensor(float16)" else "float32"
        return {given.name: tensor.astype(wanted, copy=False)}

    def _check_inputs(self, inputs: Sequence[Any]) -> None:
        _check_input(inputs, self.model, self.path.name)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # from 1.31 on it would report to its makers
        self._check_file()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = (
            3  # errors only: warnings there are about the graph, not about anything a user can do
        )
        providers = self._available(onnxruntime)
        try:
            session = onnxruntime.InferenceSession(self.path, options, providers=providers)
        except Exception as error:  # ONNX Runtime has a class for each of a dozen failures, and no common one but this
            if self.providers != AUTO or providers == [CPU]:
                raise ValueError(f"{self.path.name}: ONNX Runtime cannot load this model: {error}") from error
            session = onnxruntime.InferenceSession(self.path, options, providers=[CPU])
        self._check_inputs(session.get_inputs())
        return session

    @cached_property
    def _output(self) -> str:
        names = [output.name for output in self._session.get_outputs()]
        rule = self.model.output
        for key, wanted in (("name", rule.name), ("focal", rule.focal)):
            if wanted and wanted not in names:
                raise CardError(
                    f"{self.path.name}: the card's output.{key} is {wanted!r}, the network has {', '.join(names)}"
                )
        return rule.name or names[0]

    def file(self) -> Path:
        """The model file, fetched if need be and checked against the card. FileNotFoundError, ValueError as at the first picture."""
        self._check_file()
        return self.path

    def _check_file(self) -> None:
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.card.name}: no model file at {self.path}")
        if self.card.sha256:
            with self.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != self.card.sha256.lower():
                raise ValueError(
                    f"{self.path.name} is not the file its card describes: expected sha256 {self.card.sha256}, "
                    f"found {found}. Fetch it again, or correct the card if you changed the model"
                )

    def _available(self, onnxruntime: Any) -> list[str]:
        have = onnxruntime.get_available_providers()
        if self.providers == AUTO:
            return [name for name in PROVIDERS.values() if name in have]
        lacking = [name for name in self.providers if name not in have]
        if lacking:
            raise ValueError(
                f"{self.card.name}: ONNX Runtime has no {', '.join(lacking)} here; it has {', '.join(have)} "
                "(onnxruntime-gpu, onnxruntime-openvino and the macOS wheel have others)"
            )
        return list(self.providers or (CPU,))


def _names(providers: Sequence[str] | str) -> tuple[str, ...]:
    """Full names of providers, from full or short ones, in a list or with commas."""
    words = [word.strip() for word in providers.split(",") if word.strip()] if isinstance(providers, str) else providers
    return tuple(PROVIDERS.get(word.lower(), word) for word in words)


def _model_card(card: ModelCard | Mapping[str, Any] | str | Path | None, path: Path) -> ModelCard:
    if isinstance(card, ModelCard):
        return card
    if isinstance(card, Mapping):
        return ModelCard.from_dict(card)
    if card is None:
        toml = path.with_suffix(".toml")
        card = toml if toml.is_file() else path.with_suffix(".json")
    return ModelCard.read(card)


def _check_input(inputs: Sequence[Any], model: ModelCard, name: str) -> None:
    """Raise ValueError unless the network takes one picture, of the sizes that the card promises."""
    shapes = ", ".join(f"{given.name} {given.shape}" for given in inputs)
    side = list(inputs[0].shape)
    if len(inputs) != 1 or len(side) != 4 or (isinstance(side[1], int) and side[1] != 3):
        raise ValueError(f"{name}: expected a network with one input [1, 3, height, width], found {shapes}")
    fixed = [length for length in side[2:] if isinstance(length, int)]
    if fixed and model.input.stride:
        raise CardError(
            f"{name}: the card has input.stride, but the network's size is fixed: {shapes}; use native_size"
        )
    if fixed and tuple(side[2:]) != model.card.native_size:
        raise CardError(f"{name}: the card's native_size is {model.card.native_size}, the network takes {shapes}")


def _plane(out: np.ndarray, name: str) -> Shaped[np.ndarray, "h w"]:
    """The one depth map in an output [1 1 h w], [1 h w 1], [1 h w] or [h w]."""
    plane = out[0] if out.ndim in (3, 4) and out.shape[0] == 1 else out
    if plane.ndim == 3 and 1 in (plane.shape[0], plane.shape[2]):
        plane = plane[0] if plane.shape[0] == 1 else plane[..., 0]
    if plane.ndim != 2 or 0 in plane.shape:
        raise ValueError(
            f"{name}: expected an output [1, 1, h, w], [1, h, w, 1], [1, h, w] or [h, w], found {list(out.shape)}"
        )
    return plane


def _clean(raw: Float32[np.ndarray, "h w"], factor: float, kind: DepthKind) -> Float32[np.ndarray, "h w"]:
    """Raw output times `factor`, above 0 where the kind must be; what is not finite is unknown."""
    finite = np.isfinite(raw)
    values = np.where(finite, raw, np.float32(0)) * np.float32(factor)
    if kind in LEAST:
        values = np.maximum(values, np.float32(LEAST[kind]))
    return np.where(finite, values, np.float32(np.nan)).astype(np.float32)
