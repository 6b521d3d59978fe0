"""How the camera moved between two frames: direct alignment of two small grey pictures by the depth of one of them, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from keendepth.core import geometry

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
LONGEST = (
    96  # pixels of the small picture's longer side: a frame costs 10 ms, and a step of the camera shows as half a pixel
)
COARSEST = 24  # longer side of the coarsest level: a sway of a tenth of the picture is two pixels there
SMALLEST = 8  # pixels of the shorter side of the coarsest level
ITERATIONS = 8  # per level, at most; most frames need three or four
SETTLED = 1e-5  # radians, and metres over the scene's middle depth: below a thousandth of a pixel
ROBUST = 1.5  # in robust standard deviations: where a residual begins to count less (Huber's usual choice)
ENOUGH = 64  # pixels; eight unknowns need some


@dataclass(frozen=True, eq=False)
class Motion:
    """From the camera of one frame to that of another, x' = turn x + step, and how well the two pictures then agree."""

    turn: Float64[np.ndarray, "3 3"]
    step: Float64[np.ndarray, " 3"]  # in the depth's unit
    seen: float  # share of the pixels that the other frame sees
    likeness: float  # correlation of the two pictures where both see, -1..1


def small_grey(rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h2 w2"]:
    """The luma of a picture at `LONGEST` pixels, 0..1."""
    size = geometry.fit_inside((rgb.shape[0], rgb.shape[1]), LONGEST)
    return geometry.resize(rgb, size, "area") @ (LUMA / np.float32(255))


def find(
    here: Float32[np.ndarray, "h w"],
    there: Float32[np.ndarray, "h w"],
    nearness: Float32[np.ndarray, "h w"],
    K: Float64[np.ndarray, "3 3"],
    start: tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"]] | None = None,
) -> Motion:
    """The motion that carries the pixels of `here`, whose inverse depth is `nearness` (0 sky, NaN unknown), onto the picture `there`.

    Gauss-Newton on grey values from coarse to fine, over three angles, three steps, gain and offset of the exposure, with Huber's
    weights, so that things that move by themselves and new exposure do not count. `start`: a first guess (turn, step), such as the last motion.
    K is of the small pictures. What cannot be aligned keeps the guess, with its `likeness`, which tells.
    """
    turn, step = start or (np.eye(3), np.zeros(3))
    middle = _middle(nearness)
    for size in _levels((here.shape[0], here.shape[1])):
        a, b = (geometry.resize(grey, size, "area") for grey in (here, there))
        near = geometry.resize_depth(nearness, size, "area")
        zoom = np.diag([size[1] / here.shape[1], size[0] / here.shape[0], 1.0])
        turn, step = _aligned(a, b, near, zoom @ K, (turn, step, middle))
    u, v, _, inside = carry(nearness, K, turn, step)
    likeness = _correlation(here[inside], sample(there, u, v)[inside])
    return Motion(turn, step, float(inside.mean()), likeness)


def carry(
    nearness: Float32[np.ndarray, "h w"],
    K: Float64[np.ndarray, "3 3"],
    turn: Float64[np.ndarray, "3 3"],
    step: Float64[np.ndarray, " 3"],
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """(u, v, growth, inside): where each pixel falls in the other picture, by what its depth is multiplied there, and whether that is inside and known."""
    h, w = nearness.shape
    rays = geometry.pixel_rays(h, w, K) @ turn.T
    with np.errstate(invalid="ignore", divide="ignore"):  # unknown pixels, and points beside the other camera
        x, y, growth = geometry.project(rays + nearness[..., None] * step, K)
        inside = (growth > 1e-3) & (x > 0) & (x < w) & (y > 0) & (y < h)
    return x, y, growth, inside


def sample(
    values: Float[np.ndarray, "h w"], u: Float[np.ndarray, "a b"], v: Float[np.ndarray, "a b"]
) -> Float[np.ndarray, "a b"]:
    """Bilinear values at picture points (pixel centres at halves); beyond the border its nearest value; a NaN makes NaN of its neighbours."""
    h, w = values.shape
    x = np.clip(np.nan_to_num(u - 0.5), 0, w - 1)
    y = np.clip(np.nan_to_num(v - 0.5), 0, h - 1)
    left, top = np.minimum(x.astype(int), max(w - 2, 0)), np.minimum(y.astype(int), max(h - 2, 0))
    right, below = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
    fx, fy = (x - left).astype(values.dtype), (y - top).astype(values.dtype)
    upper = values[top, left] * (1 - fx) + values[top, right] * fx
    lower = values[below, left] * (1 - fx) + values[below, right] * fx
    return upper * (1 - fy) + lower * fy


def _levels(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Coarse to fine; none for a picture too small to align."""
    if min(size) < SMALLEST:
        return []
    sizes = [size]
    while max(sizes[-1]) >= 2 * COARSEST and min(sizes[-1]) >= 2 * SMALLEST:
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return sizes[::-1]


def _middle(nearness: np.ndarray) -> float:
    known = nearness[nearness > 0]
    return float(1 / np.median(known)) if known.size else 1.0


def _aligned(
    here: np.ndarray,
    there: np.ndarray,
    nearness: np.ndarray,
    K: np.ndarray,
    start: tuple[np.ndarray, np.ndarray, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton at one level; a step that makes the pictures less alike ends it."""
    turn, step, middle = start
    slope_y, slope_x = np.gradient(there)
    best, kept = np.inf, (turn, step)
    exposure = np.array([1.0, 0.0])
    for _ in range(ITERATIONS):
        u, v, growth, inside = carry(nearness, K, turn, step)
        if np.count_nonzero(inside) < ENOUGH:
            return kept
        at = (u[inside][None], v[inside][None])
        grey = here[inside]
        residual = sample(there, *at)[0] - exposure[0] * grey - exposure[1]
        spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-4
        weight = np.minimum(1, ROBUST * spread / np.maximum(np.abs(residual), 1e-9))
        cost = float(np.minimum(np.abs(residual), 3 * spread).mean())
        if cost > best * 1.0001:
            return kept
        best, kept = cost, (turn, step)
        slopes = sample(slope_x, *at)[0] * K[0, 0], sample(slope_y, *at)[0] * K[1, 1]
        rows = _jacobian(
            (at[0][0] - K[0, 2]) / K[0, 0], (at[1][0] - K[1, 2]) / K[1, 1], nearness[inside] / growth[inside], slopes
        )
        rows = np.concatenate([rows, [-grey, -np.ones_like(grey)]]).T
        change = _solve(rows, -residual, weight, middle)
        turn, step = _moved(turn, step, change[:6])
        exposure = exposure + change[6:]
        if max(np.abs(change[:3]).max(), np.abs(change[3:6]).max() / middle) < SETTLED:
            break
    return turn, step


def _jacobian(x: np.ndarray, y: np.ndarray, near: np.ndarray, slopes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Change of grey by three small angles and three steps, [6 n]: the motion field of a rigid scene (Longuet-Higgins and Prazdny, 1980)."""
    gx, gy = slopes
    radial = -(x * gx + y * gy)
    return np.stack(
        [
            -gx * x * y - gy * (1 + y * y), gx * (1 + x * x) + gy * x * y, -gx * y + gy * x,
            gx * near, gy * near, radial * near,
        ]
    )  # fmt: skip


def _solve(rows: np.ndarray, target: np.ndarray, weight: np.ndarray, middle: float) -> np.ndarray:
    """Weighted least squares, held back a little where the pictures say nothing (a blank wall); steps count in middle depths."""
    units = np.array([1, 1, 1, middle, middle, middle, 1, 1])
    rows = rows * units
    weighted = rows * weight[:, None]
    normal = weighted.T @ rows
    damping = 1e-3 * np.diag(np.diag(normal)) + 1e-6 * (np.trace(normal) + 1e-9) * np.eye(8)
    return units * np.linalg.solve(normal + damping, weighted.T @ target)


def _moved(turn: np.ndarray, step: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The small motion `change` after (turn, step)."""
    small = rotation(change[:3])
    return small @ turn, small @ step + change[3:]


def rotation(vector: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "3 3"]:
    """The matrix that turns about `vector` by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + first * cross + second * cross @ cross


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 1 for two blank pictures, which no cut tells apart; -1 where too few pixels are shared."""
    if a.size < ENOUGH:
        return -1.0
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return float((a * b).mean() / spread) if spread > 1e-4 else 1.0
