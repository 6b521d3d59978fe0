"""Neighbours in time: any data set of numbered frames, with the picture before and the picture after each."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keendepth.core.types import Image
from keendepth.data.files import Files, natural, photo
from keendepth.data.sample import Sample


@dataclass(frozen=True, eq=False)
class WithNeighbours:
    """The same samples with `before` and `after`: the files next to the photo, in its folder, whose names differ in the numbers only.

    None at the ends. Frames without depth count as neighbours, for a driver's camera saw them all the same.
    """

    inner: Files

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def ids(self) -> list[str]:
        return self.inner.ids

    def __len__(self) -> int:
        return len(self.inner)

    def protocol_facts(self) -> dict[str, Any]:
        return self.inner.protocol_facts()

    def load(self, id: str) -> Sample:
        sample = self.inner.load(id)
        before, after = neighbours(photo_path(self.inner.entries[id]))
        return replace(sample, before=_seen(before, sample.image), after=_seen(after, sample.image))


def photo_path(entry: Any) -> Path:
    """Where the picture of an entry lies, for every reader of files."""
    return Path(entry["photo"] if isinstance(entry, dict) else entry.photo)


def neighbours(path: Path) -> tuple[Path | None, Path | None]:
    """The files before and after `path` in the order of their numbers."""
    alike = [other for other in path.parent.glob(f"*{path.suffix}") if _skeleton(other) == _skeleton(path)]
    alike.sort(key=lambda other: natural(other.name))
    place = alike.index(path)
    return alike[place - 1] if place else None, alike[place + 1] if place + 1 < len(alike) else None


def _skeleton(path: Path) -> str:
    return re.sub(r"\d+", "#", path.stem)


def _seen(path: Path | None, beside: Image) -> Image | None:
    """A neighbour, with the middle picture's camera."""
    return photo(path, path.stem, beside.camera) if path else None
