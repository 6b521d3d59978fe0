"""SDDR: a small network that refines any depth along its photo, in one pass or coarse to fine over windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.core import edges, geometry
from keendepth.core.types import DepthMap, Image
from keendepth.predictors import WEIGHTS, Predictor
from keendepth.refiners import registry
from keendepth.refiners.joint import effective_size
from keendepth.refiners.network import Network, OnnxNetwork, refine_normalised
from keendepth.refiners.shipped import register_shipped
from keendepth.refiners.space import Nearness, along_photo, near_map
from keendepth.refiners.tiles import cropped, fit_window
from keendepth.refiners.windows import OVERLAP, Blend, Window, cover, grid

SHIPPED = WEIGHTS / "sddr-small.onnx"
ENLARGED_BY = "cubic"  # 6 % nearer to the truth than linear at 8x, before the network has done anything
COMPARED = 256  # longest side of the grid on which Eq. 11 takes gradients of different maps, since these depend on the pixel's size
WIDEST_RIM = 32  # pixels by which the rim of an enlarged map's sky may move
# Share of the whole map's span below which a tile's own span is not stretched to 0..1: noise on a wall would become its edges.
LEAST_SPAN = 0.1


@dataclass(frozen=True)
class SddrOptions:
    """How the network is applied (ours, but for what cites SDDR)."""

    windows: int = (
        0  # S: rounds of coarse-to-fine windows after the one-stage pass, (s + 1)^2 in round s (SDDR: 0 or 3)
    )
    # A model's depth is refined at this multiple of the model's native size, and the weighted median takes what comes of it to the photo's. The
    # same figures as at the photo's own size (0) in a third of the time, less clean lines: `sddr-fast` has 1 (docs/decisions.md).
    native: float = 0.0
    pixels: int = 1_500_000  # of one pass of the network; larger pictures go through in overlapping tiles
    enlarge: float = 8.0  # one pass enlarges at most so much; the network saw 16, and is better at 8
    guide: bool = True  # the second map goes along the photo first (the weighted median); without a predictor it is the first one that does
    look_again: bool = False  # whether a predictor's second, larger look becomes HIGH, as in the paper, and the result goes along the photo once more
    high_factor: float = 2.0  # the second look, in multiples of the predictor's native size (SDDR, MiDaS: 2)
    alpha: float = (
        0.03  # Eq. 11: usual mean gradient of the predictor's training depth; not given there, see `adaptive_size`
    )
    longest: int = 2048  # cap of the predictor's input (SDDR's released code)


class Sddr:
    """Refines with the network in `path`: an .onnx file, a training run's folder, or a function of arrays (`Network`)."""

    def __init__(
        self, path: str | Path | Network = SHIPPED, options: SddrOptions | None = None, sha256: str = ""
    ) -> None:
        self.network = _network(path, sha256) if isinstance(path, str | Path) else path
        self.options = options or SddrOptions()

    def refine(self, image: Image, depth: DepthMap, predictor: Predictor | None = None) -> DepthMap:
        """Depth at the image's size, of the same kind and scale; unknown pixels stay unknown, sky stays sky.

        A small map is enlarged in passes of no more than `options.enlarge` each. With a `predictor` and `options.look_again` the first pass
        also sees its depth at `options.high_factor` times the native size (SDDR section 2), and what comes of it goes along the photo once
        more; else the photo alone.
        FileNotFoundError or ValueError where the network cannot be loaded.
        """
        whole = Nearness.of(depth.resized(*image.size))
        if not (~whole.unknown & ~whole.sky).any():
            return depth.with_values(whole.back(whole.values))
        effective = effective_size(depth)
        smaller = self.smaller(image, depth)
        if smaller is None:
            values = self._one_stage(image, depth, effective, predictor)
        else:
            values = along_photo(image, near_map(self._one_stage(smaller, depth, effective, predictor)))
        for s in range(1, self.options.windows + 1):
            values = self._round(image, values, s, (predictor, native_side(depth, predictor)))
        enlarged = max(a / b for a, b in zip(image.size, effective, strict=True))
        reach = min(math.ceil(enlarged), WIDEST_RIM) if enlarged > 1 else 0
        return depth.with_values(whole.resky(values, reach).back(values))

    def smaller(self, image: Image, depth: DepthMap) -> Image | None:
        """The photo at the size that the network's pass has by `options.native`; None where it is the photo's own."""
        native = depth.source.native_size if depth.source and not depth.refinement else None
        if native is None or self.options.look_again:
            return None
        shrink = self.options.native * math.sqrt(math.prod(native) / math.prod(image.size))
        return image.resized(*(max(1, round(side * shrink)) for side in image.size)) if 0 < shrink < 1 else None

    def _one_stage(
        self, image: Image, depth: DepthMap, effective: tuple[int, int], predictor: Predictor | None
    ) -> Float32[np.ndarray, "h w"]:
        sizes = levels(effective, image.size, self.options.enlarge)
        side = native_side(depth, predictor) if self.options.look_again else None
        while side and len(sizes) > 1 and max(sizes[0]) < side * self.options.high_factor:
            del sizes[0]  # it would throw away what the second look adds
        first, *rest = sizes
        picture = image.resized(*first)
        looked = self._look_again(picture, side, predictor)
        high = self.second(picture, depth, effective) if looked is None else self.second(picture, looked)
        values = self.apply(Nearness.of(depth.resized(*first, ENLARGED_BY)).values, high, picture.rgb)
        for size in rest:
            picture = image.resized(*size)
            larger = np.clip(geometry.resize(values, size, ENLARGED_BY), values.min(), values.max())
            values = self.apply(larger, self.second(picture, near_map(values)), picture.rgb)
        if looked is None:
            return values
        # Two looks put together are right and blunt (docs/decisions.md): under the first one's scale they go along the photo once more.
        values = fit_window(values, Nearness.of(depth.resized(*image.size)).values)
        return self.apply(values, self.second(image, near_map(values)), image.rgb)

    def second(
        self, image: Image, depth: DepthMap, effective: tuple[int, int] | None = None
    ) -> Float32[np.ndarray, "h w"]:
        """What the network gets as HIGH, in nearness at the image's size, made of the sharpest depth there is; `effective`: its size, if known."""
        if self.options.guide:
            return along_photo(image, depth, effective)
        return Nearness.of(depth.resized(*image.size)).values

    def apply(
        self, low: Float32[np.ndarray, "h w"], high: Float32[np.ndarray, "h w"] | None, rgb: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w"]:
        """The network over one picture: in one piece, or in overlapping tiles above `options.pixels`; nearness in, nearness out."""
        if low.size <= self.options.pixels:
            return refine_normalised(self.network, low, high, rgb)
        least = LEAST_SPAN * float(np.ptp(low[::4, ::4]))
        blend = Blend(low.shape)
        for window in cover(low.shape, max(64, math.isqrt(self.options.pixels)), 0.125):
            second = None if high is None else high[window.at]
            tile = refine_normalised(self.network, low[window.at], second, rgb[window.at], least)
            blend.add(window, tile)
        return blend.result()

    def _look_again(self, image: Image, side: float | None, predictor: Predictor | None) -> DepthMap | None:
        """The predictor's depth at `high_factor` times its native size; it forgets its source, whose native size is no longer its own."""
        if predictor is None or side is None:
            return None
        looked = look(predictor, image, min(side * self.options.high_factor, self.options.longest))
        return None if looked is None else replace(looked, source=None)

    def _round(
        self, image: Image, values: Float32[np.ndarray, "h w"], s: int, asked: tuple[Predictor | None, float | None]
    ) -> Float32[np.ndarray, "h w"]:
        make = partial(self.window, image, values, asked)
        return coarse_to_fine(values, s, make)

    def window(
        self,
        image: Image,
        values: Float32[np.ndarray, "h w"],
        asked: tuple[Predictor | None, float | None],
        window: Window,
    ) -> Float32[np.ndarray, "h2 w2"]:
        """D_s^w = N_r(D_{s-1}^w, N_d(H_s^w)) of SDDR Eq. 5, fitted to D_{s-1}^w on its flat pixels; `values` is D_{s-1}.

        `asked`: the predictor and the side of its native input, or None and None: then the photo alone refines the crop.
        """
        predictor, side = asked
        part, crop, looked = cropped(image, window), values[window.at], None
        if predictor is not None and side is not None:
            looked = self._adaptive_look(predictor, part, side, relative_detail(values, window))
        sharpest = near_map(crop) if looked is None else replace(looked, source=None)
        return fit_window(self.apply(crop, self.second(part, sharpest), part.rgb), crop)

    def _adaptive_look(self, predictor: Predictor, part: Image, side: float, detail: float) -> DepthMap | None:
        coarse = look(predictor, part, side)
        if coarse is None:
            return None
        richness = mean_gradient(Nearness.of(coarse).values) / self.options.alpha
        wanted = adaptive_size(side, math.sqrt(part.size[0] * part.size[1]), richness, detail)
        return coarse if wanted <= side else look(predictor, part, min(wanted, self.options.longest))


def coarse_to_fine(
    values: Float32[np.ndarray, "h w"],
    s: int,
    make: Callable[[Window], Float32[np.ndarray, "h w"]],
    overlap: float = OVERLAP,
) -> Float32[np.ndarray, "h w"]:
    """Round `s` over (s + 1)^2 windows (SDDR section 3.2): `make` gives each window's values; blended with weights that sum to 1."""
    blend = Blend(values.shape, overlap)
    for window in grid(values.shape, s + 1, overlap):
        blend.add(window, make(window))
    return blend.result(values)


def levels(start: tuple[int, int], target: tuple[int, int], most: float) -> list[tuple[int, int]]:
    """Sizes from one above `start` to `target`, each at most `most` times the one before; `target` alone where that is enough."""
    factor = max(target[0] / start[0], target[1] / start[1])
    count = max(1, math.ceil(math.log(factor) / math.log(most) - 1e-9)) if factor > 1 else 1
    shrink = factor ** (-1 / count) if factor > 1 else 1.0
    return [
        (max(1, round(target[0] * shrink**k)), max(1, round(target[1] * shrink**k))) for k in range(count - 1, -1, -1)
    ]


def adaptive_size(native: float, side: float, richness: float, detail: float) -> float:
    """Eq. 11 of SDDR: mean(native, side) x richness x detail, and never below `native`.

    `richness` = mean |grad N_d(L)| / alpha, `detail` = mean |grad D_{s-1}| in the window over that of the whole map (1 at s = 0).
    The paper gives neither alpha nor the grid and scale of the gradients: here `mean_gradient`, and alpha such that a typical room has richness 1.
    """
    return max(native, (native + side) / 2 * richness * detail)


def mean_gradient(values: Float32[np.ndarray, "h w"]) -> float:
    """Mean gradient of a map brought to a span of 1 and to 256 pixels at the longer side, so that two maps of different size compare."""
    size = geometry.fit_inside(values.shape, COMPARED)
    return float(edges.gradient_magnitude(geometry.resize(values, size)).mean()) / max(float(np.ptp(values)), 1e-12)


def relative_detail(values: Float32[np.ndarray, "h w"], window: Window) -> float:
    """Mean gradient inside the window over that of the whole map, on one grid; 1 for a constant map."""
    step = max(1, max(values.shape) // 1024)
    slope = edges.gradient_magnitude(np.ascontiguousarray(values[::step, ::step]))
    inside = slope[window.top // step : -(-(window.top + window.height) // step)]
    inside = inside[:, window.left // step : -(-(window.left + window.width) // step)]
    return float(inside.mean() / slope.mean()) if slope.any() else 1.0


def native_side(depth: DepthMap, predictor: Predictor | None) -> float | None:
    """Side of the square of as many pixels as the predictor's native input; None where that is not known."""
    card = getattr(predictor, "card", None) or depth.source
    native = card.native_size if card else None
    return math.sqrt(native[0] * native[1]) if native and predictor is not None else None


def look(predictor: Predictor, image: Image, side: float) -> DepthMap | None:
    """The predictor's depth with as many pixels as a square of `side`, in the picture's shape; None for a network of one size only."""
    shape = math.sqrt(image.size[0] / image.size[1])
    try:
        return predictor.predict(image, size=(max(1, round(side * shape)), max(1, round(side / shape))))
    except ValueError:
        return None


def _network(path: str | Path, sha256: str) -> Network:
    path = Path(path)
    if not path.is_dir():
        return OnnxNetwork(path, sha256)
    if (path / "model.onnx").is_file():
        return OnnxNetwork(path / "model.onnx")
    from keendepth.refiners.torch_network import TorchNetwork

    return TorchNetwork(path)


register_shipped(WEIGHTS, "sddr*.json", Sddr)  # "sddr" is sddr-small
VARIANTS = {  # name -> options and what they are good for: the same weights, used otherwise on a model's own depth; on any other the same as "sddr"
    "sddr-fast": (
        SddrOptions(native=1),
        "sddr at the size that the model sees, then the median: a third of its time, lines a little less clean",
    ),
    "sddr-twice": (
        SddrOptions(look_again=True),
        "sddr that asks the model again at twice its size, as in the paper: more accurate in rooms, twice the time",
    ),
}
for _name, (_options, _summary) in VARIANTS.items() if "sddr" in registry else ():
    _card = replace(registry.card("sddr"), name=_name, summary=_summary)
    registry.register_card(_card)(partial(Sddr, SHIPPED, _options, _card.sha256))
