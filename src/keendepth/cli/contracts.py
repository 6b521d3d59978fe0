"""The contract that every registered predictor and refiner must keep, as checks that return "ok" or what is wrong."""

from __future__ import annotations

import numpy as np

from keendepth import pipeline, predictors, refiners
from keendepth.core.types import Camera, DepthKind, DepthMap, Image

SIZES = ((48, 64), (64, 48), (7, 5), (1, 1))


def picture(size: tuple[int, int], seed: int = 0) -> Image:
    """A seeded picture of blocks and noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), 3))
    rgb = np.kron(blocks, np.ones((8, 8, 1)))[: size[0], : size[1]] + rng.integers(-9, 10, (*size, 3))
    return Image(np.clip(rgb, 0, 255).astype(np.uint8), Camera.from_fov(60, size[1], size[0]))


def check_predictor(name: str) -> str:
    """Size, kind, camera, finite values, repeatability, and that the picture is left alone."""
    predictor, card = predictors.registry.build(name), predictors.registry.card(name)
    for size in SIZES:
        image = picture(size)
        before = image.rgb.copy()
        first, second = predictor.predict(image), predictor.predict(image)
        if first.size != size:
            return f"gives {first.size} for a picture of {size}"
        if not first.kind == predictor.kind == card.kind:
            return f"gives {first.kind}, is registered as {card.kind}, says {predictor.kind}"
        if first.camera is None or not first.valid.any():
            return "loses the camera" if first.camera is None else f"knows no pixel of a picture of {size}"
        if not np.array_equal(first.values, second.values, equal_nan=True):
            return "gives two answers for one picture"
        if not np.array_equal(before, image.rgb):
            return "changes the picture"
    return "ok"


def check_refiner(name: str) -> str:
    """For every kind and several sizes: kind, size, scale and unknown pixels kept, strength 0 exact, repeatable, input left alone."""
    for size in SIZES:
        for kind in DepthKind:
            verdict = _check_refiner(name, picture(size), kind)
            if verdict != "ok":
                return f"{verdict} ({kind}, {size[1]} x {size[0]})"
    return "ok"


def _check_refiner(name: str, image: Image, kind: DepthKind) -> str:
    depth = example_depth(image, kind)
    before = depth.values.copy()
    refiner = refiners.registry.build(name)
    predictor = predictors.registry.build("toy") if refiners.needs_predictor(refiner) else None
    first, second = (refiners.registry.build(name).refine(image, depth, predictor) for _ in range(2))
    if first.size != image.size or first.kind is not kind:
        return f"gives {first.kind} {first.size}"
    if not np.array_equal(first.values, second.values, equal_nan=True):
        return "gives two answers for one input"
    if not np.array_equal(before, depth.values, equal_nan=True):
        return "changes its input"
    if first.valid.any() != depth.valid.any():
        return "loses every known pixel"
    if not np.array_equal(pipeline.refine(image, depth, name, strength=0).values, depth.values, equal_nan=True):
        return "strength 0 is not the input"
    if not first.kind.positive or depth.valid.sum() < 100:
        return "ok"
    ratio = float(first.values[first.valid].mean() / depth.values[depth.valid].mean())
    return "ok" if abs(ratio - 1) < 0.02 else f"moves the scale by x{ratio:.3f}"


def example_depth(image: Image, kind: DepthKind) -> DepthMap:
    """Two planes with a jump between them, an unknown corner and a strip of sky where there is room for them."""
    h, w = image.size
    values = np.linspace(2, 3, h * w, dtype=np.float32).reshape(h, w)
    values[:, w // 2 :] += 2
    if h > 4 and w > 4:
        values[-2:, -2:], values[0] = np.nan, np.inf
    return DepthMap(values, kind, image.camera)
