"""Pixels and space: the pixel grid, un-projection, projection, normals, and how pictures and depth are resized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

if TYPE_CHECKING:
    from scipy import sparse

# scipy's parts are imported by the functions that use them: the command line must list models without them (0.2 s).
# In this package the centre of the top-left pixel is (0.5, 0.5), so a resize is a plain scaling of coordinates.


def pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(u [w], v [h]): coordinates of the pixel centres."""
    return np.arange(width) + 0.5, np.arange(height) + 0.5


def pixel_rays(height: int, width: int, K: Any) -> np.ndarray:
    """Rays [h w 3] through the pixel centres, with z = 1, in the camera's frame (x right, y down, z forward); K [3 3]."""
    u, v = pixel_grid(height, width)
    rays = np.ones((height, width, 3))
    rays[..., 0] = (u - K[0][2]) / K[0][0]
    rays[..., 1] = ((v - K[1][2]) / K[1][1])[:, None]
    return rays


def unproject(z: Any, rays: Any) -> Any:
    """Points [... h w 3] from depth z [... h w] and `pixel_rays`; numpy or torch."""
    return z[..., None] * rays


def project(points: Any, K: Any) -> tuple[Any, Any, Any]:
    """(u, v, z): pixel coordinates and depth of points [... 3]; numpy or torch. z <= 0 lies behind the camera."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return x / z * K[0, 0] + K[0, 2], y / z * K[1, 1] + K[1, 2], z


def normals(points: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Unit normals of a point map, towards the camera, from central differences; NaN at and next to unknown pixels."""
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normal = np.cross(down, across)
    normal[np.isnan(points).any(-1)] = np.nan  # a central difference steps over its own pixel
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (normal / length).astype(np.float32)


