"""NumPy files: our .npz with depth, valid, K, kind and unit, anybody's .npz, and plain .npy; checked before anything is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from keendepth.core.types import DepthMap
from keendepth.io import record
from keendepth.io.errors import FileError, check_size, reading
from keendepth.io.formats import Draft, Loaded


@runtime_checkable
class Reads(Protocol):
    """A file, or a member of an archive."""

    def read(self, size: int = ..., /) -> bytes: ...


MAX_MEMBERS = 64
MAX_SMALL = 1_000_000  # bytes of a member that is no picture
DAY_ONE = (1980, 1, 1, 0, 0, 0)  # the same depth gives the same bytes
NO_ERROR = {"format": "npz, float32", "unknown": "NaN", "sky": "inf", "error": 0.0}


def load(path: Path) -> Loaded:
    """Ours, or the array called "depth", or the only picture in the file; a mask "valid" and a matrix "K" come along."""
    with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if len(members) > MAX_MEMBERS:
            raise FileError(path, f"an .npz of more than {MAX_MEMBERS} arrays is not read")
        heads = {name: _head(archive, info) for name, info in members.items() if info.filename.endswith(".npy")}
        name = "depth" if "depth" in heads else _only_picture(path, heads)
        values = _picture(path, _member(path, archive, members[name]))
        if "meta" in heads and "pixel_centre" in heads:
            own = record.parse_own(str(_member(path, archive, members["meta"])))
            if own:
                return Loaded(values, own)
        valid = _member(path, archive, members["valid"]) if heads.get("valid") == values.shape else None
        return Loaded(
            values, None, None if valid is None else valid.astype(bool), _matrix(path, archive, members, heads)
        )


def load_npy(path: Path) -> Loaded:
    """The one array of a plain .npy file."""
    with reading(path, "an .npy file"), path.open("rb") as stream:
        return Loaded(_picture(path, read_array(path, stream, path.stat().st_size)))


def load_matrix(path: Path) -> np.ndarray:
    """The camera matrix in an .npz ("K", "intrinsics" or "intr") or .npy file; FileError where there is none."""
    if path.suffix.lower() == ".npy":
        with reading(path, "an .npy file with a 3x3 matrix"), path.open("rb") as stream:
            return read_array(path, stream, path.stat().st_size)
    with reading(path, "an .npz file with a 3x3 matrix K"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()[:MAX_MEMBERS]}
        name = next((name for name in ("K", "intrinsics", "intr") if name in members), None)
        if name is None:
            raise FileError(path, f"expected an array K, found {', '.join(members) or 'none'}")
        return _member(path, archive, members[name])


def pixel_centre(path: Path) -> float:
    """0.5 when an .npz says that its K has the centre of the top-left pixel there, else 0 (the OpenCV convention)."""
    with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        marked = "pixel_centre.npy" in archive.namelist()
        return float(_member(path, archive, archive.getinfo("pixel_centre.npy"))) if marked else 0.0


def _matrix(path: Path, archive: zipfile.ZipFile, members: dict, heads: dict) -> Float[np.ndarray, "3 3"] | None:
    if heads.get("K") != (3, 3):
        return None
    return _member(path, archive, members["K"]).astype(np.float64)


def _only_picture(path: Path, heads: dict[str, tuple[int, ...]]) -> str:
    pictures = [name for name, shape in heads.items() if sum(side > 1 for side in shape) == 2 and shape != (3, 3)]
    if len(pictures) != 1:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in heads.items()) or "nothing"
        raise FileError(path, f"expected an array called depth or a single one with [h w], found {found}")
    return pictures[0]


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    with archive.open(info) as stream:
        return _header(stream)[0]


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as stream:
        return read_array(path, stream, info.file_size)


def _header(stream: Reads) -> tuple[tuple[int, ...], bool, np.dtype]:
    versions = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    found = np.lib.format.read_magic(stream)
    if found not in versions:
        raise ValueError(f"unknown .npy version {found}")
    return versions[found](_Short(stream))


class _Short:
    """A stream that gives short pieces only: the length of a header is the file's own word, and NumPy would read 4 GB for it."""

    def __init__(self, stream: Reads) -> None:
        self._stream = stream

    def read(self, size: int = 0) -> bytes:
        if size > MAX_SMALL:
            raise ValueError(f"a header of {size} bytes")
        return self._stream.read(size)


def read_array(path: Path, stream: Reads, size: int) -> np.ndarray:
    """One array from a stream of `size` bytes; its header must agree with the size before anything is allocated. Never unpickles."""
    shape, column_major, dtype = _header(stream)
    if dtype.kind not in "fiubU":
        raise FileError(path, f"expected numbers, found an array of {dtype} (pickled objects are never read)")
    count = 1
    for side in shape:
        count *= int(side)  # Python's integers do not overflow
    needed = count * dtype.itemsize
    if needed > MAX_SMALL:
        check_size(path, count, 1)
    if needed > size:
        raise FileError(path, f"expected {needed} bytes for {dtype} {list(shape)}, found {size}: the file is truncated")
    content = stream.read(needed)
    if len(content) != needed:
        raise FileError(
            path, f"expected {needed} bytes for {dtype} {list(shape)}, found {len(content)}: it is truncated"
        )
    values = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
    return values.reshape(shape, order="F" if column_major else "C")


def _picture(path: Path, values: np.ndarray) -> Shaped[np.ndarray, "h w"]:
    if values.dtype.kind not in "fiu":
        raise FileError(path, f"expected numbers, found {values.dtype}")
    shape = [side for side in values.shape if side != 1] if values.ndim > 2 else list(values.shape)
    if len(shape) != 2 or 0 in shape:
        raise FileError(path, f"expected an array [h w], found {list(values.shape)}")
    return np.ascontiguousarray(values.reshape(shape))


def prepare(depth: DepthMap) -> Draft:
    """depth float32 [h w] (NaN unknown, inf sky), valid, K (pixel centres at halves; only with a camera), kind, unit, pixel_centre, meta."""

    def save(temporary: Path, description: dict[str, Any]) -> None:
        arrays: dict[str, Any] = {
            "depth": depth.values,
            "valid": depth.valid,
            "kind": depth.kind.value,
            "unit": depth.unit,
        }
        if depth.camera:
            arrays["K"] = depth.camera.K
        arrays |= {"pixel_centre": 0.5, "meta": record.dumps(description)}
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                _write_member(archive, name, np.asanyarray(array))

    return Draft(NO_ERROR, save)


def _write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    info = zipfile.ZipInfo(f"{name}.npy", DAY_ONE)
    # Float depth is noise in its low bits: deflating 12 MP takes 1.9 s instead of 0.5 s and saves a sixth. The mask shrinks to nothing.
    info.compress_type = zipfile.ZIP_DEFLATED if array.dtype == bool else zipfile.ZIP_STORED
    with archive.open(info, "w", force_zip64=array.nbytes > 2**31) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)
