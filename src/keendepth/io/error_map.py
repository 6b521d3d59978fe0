"""Expected errors as a 16-bit PNG: steps of 1 / 10,000 of the depth, 0 = unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from keendepth.core.types import DepthMap
from keendepth.io.formats import UNKNOWN_CODE, Draft

SCALE = 1e-4
LAST = 65535


def prepare(depth: DepthMap) -> Draft:
    """Codes of the expected relative error; what is more than 6.55 times off is written as that. ValueError where it is not known."""
    if depth.expected_error is None:
        raise ValueError("this depth map does not know how far off it may be: refine it with a calibrated sharpener")
    known = np.isfinite(depth.expected_error) & depth.valid
    codes = np.where(
        known, np.clip(np.rint(np.where(known, depth.expected_error, 0) / SCALE) + 1, 1, LAST), UNKNOWN_CODE
    )
    picture = PillowImage.fromarray(codes.astype(np.uint16))
    encoding = {
        "format": "expected errors", "first_code": 1, "offset": 0.0, "scale": SCALE, "unknown": UNKNOWN_CODE,
        "meaning": "expected |z - true z| / true z", "error": SCALE / 2,
    }  # fmt: skip

    def save(temporary: Path, _description: dict[str, Any]) -> None:
        picture.save(temporary, "PNG")

    return Draft(encoding, save, "pillow")
