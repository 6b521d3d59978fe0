"""The free furniture of Sweet Home 3D: its catalogue, and its Wavefront models as triangles; read from the installed package, never copied."""

from __future__ import annotations

import functools
import io
import os
import posixpath
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from keendepth.data.scenes.casting import cached_kernel, kernel

PACKAGE = "sweethome3d-furniture"  # Debian and Ubuntu; 820 models, 175 of them CC0, the others CC-BY-3.0
BIGGEST = 2_000_000  # bytes of OBJ text; larger models cost more time than they add


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue; sizes in metres."""

    archive: str
    path: str  # within the archive
    name: str
    category: str
    width: float
    depth: float
    height: float
    elevation: float  # of its foot above the floor
    top: float  # where things can be put down on it; negative: nowhere
    rotation: tuple[float, ...]  # 3x3 by rows, applied before scaling
    opening: bool  # a door or window, which needs a hole in the wall
    creator: str
    license: str


@dataclass(frozen=True, eq=False)
class Part:
    """The triangles of one material: rows of position, normal, face normal, texture coordinate, three rows a triangle."""

    vertices: Float32[np.ndarray, "n 11"]
    colour: tuple[float, float, float]
    picture: bytes | None  # an encoded image
    shine: float


def folder() -> Path:
    """Where the package keeps its models: KEENDEPTH_FURNITURE, or sweethome3d/furniture in one of XDG_DATA_DIRS. Raises FileNotFoundError."""
    places = [
        Path(p) / "sweethome3d" / "furniture"
        for p in os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
        if p
    ]
    if "KEENDEPTH_FURNITURE" in os.environ:
        places = [Path(os.environ["KEENDEPTH_FURNITURE"])]
    for place in places:
        if any(place.glob("*.sh3f")):
            return place
    raise FileNotFoundError(
        f"furnished scenes need the models of the package {PACKAGE} (`apt install {PACKAGE}`), or KEENDEPTH_FURNITURE set to a folder of .sh3f files; "
        f"looked in {', '.join(map(str, places))}"
    )


@functools.lru_cache(maxsize=2)
def models(place: Path) -> tuple[Model, ...]:
    """All models of the archives in a folder that are small enough, in a fixed order."""
    found: list[Model] = []
    for archive in sorted(place.glob("*.sh3f")):
        with zipfile.ZipFile(archive) as packed:
            sizes = {i.filename: i.file_size for i in packed.infolist()}
            text = packed.read("PluginFurnitureCatalog.properties").decode("latin-1")
        found += [m for m in _entries(text, str(archive)) if sizes.get(m.path, BIGGEST) < BIGGEST]
    return tuple(found)


def _entries(text: str, archive: str) -> list[Model]:
    rows: dict[int, dict[str, str]] = {}
    license_ = next((line[8:].strip() for line in text.splitlines() if line.startswith("license=")), "")
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*?)\s*$", text, re.MULTILINE):
        rows.setdefault(int(number), {})[key] = value
    return [_entry(row, archive, license_) for _, row in sorted(rows.items()) if "model" in row]


def _entry(row: dict[str, str], archive: str, license_: str) -> Model:
    centimetres = {
        key: float(row.get(key, default)) / 100
        for key, default in (("width", 0), ("depth", 0), ("height", 0), ("elevation", 0))
    }
    rotation = tuple(map(float, row.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()))
    return Model(
        archive, row["model"].lstrip("/"), row["name"], row.get("category", ""), centimetres["width"], centimetres["depth"], centimetres["height"],
        centimetres["elevation"], float(row.get("dropOnTopElevation", row["height"])) / 100, rotation,
        row.get("doorOrWindow") == "true", row.get("creator", ""), license_,
    )  # fmt: skip


@kernel
@no_type_check
def _number(text, at, end):
    """(value, position after it) of the decimal number at `at`."""
    sign, value, scale, power = 1.0, 0.0, 1.0, 0
    if at < end and (text[at] == 45 or text[at] == 43):
        sign = -1.0 if text[at] == 45 else 1.0
        at += 1
    dot = False
    while at < end:
        c = text[at]
        if 48 <= c <= 57:
            value = value * 10.0 + (c - 48)
            scale = scale * 10.0 if dot else scale
        elif c == 46:
            dot = True
        elif c == 101 or c == 69:
            minus = text[at + 1] == 45
            at += 2 if minus or text[at + 1] == 43 else 1
            while at < end and 48 <= text[at] <= 57:
                power = power * 10 + (text[at] - 48)
                at += 1
            return sign * value / scale * 10.0 ** (-power if minus else power), at
        else:
            break
        at += 1
    return sign * value / scale, at


@kernel
@no_type_check
def _floats(text, at, end, out, row):
    """Read up to out.shape[1] numbers of a line into a row."""
    for k in range(out.shape[1]):
        while at < end and text[at] == 32:
            at += 1
        out[row, k], at = _number(text, at, end)


@cached_kernel
@no_type_check
def _scan(text, counts, v, t, n, corners, starts):
    """Read an OBJ: counts (v, vt, vn, triangles); with arrays to fill, fill them. corners [m 3 3]: vertex, texture and normal index, -1 for none."""
    size, at, fill = len(text), 0, len(v) > 0
    counts[:] = 0
    first, last, now = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    while at < size:
        end = at
        while end < size and text[end] != 10 and text[end] != 13:
            end += 1
        if end - at > 2 and text[at] == 118:
            kind = 0 if text[at + 1] == 32 else (1 if text[at + 1] == 116 else (2 if text[at + 1] == 110 else -1))
            if kind >= 0:
                if fill:
                    _floats(text, at + 2, end, v if kind == 0 else (t if kind == 1 else n), counts[kind])
                counts[kind] += 1
        elif end - at > 2 and text[at] == 102 and text[at + 1] == 32:
            p, number = at + 2, 0
            while p < end:
                while p < end and text[p] == 32:
                    p += 1
                if p >= end:
                    break
                now[:] = -1
                for k in range(3):
                    if p < end and text[p] != 32 and text[p] != 47:
                        value, p = _number(text, p, end)
                        now[k] = int(value) - 1 if value > 0 else counts[k] + int(value)
                    if p < end and text[p] == 47:
                        p += 1
                    else:
                        break
                while p < end and text[p] != 32:
                    p += 1
                if number >= 2:
                    if fill:
                        corners[counts[3], 0], corners[counts[3], 1], corners[counts[3], 2] = first, last, now
                        starts[counts[3]] = at
                    counts[3] += 1
                if number == 0:
                    first[:] = now
                last[:] = now
                number += 1
        at = end + 1


def _triangles(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    """([m 3 11] rows as in `Part`, [m] byte at which each triangle's face stands)."""
    text, counts = np.frombuffer(raw, np.uint8), np.zeros(4, np.int64)
    none, no_corners = np.zeros((0, 3)), np.zeros((0, 3, 3), np.int64)
    _scan(text, counts, none, np.zeros((0, 2)), none, no_corners, np.zeros(0, np.int64))
    v, t, n, m = (int(c) for c in counts)
    vertex, texture, normal = np.zeros((v, 3)), np.zeros((t + 1, 2)), np.zeros((n + 1, 3))
    corners, starts = np.zeros((m, 3, 3), np.int64), np.zeros(m, np.int64)
    if v:
        _scan(text, counts, vertex, texture, normal, corners, starts)
    good = (
        (corners[:, :, 0] >= 0).all(1)
        & (corners[:, :, 0] < v).all(1)
        & (corners[:, :, 1] < t).all(1)
        & (corners[:, :, 2] < n).all(1)
    )
    corners, starts = corners[good], starts[good]
    points = vertex[corners[:, :, 0]]
    face = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    area = np.linalg.norm(face, axis=1)
    points, corners, starts, face, area = (
        points[area > 1e-14],
        corners[area > 1e-14],
        starts[area > 1e-14],
        face[area > 1e-14],
        area[area > 1e-14],
    )
    face = np.repeat((face / area[:, None])[:, None], 3, axis=1)
    smooth = normal[corners[:, :, 2]]  # index -1 is the spare row of zeros: then the face's own normal serves
    smooth = np.where((np.abs(smooth).sum(2, keepdims=True) > 0) & (corners[:, :, 2:] >= 0), smooth, face)
    return np.concatenate([points, smooth, face, texture[corners[:, :, 1]]], axis=2), starts


def _materials(text: str) -> dict[str, tuple[tuple[float, float, float], str, float, float]]:
    """name: (colour, picture's file name, shine, opacity)."""
    found: dict[str, tuple[tuple[float, float, float], str, float, float]] = {}
    name = ""
    for line in text.splitlines():
        words = line.split(None, 1)
        if len(words) < 2:
            continue
        key, value = words[0].lower(), words[1].strip()
        if key == "newmtl":
            name = value
            found[name] = ((0.7, 0.7, 0.7), "", 0.0, 1.0)
        if name not in found:
            continue
        colour, picture, shine, opacity = found[name]
        if key == "kd":
            r, g, b, *_ = [*map(float, value.split()[:3]), 0.0, 0.0]
            colour = (r, g, b)
        elif key == "map_kd":
            picture = value
        elif key == "ks":
            shine = sum(map(float, value.split()[:3])) / 3
        elif key == "d":
            opacity = float(value.split()[-1])
        found[name] = (colour, picture, shine, opacity)
    return found


@functools.lru_cache(maxsize=64)
def load(model: Model) -> tuple[Part, ...]:
    """The parts of a model in metres, z up, front towards -y, standing on z = 0 about the origin; panes of glass are left out."""
    with zipfile.ZipFile(model.archive) as packed:
        raw, names = packed.read(model.path), {name.lower(): name for name in packed.namelist()}
        home = posixpath.dirname(model.path)

        def beside(name: str) -> bytes | None:
            full = names.get(posixpath.normpath(posixpath.join(home, name.replace("\\", "/"))).lower())
            return packed.read(full) if full else None

        library = re.search(rb"^mtllib\s+(.+?)\s*$", raw, re.MULTILINE)
        text = beside(library.group(1).decode("latin-1")) if library else None
        materials = _materials((text or b"").decode("latin-1"))
        pictures = {name: beside(m[1]) if m[1] else None for name, m in materials.items()}
    rows, starts = _triangles(raw)
    rows = _fitted(rows, model)
    uses = [(m.start(), m.group(1).decode("latin-1")) for m in re.finditer(rb"^usemtl\s+(.+?)\s*$", raw, re.MULTILINE)]
    which = np.searchsorted([u[0] for u in uses], starts) - 1
    parts = []
    for k in range(-1, len(uses)):
        mine = rows[which == k]
        name = uses[k][1] if k >= 0 else ""
        colour, _, shine, opacity = materials.get(name, ((0.7, 0.7, 0.7), "", 0.0, 1.0))
        if len(mine) and opacity > 0.6:
            picture = pictures.get(name)
            parts.append(
                Part(
                    mine.reshape(-1, 11).astype(np.float32),
                    (1.0, 1.0, 1.0) if picture else colour,
                    picture,
                    min(1.0, shine),
                )
            )
    return tuple(parts)


def _fitted(rows: np.ndarray, model: Model) -> np.ndarray:
    """Turn by the catalogue's rotation, scale to its size, and from y up to z up."""
    turn = np.array(model.rotation).reshape(3, 3)
    points = rows[:, :, :3] @ turn.T
    low, high = points.min((0, 1)), points.max((0, 1))
    scale = np.array([model.width, model.height, model.depth]) / np.maximum(high - low, 1e-9)
    points = (points - [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]) * scale
    out = rows.copy()
    out[:, :, :3] = points[:, :, [0, 2, 1]] * [1, -1, 1]
    for first in (3, 6):
        normal = (rows[:, :, first : first + 3] @ turn.T) / scale
        normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-12)
        out[:, :, first : first + 3] = normal[:, :, [0, 2, 1]] * [1, -1, 1]
    return out


def picture(encoded: bytes) -> np.ndarray | None:
    """[h w 4] uint8, first row at the bottom as OpenGL wants it, or None where Pillow cannot read it."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(encoded))
        opened.thumbnail((512, 512))
        return np.asarray(opened.convert("RGBA").transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    except (UnidentifiedImageError, OSError, ValueError):
        return None
