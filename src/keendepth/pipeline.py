"""Photo in, depth out: a predictor and refiners composed by name, any depth refined with its scale kept, and results saved."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keendepth import calibration, io, refiners, viz
from keendepth.core import align
from keendepth.core.types import Camera, DepthKind, DepthMap, Image, KindError, Refinement
from keendepth.predictors import Predictor, licences, specs
from keendepth.predictors.memory import is_out_of_memory
from keendepth.predictors.views import InMetres, Prompted
from keendepth.refiners import Refiner

_log = logging.getLogger("keendepth")

DEFAULT = "indoor-small+median"

# What `--save` takes, and the file that it makes next to the photo's name.
FILES = {
    "preview": ".preview.png",
    "png16": ".depth.png",
    "exr": ".depth.exr",
    "tiff": ".depth.tiff",
    "npz": ".depth.npz",
    "pfm": ".depth.pfm",
    "dpt": ".depth.dpt",
    "ply": ".ply",
    "glb": ".glb",
    "edges": ".edges.png",
    "confidence": ".confidence.png",
}


ToMetres = Callable[[Image, DepthMap], DepthMap]  # a map made METRIC, with its `calibration`
METRIC_MODEL = "indoor-small"  # whose metres "@metric" takes where nobody names others


@dataclass(frozen=True)
class Pipeline:
    """A predictor followed by refiners, made metric on the way if wished; call it with a picture."""

    spec: str
    predictor: Predictor
    chain: tuple[tuple[str, Refiner], ...] = ()
    strength: float = 1.0
    to_metres: ToMetres | None = None
    metric_after: int = 0  # how many refiners come before it

    @property
    def kind(self) -> DepthKind:
        """What the result is."""
        return DepthKind.METRIC if self.to_metres else self.predictor.kind

    @property
    def is_bare(self) -> bool:
        """Whether it is a predictor and nothing else."""
        return not self.chain and self.to_metres is None

    @property
    def knows_errors(self) -> bool:
        """Whether the result says how far off it may be."""
        return bool(self.chain) and self.strength > 0 and knows_errors(self.chain[-1][1])

    def __call__(self, image: Image | str | Path, prompt: DepthMap | None = None) -> DepthMap:
        """Depth at the picture's size, of `kind`, with a camera whose `source` says where it came from.

        `prompt`: coarse metric depth of the same view, for a model that takes one; ValueError for one that does not.
        """
        image = _opened(image)
        predictor = self.predictor if prompt is None else Prompted(self.predictor, prompt)
        (depth,) = predicted(predictor, [image])
        return self._finish(image, replace(depth, camera=_camera(image, depth)), predictor)

    def bases(self, images: Sequence[Image], size: tuple[int, int] | None = None) -> list[DepthMap]:
        """The predictor's own depth of several pictures, in one batch where it takes batches; `size` as in `Predictor.predict`."""
        found = predicted(self.predictor, images, size)
        return [replace(depth, camera=_camera(image, depth)) for image, depth in zip(images, found, strict=True)]

    def finish(self, image: Image, depth: DepthMap) -> DepthMap:
        """What the refiners, and metres if wished, make of the predictor's depth."""
        return self._finish(image, depth, self.predictor)

    def _finish(self, image: Image, depth: DepthMap, predictor: Predictor) -> DepthMap:
        for done, named in enumerate((*self.chain, None)):
            if self.to_metres and done == self.metric_after:
                depth = self.to_metres(image, depth)
                predictor = InMetres(predictor, depth.calibration) if depth.calibration else predictor
            if named:
                depth = _apply(image, depth, named, self.strength, predictor)
        return depth


def load(
    spec: str = DEFAULT,
    *,
    strength: float = 1.0,
    card: str | Path | None = None,
    providers: Sequence[str] | str = (),
    runtime: str = "auto",
    to_metres: ToMetres | None = None,
) -> Pipeline:
    """The pipeline `predictor+refiner`, e.g. "indoor-small+median"; a predictor alone is a pipeline too.

    The predictor is a name of `keendepth models`, a hub id ("owner/name", "owner/name@revision"), a local folder in the hub's layout, or
    an .onnx file, with its card beside it or as `card`. `providers`: of ONNX Runtime, for models that run on it: "auto", "cuda", "coreml",
    "openvino", or full names in order of preference. `runtime`: of hub models: "auto", "torch", "compile", "onnx", "openvino".
    `strength` in 0..1 blends every refiner with its input.
    "@metric" after a part makes the depth metric there, by `indoor-small`, by another as in "@metric:MODEL", or by `to_metres`; without
    "@metric", `to_metres` comes last. Depth that is metric is left alone unless MODEL or `to_metres` is given.
    Raises UnknownNameError with the nearest names, and ValueError where a model cannot be had. A non-commercial licence is logged once.
    """
    _check_strength(strength)
    parts = [specs.metric_of(part) for part in specs.split(spec)]
    places = [(place, model) for place, (_, model) in enumerate(parts) if model is not None]
    if len(places) > 1 or (places and places[0][1] and to_metres):
        raise ValueError(f"model: {spec}: expected one way to get metres, found several")
    chain = tuple((name, refiners.build(name)) for name, _ in parts[1:])
    options = {"runtime": runtime} if runtime != "auto" else {}
    predictor = specs.build(parts[0][0], card=card, providers=providers, **options)
    known = getattr(predictor, "card", None)
    if known and licences.forbids_commercial(known.license):
        _tell_licence(known.name, known.license)
    place, model = places[0] if places else (len(chain), None)
    if to_metres is None and model is not None:
        to_metres = _asked_metres(predictor, model)
    return Pipeline(spec, predictor, chain, strength, to_metres, place)


