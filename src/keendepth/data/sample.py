"""What a data set hands out: one picture with what is known of it; the contract of readers; and the crops of the protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from keendepth.core.types import DepthMap, Image


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture with what is known of it. Depth may have another size than the picture, but shows the same view."""

    image: Image
    depth: DepthMap | None  # None: unlabelled
    id: str
    before: Image | None = None  # the frames next to it in time
    after: Image | None = None
    pose: Float64[np.ndarray, "4 4"] | None = None  # world from camera, metres, camera axes x right, y down, z forward
    regions: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # label maps [h w] of the depth's size, e.g. "edges", "wall"
    domain: str = ""  # "indoor", "street", "closeup" or "outdoor", where the data set knows it


@dataclass(frozen=True)
class Facts:
    """How a data set is scored and where its truth comes from; a report prints these beside its numbers."""

    source: str  # what measured or made the ground truth
    unknown: str  # which pixels are unknown
    split: str = "all"
    crop: str = "none"  # one of CROPS
    nearest: float = 1e-3  # metres; nearer is not scored
    cap: float | None = None  # metres; farther is not scored
    sharp: bool = False  # whether depth edges are good to a pixel, so that sharpness can be scored
    note: str = ""


@runtime_checkable
class Dataset(Protocol):
    """Pictures by id. Nothing but names is held in memory; `load` reads one sample."""

    @property
    def name(self) -> str: ...

    @property
    def ids(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def load(self, id: str) -> Sample: ...

    def protocol_facts(self) -> dict[str, Any]: ...


def describe(name: str, count: int, facts: Facts) -> dict[str, Any]:
    """The facts as plain JSON types, with the data set's name and size."""
    return {"dataset": name, "images": count, **asdict(facts)}


# (top, bottom, left, right) as shares of the height and of the width. Sources: Eigen et al. 2014 and Garg et al. 2016, as
# every evaluation of KITTI has them since; for NYUv2 rows 45:471 and columns 41:601 of 480 x 640.
CROPS = {
    "none": (0.0, 1.0, 0.0, 1.0),
    "nyu-eigen": (45 / 480, 471 / 480, 41 / 640, 601 / 640),
    "kitti-garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "kitti-eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


def crop_region(crop: str, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """True where a protocol scores pixels; bounds are rounded down to whole pixels. Raises ValueError for an unknown crop."""
    if crop not in CROPS:
        raise ValueError(f"crop: expected one of {', '.join(CROPS)}, found {crop!r}")
    top, bottom, left, right = CROPS[crop]
    region = np.zeros((height, width), bool)
    region[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return region
