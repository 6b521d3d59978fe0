"""Data sets made of files: an index of names, found by templates such as "{scene}/rgb_{frame}.jpg", and a function that reads one entry."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from keendepth import io
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.data.sample import Facts, Sample, describe
from keendepth.io import FileError

Entry = Mapping[str, Path]  # "photo", "depth", "camera", ... -> file

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, eq=False)
class Files:
    """A data set: what its samples are read from, by id, and the function that reads one. Can be pickled for workers."""

    name: str
    entries: Mapping[str, Any]
    read: Callable[[str, Any], Sample]
    facts: Facts

    @property
    def ids(self) -> list[str]:
        return list(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, id: str) -> Sample:
        """Read one sample. Raises ValueError for an id that is not in the set, FileError for a damaged or missing file."""
        if id not in self.entries:
            near = difflib.get_close_matches(id, self.entries, n=3, cutoff=0.4)
            raise ValueError(f"{self.name} has no sample {id!r}" + (f"; near it: {', '.join(near)}" if near else ""))
        return self.read(id, self.entries[id])

    def protocol_facts(self) -> dict[str, Any]:
        return describe(self.name, len(self), self.facts)

    def subset(self, ids: Sequence[str]) -> Files:
        """The same set with these ids only, in this order."""
        return replace(self, entries={id: self.entries[id] for id in ids})


def match(
    root: Path,
    key: str,
    files: Mapping[str, str],
    optional: Sequence[str] = (),
    elsewhere: Mapping[str, Path] | None = None,
) -> dict[str, dict[str, Path]]:
    """Entries by id: the first template of `files` is looked for under `root`, the others follow from its fields.

    A field is `{name}` and stands for anything but a slash. `key` is the template of the id. An entry is left out when one
    of its files is missing, unless the file is named in `optional`. `elsewhere` gives some files another root. Raises
    FileError when nothing is found: that is always a wrong root.
    """
    root = checked_root(root)
    (first, template), *others = files.items()
    pattern = _pattern(template)
    found = {}
    for path in root.glob(_FIELD.sub("*", template)):
        fields = pattern.fullmatch(path.relative_to(root).as_posix())
        if fields:
            entry = {first: path}
            for name, other in others:
                place = (elsewhere or {}).get(name, root) / other.format(**fields.groupdict())
                if name not in optional or place.is_file():
                    entry[name] = place
            if all(place.is_file() for place in entry.values()):
                found[key.format(**fields.groupdict())] = entry
    if not found:
        raise FileError(root, f"expected files as {' with '.join(files.values())}, found none: see docs/datasets.md")
    return {id: found[id] for id in sorted(found, key=natural)}


def first_match(root: Path, layouts: Sequence[tuple[str, Mapping[str, str]]], optional: Sequence[str] = ()) -> dict:
    """`match` with the first of several (key, files) layouts that finds anything."""
    for key, files in layouts:
        try:
            return match(root, key, files, optional)
        except FileError:
            continue
    ways = ", or ".join(" with ".join(files.values()) for _, files in layouts)
    raise FileError(root, f"expected files as {ways}, found none: see docs/datasets.md")


def _pattern(template: str) -> re.Pattern[str]:
    """A regular expression of the template; a field that comes again must be the same again."""
    seen: set[str] = set()
    parts = []
    for index, part in enumerate(_FIELD.split(template)):
        if index % 2 == 0:
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)")
            seen.add(part)
    return re.compile("".join(parts))


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sorting key in which frame 9 comes before frame 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text)]


def checked_root(root: str | Path) -> Path:
    """The folder as a Path; FileError where there is none."""
    root = Path(root)
    if not root.is_dir():
        raise FileError(root, "expected the folder of a data set, found none: see docs/datasets.md for the layouts")
    return root


def photo(path: Path, id: str, camera: Camera | None = None) -> Image:
    """A picture named by its id; the data set's camera takes the place of what EXIF says."""
    return aimed(replace(io.read_image(path), name=id), camera)


def aimed(image: Image, camera: Camera | None) -> Image:
    """The picture with the data set's camera, where there is one."""
    return replace(image, camera=camera or image.camera)


def with_camera(depth: DepthMap, camera: Camera | None) -> DepthMap:
    """The map with a camera for the same view, brought to the map's size."""
    return replace(depth, camera=camera.resized(*depth.size) if camera else None)


def masked(depth: DepthMap, known: np.ndarray) -> DepthMap:
    """Unknown (NaN) where `known` is false; sky as well."""
    return depth.with_values(np.where(known, depth.values, np.float32(np.nan)))


def metres(values: np.ndarray, camera: Camera | None = None) -> DepthMap:
    """A METRIC map in which what is not above zero is unknown; +inf stays sky."""
    with np.errstate(invalid="ignore"):
        known = values > 0
    depth = DepthMap(np.where(known, values, np.nan).astype(np.float32), DepthKind.METRIC)
    return with_camera(depth, camera)


def numbers(path: Path, shape: tuple[int, ...] | None = None) -> Float64[np.ndarray, ...]:
    """The numbers of a small text file, whatever stands between them, in `shape` if given. Raises FileError where they do not fit."""
    text = re.sub(r"[,;\[\]]", " ", read_text(path))
    try:
        values = np.array([float(word) for word in text.split()])
        return values if shape is None else values.reshape(shape)
    except ValueError as error:
        wanted = "numbers" if shape is None else f"numbers for an array {list(shape)}"
        raise FileError(path, f"expected {wanted}, found something else ({error})") from error


def read_text(path: Path) -> str:
    """The text of a file; FileError where there is none or it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"expected a text file, which cannot be read ({error})") from error


def table(path: Path) -> list[list[str]]:
    """The words of each line that is neither empty nor a comment (#)."""
    lines = [line.split() for line in read_text(path).splitlines()]
    return [words for words in lines if words and not words[0].startswith("#")]


def hdf5(path: Path, key: str) -> np.ndarray:
    """One array of an HDF5 file. Raises FileError with the way out where h5py is missing, or the array is."""
    with _hdf5_file(path) as file:
        if key not in file:
            raise FileError(path, f"expected an array {key!r}, found {', '.join(file) or 'nothing'}")
        return file[key][()]


def hdf5_item(path: Path, key: str, index: int) -> np.ndarray:
    """One item along the first axis of an array in an HDF5 file; the rest is not read."""
    with _hdf5_file(path) as file:
        return file[key][index]


def _hdf5_file(path: Path) -> Any:
    try:
        import h5py  # an extra: only three data sets need it
    except ImportError as error:
        raise FileError(path, "reading HDF5 needs h5py: pip install 'keendepth[datasets]'") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileError(path, f"expected an HDF5 file, found none or a damaged one ({error})") from error


def rigid(quaternion: Sequence[float], translation: Sequence[float]) -> Float64[np.ndarray, "4 4"]:
    """The 4x4 matrix of a rotation, as a quaternion (w, x, y, z) of any length, followed by a translation."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = translation
    return pose