def fit_inside(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """`size` shrunk so that its longer side is at most `longest`; never enlarged, never below 1."""
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def to_multiple(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """`size` rounded to the nearest multiple of `stride`, at least one of it."""
    return max(stride, round(size[0] / stride) * stride), max(stride, round(size[1] / stride) * stride)


METHODS = ("nearest", "linear", "cubic", "area")
KERNELS = {  # (radius, weight at a distance below it)
    "linear": (1.0, lambda x: np.maximum(0, 1 - x)),
    "cubic": (
        2.0,
        lambda x: np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2),
    ),  # Keys, a = -0.5
}


def resize_matrix(n_in: int, n_out: int, method: str = "linear") -> sparse.csr_array:
    """Sparse [n_out n_in] matrix that resamples one axis; rows sum to 1; kernels widen when shrinking, so nothing aliases."""
    from scipy import sparse

    if method not in METHODS:
        raise ValueError(f"resize: unknown method {method!r}; known: {', '.join(METHODS)}")
    scale = n_in / n_out
    if method == "nearest":
        index = np.minimum(((np.arange(n_out) + 0.5) * scale).astype(int), n_in - 1)
        return sparse.csr_array((np.ones(n_out, np.float32), index, np.arange(n_out + 1)), shape=(n_out, n_in))
    if method == "area":
        return _area_matrix(n_in, n_out)
    radius, kernel = KERNELS[method]
    stretch = max(scale, 1.0)
    centre = (np.arange(n_out) + 0.5) * scale - 0.5
    offsets = np.arange(-int(np.ceil(radius * stretch)), int(np.ceil(radius * stretch)) + 2)
    taps = np.floor(centre)[:, None].astype(int) + offsets
    distance = np.abs(taps - centre[:, None]) / stretch
    weights = np.where(distance < radius, kernel(distance), 0.0)
    weights /= weights.sum(1, keepdims=True)
    return _csr(weights, np.clip(taps, 0, n_in - 1), n_in)


def _area_matrix(n_in: int, n_out: int) -> sparse.csr_array:
    """Each output is the mean of the input pixels it covers."""
    edges = np.arange(n_out + 1) * (n_in / n_out)
    width = int(np.ceil(n_in / n_out)) + 1
    taps = np.floor(edges[:-1])[:, None].astype(int) + np.arange(width)
    overlap = np.clip(np.minimum(taps + 1, edges[1:, None]) - np.maximum(taps, edges[:-1, None]), 0, None)
    return _csr(overlap / overlap.sum(1, keepdims=True), np.clip(taps, 0, n_in - 1), n_in)


def _csr(weights: np.ndarray, taps: np.ndarray, n_in: int) -> sparse.csr_array:
    from scipy import sparse

    n_out, width = taps.shape
    matrix = sparse.csr_array(
        (weights.astype(np.float32).ravel(), taps.ravel(), np.arange(n_out + 1) * width), shape=(n_out, n_in)
    )
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def resize(
    values: Shaped[np.ndarray, "h w *c"], size: tuple[int, int], method: str = "linear"
) -> Float32[np.ndarray, "h2 w2 *c"]:
    """Resize [h w] or [h w c] to (height, width) in float32; every value must be finite."""
    _require_size(size)
    h, w = values.shape[:2]
    tail = values.shape[2:]
    out = np.ascontiguousarray(values, dtype=np.float32)
    if size[0] <= h:  # shrink first: the second product is then the smaller one
        out = _rows(out, size[0], method)
    if size[1] != w:
        columns = np.ascontiguousarray(np.moveaxis(out, 1, 0))
        out = np.moveaxis(_rows(columns, size[1], method), 0, 1)
    if size[0] > h:
        out = _rows(np.ascontiguousarray(out), size[0], method)
    return np.ascontiguousarray(out).reshape(*size, *tail)


def _require_size(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise ValueError(f"resize: height and width must be at least 1, found {size[0]} x {size[1]}")


def _rows(values: np.ndarray, n_out: int, method: str) -> np.ndarray:
    if n_out == values.shape[0]:
        return values
    flat = values.reshape(values.shape[0], -1)
    return (resize_matrix(values.shape[0], n_out, method) @ flat).reshape(n_out, *values.shape[1:])


HALF = 0.5 - 1e-5  # float32 weights that sum to a half in exact numbers must not miss it


def resize_depth(
    values: Float32[np.ndarray, "h w"], size: tuple[int, int], method: str = "linear"
) -> Float32[np.ndarray, "h2 w2"]:
    """Resize depth without mixing unknown pixels (NaN) or sky (+inf) into the known ones.

    A pixel is known where at least half of its support is; else sky, where sky has a quarter of it and more than the known part.
    Cubic overshoot is clipped to the input's range; with holes or sky, cubic is linear.
    """
    _require_size(size)
    known = np.isfinite(values)
    if method == "nearest" or not known.any():
        return _pick(values, size)
    if known.all():
        return np.clip(resize(values, size, method), values.min(), values.max())
    method = "linear" if method == "cubic" else method
    weight = resize(known, size, method)
    mixed = resize(np.where(known, values, 0), size, method)
    low, high = values[known].min(), values[known].max()
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(weight >= HALF, np.clip(mixed / weight, low, high), np.float32(np.nan))
    sky = np.isposinf(values)
    if sky.any():
        share = resize(sky, size, method)
        out = np.where((weight < HALF) & (share > weight) & (share >= 0.25), np.float32(np.inf), out)
    return out.astype(np.float32)


def _pick(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest by indexing: keeps NaN and inf, which a matrix product would spread."""
    rows = np.minimum(((np.arange(size[0]) + 0.5) * (values.shape[0] / size[0])).astype(int), values.shape[0] - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * (values.shape[1] / size[1])).astype(int), values.shape[1] - 1)
    return values[rows[:, None], columns]


def fill_nearest(values: Float32[np.ndarray, "h w"], holes: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Pixels in `holes` take the value of the nearest pixel outside them, of which there must be one."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
