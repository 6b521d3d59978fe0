"""Reading camera files: our JSON, Open3D's, nerfstudio's, npz, npy and text, brought to the size of the photo."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.core.types import Camera
from keendepth.io import npz, record
from keendepth.io.errors import FileError, check_file, reading


def given_camera(
    size: tuple[int, int], focal: float | None = None, fov: float | None = None, file: str | Path | None = None
) -> Camera | None:
    """The camera that a user gives for a picture of (height, width): focal length in pixels, horizontal field of view, or a file; None without any.

    Raises ValueError where several are given.
    """
    if sum(given is not None for given in (focal, fov, file)) > 1:
        raise ValueError("camera: expected one of focal, fov and camera_file, found several: drop all but one")
    height, width = size
    if focal is not None:
        return Camera.from_focal(focal, width, height)
    if fov is not None:
        return Camera.from_fov(fov, width, height)
    return read_camera(file, width, height) if file is not None else None


def read_camera(path: str | Path, width: int, height: int) -> Camera:
    """The camera in a file, for a photo of `width` x `height` pixels; source "given".

    JSON of ours (a sidecar or its camera block), of Open3D (`intrinsic_matrix` by columns), of nerfstudio (`fl_x` ...) or with
    a matrix `K`; .npz with K; .npy and .txt with 3x3 numbers or "fx fy cx cy". Without our mark `pixel_centre` the centre
    of the top-left pixel is taken at (0, 0), as OpenCV has it. A camera for a uniformly resized photo follows the size.
    Raises FileError where the file holds no camera, or one for another picture.
    """
    path = Path(path)
    check_file(path)
    suffix = path.suffix.lower()
    with reading(path, "a camera file (.json, .npz, .npy or .txt)"):
        if suffix == ".json":
            camera = _from_json(path, record.load_json(path), (width, height))
        elif suffix in (".npz", ".npy"):
            centre = npz.pixel_centre(path) if suffix == ".npz" else 0.0
            camera = _from_numbers(path, npz.load_matrix(path), (width, height), centre)
        elif suffix == ".txt":
            camera = _from_numbers(path, _numbers(path), (width, height), 0.0)
        else:
            raise FileError(path, f"expected a camera file (.json, .npz, .npy or .txt), found {suffix or 'no suffix'}")
        return _fitted(path, replace(camera, source="given"), width, height)


def _numbers(path: Path) -> np.ndarray:
    if path.stat().st_size > 10_000:
        raise FileError(path, "expected 4 or 9 numbers, found a long text")
    words = path.read_text(encoding="utf-8").replace(",", " ").split()
    return np.array([float(word) for word in words])


def _from_json(path: Path, found: Any, size: tuple[int, int]) -> Camera:
    if not isinstance(found, dict):
        raise FileError(path, f"expected a JSON object, found {type(found).__name__}")
    block = found["camera"] if isinstance(found.get("camera"), dict) else found
    size = (int(block.get("width", block.get("w", size[0]))), int(block.get("height", block.get("h", size[1]))))
    if "intrinsic_matrix" in block:  # Open3D writes it column by column
        numbers = np.asarray(block["intrinsic_matrix"], dtype=np.float64)
        return _from_numbers(path, numbers.reshape(3, 3).T if numbers.ndim == 1 else numbers, size, 0.0)
    if "fl_x" in block:  # nerfstudio keeps COLMAP's halves
        focal_y = block.get("fl_y", block["fl_x"])
        return _from_numbers(path, [block["fl_x"], focal_y, block["cx"], block["cy"]], size, 0.5)
    centre = float(block.get("pixel_centre", 0.0))
    for name in ("K", "camera_matrix", "intrinsics"):
        if name in block:
            return _from_numbers(path, block[name], size, centre)
    if "fx" in block:
        return _from_numbers(path, [block[name] for name in ("fx", "fy", "cx", "cy")], size, centre)
    raise FileError(
        path,
        f"expected fx, fy, cx, cy or a 3x3 matrix K or intrinsic_matrix, found {', '.join(map(str, block)) or 'nothing'}",
    )


def _from_numbers(path: Path, numbers: Any, size: tuple[int, int], centre: float) -> Camera:
    """From 3x3, 9 (by rows) or 4 numbers; `centre` is the coordinate that the file gives to the centre of the first pixel."""
    K = np.squeeze(np.asarray(numbers, dtype=np.float64))
    if K.size == 4 and K.ndim == 1:
        K = np.array([[K[0], 0, K[2]], [0, K[1], K[3]], [0, 0, 1]])
    if K.size != 9:
        raise FileError(path, f"expected a 3x3 matrix or fx fy cx cy, found an array {list(np.shape(numbers))}")
    K = K.reshape(3, 3)
    if not np.allclose(K[2], [0, 0, 1]) or not np.isfinite(K).all():
        raise FileError(path, f"expected a camera matrix with the last row 0 0 1, found {K.tolist()}")
    if K[0, 0] < 10 and abs(K[0, 2]) <= 1 and abs(K[1, 2]) <= 1:
        raise FileError(
            path,
            "expected pixels, found a normalised matrix: multiply its first row by the width and its second by the height",
        )
    if not (0 <= K[0, 2] <= size[0] and 0 <= K[1, 2] <= size[1]):
        raise FileError(
            path,
            f"its principal point ({K[0, 2]:g}, {K[1, 2]:g}) lies outside {size[0]} x {size[1]} pixels: it is for another picture; "
            "a JSON file with width and height would be resized",
        )
    shift = 0.5 - centre
    return Camera(K[0, 0], K[1, 1], K[0, 2] + shift, K[1, 2] + shift, size[0], size[1])


def _fitted(path: Path, camera: Camera, width: int, height: int) -> Camera:
    """The camera for the photo's size, when one factor makes one from the other (to a pixel)."""
    factor = math.sqrt(width * height / (camera.width * camera.height))
    if abs(camera.width * factor - width) <= 1 and abs(camera.height * factor - height) <= 1:
        return camera.resized(height, width)
    turned = "; the photo is turned by 90 degrees" if (camera.width > camera.height) != (width > height) else ""
    raise FileError(
        path,
        f"the camera is for {camera.width} x {camera.height} pixels, the photo has {width} x {height}, "
        f"which no resize makes of it{turned}: use the camera of this picture",
    )
