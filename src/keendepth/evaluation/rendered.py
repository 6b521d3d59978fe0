"""Rendered scenes as a data set of benchmarks: exact depth at every pixel, nothing to download, the same on every machine."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.data import register, synthetic
from keendepth.data.sample import Facts, Sample, describe

FIRST_SEED = (
    90_000  # far from the small seeds that training starts from, so that a benchmark's scenes were never trained on
)
FARTHEST = {
    "room": 20.0,
    "furnished": 20.0,
    "thin": 20.0,
    "street": 80.0,
    "mixed": 80.0,
}  # metres scored; beyond lies scenery


@dataclass(frozen=True)
class Rendered:
    """`count` scenes of one kind, one picture each, of seeds from `seed` on; `size` is (height, width)."""

    kind: str
    count: int
    size: tuple[int, int]
    seed: int
    name: str = "rendered-scenes"

    @property
    def ids(self) -> list[str]:
        return [f"{self.kind}-{self.seed + number}" for number in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def load(self, id: str) -> Sample:
        """Render it. Raises ValueError for an id that is not in the set, ModuleNotFoundError without the extra `scenes`."""
        if id not in self.ids:
            raise ValueError(f"{self.name} has no scene {id!r}; it has {self.ids[0]} to {self.ids[-1]}")
        return _rendered(self.kind, int(id.rpartition("-")[2]), self.size)

    def protocol_facts(self) -> dict[str, Any]:
        facts = Facts("rendered", "none", f"{self.kind}", cap=FARTHEST[self.kind], sharp=True)
        shape = f"{self.size[1]} x {self.size[0]}"
        return {**describe(self.name, self.count, facts), "seed": self.seed, "size": shape}


@functools.lru_cache(maxsize=4)
def _rendered(kind: str, seed: int, size: tuple[int, int]) -> Sample:
    frame = synthetic.render(seed, size, kind)[0]
    domain = {"street": "street", "thin": "closeup"}.get(kind, "indoor")
    return Sample(frame.image, frame.depth, f"{kind}-{seed}", pose=frame.pose, domain=domain)


@register(
    "rendered-scenes", summary="rendered rooms, streets, thin things", license="Apache-2.0", kind=DepthKind.METRIC
)
def rendered(
    kind: str = "room", count: int = 8, size: tuple[int, int] = (480, 640), seed: int = FIRST_SEED
) -> Rendered:
    """`kind` is one of `synthetic.KINDS`. Raises ValueError for another, and as `synthetic.render` where it cannot render."""
    if kind not in synthetic.KINDS or count < 1:
        raise ValueError(
            f"rendered scenes: expected one of {', '.join(synthetic.KINDS)} and a count of at least 1, found {kind!r}, {count}"
        )
    synthetic.need("numba")
    if kind == "furnished":
        synthetic.need("moderngl")
        _rendered(kind, seed, (48, 64))  # finds out at once whether the furniture and a renderer are there
    return Rendered(kind, count, (int(size[0]), int(size[1])), seed)


@dataclass(frozen=True)
class Boxes:
    """Painted boxes before a slanted wall: for trying things out, without a renderer and at once; says little of real pictures."""

    count: int
    size: tuple[int, int]
    seed: int
    name: str = "boxes"

    @property
    def ids(self) -> list[str]:
        return [f"boxes-{self.seed + number}" for number in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def load(self, id: str) -> Sample:
        """Paint it; ValueError for an id that is not in the set."""
        if id not in self.ids:
            raise ValueError(f"{self.name} has no scene {id!r}; it has {self.ids[0]} to {self.ids[-1]}")
        rng = np.random.default_rng(int(id.rpartition("-")[2]))
        height, width = self.size
        z = 1 / np.linspace(0.25, 0.15, width)[None].repeat(height, 0)
        rgb = rng.integers(90, 200, 3) + np.linspace(-30, 30, height)[:, None, None] + np.zeros((height, width, 3))
        for depth in np.sort(rng.uniform(1.2, 3.5, 12))[::-1]:  # far ones first
            top, left = (int(rng.integers(0, side * 4 // 5)) for side in self.size)
            part = np.s_[top : top + height // 3, left : left + width // 4]
            z[part], rgb[part] = depth, rng.integers(20, 235, 3)
        rgb = np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)
        camera = Camera.from_fov(63, width, height, "rendered")
        return Sample(
            Image(rgb, camera, id), DepthMap(z.astype(np.float32), DepthKind.METRIC, camera), id, domain="indoor"
        )

    def protocol_facts(self) -> dict[str, Any]:
        facts = Facts("painted", "none", "boxes", sharp=True)
        return {**describe(self.name, self.count, facts), "seed": self.seed, "size": f"{self.size[1]} x {self.size[0]}"}


@register(
    "boxes", summary="painted boxes before a wall, to try things out", license="Apache-2.0", kind=DepthKind.METRIC
)
def boxes(count: int = 4, size: tuple[int, int] = (120, 160), seed: int = 0) -> Boxes:
    """Needs nothing. Raises ValueError for a count below 1 or a picture below 16 pixels."""
    if count < 1 or min(size) < 16:
        raise ValueError(f"boxes: expected a count of at least 1 and 16 pixels or more, found {count} and {size}")
    return Boxes(count, (int(size[0]), int(size[1])), seed)
