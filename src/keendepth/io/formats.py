"""What the formats hand each other: a loaded file, a file about to be written, and the tables of units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from keendepth.core.types import DepthKind

# A file of ours carries its description (the JSON of `keendepth.io.record`) under this key where the format has room for text.
KEY = "keendepth"

UNKNOWN_CODE, SKY_CODE = 0, 65535  # of 16-bit files that we write


@dataclass(frozen=True, eq=False)
class Loaded:
    """The numbers of a file as they stand in it, and the description that we embedded when the file is ours."""

    values: Shaped[np.ndarray, "h w"]
    own: dict[str, Any] | None = None
    valid: Bool[np.ndarray, "h w"] | None = None  # a mask that a foreign npz brings along
    K_opencv: Float[np.ndarray, "3 3"] | None = None  # the matrix that a foreign npz brings along


@dataclass(frozen=True, eq=False)
class Draft:
    """A file about to be written: how its numbers are encoded, and what writes it given a path and its description."""

    encoding: dict[str, Any]
    save: Callable[[Path, dict[str, Any]], None]
    library: str = "numpy"  # whose version the description records


@dataclass(frozen=True)
class Unit:
    """How to understand the numbers of a foreign file."""

    kind: DepthKind
    metres: float = 1.0
    inverted: bool = False  # the file holds 1/z
    zero: str = (
        "value"  # what 0 means where the kind allows it: "value", "sky", "unknown" (unknown in integer files only)
    )


UNITS = {
    "m": Unit(DepthKind.METRIC),
    "mm": Unit(DepthKind.METRIC, 1e-3),
    "cm": Unit(DepthKind.METRIC, 1e-2),
    "inch": Unit(DepthKind.METRIC, 0.0254),
    "1/m": Unit(DepthKind.METRIC, inverted=True, zero="sky"),
    "disparity": Unit(DepthKind.DISPARITY, zero="unknown"),
    "inverse": Unit(DepthKind.DISPARITY, zero="sky"),
    "relative": Unit(DepthKind.AFFINE_INVARIANT),
    "scale-invariant": Unit(DepthKind.SCALE_INVARIANT),
}


@dataclass(frozen=True)
class Convention:
    """A data set's way of writing metres as 16-bit integers; 0 is unknown in all of them."""

    metres: float  # per step
    top: str  # what 65535 means in the files of others: "unknown" (saturated), "sky" or "value"
    rotated: bool = False  # SUN RGB-D: the bits are rotated left by 3; read only


# Sources: KITTI depth devkit (v/256), TUM RGB-D file formats (v/5000), ScanNet and nerfstudio (mm), ROS REP 118 (mm),
# iBims-1 (50 m over 65535), Virtual KITTI 2 (cm, sky at 655.35 m), SUN RGB-D toolbox (bits rotated by 3, mm).
CONVENTIONS = {
    "mm": Convention(1e-3, "unknown"),
    "scannet": Convention(1e-3, "unknown"),
    "nerfstudio": Convention(1e-3, "unknown"),
    "ros": Convention(1e-3, "unknown"),
    "kitti": Convention(1 / 256, "value"),
    "tum": Convention(1 / 5000, "value"),
    "ibims": Convention(50 / 65535, "value"),
    "vkitti": Convention(1e-2, "sky"),
    "sun": Convention(1e-3, "unknown", rotated=True),
}
