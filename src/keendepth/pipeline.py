"""Photo in, depth out: a predictor and refiners composed by name, any depth refined with its scale kept, and results saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keendepth import io, predictors, refiners, viz
from keendepth.core import align
from keendepth.core.types import Camera, DepthKind, DepthMap, Image, KindError, Refinement
from keendepth.predictors import Predictor
from keendepth.refiners import Refiner

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
}


@dataclass(frozen=True)
class Pipeline:
    """A predictor followed by refiners; call it with a picture."""

    spec: str
    predictor: Predictor
    chain: tuple[tuple[str, Refiner], ...] = ()
    strength: float = 1.0

    def __call__(self, image: Image | str | Path) -> DepthMap:
        """Depth at the picture's size, of the predictor's kind, with a camera whose `source` says where it came from."""
        image = _opened(image)
        depth = self.predictor.predict(image)
        depth = replace(depth, camera=_camera(image, depth))
        for name, refiner in self.chain:
            depth = _apply(image, depth, (name, refiner), self.strength, self.predictor)
        return depth


def load(spec: str = DEFAULT, *, strength: float = 1.0) -> Pipeline:
    """The pipeline `predictor+refiner`, e.g. "indoor-small+median"; a predictor alone is a pipeline too, and so is a path to
    an .onnx file with its card beside it ("my-model.onnx+median").

    `strength` in 0..1 blends every refiner with its input. Raises UnknownNameError with the nearest names.
    """
    _check_strength(strength)
    first, *rest = _parts(spec)
    chain = tuple((name, refiners.build(name)) for name in rest)
    predictor = (
        predictors.registry.build("onnx", path=first) if first.endswith(".onnx") else predictors.registry.build(first)
    )
    return Pipeline(spec, predictor, chain, strength)


def _parts(spec: str) -> list[str]:
    """The names in a pipeline's spec; a path may hold a plus of its own."""
    path, end, rest = spec.rpartition(".onnx")
    return [path + end, *rest.lstrip("+").split("+")] if end and rest else [spec] if end else spec.split("+")


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
    return replace(base, values=values, camera=camera, refinement=Refinement(name, strength, scale, shift))


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
    check_savable(depth.kind, kinds)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in kinds:
        path = stem.with_name(stem.name + FILES[kind])
        if kind == "preview":
            io.write_preview(path, depth, viz.colourise(depth), overwrite=overwrite)
        elif kind == "edges":
            io.write_preview(path, depth, viz.edge_overlay(image, depth), overwrite=overwrite)
        else:
            io.write(path, depth, image=image, convention=convention if kind == "png16" else None, overwrite=overwrite)
        written.append(path)
    return written


def check_savable(kind: DepthKind, kinds: Sequence[str]) -> None:
    """Raise, before any work is done, where a wanted file is not known or cannot hold this kind of depth."""
    unknown = [name for name in kinds if name not in FILES]
    if unknown:
        raise ValueError(f"--save: no file is called {', '.join(unknown)}; known: {', '.join(FILES)}")
    clouds = [name for name in kinds if name in ("ply", "glb")]
    if clouds and kind is not DepthKind.METRIC:
        raise KindError(
            f"{' and '.join(clouds)} need metric depth, and this model gives {kind}: choose a metric model, or save exr or npz"
        )


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