def _asked_metres(predictor: Predictor, model: str) -> ToMetres | None:
    """What "@metric" (model "") or "@metric:MODEL" does after this predictor."""
    if model:
        return metres_of(model)
    if predictor.kind is DepthKind.METRIC:
        return None
    _tell_metres()
    return metres_of(METRIC_MODEL)


def metres_of(spec: str) -> ToMetres:
    """Fits a map to what the metric model `spec` says of the picture. ValueError where that is not metric."""
    second = load(spec)
    if second.kind is not DepthKind.METRIC:
        raise ValueError(f"metres: expected a metric model, {spec} gives {second.kind} depth")
    return lambda image, depth: calibration.from_map(depth, second(image))


@functools.cache
def _tell_metres() -> None:
    _log.warning(
        "@metric: metres are those of %s, made for rooms; @metric:MODEL or --metric-from takes others", METRIC_MODEL
    )


@functools.cache  # once for each model
def _tell_licence(name: str, licence: str) -> None:
    _log.warning("%s is not for commercial use: its licence is %s", name, licence)


def predicted(predictor: Predictor, images: Sequence[Image], size: tuple[int, int] | None = None) -> list[DepthMap]:
    """The predictor's depth of each picture: in one batch where it has `predict_batch` and the batch fits into memory, else one by one."""
    batched = getattr(predictor, "predict_batch", None)
    if batched is not None and len(images) > 1:
        try:
            return list(batched(images, size))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
    return [_predicted(predictor, image, size) for image in images]


def _predicted(predictor: Predictor, image: Image, size: tuple[int, int] | None) -> DepthMap:
    """The predictor's depth; where memory runs out, once more at half the pixels, which is said; MemoryError when that does not fit either."""
    try:
        return predictor.predict(image, size) if size else predictor.predict(image)
    except Exception as error:  # torch and ONNX Runtime have classes of their own for it
        if not is_out_of_memory(error):
            raise
        first = error
    height, width = size or processing_size(predictor, image)
    smaller = max(1, round(height * 0.5**0.5)), max(1, round(width * 0.5**0.5))
    name = getattr(getattr(predictor, "card", None), "name", "the model")
    _log.warning("%s: out of memory at %d x %d pixels; trying once at %d x %d", name, width, height, *smaller[::-1])
    try:
        return predictor.predict(image, smaller)
    except Exception as error:
        if not is_out_of_memory(error) and not isinstance(error, ValueError):
            raise
        raise MemoryError(
            f"{name}: not enough memory for {width} x {height} pixels, nor for half of them ({str(first).splitlines()[0] if str(first) else 'out of memory'}): "
            "close other programs, or choose a smaller model (`keendepth doctor --model NAME` says what one needs)"
        ) from error


def processing_size(predictor: Predictor, image: Image) -> tuple[int, int]:
    """The (height, width) that the predictor works at for this picture, as far as it says."""
    own = getattr(predictor, "processing_size", None)
    if own is not None:
        return own(image.size)
    known = getattr(predictor, "card", None)
    return (known.native_size if known else None) or image.size


def refine(
    image: Image | str | Path,
    depth: DepthMap | str | Path,
    refiner: str = refiners.DEFAULT,
    *,
    strength: float = 1.0,
    units: str | None = None,
    fill_holes: bool = False,
) -> DepthMap:
    """Any depth, sharpened along the photo: returned at the photo's size, of the same kind and scale.

    `depth` is a map or a file (`units` as in `read`); it may be of any size and aspect, and is taken to cover the same view as the photo.
    `strength` 0 gives the input, resized; 1 the refiner's full effect. Unknown pixels stay unknown unless `fill_holes`, which gives
    them the nearest known value first. `refinement` of the result reports how far scale and shift moved.
    """
    _check_strength(strength)
    image = _opened(image)
    if not isinstance(depth, DepthMap):
        depth = io.read(depth, units=units)
    if fill_holes:
        depth = depth.filled()
    _check_view(image, depth)
    return _apply(image, depth, (refiner, refiners.build(refiner)), strength, None)


