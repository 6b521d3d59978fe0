"""Results that visitors of the page come back to: a bounded number of pixels, the least recently used ones leave first."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from keendepth.app.refusals import RefusedError
from keendepth.app.workbench import Result


class Shelf:
    """Results by a token that cannot be guessed. `pinned` ones stay: the first picture, which every visitor shares."""

    def __init__(self, most_pixels: int) -> None:
        self._most = most_pixels
        self._results: OrderedDict[str, tuple[Result, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, result: Result, pinned: bool = False) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._results[token] = (result, pinned)
            self._make_room(token)
        return token

    def get(self, token: str | None) -> Result:
        """The result; RefusedError where it has left."""
        with self._lock:
            if token in self._results:
                self._results.move_to_end(token)  # type: ignore[arg-type]
                return self._results[token][0]  # type: ignore[index]
        raise RefusedError(410, "gone", "no result is at hand" + (" any more" if token else "") + ": press Make depth")

    def _make_room(self, newest: str) -> None:
        for token, (_, pinned) in list(self._results.items()):
            if self._pixels() <= self._most:
                return
            if token != newest and not pinned:
                del self._results[token]

    def _pixels(self) -> int:
        return sum(result.image.size[0] * result.image.size[1] for result, _ in self._results.values())
