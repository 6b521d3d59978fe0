"""Rows on disk: a manifest and a few memory-mapped arrays that many processes fill, row by row, and one thread reads fast."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.io.atomic import atomic

DONE = "done.npy"  # uint8 [n]: 1 when a row is whole
Columns = Sequence[tuple[str, Any, tuple[int, ...]]]  # file, type, shape of a row
Step = Callable[[int, int], None]  # done, of how many


class RowsError(ValueError):
    """A folder that holds no such rows, or rows made with other settings."""


@dataclass(frozen=True)
class Rows:
    """What a folder of rows is called: the name of its manifest, and the format that is written into it."""

    manifest: str
    format: int
    noun: str  # what people call such a folder

    def there(self, folder: str | Path) -> bool:
        """Whether the folder has a manifest of this name."""
        return (Path(folder) / self.manifest).is_file()

    def content(self, folder: str | Path) -> dict[str, Any]:
        """What was made with what. RowsError where there is no manifest, or one of another format."""
        if not self.there(folder):
            raise RowsError(f"{folder}: no {self.manifest} in it, so this is no {self.noun}")
        content = json.loads((Path(folder) / self.manifest).read_text(encoding="utf-8"))
        if content.pop("format", None) != self.format:
            raise RowsError(f"{folder}: expected a {self.noun} of format {self.format}; render it again")
        return content

    def create(self, folder: Path, content: Mapping[str, Any], count: int, columns: Columns) -> None:
        """Empty rows, or those that are there if they were made with the same `content`; RowsError where they were not."""
        wanted = json.loads(json.dumps({"format": self.format, **content}))
        if self.there(folder):
            there = json.loads((folder / self.manifest).read_text(encoding="utf-8"))
            if there != wanted:
                keys = [key for key in wanted if there.get(key) != wanted[key]]
                raise RowsError(f"{folder}: made with another {', '.join(keys)}: choose another folder")
            return
        if folder.is_dir() and any(folder.iterdir()):
            raise RowsError(f"{folder}: expected a {self.noun} or an empty folder, found other files")
        folder.mkdir(parents=True, exist_ok=True)
        for name, dtype, shape in (*columns, (DONE, np.uint8, ())):
            np.lib.format.open_memmap(folder / name, "w+", dtype, (count, *shape)).flush()
        with atomic(folder / self.manifest) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def opened(folder: str | Path, names: Sequence[str]) -> list[Any]:
    """The arrays of these names, for reading."""
    return [np.lib.format.open_memmap(Path(folder) / name, "r") for name in names]


def finished(folder: str | Path) -> np.ndarray:
    """Numbers of the rows that are whole."""
    return np.flatnonzero(opened(folder, [DONE])[0])


def put(folder: str | Path, row: int, values: Mapping[str, Any]) -> None:
    """Write one row: the arrays by file name first, then that it is whole."""
    for name, value in (*values.items(), (DONE, 1)):
        array = np.lib.format.open_memmap(Path(folder) / name, "r+")
        array[row] = value
        array.flush()


def fill(folder: str | Path, work: Callable[[int], None], processes: int = 1, progress: Step | None = None) -> None:
    """Call `work` for every row that is not whole, in so many processes; can be stopped and called again."""
    todo = np.flatnonzero(opened(folder, [DONE])[0] == 0).tolist()
    tell = progress or (lambda done, of: None)
    if processes <= 1:
        for number, row in enumerate(todo, 1):
            work(row)
            tell(number, len(todo))
        return
    # A fresh interpreter each: OpenGL contexts and numba's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(work, row) for row in todo]
        for number, done in enumerate(as_completed(waiting), 1):
            done.result()
            tell(number, len(todo))
