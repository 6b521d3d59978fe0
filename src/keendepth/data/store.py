"""The store of predictions: a manifest and one .npz for each id and map; what is there is kept, so an interrupted export goes on."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from keendepth import io
from keendepth.core.types import Card, DepthMap, Image
from keendepth.data.sample import Dataset
from keendepth.io import FileError, npz, record
from keendepth.io.atomic import atomic
from keendepth.io.errors import reading

MANIFEST, INDEX, FORMAT = "manifest.json", "ids.jsonl", 1
DEPTH = "depth"  # the map's name where there is one only
EXTRA = "extra/"  # before the names of arrays that lie beside the depth in a file
PATIENCE = 20  # failures in a row, with no success before them, after which an export stops: the model is at fault, not the pictures

Predict = Callable[[Image], DepthMap | Mapping[str, DepthMap]]
Progress = Callable[[int, int, str], None]  # done, of how many, the id


@dataclass(frozen=True)
class Recipe:
    """What a store's maps were made with. Two recipes that differ in anything but `facts` never share a folder."""

    dataset: str
    model: str  # the pipeline's spec
    maps: tuple[str, ...] = (DEPTH,)  # the maps of each id, e.g. ("low", "high")
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # map -> (height, width) of processing
    settings: Mapping[str, Any] = field(default_factory=dict)  # whatever else changes the numbers; plain JSON types
    card: Card | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the data set, for the record

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return json.loads(json.dumps({**asdict(self), "card": self.card.to_dict() if self.card else None}))


class StoreError(FileError):
    """A folder that is no store, or one that was made with other settings."""


@dataclass(frozen=True)
class Store:
    """A folder with `manifest.json`, `ids.jsonl`, and `<map>/<name>.npz`; each .npz can be read with `keendepth.read`."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def create(cls, folder: str | Path, recipe: Recipe) -> Store:
        """A new store, or the one that is there if it was made with the same recipe. Raises StoreError where the recipes differ."""
        folder = Path(folder)
        if (folder / MANIFEST).is_file():
            store = cls.open(folder)
            _check_same(folder, store.manifest, recipe)
            return store
        if folder.is_dir() and any(folder.iterdir()):
            raise StoreError(folder, "expected a store or an empty folder, found other files: choose another folder")
        for name in recipe.maps:
            if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
                raise ValueError(f"a map's name has small letters, digits, '_' and '-' only, found {name!r}")
            (folder / name).mkdir(parents=True, exist_ok=True)
        versions = {name: record.version(name) for name in ("keendepth", "numpy", "onnxruntime")}
        manifest = {"format": FORMAT, **recipe.to_dict(), "hash": settings_hash(recipe.to_dict()), "versions": versions}
        with atomic(folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """A store that is there. Raises StoreError where there is none, or one of a later format."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise StoreError(folder, f"no {MANIFEST} in it: this is no store (`keendepth store` makes one)")
        manifest = record.load_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "maps" not in manifest:
            raise StoreError(
                folder / MANIFEST, f"expected the manifest of a store of format {FORMAT}, found another file"
            )
        return cls(folder, manifest)

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that every id has."""
        return tuple(self.manifest["maps"])

    @property
    def ids(self) -> list[str]:
        """Ids whose maps are all here and whole, in the order in which they were put."""
        return [id for id in dict.fromkeys(self._indexed()) if self._whole(id)]

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._whole(id)

    def missing(self, ids: Iterable[str], thorough: bool = False) -> list[str]:
        """Those of `ids` that are absent or truncated; `thorough` also reads every byte and compares checksums."""
        return [id for id in ids if not self._whole(id, thorough)]

    def put(
        self, id: str, maps: DepthMap | Mapping[str, DepthMap], arrays: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Write the maps of one id, each file whole or not at all; what was there is replaced.

        `arrays` (a confidence, say) go into the file of the first map. Raises ValueError unless the maps are those of the recipe.
        """
        maps = {DEPTH: maps} if isinstance(maps, DepthMap) else dict(maps)
        if set(maps) != set(self.maps):
            raise ValueError(f"{id}: expected the maps {', '.join(self.maps)}, found {', '.join(maps) or 'none'}")
        self._begin(id)
        for number, name in enumerate(self.maps):
            _write(self.path(id, name), maps[name], arrays if arrays and number == 0 else {})

    def get(self, id: str, name: str | None = None) -> DepthMap:
        """One map of one id; without a name, the first. Raises FileError where it is missing or damaged."""
        path = self.path(id, name or self.maps[0])
        if not path.is_file():
            raise FileError(path, f"no {name or self.maps[0]} of {id!r} in this store: has the export finished?")
        return io.read(path)

    def arrays(self, id: str) -> dict[str, np.ndarray]:
        """The arrays that were put beside the depth of one id."""
        path = self.path(id, self.maps[0])
        with reading(path, "an .npz file of a store"), zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith(EXTRA)]
            found = {name: BytesIO(archive.read(name)) for name in names}
            return {
                name.removeprefix(EXTRA).removesuffix(".npy"): npz.read_array(path, stream, len(stream.getbuffer()))
                for name, stream in found.items()
            }

    def path(self, id: str, name: str = DEPTH) -> Path:
        """The file of one map of one id."""
        if name not in self.maps:
            raise ValueError(f"expected one of the maps {', '.join(self.maps)}, found {name!r}")
        return self.folder / name / f"{file_name(id)}.npz"

    def _begin(self, id: str) -> None:
        """Note the id before its files are written, for they alone do not tell it; on a line of its own even after a torn one."""
        with (self.folder / INDEX).open("ab+") as index:
            if index.tell():
                index.seek(-1, 2)
            torn = index.read(1) not in (b"", b"\n")
            index.write((b"\n" if torn else b"") + json.dumps(id).encode("ascii") + b"\n")

    def _whole(self, id: str, thorough: bool = False) -> bool:
        return all(_is_whole(self.path(id, name), thorough) for name in self.maps)

    def _indexed(self) -> list[str]:
        """Ids ever begun. A line cut short by a crash is left out: its files were not written yet."""
        if not (self.folder / INDEX).is_file():
            return []
        ids = []
        for line in (self.folder / INDEX).read_text(encoding="utf-8").splitlines():
            try:
                ids.append(json.loads(line))
            except ValueError:
                continue
        return [id for id in ids if isinstance(id, str)]


RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")  # names that Windows keeps for devices


def file_name(id: str) -> str:
    """A name that every file system takes, different for different ids: short plain ids as they are, others with a digest."""
    if re.fullmatch(r"[a-z0-9_-]{1,80}", id) and not RESERVED.fullmatch(id):
        return id
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", id)[-60:].strip("-")
    return f"{plain or 'id'}.{hashlib.sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def settings_hash(recipe: Mapping[str, Any]) -> str:
    """A digest of all that changes the numbers: everything but the facts about the data set."""
    decisive = {name: recipe.get(name) for name in _DECISIVE}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


_DECISIVE = ("dataset", "model", "maps", "sizes", "settings", "card")


def _check_same(folder: Path, manifest: Mapping[str, Any], recipe: Recipe) -> None:
    wanted = recipe.to_dict()
    if settings_hash(wanted) == manifest.get("hash"):
        return
    differing = [
        f"{name} {json.dumps(manifest.get(name))} there, {json.dumps(wanted[name])} now"
        for name in _DECISIVE
        if manifest.get(name) != wanted[name]
    ]
    raise StoreError(
        folder,
        f"was made with other settings ({'; '.join(differing) or 'its manifest was edited'}): choose another folder, "
        "or delete this one",
    )


def _write(path: Path, depth: DepthMap, arrays: Mapping[str, np.ndarray]) -> None:
    draft = npz.prepare(depth)
    with atomic(path) as temporary:
        draft.save(temporary, record.sidecar(depth, draft.encoding))
        with zipfile.ZipFile(temporary, "a") as archive:
            for name, array in arrays.items():
                stream = BytesIO()
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
                archive.writestr(f"{EXTRA}{name}.npy", stream.getvalue())


def _is_whole(path: Path, thorough: bool) -> bool:
    """The table of contents stands at the end of a zip file: where it is found and fits, nothing was cut off."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "depth.npy" in archive.namelist() and (not thorough or archive.testzip() is None)
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError):
        return False


@dataclass(frozen=True)
class Report:
    """What an export did."""

    made: int
    kept: int  # were there already
    failed: Mapping[str, str]  # id -> why


def export(dataset: Dataset, predict: Predict, store: Store, progress: Progress | None = None) -> Report:
    """Predict what the store lacks of the data set; a sample that fails is reported and left out, the rest goes on.

    `predict` gives a map, or one for each name of the recipe. Raises the last error when the first `PATIENCE` samples all fail.
    """
    ids = dataset.ids
    todo = store.missing(ids)
    failed: dict[str, str] = {}
    for number, id in enumerate(todo, 1):
        try:
            store.put(id, predict(dataset.load(id).image))
        except Exception as error:  # whatever one picture does to a model must not end a night's work
            failed[id] = f"{type(error).__name__}: {error}"
            if number == len(failed) == PATIENCE:
                raise
        if progress:
            progress(number, len(todo), id)
    return Report(len(todo) - len(failed), len(ids) - len(todo), failed)
