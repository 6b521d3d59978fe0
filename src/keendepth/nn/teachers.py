"""Semantic experts whose features a student learns from: frozen, used while training only."""

from __future__ import annotations

import inspect
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from keendepth.nn import checkpoint, segmenter, tiny_vit

KEPT = 2000  # maps that a slow teacher remembers; of MobileSAM 2 MB each in float16 at 1024 pixels
WEIGHTS = "student.safetensors"  # of a run's folder
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation, where a model does not say


@runtime_checkable
class Teacher(Protocol):
    """A frozen network that sees what things are."""

    channels: int  # of its map

    def features(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Its map of pictures in 0..1, without a gradient; coarser than the picture."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, for reports and cards."""
        ...

    def to(self, device: torch.device) -> Teacher:
        """Itself, moved."""
        ...


class Frozen:
    """A module as a teacher. Pictures are resized so that both sides are multiples of `stride`, the longer one `longest` (0: as it is)."""

    def __init__(
        self,
        network: nn.Module,
        read: Callable[[nn.Module, Tensor], Tensor],
        facts: Mapping[str, Any],
        stride: int,
        longest: int = 0,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.read, self.facts, self.stride, self.longest = read, dict(facts), stride, longest
        side = longest or 4 * stride
        self.channels = int(self.features(torch.zeros(1, 3, side // stride * stride, side // stride * stride)).shape[1])

    @torch.no_grad()
    def features(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Its map, at 1/stride of the size it saw."""
        return self.read(self.network, resized(rgb, self.stride, self.longest)).float()

    def describe(self) -> dict[str, Any]:
        """Name, where from, channels, stride."""
        return {**self.facts, "channels": self.channels, "stride": self.stride}

    def to(self, device: torch.device) -> Frozen:
        """Itself, moved."""
        self.network.to(device)
        return self


class Remembering:
    """A teacher that keeps its last maps, by the pictures' own values: right where training shows pictures uncut, of no use where it cuts."""

    def __init__(self, teacher: Teacher, kept: int = KEPT) -> None:
        self.teacher, self.kept, self.channels = teacher, kept, teacher.channels
        self._maps: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    def features(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """As the teacher says, rounded to float16; only what is new is asked for."""
        keys = [(zlib.crc32(one.cpu().contiguous().numpy().tobytes()), *one.shape) for one in rgb]
        new = [k for k, key in enumerate(keys) if key not in self._maps]
        fresh = dict(zip(new, self.teacher.features(rgb[new]).half().cpu(), strict=True)) if new else {}
        found = [fresh[k] if k in fresh else self._maps[key] for k, key in enumerate(keys)]
        for key, one in zip(keys, found, strict=True):
            self._maps[key] = one
            self._maps.move_to_end(key)
        while len(self._maps) > self.kept:
            self._maps.popitem(last=False)
        return torch.stack(found).to(rgb.device).float()

    def describe(self) -> dict[str, Any]:
        """As the teacher's."""
        return self.teacher.describe()

    def to(self, device: torch.device) -> Remembering:
        """Itself; the maps stay on the CPU."""
        self.teacher.to(device)
        return self


def load_teacher(name: str) -> Teacher:
    """`KIND:PLACE[@LONGEST]`: "segmenter:RUN" (a run of `train segmenter`, or its .safetensors), "mobilesam:mobile_sam.pt", "hf:ID_OR_FOLDER".

    "@512" shows it pictures of that longer side (MobileSAM: 1024 unless told; the others see them as they are). A plain path is a
    segmenter. ValueError for another kind, FileNotFoundError, CheckpointError for weights that do not fit.
    """
    kind, colon, place = name.partition(":")
    if not colon:
        kind, place = "segmenter", name
    if kind not in _LOADERS or not place:
        raise ValueError(
            f"no teacher {name!r}: expected {', '.join(f'{known}:...' for known in _LOADERS)}; see nn.teachers"
        )
    path, at, side = place.rpartition("@")
    longest = int(side) if at and side.isdecimal() else 0
    return _LOADERS[kind](path if longest else place, longest)


def _segmenter(place: str, longest: int) -> Teacher:
    path = Path(place) / WEIGHTS if Path(place).is_dir() else Path(place)
    state, metadata = checkpoint.load(path)
    network = segmenter.fitting(state)
    checkpoint.fill(network, state, str(path))
    facts = {"teacher": "segmenter", "trained_on": "labels of rendered scenes", "steps": metadata.get("step", "")}
    return Frozen(network, lambda module, rgb: module.features(rgb), facts, network.stride, longest)


def _mobilesam(place: str, longest: int) -> Teacher:
    state = tiny_vit.encoder_of(checkpoint.load(place)[0])
    network = tiny_vit.TinyVit()
    checkpoint.fill(network, state, place)
    facts = {"teacher": "MobileSAM's encoder", "license": "Apache-2.0", "trained_on": "SA-1B, distilled from SAM"}
    return Remembering(Frozen(network, lambda module, rgb: module(rgb), facts, tiny_vit.STRIDE, longest or 1024))


def _huggingface(place: str, longest: int) -> Teacher:
    """Any backbone of transformers that takes pixels: maps as they are, tokens without those that stand for no place."""
    from transformers import AutoConfig, AutoModel

    network = AutoModel.from_pretrained(place)
    network = getattr(network, "vision_model", network)
    config = AutoConfig.from_pretrained(place)
    config = getattr(config, "vision_config", config)
    patch = getattr(config, "patch_size", None)
    stride = patch if isinstance(patch, int) and patch > 4 else 32
    mean, std = _colours(place)
    # Position codes of another size than the model's own.
    more = {"interpolate_pos_encoding": True} if _takes(network, "interpolate_pos_encoding") else {}

    def read(module: nn.Module, rgb: Tensor) -> Tensor:
        shift, scale = (torch.tensor(v, device=rgb.device)[:, None, None] for v in (mean, std))
        found = module(pixel_values=(rgb - shift) / scale, **more).last_hidden_state
        return found if found.ndim == 4 else as_map(found, (rgb.shape[2] // stride, rgb.shape[3] // stride))

    facts = {"teacher": place, "type": str(config.model_type)}
    return Remembering(Frozen(network, read, facts, stride, longest))


def _takes(network: nn.Module, name: str) -> bool:
    return name in inspect.signature(network.forward).parameters


def _colours(place: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that the model's pre-processor takes; ImageNet's where it has none."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        content, _ = ImageProcessingMixin.get_image_processor_dict(place)
    except OSError:
        return IMAGENET
    return tuple(content.get("image_mean") or IMAGENET[0]), tuple(content.get("image_std") or IMAGENET[1])


_LOADERS: Mapping[str, Callable[[str, int], Teacher]] = {
    "segmenter": _segmenter,
    "mobilesam": _mobilesam,
    "hf": _huggingface,
}


def as_map(tokens: Float[Tensor, "b n c"], grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Tokens of places, which come last, as a map: class and register tokens are dropped. ValueError where there are too few."""
    h, w = grid
    extra = tokens.shape[1] - h * w
    if extra < 0:
        raise ValueError(
            f"expected at least {h} x {w} tokens of places, found {tokens.shape[1]}: the model merges them; use one that does not"
        )
    return tokens[:, extra:].transpose(1, 2).reshape(len(tokens), -1, h, w)


def resized(rgb: Float[Tensor, "b 3 h w"], stride: int, longest: int = 0) -> Float[Tensor, "b 3 h2 w2"]:
    """Bilinear, to the nearest multiples of `stride`, the longer side `longest`, or as it is for 0."""
    h, w = rgb.shape[2:]
    scale = longest / max(h, w) if longest else 1.0
    size = tuple(max(1, round(side * scale / stride)) * stride for side in (h, w))
    if size == (h, w):
        return rgb
    return functional.interpolate(rgb, size, mode="bilinear", align_corners=False, antialias=scale < 1)
