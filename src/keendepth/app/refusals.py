"""What the server refuses, as one exception with a status, a code for programs and a sentence for people."""

from __future__ import annotations

import math

from keendepth.core.registry import UnknownNameError
from keendepth.core.types import KindError
from keendepth.io import FileError, TooLargeError


class RefusedError(Exception):
    """A request that gets an answer, but not the one it wanted."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after = retry_after  # seconds

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))} if self.retry_after is not None else {}


def busy(seconds: float, why: str) -> RefusedError:
    """429 with the time after which a place is likely to be free."""
    wait = min(60.0, max(1.0, seconds))
    return RefusedError(429, "busy", f"{why}; come back in {math.ceil(wait)} s", wait)


def of(error: BaseException) -> RefusedError | None:
    """What an error of the layers below means for the one who asked; None for a fault of ours."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, TooLargeError):
        return RefusedError(413, "too_large", sentence(error))
    if isinstance(error, FileError):
        return RefusedError(422, "unreadable", sentence(error))
    if isinstance(error, (UnknownNameError, KindError)):
        return RefusedError(422, "not_possible", str(error))
    if isinstance(error, MemoryError):
        return RefusedError(413, "too_large", f"not enough memory for this picture ({error}): send a smaller one")
    if isinstance(error, TimeoutError):
        return RefusedError(503, "too_slow", "the request took longer than this server gives one", 5.0)
    if isinstance(error, ValueError):
        return RefusedError(422, "not_possible", str(error))
    return None


def sentence(error: FileError) -> str:
    """The message without the server's own path: the upload is called by its field (`image`, `depth`)."""
    from pathlib import PurePath

    path = PurePath(error.path)
    return str(error).replace(error.path, path.stem).replace(path.name, path.stem)
