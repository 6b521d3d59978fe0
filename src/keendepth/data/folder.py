"""A plain folder of photos, with depth files beside them or without."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from keendepth import io
from keendepth.core.types import DepthMap
from keendepth.data import register
from keendepth.data.files import Entry, Files, checked_root, natural, photo, with_camera
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")


@register("folder", summary="your own photos, by a glob, with depth files or without", license="your own")
def folder(
    root: Path,
    photos: str | None = None,
    depths: str | None = None,
    units: str | None = None,
    convention: str | None = None,
) -> Files:
    """Photos under `root` by the glob `photos` (default: all, in all folders); `depths` is a glob of depth files, read as `keendepth.read` does.

    A photo belongs to the depth file for which the stars stand for the same: "rgb_*.jpg" with "depth_*.png", "*/rgb/*.jpg" with
    "*/depth/*.exr". Photos without depth are left out when `depths` is given. Raises FileError where nothing is found.
    """
    root = checked_root(root)
    pictures = _by_stars(root, photos) if photos else _all_photos(root)
    if not pictures:
        raise FileError(root, f"expected photos as {photos or ', '.join(PHOTOS)}, found none")
    truths = _by_stars(root, depths) if depths else {}
    pairs = [(path, truths.get(stars)) for stars, path in pictures.items() if not depths or stars in truths]
    if not pairs:
        raise FileError(
            root, f"{len(pictures)} photos and {len(truths)} depth files, but no two for which the stars agree"
        )
    facts = Facts(f"files {depths}" if depths else "none", "as the files say")
    return Files("folder", _entries(root, pairs), partial(_read, units=units, convention=convention), facts)


def _all_photos(root: Path) -> dict[tuple[str, ...], Path]:
    found = (path for path in root.rglob("*") if path.suffix.lower() in PHOTOS and not path.name.startswith("."))
    return {(path.relative_to(root).as_posix(),): path for path in found}


def _by_stars(root: Path, glob: str) -> dict[tuple[str, ...], Path]:
    """Files by what the stars and question marks of the glob stand for."""
    parts = re.split(r"(\*\*/|\*|\?)", glob)
    wild = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}
    pattern = re.compile("".join(wild.get(part) or re.escape(part) for part in parts))
    found = {}
    for path in sorted(root.glob(glob)):
        stars = pattern.fullmatch(path.relative_to(root).as_posix())
        if stars and path.is_file():
            found[stars.groups()] = path
    return found


def _entries(root: Path, pairs: list[tuple[Path, Path | None]]) -> dict[str, dict[str, Path]]:
    """Entries by path without suffix; two photos that differ in the suffix alone keep it."""
    names = [path.relative_to(root).with_suffix("").as_posix() for path, _ in pairs]
    entries = {}
    for name, (path, depth) in sorted(zip(names, pairs, strict=True), key=lambda named: natural(named[0])):
        id = name if names.count(name) == 1 else path.relative_to(root).as_posix()
        entries[id] = {"photo": path, "depth": depth} if depth else {"photo": path}
    return entries


def _read(id: str, entry: Entry, units: str | None, convention: str | None) -> Sample:
    image = photo(entry["photo"], id)
    depth: DepthMap | None = None
    if "depth" in entry:
        depth = io.read(entry["depth"], units=units, convention=convention)
        if depth.camera is None:
            depth = with_camera(depth, image.camera)
    return Sample(image, depth, id)
