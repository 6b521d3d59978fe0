"""Pixels and space: the pixel grid, un-projection, projection, normals, and how pictures and depth are resized."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

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


CACHE = 1 << 18  # numbers worked on at a time
METHODS = ("nearest", "linear", "cubic", "area")
KERNELS = {  # (radius, weight at a distance below it)
    "linear": (1.0, lambda x: np.maximum(0, 1 - x)),
    "cubic": (
        2.0,
        lambda x: np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2),
    ),  # Keys, a = -0.5
}


def resample_taps(n_in: int, n_out: int, method: str = "linear") -> tuple[np.ndarray, np.ndarray]:
    """(taps [n_out k], weights [n_out k]): which inputs make each output along one axis; weights sum to 1, taps may repeat at the ends.

    Kernels widen when shrinking, so nothing aliases.
    """
    if method not in METHODS:
        raise ValueError(f"resize: unknown method {method!r}; known: {', '.join(METHODS)}")
    scale = n_in / n_out
    if method == "nearest":
        return _nearest_index(n_in, n_out)[:, None], np.ones((n_out, 1), np.float32)
    if method == "area":
        taps, weights = _area_taps(n_in, n_out)
    else:
        radius, kernel = KERNELS[method]
        stretch = max(scale, 1.0)
        centre = (np.arange(n_out) + 0.5) * scale - 0.5
        reach = int(np.ceil(radius * stretch))
        taps = np.floor(centre)[:, None].astype(int) + np.arange(-reach, reach + 2)
        distance = np.abs(taps - centre[:, None]) / stretch
        weights = np.where(distance < radius, kernel(distance), 0.0)
    weights = weights / weights.sum(1, keepdims=True)
    return np.clip(taps, 0, n_in - 1), weights.astype(np.float32)


def _area_taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Each output is the mean of the input pixels it covers."""
    edges = np.arange(n_out + 1) * (n_in / n_out)
    taps = np.floor(edges[:-1])[:, None].astype(int) + np.arange(int(np.ceil(n_in / n_out)) + 1)
    return taps, np.clip(np.minimum(taps + 1, edges[1:, None]) - np.maximum(taps, edges[:-1, None]), 0, None)


def _nearest_index(n_in: int, n_out: int) -> np.ndarray:
    return np.minimum(((np.arange(n_out) + 0.5) * (n_in / n_out)).astype(int), n_in - 1)


def resize(
    values: Shaped[np.ndarray, "h w *c"], size: tuple[int, int], method: str = "linear"
) -> Float32[np.ndarray, "h2 w2 *c"]:
    """Resize [h w] or [h w c] to (height, width) in float32; every value must be finite."""
    _require_size(size)
    h, w = values.shape[:2]
    planes = values.reshape(h, w, -1)
    shrinks_first = size[0] <= h  # the second product is then the smaller one
    for rows_now in (shrinks_first, not shrinks_first):
        planes = _resize_rows(planes, size[0], method) if rows_now else _resize_columns(planes, size[1], method)
    return np.ascontiguousarray(planes, dtype=np.float32).reshape(*size, *values.shape[2:])


def _resize_rows(values: np.ndarray, n_out: int, method: str) -> np.ndarray:
    """Weighted sums of input rows, tap by tap, in blocks that stay in the processor's cache. (A matrix product is no faster, and its
    threads get in each other's way on a busy machine.)"""
    if n_out == values.shape[0]:
        return values
    flat = values.reshape(values.shape[0], -1)
    out = np.zeros((n_out, flat.shape[1]), np.float32)
    taps, weights = resample_taps(values.shape[0], n_out, method)
    block = max(1, CACHE // max(1, flat.shape[1]))
    for start in range(0, n_out, block):
        part = slice(start, start + block)
        for tap, weight in zip(taps[part].T, weights[part].T, strict=True):
            if weight.any():
                out[part] += flat[tap] * weight[:, None]
    return out.reshape(n_out, *values.shape[1:])


def _resize_columns(values: np.ndarray, n_out: int, method: str) -> np.ndarray:
    """The same across: each block of rows is turned, resampled and turned back."""
    h, w, channels = values.shape
    if n_out == w:
        return values
    out = np.empty((h, n_out, channels), np.float32)
    block = max(1, CACHE // (w * channels))
    for start in range(0, h, block):
        part = slice(start, start + block)
        turned = np.ascontiguousarray(values[part].transpose(1, 0, 2))
        out[part] = _resize_rows(turned, n_out, method).transpose(1, 0, 2)
    return out


def _require_size(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise ValueError(f"resize: height and width must be at least 1, found {size[0]} x {size[1]}")


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
    rows, columns = _nearest_index(values.shape[0], size[0]), _nearest_index(values.shape[1], size[1])
    return values[rows[:, None], columns]


def fill_nearest(values: Float32[np.ndarray, "h w"], holes: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Pixels in `holes` take the value of the nearest pixel outside them, of which there must be one."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
