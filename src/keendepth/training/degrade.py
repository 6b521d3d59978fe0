"""Exact depth made worse in the ways that real depth is: predictors' errors (SDDR section 3.1) and sensors' low resolution, noise and holes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from keendepth.core import geometry

# Maps here are nearness: 1/z, sky 0, larger is nearer. "Span" is the range of a map's values without its outermost 2 %.
JUMP = 1.08  # neighbours whose nearness differs by this ratio, and by JUMP_SPAN of the span, lie on two surfaces
JUMP_SPAN = 0.02
TABLE = 4096  # random affine maps that patches and surfaces draw from


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of input; they are divided by their sum. Ours."""

    clean: float = 0.08  # as it is: the network must learn to leave it alone
    near_clean: float = 0.12  # a slight blur, rounding or noise
    sensor: float = 0.45  # reduced, noisy, holed, rounded, shifted; one map only
    predicted: float = 0.25  # SDDR's noise model: a low map, and mostly a high one
    real: float = 0.10  # a predictor's own maps, where the picture has them; else they count as predicted


@dataclass(frozen=True)
class Degrade:
    """Options of `degrade`. Chances are per picture; amounts are drawn between their two ends."""

    mixture: Mixture = field(default_factory=Mixture)
    noise: bool = True  # local inconsistency and edge deformation in predicted maps (the ablation's switch); blur stays
    reduce: tuple[float, float] = (2.0, 16.0)  # by how much a sensor's map is smaller, log-uniform
    in_depth: float = 0.5  # chance that a sensor averages z instead of 1/z (never with sky)
    # Two sensors' maps of five have none of the next four faults: with them in nearly all, little was learnt (docs/decisions.md).
    sensor_noise: tuple[float, float, float] = (
        0.25,
        0.002,
        0.02,
    )  # chance; sigma of 1/z over span, which is ~ z^2 in z
    holes: tuple[float, float, float] = (0.2, 0.02, 0.25)  # chance; share of the pixels
    rounding: float = 0.2  # chance of millimetres to centimetres, or of 32 to 256 steps of disparity
    shift: tuple[float, float] = (0.15, 2.0)  # chance; pixels by which photo and map disagree, at most
    alone: float = 0.35  # chance that a predicted map comes without its high twin
    low_affine: tuple[float, float] = (0.03, 0.01)  # SDDR 1.1: sigma of scale and of shift over span, patches of 128
    high_affine: tuple[float, float] = (0.15, 0.06)  # the same for the high map, patches of 64
    low_reduce: tuple[float, float] = (4.0, 12.0)  # blur of the low map; sddr.md 1.1 has 8
    high_reduce: tuple[float, float] = (1.5, 3.0)  # and of the high one; 2


@dataclass(frozen=True, eq=False)
class Degraded:
    """What a refiner would be given."""

    low: Float32[np.ndarray, "h w"]
    high: Float32[np.ndarray, "h w"] | None  # None: there is no second map
    kind: str  # a field of Mixture
    affine: bool  # whether the input has an error of scale and shift that no refiner could know
    small: Float32[np.ndarray, "_h _w"] | None = None  # the sensor's own map before it was enlarged to `low`


Pair = tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"] | None]


def degrade(
    near: Float32[np.ndarray, "h w"], rng: np.random.Generator, options: Degrade, real: Pair | None = None
) -> Degraded:
    """One of the kinds of `options.mixture`; a pure function of its arguments and of the generator's state. `real`: a predictor's low and high maps."""
    names = [entry.name for entry in fields(Mixture)]
    weights = np.array([getattr(options.mixture, name) for name in names])
    kind = names[rng.choice(len(names), p=weights / weights.sum())]
    if kind == "real" and real is None:
        kind = "predicted"
    if kind == "clean" or span(near) <= 0:
        return Degraded(near, None, kind, False)
    if kind == "near_clean":
        return Degraded(near_clean(near, rng), None, kind, False)
    if kind == "sensor":
        low, small = sensor(near, rng, options)
        return Degraded(low, None, kind, False, small)
    low, high = predicted(near, rng, options) if real is None or kind == "predicted" else real
    return Degraded(low, None if rng.random() < options.alone else high, kind, True)


