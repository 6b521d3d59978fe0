"""SharpDepth's step as a function of arrays: an ONNX file with its card, a training run, or a checkpoint of the hub."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.core.monotone import Curve
from keendepth.refiners.network import opened
from keendepth.refiners.restore import KEEP, Space

INPUTS, OUTPUTS = {"rgb": 3, "depth": 1, "noise": 2}, ("sharp", "difference")
GENERATOR = "onestep"  # the recipe of what a sharpener begins as
SECTION = "sharp"  # of a run's config.toml, and key of a card


@dataclass(frozen=True)
class SharpFacts:
    """What must be known of a network to use it; `sharp` in its card."""

    space: Space = "depth"  # what it was trained to see in -1..1
    longest: int = 768  # the longer side it is made for, in pixels
    multiple: int = 8  # of which its sides must be multiples
    errors: Curve | None = None  # from difference to expected relative error
    along: bool = False  # whether depth is put along the photo before the network sees it
    bounds: tuple[float, float] = KEEP  # differences up to the first are left alone, from the second taken whole
    whole: float = 0.0  # the difference, of 2 between nearest and farthest, that counts as 1; 0: the picture's largest

    @classmethod
    def read(cls, path: Path) -> SharpFacts:
        """From the card beside an .onnx file; FileNotFoundError without the file, ValueError without a card of a sharpener."""
        if not path.is_file():
            raise FileNotFoundError(f"no sharpener at {path}: expected an .onnx file with its card, or a folder")
        card = path.with_suffix(".json")
        content = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
        table = content.get(SECTION)
        if not isinstance(table, dict):
            raise ValueError(
                f"{path.name}: expected a card {card.name} beside it with the key {SECTION!r}, as `keendepth train sharp` writes it"
            )
        errors = table.get("errors")
        return facts_of(table, int(table["multiple"]), Curve.of(errors) if errors else None)

    def to_dict(self) -> dict[str, Any]:
        """For a card."""
        return asdict(self) | {"errors": self.errors.to_dict() if self.errors else None, "bounds": list(self.bounds)}


def facts_of(table: Mapping[str, Any], multiple: int, errors: Curve | None = None) -> SharpFacts:
    """From the options of a run, or from a card; what older ones lack has its default."""
    low, high = table.get("bounds", KEEP)
    more = {"along": bool(table.get("along", False)), "whole": float(table.get("whole", 0.0))}
    return SharpFacts(table["space"], int(table["longest"]), multiple, errors, bounds=(float(low), float(high)), **more)


@runtime_checkable
class SharpNetwork(Protocol):
    """A sharpener as a function of arrays whose sides are multiples of `facts.multiple`."""

    facts: SharpFacts

    def __call__(
        self, rgb: UInt8[np.ndarray, "h w 3"], depth: Float32[np.ndarray, "h w"], noise: Float32[np.ndarray, "2 h w"]
    ) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """(sharper depth, difference) from depth in -1..1, near to far, and unit noise."""
        ...


class OnnxSharpener:
    """The ONNX file at `path`, opened at the first call; its card, read at once, says how it is used."""

    def __init__(self, path: str | Path, sha256: str = "", threads: int = 0) -> None:
        self.path, self.sha256, self.threads = Path(path), sha256, threads
        self.facts = SharpFacts.read(self.path)

    def __call__(
        self, rgb: UInt8[np.ndarray, "h w 3"], depth: Float32[np.ndarray, "h w"], noise: Float32[np.ndarray, "2 h w"]
    ) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        planes = {"rgb": _planes(rgb), "depth": depth[None, None], "noise": noise[None]}
        taken = {given.name for given in self._session.get_inputs()}
        fed = {name: np.ascontiguousarray(plane) for name, plane in planes.items() if name in taken}
        sharp, difference = self._session.run(list(OUTPUTS), fed)
        return np.asarray(sharp, np.float32)[0, 0], np.asarray(difference, np.float32)[0, 0]

    @cached_property
    def _session(self) -> Any:
        session = opened(self.path, self.sha256, self.threads)
        found = {given.name for given in session.get_inputs()}
        if found not in (set(INPUTS), set(INPUTS) - {"noise"}):  # one evaluation from depth knows no chance
            raise ValueError(
                f"{self.path.name}: expected the inputs {', '.join(INPUTS)} of a sharpener, found {', '.join(sorted(found))}"
            )
        return session


class TorchSharpener:
    """A sharpener that torch runs: `make` gives the module (`nn.sharpen.Sharpener`) at the first call.

    `device` and `dtype`: "" for the best there is, and for bfloat16 on CUDA (float16 where it has none), float32 elsewhere.
    """

    def __init__(self, make: Any, facts: SharpFacts, device: str = "", dtype: str = "") -> None:
        self._make, self.facts = make, facts
        self.device, self.dtype = device, dtype

    def __call__(
        self, rgb: UInt8[np.ndarray, "h w 3"], depth: Float32[np.ndarray, "h w"], noise: Float32[np.ndarray, "2 h w"]
    ) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        import torch

        given = [
            torch.from_numpy(np.ascontiguousarray(x)).to(*self._place)
            for x in (_planes(rgb), depth[None, None], noise[None])
        ]
        with torch.inference_mode():
            sharp, difference = self._module(*given)
        found = [x[0, 0].float().cpu().numpy() for x in (sharp, difference)]
        if not all(np.isfinite(x).all() for x in found):
            raise ValueError("sharp: the network gave numbers that are not finite: try dtype='float32'")
        return found[0], found[1]

    @cached_property
    def _place(self) -> tuple[str, Any]:
        import torch

        from keendepth.predictors.diffusion import best_device

        device = self.device or best_device()
        low = "bfloat16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "float16"
        name = self.dtype or (low if device.startswith("cuda") else "float32")
        return device, getattr(torch, name)

    @cached_property
    def _module(self) -> Any:
        return self._make().to(*self._place).eval()


def of_path(path: str | Path, sha256: str = "") -> SharpNetwork:
    """An .onnx file with its card, a folder of a training run, a folder in the hub's layout, or a hub id.

    FileNotFoundError where there is nothing of the kind; what cannot be loaded says so at the first picture.
    """
    place = Path(path)
    if place.suffix == ".onnx":
        return OnnxSharpener(place, sha256)
    if (place / "model.onnx").is_file() and (place / "model.json").is_file():
        return OnnxSharpener(place / "model.onnx")
    if (place / "config.toml").is_file():
        return _of_run(place)
    if (place / "model_index.json").is_file() or (not place.exists() and str(path).count("/") == 1):
        return _of_hub(str(path))
    raise FileNotFoundError(
        f"no sharpener at {path}: expected an .onnx file, the folder of a training run, or a checkpoint as diffusers saves it"
    )


def of_model(model: Any, space: Space = "depth", options: Any = None) -> TorchSharpener:
    """A one-step model (`nn.diffusion.OneStep`) used as a sharpener as it is, with `nn.sharpen.SharpenOptions`."""
    return TorchSharpener(lambda: _sharpener(model, options), SharpFacts(space, model.longest, model.multiple))


def _sharpener(model: Any, options: Any) -> Any:
    from keendepth.nn.sharpen import Sharpener, SharpenOptions

    return Sharpener(model, options or SharpenOptions())


def _of_hub(model: str) -> TorchSharpener:
    def make() -> Any:
        from keendepth.predictors import one_step

        return _sharpener(one_step.load(model), None)

    return TorchSharpener(make, SharpFacts())  # 768 pixels, latents of 8: what all of these have


def _of_run(folder: Path) -> TorchSharpener:
    config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    table = config.get(SECTION) or config.get(
        GENERATOR
    )  # a generative model is a sharpener that has not learned its metric teacher
    if table is None:
        raise ValueError(
            f"{folder}: a run of another recipe; expected one of `keendepth train sharp` or `train onestep`"
        )

    def make() -> Any:
        from keendepth.nn import checkpoint
        from keendepth.nn.sharpen import ONCE, SharpenOptions

        model = _model_of(table)
        weights = folder / "student.safetensors"
        checkpoint.fill(model.denoiser, checkpoint.load(weights)[0], str(weights))
        if table.get("condition", 0) > 0:
            return _sharpener(model, ONCE)
        known = {entry.name for entry in fields(SharpenOptions)}
        return _sharpener(model, SharpenOptions(**{key: value for key, value in table.items() if key in known}))

    if table.get("checkpoint"):
        return TorchSharpener(make, SharpFacts(table["space"]))
    multiple = int(table["stride"]) * 2 ** (len(table["channels"]) - 1)
    return TorchSharpener(make, facts_of(table, multiple))


def _model_of(table: dict[str, Any]) -> Any:
    """The one-step model that a run's options describe."""
    if table.get("checkpoint"):
        from keendepth.predictors import one_step

        return one_step.load(table["checkpoint"])
    return described(table)


def described(table: Mapping[str, Any]) -> Any:
    """Our own one-step model of a run's options, with fresh weights."""
    fine = int(table.get("fine", 0))  # runs from before it was there had none
    return small_model(
        int(table["stride"]), tuple(table["channels"]), int(table["blocks"]), int(table["longest"]), fine
    )


def small_model(stride: int, channels: tuple[int, ...], blocks: int, longest: int, fine: int = 0) -> Any:
    """Our own one-step model (`nn.diffusion.OneStep`) with fresh weights: pixels as latents, and a small U-Net."""
    from keendepth.nn.denoise_net import DenoiseNet
    from keendepth.nn.diffusion import OneStep, PixelCodec, Schedule

    codec = PixelCodec(stride)
    return OneStep(
        codec, DenoiseNet(codec.picture_channels, codec.channels, channels, blocks, fine), Schedule(), longest
    )


def _planes(rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "1 3 h w"]:
    """In 0..1."""
    return rgb.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
