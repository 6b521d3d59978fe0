"""A cache of rendered scenes for training: a few memory-mapped arrays that many processes fill and one thread reads fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from keendepth.core.types import Camera, Image
from keendepth.refiners.windows import Window
from keendepth.training import rows

# The format: `scenes.json` and four or five .npy files, one row per scene, that numpy can map without this package.
#   rgb.npy    uint8   [n h w 3]   sRGB
#   near.npy   uint16  [n h w]     1/z; 0 is sky, code c in 1..65535 is low + (c - 1) / 65534 * (high - low)
#   edges.npy  uint8   [n h w/8]   occlusion edges (`synthetic.edges`), bits packed along the rows, the first pixel in the highest bit
#   facts.npy  float32 [n 4]       low, high (1/m), focal length in pixels, number of the kind in scenes.json
#   done.npy   uint8   [n]         1 when a row is whole
CACHE = rows.Rows("scenes.json", 1, "scene cache")
RGB, NEAR, EDGES, FACTS = "rgb.npy", "near.npy", "edges.npy", "facts.npy"
FAR = 65534  # steps of the code
HELD_OUT = 1_000_000  # scenes with this number and above are for validation and benchmarks only


@dataclass(frozen=True)
class SceneOptions:
    """What is rendered. Two caches with the same options hold the same pictures."""

    count: int = 1000
    first: int = 0  # number of the first scene; the others follow
    size: tuple[int, int] = (384, 512)  # (height, width)
    samples: int = 4  # colours per pixel
    kinds: Mapping[str, float] = field(  # kind of `synthetic.render` -> share
        default_factory=lambda: {"room": 0.35, "street": 0.2, "thin": 0.2, "furnished": 0.25}
    )

    def kind_of(self, row: int) -> int:
        """Number, in `kinds`, of the kind of a row's scene: a function of the scene's number alone."""
        shares = np.array(list(self.kinds.values()), float)
        return int(np.random.default_rng([self.first + row, 17]).choice(len(shares), p=shares / shares.sum()))


class SceneCache:
    """Rendered scenes on disk; rows that are not done yet do not count."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        content = CACHE.content(folder)
        self.options = SceneOptions(**{**content, "size": tuple(content["size"])})
        self.rgb, self.near, self.edges, self.facts = rows.opened(folder, (RGB, NEAR, EDGES, FACTS))
        self.rows = rows.finished(folder)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def held_out(self) -> bool:
        return self.options.first >= HELD_OUT

    def set_apart(self, count: int) -> SceneCache:
        """A cache of the last `count` scenes, which this one then no longer has."""
        apart = SceneCache(self.folder)
        self.rows, apart.rows = self.rows[:-count], self.rows[-count:]
        return apart

    def only(self, kinds: Sequence[str]) -> SceneCache:
        """The same with none but scenes of these kinds; itself where none is named."""
        if kinds:
            wanted = [number for number, kind in enumerate(self.options.kinds) if kind in kinds]
            self.rows = self.rows[np.isin(self.facts[self.rows, 3].astype(int), wanted)]
        return self

    def read(self, number: int, window: Window | None = None) -> Scene:
        """Scene `number` (from 0, of those that are done), or a window of it."""
        row = int(self.rows[number])
        window = window or Window(0, 0, *self.options.size)
        top, left = window.at
        low, high, focal, kind = (float(value) for value in self.facts[row])
        packed = np.unpackbits(self.edges[row, top], axis=1)[:, left]
        near = decode(np.asarray(self.near[row][window.at]), low, high)
        return Scene(
            np.array(self.rgb[row][window.at]), near, packed.astype(bool), focal, list(self.options.kinds)[int(kind)]
        )

    def image(self, number: int) -> Image:
        """The whole picture with its camera."""
        scene = self.read(number)
        h, w = self.options.size
        row = int(self.rows[number])
        return Image(scene.rgb, Camera.from_focal(scene.focal, w, h, "rendered"), f"scene {self.options.first + row}")


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture with exact nearness."""

    rgb: UInt8[np.ndarray, "h w 3"]
    near: Float32[np.ndarray, "h w"]  # 1/m, sky 0
    edge: Bool[np.ndarray, "h w"]  # pixels on either side of an occlusion
    focal: float  # pixels
    kind: str


def is_cache(folder: Path) -> bool:
    return CACHE.there(folder)


def encode(near: Float32[np.ndarray, "h w"]) -> tuple[UInt16[np.ndarray, "h w"], float, float]:
    """(code, low, high) of nearness with sky 0; the rounding is at most 1 / 131,068 of high - low."""
    things = near > 0
    if not things.any():
        return np.zeros(near.shape, np.uint16), 0.0, 1.0
    low, high = float(near[things].min()), float(near[things].max())
    code = np.rint((near.astype(np.float64) - low) / max(high - low, 1e-12) * FAR) + 1
    return np.where(things, np.clip(code, 1, FAR + 1), 0).astype(np.uint16), low, high


def decode(code: UInt16[np.ndarray, "h w"], low: float, high: float) -> Float32[np.ndarray, "h w"]:
    """The inverse of `encode`."""
    near = (code.astype(np.float32) - np.float32(1)) * np.float32((high - low) / FAR) + np.float32(low)
    near[code == 0] = 0
    return near


def render_cache(
    folder: str | Path,
    options: SceneOptions,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SceneCache:
    """Render what the cache in `folder` lacks of `options.count` scenes, in `processes` processes; can be stopped and called again.

    RowsError where the folder holds a cache with other options; a larger count than before is another cache: make a second one.
    ModuleNotFoundError without the extra `scenes`, FileNotFoundError for "furnished" without the furniture package.
    """
    folder = Path(folder)
    create(folder, options)
    rows.fill(folder, partial(_render_row, str(folder), options), processes, progress)
    return SceneCache(folder)


def create(folder: Path, options: SceneOptions) -> None:
    """An empty cache, or the one that is there if it was made with the same options."""
    h, w = options.size
    columns = (
        (RGB, np.uint8, (h, w, 3)),
        (NEAR, np.uint16, (h, w)),
        (EDGES, np.uint8, (h, -(-w // 8))),
        (FACTS, np.float32, (4,)),
    )
    CACHE.create(folder, asdict(options), options.count, columns)


def _render_row(folder: str, options: SceneOptions, row: int) -> None:
    from keendepth.data import synthetic

    kind = options.kind_of(row)
    seed = options.first + row
    frame = synthetic.render(seed, options.size, list(options.kinds)[kind], samples=options.samples, threads=1)[0]
    code, low, high = encode(frame.depth.inverse())
    facts = (low, high, frame.image.camera.fx, kind)
    edges = np.packbits(synthetic.edges(frame), axis=1)
    rows.put(folder, row, {RGB: frame.image.rgb, NEAR: code, EDGES: edges, FACTS: facts})
