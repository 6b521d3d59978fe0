"""keendepth: sharp, robust, metric depth from a photo, or from anybody's depth map."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keendepth.core.types import Camera, DepthKind, DepthMap, Image
    from keendepth.io import read, read_image, write
    from keendepth.pipeline import load, refine

__all__ = ["Camera", "DepthKind", "DepthMap", "Image", "load", "read", "read_image", "refine", "write"]
__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("Camera", "DepthKind", "DepthMap", "Image"), "keendepth.core.types"),
    **dict.fromkeys(("read", "read_image", "write"), "keendepth.io"),
    **dict.fromkeys(("load", "refine"), "keendepth.pipeline"),
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import keendepth` and the command line start at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'keendepth' has no attribute {name!r}; public are: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
