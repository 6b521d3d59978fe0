"""Writing files so that a reader finds the old one or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keendepth.io.errors import FileError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A fresh name in the same folder to write to; it takes the place of `path` when the block ends well.

    When the block raises (Ctrl-C included) the old file stays and nothing is left behind. A link is followed, not replaced.
    Raises FileError where the folder is missing, where `path` is no regular file, or when the disk refuses.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileError(path, "its folder does not exist: make it first")
    if target.exists() and not target.is_file():
        raise FileError(path, "expected a file to replace, found a folder or a device")
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise FileError(path, f"cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
