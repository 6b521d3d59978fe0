"""Ctrl-C and SIGTERM as a wish to stop after the step, so that what was learned is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Wish:
    """Whether somebody wants the run to stop, and the note about it that is still to be told."""

    def __init__(self) -> None:
        self.stop = False
        self.note = ""


@contextmanager
def listening() -> Iterator[Wish]:
    """Within, the first signal sets the wish; a second Ctrl-C stops at once, without saving. Only in the main thread.

    The handler prints nothing: it may interrupt a print, and printing is not re-entrant. The loop tells the note.
    """
    wish = Wish()

    def heard(number: int, frame: FrameType | None) -> None:
        if wish.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        wish.stop = True
        wish.note = f"{signal.Signals(number).name}: saving after this step (Ctrl-C again stops at once)"

    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
