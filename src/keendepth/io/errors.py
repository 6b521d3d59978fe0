"""The one exception of the file layer, and the guards that turn whatever a damaged file causes into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# Nothing larger is read: Pillow's own limit for a decompression bomb (a 13,300 x 13,300 picture), used for every format.
MAX_PIXELS = 178_000_000
_limit: ContextVar[int] = ContextVar("pixel_limit", default=MAX_PIXELS)


class FileError(ValueError):
    """A file that cannot be read or written. The message says which, what was expected, what was found and what to do."""

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = str(path)


class TooLargeError(FileError):
    """A file that is sound, as far as was looked, but larger than what is read."""


@contextmanager
def pixel_limit(pixels: int) -> Iterator[None]:
    """Inside, nothing of more than `pixels` is read (in this thread or task): what a server asks for that reads strangers' files."""
    token = _limit.set(min(pixels, MAX_PIXELS))
    try:
        yield
    finally:
        _limit.reset(token)


def most_pixels() -> int:
    """How many pixels a picture may have here and now."""
    return _limit.get()


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Every failure inside becomes a FileError that says `expected`; a FileError passes through.

    The parsers of other people (Pillow, OpenEXR, tifffile, zipfile, json) raise more kinds of exceptions on
    damaged bytes than one can list, hence the broad clause; Ctrl-C and the like are not caught.
    """
    try:
        yield
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(path, f"expected {expected}, but it does not fit into memory") from error
    except Exception as error:
        found = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {found[0]}" if found else type(error).__name__
        raise FileError(
            path, f"expected {expected}; the file is damaged, truncated or of another format ({reason})"
        ) from error


def check_file(path: Path) -> int:
    """The size in bytes of a file that is there, is a regular file and is not empty; else FileError."""
    try:
        if path.is_dir():
            raise FileError(path, "expected a file, found a folder")
        if not path.exists():
            raise FileError(path, "no such file")
        if not path.is_file():
            raise FileError(path, "expected a regular file, found a device or a pipe")
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # a forbidden folder, a name too long, a NUL in the name
        raise error if isinstance(error, FileError) else FileError(path, f"cannot be opened ({error})") from error
    if size == 0:
        raise FileError(path, "the file is empty")
    if not os.access(path, os.R_OK):
        raise FileError(path, "no permission to read it")
    return size


def check_size(path: Path, height: int, width: int) -> None:
    """Raise FileError unless the picture has at least one pixel and no more than are read (`MAX_PIXELS`, or a `pixel_limit`); call before allocating."""
    if height < 1 or width < 1:
        raise FileError(path, f"expected at least one pixel, found {width} x {height}")
    if height * width > most_pixels():
        raise TooLargeError(
            path,
            f"{width} x {height} pixels are more than the {most_pixels() / 1e6:g} megapixels that are read: shrink it",
        )
