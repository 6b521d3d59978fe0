"""What to do where memory runs out: know it when it comes, and halve a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

_log = logging.getLogger("keendepth")
Item, Made = TypeVar("Item"), TypeVar("Made")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch or ONNX Runtime says that memory ran out; known by name and text, as neither need be installed."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    signs = (
        "out of memory",
        "failed to allocate memory",
        "not enough memory",
        "can't allocate memory",
        "bad allocation",
    )
    return isinstance(error, (RuntimeError, ValueError)) and any(sign in said for sign in signs)


def halving(items: Sequence[Item], work: Callable[[Sequence[Item]], list[Made]], name: str) -> list[Made]:
    """`work` of all items at once; where memory runs out, of each half, and so on down to single ones, which is said of `name`."""
    try:
        return work(items)
    except Exception as error:  # torch and ONNX Runtime have classes of their own for it
        if len(items) < 2 or not is_out_of_memory(error):
            raise
    middle = (len(items) + 1) // 2
    _log.warning("%s: out of memory with %d at a time; going on with %d", name, len(items), middle)
    return [*halving(items[:middle], work, name), *halving(items[middle:], work, name)]
