"""How each family of depth networks wants its pictures, and what its output means: read from a model's own two small files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.core import geometry
from keendepth.core.types import DepthKind
from keendepth.predictors import pixels

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
HALVES: Triple = (0.5, 0.5, 0.5)
STEEPEST = 6.0  # longest over shortest side of what a network is given; a longer panorama is squashed to it
# How a network's size follows the photo's: it does not; the shorter side becomes native's; the side whose scale is closer to 1
# becomes native's (MiDaS); the photo's own size.
ASPECTS = ("squash", "shorter", "closest", "own")
BORDER = 3  # of ZoeDepth, in units of sqrt(side / 2)
LARGEST = 1024  # longest side for a network that takes a photo at its own size: a 12 MP photo would not fit into memory
PILLOW = {
    0: "nearest",
    1: "cubic",
    2: "linear",
    3: "cubic",
    4: "area",
    5: "area",
}  # its numbers; Lanczos: the nearest we have


class FeedingError(ValueError):
    """A model that this adapter cannot feed. The message says what was found and what is known."""


@dataclass(frozen=True)
class Feeding:
    """From a picture to the network's input, and from its output back to the picture."""

    kind: DepthKind
    native: tuple[int, int]  # (height, width)
    multiple: int = 0  # of both sides; 0: the native size only
    aspect: str = "squash"  # without a size asked for; one of ASPECTS
    square: bool = False  # the network takes squares only
    method: str = "cubic"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    top: float = 1.0  # what 255 becomes before mean and std
    pads: bool = False  # ZoeDepth's reflected border, cut off again from the depth
    half: bool = True  # may compute in 16 bits where the device likes that
    focal: bool = False  # gives inverse depth for a focal length of one picture width, and may give the field of view
    prompted: bool = False  # wants a coarse metric depth with the picture

    def processing_size(self, photo: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
        """The (height, width) that the network sees for a photo of size `photo` when `size` is asked for. ValueError below 1 x 1."""
        if size is not None and min(size) < 1:
            raise ValueError(f"the size to process at must be 1 x 1 or more, found {size[0]} x {size[1]}")
        if not self.multiple:  # rounded to the one size there is, so that a refiner may ask for a second, finer look
            return self.native
        wanted = size or self._own_choice(self._padded(photo))
        if self.square:
            wanted = (round(math.sqrt(wanted[0] * wanted[1])),) * 2
        return geometry.to_multiple(wanted, self.multiple)

    def _own_choice(self, photo: tuple[int, int]) -> tuple[int, int]:
        if self.aspect == "squash":
            return self.native
        if self.aspect == "own":
            return geometry.fit_inside(photo, LARGEST)
        scale = min(self.native) / min(photo)
        if self.aspect == "closest":
            scale = min(self.native[0] / photo[0], self.native[1] / photo[1], key=lambda one: abs(1 - one))
        height, width = (max(1, round(side * scale)) for side in photo)
        limit = math.ceil(STEEPEST * max(min(height, width), min(self.native)))
        return min(height, limit), min(width, limit)

    def pixels(
        self, rgb: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
    ) -> UInt8[np.ndarray, "{size[0]} {size[1]} 3"]:
        """The picture with its border, resized as the network wants it, in bytes."""
        if self.pads:
            rgb = pixels.bordered(rgb, (border(rgb.shape[0]), border(rgb.shape[1])))
        return pixels.resized(rgb, size, self.method)

    def tensor(
        self, rgb: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
    ) -> Float32[np.ndarray, "3 {size[0]} {size[1]}"]:
        """`pixels` as the network itself is given them: (top * rgb / 255 - mean) / std. (`nn.whole` does it for whole batches.)"""
        scaled = self.pixels(rgb, size) * np.float32(self.top / 255)
        out = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(out.transpose(2, 0, 1), dtype=np.float32)

    def back(
        self, plane: Float32[np.ndarray, "h w"], photo: tuple[int, int]
    ) -> Float32[np.ndarray, "{photo[0]} {photo[1]}"]:
        """The network's output at the photo's size, without the border; NaN stays NaN."""
        padded = self._padded(photo)
        full = geometry.resize_depth(plane, padded)
        top, left = (padded[0] - photo[0]) // 2, (padded[1] - photo[1]) // 2
        return np.ascontiguousarray(full[top : top + photo[0], left : left + photo[1]])

    def _padded(self, photo: tuple[int, int]) -> tuple[int, int]:
        return (photo[0] + 2 * border(photo[0]), photo[1] + 2 * border(photo[1])) if self.pads else photo


def border(side: int) -> int:
    """Pixels that ZoeDepth adds at both ends of a side: 3 sqrt(side / 2) (Bhat et al. 2023, the authors' `pad_input`)."""
    return int(BORDER * math.sqrt(side / 2))


def feeding(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> Feeding:
    """From a model's config.json, and its preprocessor_config.json where it has one (its sizes and colours win over the family's).

    FeedingError for a network that is not one of `FAMILIES` with a depth head.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise FeedingError(
            f"is a {family or 'model of an unnamed type'}, not a depth model that keendepth knows ({', '.join(FAMILIES)})"
        )
    heads = [str(head) for head in config.get("architectures") or ()]
    if heads and not any(head.endswith("ForDepthEstimation") for head in heads):
        raise FeedingError(f"holds a {', '.join(heads)}, not a depth model: choose one for depth estimation")
    try:
        return _adjusted(FAMILIES[family](config), preprocessor or {})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise FeedingError(f"has a config that cannot be used ({type(error).__name__}: {error})") from error


def _depth_anything(config: Mapping[str, Any]) -> Feeding:
    """V1, V2 and Distill-Any-Depth: the shorter side 518 (their `lower_bound`), multiples of the patch (Yang et al. 2024)."""
    metric = config.get("depth_estimation_type", "relative") == "metric"
    kind = DepthKind.METRIC if metric else DepthKind.DISPARITY
    return Feeding(kind, (518, 518), multiple=_int(config.get("patch_size", 14)), aspect="shorter")


def _prompt_depth_anything(config: Mapping[str, Any]) -> Feeding:
    """The prompt's range is taken off and put on again by the network (Lin et al. 2025): 32 bits keep its millimetres."""
    patch = _int(config.get("patch_size", 14))
    return Feeding(DepthKind.METRIC, (756, 756), patch, "shorter", half=False, prompted=True)


def _dpt(config: Mapping[str, Any]) -> Feeding:
    """DPT and MiDaS 3: disparity; on a DINOv2 backbone it is the depth head trained on NYU or KITTI, in metres (Oquab et al. 2024)."""
    backbone = config.get("backbone_config") or {}
    whole = not backbone or bool(config.get("is_hybrid"))  # transformers' own ViT trunk folds its tokens into a square
    side = _int((config if whole else backbone).get("image_size", 384))
    if backbone.get("model_type") == "dinov2":
        patch = _int(backbone.get("patch_size", 14))
        return Feeding(DepthKind.METRIC, (side, side), patch, "own", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    multiple = 2 * _int(config.get("patch_size", 16)) if whole else 32
    return Feeding(DepthKind.DISPARITY, (side, side), multiple, square=whole, mean=HALVES, std=HALVES)


def _zoedepth(config: Mapping[str, Any]) -> Feeding:
    """384 x 512 or what keeps the picture's shape; its log-binomial bins underflow in 16 bits (Bhat et al. 2023, section 3.2)."""
    return Feeding(
        DepthKind.METRIC, (384, 512), 32, "closest", method="linear", mean=HALVES, std=HALVES, pads=True, half=False
    )


def _depth_pro(config: Mapping[str, Any]) -> Feeding:
    """One size: the patch over the smallest of the ratios, 384 / 0.25 = 1536 (Bochkovskii et al. 2025, section 3.1)."""
    side = round(_int(config.get("patch_size", 384)) / min(config.get("scaled_images_ratios", (0.25, 0.5, 1))))
    return Feeding(DepthKind.METRIC, (side, side), method="linear", mean=HALVES, std=HALVES, focal=True)


def _glpn(config: Mapping[str, Any]) -> Feeding:
    """NYU's 480 x 640 or KITTI's 352 x 1216, which it was trained at (Kim et al. 2022, section 4.1); colours in 0..1."""
    native = (480, 640) if float(config.get("max_depth", 10)) <= 20 else (352, 1216)
    return Feeding(DepthKind.METRIC, native, 32, "shorter", method="linear", mean=(0, 0, 0), std=(1, 1, 1))


FAMILIES: dict[str, Callable[[Mapping[str, Any]], Feeding]] = {
    "depth_anything": _depth_anything,
    "prompt_depth_anything": _prompt_depth_anything,
    "dpt": _dpt,
    "zoedepth": _zoedepth,
    "depth_pro": _depth_pro,
    "glpn": _glpn,
}


def _adjusted(rule: Feeding, given: Mapping[str, Any]) -> Feeding:
    """`rule` with what a preprocessor_config.json says of sizes, aspect, resampling and colours."""
    changes: dict[str, Any] = {}
    if rule.multiple and given.get("size"):
        changes["native"] = _size(given["size"])
    if rule.multiple and _int(given.get("ensure_multiple_of") or 0) > 1:
        changes["multiple"] = math.lcm(rule.multiple, _int(given["ensure_multiple_of"]))
    if "keep_aspect_ratio" in given and not (given["keep_aspect_ratio"] and rule.aspect == "shorter"):
        changes["aspect"] = "closest" if given["keep_aspect_ratio"] and not rule.square else "squash"
    if given.get("do_resize") is False and rule.multiple:
        changes["aspect"] = "own"
    if given.get("resample") in PILLOW:
        changes["method"] = PILLOW[given["resample"]]
    if rule.pads and "do_pad" in given:
        changes["pads"] = bool(given["do_pad"])
    return replace(rule, **changes, **_colours(given))


def _colours(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if given.get("do_rescale") is False:
        found["top"] = 255.0
    elif "rescale_factor" in given:
        found["top"] = 255 * float(given["rescale_factor"])
    if given.get("do_normalize") is False:
        return found | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    for key, name in (("image_mean", "mean"), ("image_std", "std")):
        if key in given:
            found[name] = _triple(given[key])
    return found


def _size(value: Any) -> tuple[int, int]:
    """A size as transformers writes it: a number, {"height", "width"} or {"shortest_edge"}."""
    if isinstance(value, Mapping):
        edge = value.get("shortest_edge")
        value = (edge, edge) if edge else (value["height"], value["width"])
    return _pair(value)


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list | tuple) else (value, value)
    if not (int(height) > 0 and int(width) > 0):
        raise ValueError(f"a size must be 1 x 1 or more, found {height} x {width}")
    return int(height), int(width)


def _int(value: Any) -> int:
    """Side of a square that transformers may write as one number or as two."""
    return int(value[0] if isinstance(value, list | tuple) else value)


def _triple(value: Any) -> Triple:
    first, second, third = value if isinstance(value, list | tuple) else (value,) * 3
    return float(first), float(second), float(third)
