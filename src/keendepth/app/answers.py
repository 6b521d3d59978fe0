"""What goes back: the formats of `io` as bytes, statistics as JSON, and the choice between them by `format` or the Accept header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keendepth import io, pipeline
from keendepth.app.refusals import RefusedError
from keendepth.core.types import DepthMap, Image

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Format:
    """One way to answer: what it is called here, on the wire, and in `pipeline.FILES`."""

    name: str
    media_type: str
    suffix: str
    about: str
    kind: str = ""  # key of `pipeline.FILES`; "": no file


# By preference: the first is what a client gets that does not say what it wants. No media type is registered for half of them (IANA).
FORMATS = {
    entry.name: entry
    for entry in (
        Format("png", "image/png", ".png", "16-bit PNG: millimetres, or the convention asked for", "png16"),
        Format("exr", "image/x-exr", ".exr", "OpenEXR, float32, channel Z", "exr"),
        Format("npz", "application/x-npz", ".npz", "NumPy: depth, valid, K, kind, unit", "npz"),
        Format("tiff", "image/tiff", ".tiff", "TIFF, float32", "tiff"),
        Format("pfm", "image/x-portable-floatmap", ".pfm", "Portable float map", "pfm"),
        Format("dpt", "application/x-sintel-depth", ".dpt", "Sintel's depth file", "dpt"),
        Format("glb", "model/gltf-binary", ".glb", "Textured mesh, glTF 2.0, metres", "glb"),
        Format("ply", "model/ply", ".ply", "Coloured point cloud, metres", "ply"),
        Format("json", "application/json", ".json", "Statistics and description, no pixels"),
        Format("preview", "image/x-keendepth-preview", ".png", "Depth in colours, 8-bit PNG for looking at", "preview"),
        Format("edges", "image/x-keendepth-edges", ".png", "The photo with its depth edges, 8-bit PNG", "edges"),
    )
}
ALIASES = {"png16": "png", "tif": "tiff", "sintel": "dpt", "mesh": "glb", "cloud": "ply", "stats": "json"}
ON_THE_WIRE = {"preview": "image/png", "edges": "image/png"}  # they are PNGs; their own types serve to ask for them
OTHER_TYPES = {"application/zip": "npz", "image/aces": "exr", "image/exr": "exr", "application/ply": "ply"}


def choose(wanted: str | None, accept: str | None) -> Format:
    """By name, else by the Accept header's preferences (RFC 9110, section 12.5.1); RefusedError 422 or 406 where there is none."""
    if wanted:
        name = ALIASES.get(wanted.lower(), wanted.lower())
        if name not in FORMATS:
            raise RefusedError(
                422, "unknown_format", f"format: expected one of {', '.join(FORMATS)}, found {wanted!r:.80}"
            )
        return FORMATS[name]
    ranges = _ranges(accept or "*/*")
    best = max(FORMATS.values(), key=lambda entry: _quality(entry, ranges))  # the first of equals
    if _quality(best, ranges) <= 0:
        types = ", ".join(entry.media_type for entry in FORMATS.values())
        raise RefusedError(406, "not_acceptable", f"Accept: none of these types is offered; they are {types}")
    return best


def _ranges(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept[:1000].split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            found.append((media, min(1.0, max(0.0, float(quality)))))
        except ValueError:
            found.append((media, 0.0))
    return found


def _quality(entry: Format, ranges: list[tuple[str, float]]) -> float:
    """Of the most specific range that names this format; 0 where none does."""
    names = [entry.media_type, *(media for media, name in OTHER_TYPES.items() if name == entry.name)]
    best = (-1, 0.0)
    for media, quality in ranges:
        if media in names:
            best = max(best, (2, quality))
        elif media.endswith("/*") and (media == "*/*" or entry.media_type.startswith(media[:-1])):
            best = max(best, (0 if media == "*/*" else 1, quality))
    return best[1]


def file(depth: DepthMap, image: Image, form: Format, folder: Path, convention: str | None = None) -> Path:
    """`depth` as a file called photo<suffix> in `folder`, with its description beside it; KindError or FileError where that cannot be."""
    if convention and form.kind != "png16":
        raise RefusedError(422, "not_possible", f"convention: only for format png, found format {form.name}")
    if convention and convention not in io.CONVENTIONS:
        known = ", ".join(name for name, entry in io.CONVENTIONS.items() if not entry.rotated)
        raise RefusedError(422, "out_of_range", f"convention: expected one of {known}, found {convention!r:.80}")
    if form.kind in ("glb", "ply") and not depth.valid.any():
        raise RefusedError(422, "not_possible", f"format {form.name}: not one pixel is known")
    return pipeline.save(depth, image, folder / "photo", [form.kind], convention=convention)[0]


def statistics(depth: DepthMap, seconds: dict[str, float] | None = None) -> dict[str, Any]:
    """The description that travels with every file, and the distribution of the known values."""
    known = depth.values[depth.valid]
    found = io.sidecar(depth)
    del found["encoding"], found["versions"]
    spread = np.percentile(known, PERCENTILES).tolist() if known.size else [None] * len(PERCENTILES)
    found["mean"] = float(known.mean(dtype=np.float64)) if known.size else None
    found["percentiles"] = dict(zip(map(str, PERCENTILES), spread, strict=True))
    found["seconds"] = seconds or {}
    return found