def near_clean(near: Float32[np.ndarray, "h w"], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Slightly blurred, rounded to a fine step, or with a little noise: what should come back hardly changed."""
    way = rng.integers(4)
    if way == 0:
        return ndimage.gaussian_filter(near, rng.uniform(0.3, 0.9), truncate=3)
    if way == 1:
        return _rounded(near, span(near) / rng.uniform(256, 1024))
    if way == 2:
        return _positive(near + _normal(rng, near.shape, span(near) * rng.uniform(0.0003, 0.002)), near)
    size = tuple(max(2, round(side / rng.uniform(1.1, 1.8))) for side in near.shape)
    return geometry.resize(geometry.resize(near, size, "area"), near.shape)


def sensor(
    near: Float32[np.ndarray, "h w"], rng: np.random.Generator, options: Degrade
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "_h _w"]]:
    """A low-resolution sensor or somebody's small file: shifted, reduced, noisy, rounded, holed and filled; (enlarged again, its own map)."""
    in_depth = rng.random() < options.in_depth and bool((near > 0).all())
    values = 1 / near if in_depth else near
    if rng.random() < options.shift[0]:
        values = shifted(values, rng.uniform(-options.shift[1], options.shift[1], 2))
    size = _reduced_size(near.shape, _log_uniform(rng, *options.reduce))
    small = geometry.resize(values, size, str(rng.choice(("area", "nearest", "cubic"), p=(0.5, 0.3, 0.2))))
    small = np.clip(small, values.min(), values.max())  # cubic overshoots
    small = _worn(1 / small if in_depth else small, rng, options)
    own = small
    small = 1 / small if in_depth else small
    large = geometry.resize(small, near.shape, str(rng.choice(("linear", "cubic", "nearest"), p=(0.3, 0.6, 0.1))))
    large = np.clip(large, small.min(), small.max())
    return (1 / large if in_depth else large), own


def _worn(small: np.ndarray, rng: np.random.Generator, options: Degrade) -> np.ndarray:
    """Noise, rounding and holes on the sensor's own grid; nearness in and out."""
    clean = small
    if rng.random() < options.sensor_noise[0]:
        small = small + _normal(rng, small.shape, span(clean) * rng.uniform(*options.sensor_noise[1:]))
    if rng.random() < options.rounding:
        small = _stepped(_positive(small, clean), rng)
    small = _positive(small, clean)
    if rng.random() < options.holes[0]:
        small = geometry.fill_nearest(small, holes(small, rng, rng.uniform(*options.holes[1:])))
    return small


def _stepped(near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Millimetres to centimetres of depth, or a few hundred steps of disparity."""
    if rng.random() < 0.5 or not (near > 0).all():
        return _rounded(near, span(near) / rng.uniform(32, 256))
    z = 1 / near
    step = np.float32(_log_uniform(rng, 0.001, 0.03))  # metres, if the map is metric
    return 1 / np.maximum(np.round(z / step) * step, step)


def holes(near: Float32[np.ndarray, "h w"], rng: np.random.Generator, share: float) -> Bool[np.ndarray, "h w"]:
    """Unknown pixels: blobs, beside jumps, and scattered ones; about `share` of the map, never all of it."""
    field_ = smooth_noise(near.shape, 6, rng) + _normal(rng, near.shape, 0.4)
    field_ = field_ + np.float32(1.5) * ndimage.maximum_filter(jumps(near), 3)
    unknown = field_ > np.quantile(field_, 1 - share)
    if unknown.all():
        unknown.flat[0] = False
    return unknown


def predicted(near: Float32[np.ndarray, "h w"], rng: np.random.Generator, options: Degrade) -> Pair:
    """SDDR's noise model (Eq. 1): D = D* + eps_cons + eps_edge; (low, high) with the constants of sddr.md 1.1."""
    surfaces = components(near)
    low, high = near, near
    if options.noise:
        low = inconsistent(near, surfaces, 128, options.low_affine, rng)
        strength = rng.uniform(0.2, 1.2)  # a good predictor's high map is nearly consistent
        affine = options.high_affine[0] * strength, options.high_affine[1] * strength
        high = inconsistent(near, surfaces, 64, affine, rng)
    low = deformed(low, rng.uniform(1.5, 3.5), _log_uniform(rng, *options.low_reduce), rng, options.noise)
    high = deformed(high, rng.uniform(0.3, 0.9), _log_uniform(rng, *options.high_reduce), rng, options.noise)
    return low, high


def inconsistent(
    near: Float32[np.ndarray, "h w"],
    surfaces: np.ndarray,
    patch: int,
    affine: tuple[float, float],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "h w"]:
    """eps_cons (SDDR A.4): patches that overlap by half, in each of them one scale and shift per connected surface; Hann-weighted sum.

    Scale ~ N(1, affine[0]), shift ~ N(0, affine[1] x span). Jumps between surfaces stay sharp. A surface is connected in the whole map
    here, in the patch there; patches begin at a random place.
    """
    scales = rng.normal(1, affine[0], TABLE).astype(np.float32)
    offsets = (rng.normal(0, affine[1], TABLE) * span(near)).astype(np.float32)
    (row, across_row), (column, across_column) = (_patches(side, patch, rng) for side in near.shape)
    keys = surfaces.astype(np.uint32) * np.uint32(2654435761)  # Knuth's multiplier: neighbours draw unlike numbers
    gain, offset = np.zeros(near.shape, np.float32), np.zeros(near.shape, np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            place = (row + dy)[:, None].astype(np.uint32) * np.uint32(40503) + (column + dx).astype(np.uint32)
            index = ((keys + place * np.uint32(97)) >> np.uint32(7)) % np.uint32(TABLE)
            weight = np.abs(1 - dy - across_row)[:, None] * np.abs(1 - dx - across_column)
            gain += weight * scales[index]
            offset += weight * offsets[index]
    return _positive(gain * near + offset, near)


def _patches(side: int, patch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(number of the earlier patch, Hann weight of the later one) along an axis on which patches overlap by half."""
    place = (np.arange(side) + rng.uniform(0, patch / 2)) / (patch / 2)
    number = np.floor(place)
    return number.astype(np.int64), (np.sin((place - number) * np.pi / 2) ** 2).astype(np.float32)


def deformed(
    near: Float32[np.ndarray, "h w"], sigma: float, factor: float, rng: np.random.Generator, bend: bool = True
) -> Float32[np.ndarray, "h w"]:
    """eps_edge (SDDR A.4): edges displaced and dotted with Gaussians where they are, then blurred by `sigma` pixels and reduced by `factor` and back."""
    out = near
    if bend:
        edge = ndimage.gaussian_filter(jumps(near).astype(np.float32), max(1.0, factor / 2), truncate=2)
        edge = np.minimum(edge / max(float(edge.max()), 1e-6) * 3, 1)
        out = _displaced(out, edge, rng.uniform(0.3, 1.0) * factor / 2, rng)
        dots = (rng.random(near.shape) < 0.02) * edge * _normal(rng, near.shape, 1.0)
        width = max(1.0, factor / 3)
        height = rng.uniform(0, 0.15) * span(near) * width * width * 2 * np.pi
        out = _positive(out + np.float32(height) * ndimage.gaussian_filter(dots, width, truncate=2.5), near)
    if sigma > 0:
        out = ndimage.gaussian_filter(out, sigma, truncate=2.5)
    small = geometry.resize(out, _reduced_size(near.shape, factor), "area")
    return geometry.resize(small, near.shape)


def _displaced(values: np.ndarray, edge: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Moved by a smooth random field of about `amount` pixels, next to edges only."""
    rows, columns = np.nonzero(edge > 0.05)
    if rows.size == 0:
        return values
    strength = edge[rows, columns] * np.float32(amount)
    moved = [smooth_noise(values.shape, 16, rng)[rows, columns] * strength for _ in range(2)]
    out = values.copy()
    out[rows, columns] = ndimage.map_coordinates(values, (rows + moved[0], columns + moved[1]), order=1, mode="nearest")
    return out


def components(near: Float32[np.ndarray, "h w"]) -> np.ndarray:
    """Number [h w] of the connected surface that each pixel lies on; surfaces are parted by jumps between pixels."""
    across, down = _steps(near)
    links = np.zeros((2 * near.shape[0] - 1, 2 * near.shape[1] - 1), bool)
    links[::2, ::2] = True
    links[::2, 1::2], links[1::2, ::2] = ~across, ~down
    labels, _ = ndimage.label(links)
    return labels[::2, ::2]


def jumps(near: Float32[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels on either side of a jump."""
    return both_sides(*_steps(near))


def both_sides(across: Bool[np.ndarray, "h v"], down: Bool[np.ndarray, "g w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels on either side of the marked steps to the right (v = w - 1) and down (g = h - 1)."""
    edge = np.zeros((across.shape[0], down.shape[1]), bool)
    edge[:, :-1] |= across
    edge[:, 1:] |= across
    edge[:-1] |= down
    edge[1:] |= down
    return edge


def _steps(near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    least = np.float32(JUMP_SPAN * span(near))

    def jump(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        larger, smaller = np.maximum(a, b), np.minimum(a, b)
        return (larger > np.float32(JUMP) * smaller) & (larger - smaller > least)

    return jump(near[:, :-1], near[:, 1:]), jump(near[:-1], near[1:])


def span(near: Float32[np.ndarray, "h w"]) -> float:
    """From the 2nd to the 98th percentile of (a sixteenth of) the values; the whole range where that is nothing."""
    thin = near[:: 1 + (near.shape[0] > 64), :: 1 + (near.shape[1] > 64)] if near.size > 4096 else near
    ordered = np.sort(thin[::2, ::2], axis=None) if thin.size > 4096 else np.sort(thin, axis=None)
    found = float(ordered[int(0.98 * (ordered.size - 1))] - ordered[int(0.02 * (ordered.size - 1))])
    return found if found > 0 else float(np.ptp(near))


def smooth_noise(shape: tuple[int, ...], cell: int, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Normal noise on a grid of `cell` pixels, interpolated."""
    grid = tuple(-(-side // cell) + 1 for side in shape)
    return geometry.resize(_normal(rng, grid, 1.0), (shape[0], shape[1]), "linear")


def shifted(values: Float32[np.ndarray, "h w"], by: np.ndarray) -> Float32[np.ndarray, "h w"]:
    """Moved by (down, right) whole pixels nearest to `by`; borders are replicated."""
    down, right = (round(float(amount)) for amount in by)
    h, w = values.shape
    rows = np.clip(np.arange(h) - down, 0, h - 1)
    return values[rows[:, None], np.clip(np.arange(w) - right, 0, w - 1)]


def _rounded(near: np.ndarray, step: float) -> np.ndarray:
    step = np.float32(max(step, 1e-12))
    return _positive(np.round(near / step) * step, near)


def _positive(values: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """No farther than four times the farthest of the clean map (sky stays 0)."""
    return np.maximum(values, clean.min() / 4).astype(np.float32)


def _reduced_size(shape: tuple[int, ...], factor: float) -> tuple[int, int]:
    return max(2, round(shape[0] / factor)), max(2, round(shape[1] / factor))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _normal(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)
