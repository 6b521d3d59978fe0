"""How much memory this process holds, and giving back what the allocator keeps for later."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any


def give_back() -> None:
    """Ask glibc to return freed memory to the system; does nothing elsewhere."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none


def resident(pid: str = "self") -> int | None:
    """Bytes of memory that a process holds now; None where the system does not say (no /proc)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None