def _apply(
    image: Image, depth: DepthMap, named: tuple[str, Refiner], strength: float, predictor: Predictor | None
) -> DepthMap:
    """One refiner, blended by strength, checked against the contract, with its drift measured."""
    name, refiner = named
    base = depth.resized(*image.size)
    camera = _camera(image, base)
    if strength == 0:
        return replace(base, camera=camera, refinement=Refinement(name, 0.0, 1.0, 0.0))
    refined = refiner.refine(image, depth, predictor)
    if refined.size != image.size or refined.kind is not depth.kind:
        raise RuntimeError(
            f"refiner {name!r} broke its contract: expected {depth.kind} at {image.size}, found {refined.kind} at {refined.size}"
        )
    values = refined.values if strength == 1 else _blend(base.values, refined.values, strength)
    scale, shift = drift(depth, values)
    refinement = Refinement(name, strength, scale, shift)
    return replace(base, values=values, camera=camera, refinement=refinement, expected_error=refined.expected_error)


def _blend(base: np.ndarray, refined: np.ndarray, strength: float) -> np.ndarray:
    """Linear where both are known; else whichever the larger weight says, so that unknown and sky are never mixed in."""
    both = np.isfinite(base) & np.isfinite(refined)
    with np.errstate(invalid="ignore"):
        mixed = base + np.float32(strength) * (refined - base)
    return np.where(both, mixed, refined if strength >= 0.5 else base)


def drift(before: DepthMap, after: np.ndarray) -> tuple[float, float]:
    """(scale, shift) that best maps the refined values back to the input, on the input's own grid; (1, 0) means that both were kept."""
    same = before.with_values(after).resized(*before.size)
    shared = before.valid & same.valid
    if np.count_nonzero(shared) < 2:
        return 1.0, 0.0
    stride = max(1, np.count_nonzero(shared) // 200_000)  # a fit needs no more points than this
    return align.fit_trimmed(
        same.values[shared][::stride].astype(np.float64), before.values[shared][::stride].astype(np.float64)
    )


def save(
    depth: DepthMap,
    image: Image,
    stem: Path,
    kinds: Sequence[str] = ("preview", "png16"),
    *,
    convention: str | None = None,
    overwrite: bool = True,
) -> list[Path]:
    """Write `<stem><suffix>` for each of `kinds` (see `FILES`), each with its JSON description; returns the paths."""
    check_savable(depth.kind, kinds, depth.expected_error is not None)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in kinds:
        path = stem.with_name(stem.name + FILES[kind])
        if kind == "preview":
            io.write_preview(path, depth, viz.colourise(depth), overwrite=overwrite)
        elif kind == "confidence":
            io.write_errors(path, depth, overwrite=overwrite)
        elif kind == "edges":
            io.write_preview(path, depth, viz.edge_overlay(image, depth), overwrite=overwrite)
        else:
            io.write(path, depth, image=image, convention=convention if kind == "png16" else None, overwrite=overwrite)
        written.append(path)
    return written


def check_savable(kind: DepthKind, kinds: Sequence[str], errors: bool = True) -> None:
    """Raise, before any work is done, where a wanted file is not known or cannot hold this depth; `errors`: whether it says how far off it is."""
    unknown = [name for name in kinds if name not in FILES]
    if unknown:
        raise ValueError(f"--save: no file is called {', '.join(unknown)}; known: {', '.join(FILES)}")
    if "confidence" in kinds and not errors:
        raise ValueError(
            "--save confidence: nothing here says how far off the depth may be; end the model with a sharpener whose card "
            "has expected errors (+sharp:PATH)"
        )
    clouds = [name for name in kinds if name in ("ply", "glb")]
    if clouds and kind is not DepthKind.METRIC:
        raise KindError(
            f"{' and '.join(clouds)} need metric depth, and this model gives {kind}: choose a metric model, or save exr or npz"
        )


def knows_errors(refiner: Refiner) -> bool:
    """Whether what it gives carries expected errors: such a refiner says so by `knows_errors`."""
    return bool(getattr(refiner, "knows_errors", False))


def _opened(image: Image | str | Path) -> Image:
    return image if isinstance(image, Image) else io.read_image(image)


def _camera(image: Image, depth: DepthMap) -> Camera:
    """A camera that the user gave, else the depth's measured one, else the photo's EXIF, else the model's, else a guess."""
    own = depth.camera
    if own is None or (image.camera and (image.camera.source == "given" or own.source in ("model", "guess"))):
        return io.resolve_camera(image)
    return own.resized(*image.size)


def _check_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1, found {strength}")


def _check_view(image: Image, depth: DepthMap) -> None:
    """A portrait photo with a landscape depth is a rotated file, not the same view."""
    photo, own = image.size[0] / image.size[1], depth.size[0] / depth.size[1]
    if max(photo, own) > 1.1 and min(photo, own) < 1 / 1.1:
        raise ValueError(
            f"the photo is {image.size[1]} x {image.size[0]} and the depth {depth.size[1]} x {depth.size[0]}: "
            "one of them is rotated; turn the depth file upright first"
        )
