"""Files: `read` and `write` depth by suffix, each with its description; `read_image` and `read_camera` for photos."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from keendepth.core.types import DepthMap, Image
from keendepth.io import foreign, record
from keendepth.io.atomic import atomic
from keendepth.io.camera import given_camera, read_camera
from keendepth.io.errors import FileError, TooLargeError, check_file, pixel_limit
from keendepth.io.formats import CONVENTIONS, UNITS, Draft
from keendepth.io.image import read_image, resolve_camera
from keendepth.io.record import sidecar

__all__ = [
    "CONVENTIONS",
    "READABLE",
    "SEQUENCES",
    "UNITS",
    "WRITABLE",
    "FileError",
    "TooLargeError",
    "given_camera",
    "pixel_limit",
    "read",
    "read_camera",
    "read_image",
    "resolve_camera",
    "sidecar",
    "write",
    "write_errors",
    "write_frame",
    "write_preview",
]

# suffix -> (module of this package, its loader); modules are imported when a file needs them
_LOADERS = {
    ".png": ("png16", "load"),
    ".pgm": ("png16", "load"),
    ".jpg": ("png16", "load"),
    ".jpeg": ("png16", "load"),
    ".bmp": ("png16", "load"),
    ".exr": ("exr", "load"),
    ".tif": ("tiff", "load"),
    ".tiff": ("tiff", "load"),
    ".npz": ("npz", "load"),
    ".npy": ("npz", "load_npy"),
    ".pfm": ("pfm", "load"),
    ".dpt": ("sintel", "load"),
}
_WRITERS = {".exr": "exr", ".tif": "tiff", ".tiff": "tiff", ".npz": "npz", ".pfm": "pfm", ".dpt": "sintel"}
READABLE = tuple(_LOADERS)
SEQUENCES = (".png", ".exr", ".npz")  # formats that hold their description themselves
WRITABLE = (".png", *_WRITERS, ".ply", ".glb")


def read(
    path: str | Path,
    *,
    units: str | None = None,
    convention: str | None = None,
    sky_value: float | None = None,
) -> DepthMap:
    """A depth map from a file, by suffix (`READABLE`). NaN = unknown, +inf = sky.

    A file of ours brings kind, unit and camera with it (in the file, else in the .json next to it). A foreign one is read by
    `units` (see `UNITS`) or by a data set's `convention` (see `CONVENTIONS`); without either, 16-bit integers are millimetres
    and floats are metres. `sky_value`: values of a foreign file as far as this, in its own unit, are sky.
    Raises FileError for a file that is missing, damaged, of another kind, or that holds nothing known.
    """
    path = Path(path)
    if units:
        foreign.find_unit(units)
    if convention:
        foreign.find_convention(convention)
    check_file(path)
    suffix = path.suffix.lower()
    if suffix in (".ply", ".glb"):
        raise FileError(
            path, "a cloud or a mesh cannot be read back as depth: use the .exr, .npz or .png written with it"
        )
    if suffix not in _LOADERS:
        raise FileError(
            path, f"expected depth in one of {', '.join(READABLE)}, found {suffix or 'a name without suffix'}"
        )
    module, loader = _LOADERS[suffix]
    loaded = getattr(import_module(f"keendepth.io.{module}"), loader)(path)
    own = loaded.own or record.load_beside(path)
    if own is None:
        return foreign.interpret(path, loaded, units, convention, sky_value)
    depth = record.restore(path, loaded, own)
    _check_agreement(path, depth, own, units, convention)
    return depth


def _check_agreement(path: Path, depth: DepthMap, own: dict, units: str | None, convention: str | None) -> None:
    """A file of ours knows what it is: to be told otherwise is a mistake."""
    if units and foreign.find_unit(units).kind is not depth.kind:
        raise FileError(
            path, f"units {units!r} were asked for, but the file says that it holds {depth.kind} depth: drop units"
        )
    written = own["encoding"].get("scale")
    if convention and written is not None and foreign.find_convention(convention).metres != written:
        raise FileError(
            path,
            f"convention {convention!r} was asked for, but the file says {own['encoding'].get('convention')!r}: drop it",
        )


def write(
    path: str | Path,
    depth: DepthMap,
    *,
    image: Image | None = None,
    convention: str | None = None,
    overwrite: bool = True,
) -> Path:
    """Write depth by suffix (`WRITABLE`) and its description to `<file name>.json`; both appear whole or not at all.

    `.png` is 16-bit millimetres, or another `convention`; depth that is not metric is mapped linearly ("relative").
    `.ply` and `.glb` need metric depth with a camera, and take colours from `image`. NaN and sky survive in every depth format.
    Returns the path. Raises FileError (what does not fit a format is refused, never clipped) or KindError.
    """
    path = Path(path)
    draft = _draft(path, depth, image, convention)
    return _commit(path, draft, depth, overwrite)


def _draft(
    path: Path, depth: DepthMap, image: Image | None, convention: str | None, span: tuple[float, float] | None = None
) -> Draft:
    suffix = path.suffix.lower()
    if convention and suffix != ".png":
        raise FileError(path, f"a convention ({convention}) is for .png only: drop it")
    if suffix == ".png":
        return import_module("keendepth.io.png16").prepare(depth, convention, path, span)
    if suffix == ".ply":
        return import_module("keendepth.io.cloud").prepare(depth, image)
    if suffix == ".glb":
        return import_module("keendepth.io.mesh").prepare(depth, image)
    if suffix in _WRITERS:
        return import_module(f"keendepth.io.{_WRITERS[suffix]}").prepare(depth)
    raise FileError(path, f"expected one of {', '.join(WRITABLE)}, found {suffix or 'a name without suffix'}")


def write_frame(
    path: str | Path, depth: DepthMap, *, convention: str | None = None, span: tuple[float, float] | None = None
) -> Path:
    """One frame of a sequence, `.png`, `.exr` or `.npz`: as `write`, but its description is in the file alone, with no .json beside it.

    `span`: the range of values that a PNG of depth that is not metric maps to its codes, one for all frames; values beyond it become its ends.
    """
    path = Path(path)
    if path.suffix.lower() not in SEQUENCES:
        raise FileError(
            path, f"expected one of {', '.join(SEQUENCES)} for a sequence, found {path.suffix or 'no suffix'}"
        )
    draft = _draft(path, depth, None, convention, span)
    with atomic(path) as temporary:
        draft.save(temporary, _description(depth, draft))
    return path


def write_preview(
    path: str | Path, depth: DepthMap, picture: UInt8[np.ndarray, "h w 3"], *, overwrite: bool = True
) -> Path:
    """An 8-bit PNG for looking at: `picture` is what `viz.colourise(depth)` gives; the description goes to `<file name>.json`.

    It cannot be read back as depth. (Files and colours are neighbours that do not know each other, hence the argument.)
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise FileError(path, f"expected .png for a preview, found {path.suffix or 'a name without suffix'}")
    return _commit(path, import_module("keendepth.io.preview").prepare(picture), depth, overwrite)


def write_errors(path: str | Path, depth: DepthMap, *, overwrite: bool = True) -> Path:
    """Expected relative errors of `depth` as a 16-bit PNG in steps of 1 / 10,000; the description goes to `<file name>.json`.

    ValueError for a map that does not know them. It cannot be read back as depth.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise FileError(path, f"expected .png for expected errors, found {path.suffix or 'a name without suffix'}")
    return _commit(path, import_module("keendepth.io.error_map").prepare(depth), depth, overwrite)


def _commit(path: Path, draft: Draft, depth: DepthMap, overwrite: bool) -> Path:
    if not overwrite and path.exists():
        raise FileError(path, "is there already: choose another name, or overwrite it")
    description = _description(depth, draft)
    with atomic(path) as temporary, atomic(record.beside(path)) as temporary_json:
        draft.save(temporary, description)
        temporary_json.write_text(record.dumps(description, indent=2) + "\n", encoding="ascii")
    return path


def _description(depth: DepthMap, draft: Draft) -> dict[str, Any]:
    description = record.sidecar(depth, draft.encoding)
    description["versions"].setdefault(draft.library, record.version(draft.library))
    return description
