"""A cache of rendered scenes for training: a few memory-mapped arrays that many processes fill and one thread reads fast."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from keendepth.core.types import Camera, Image
from keendepth.io.atomic import atomic
from keendepth.refiners.windows import Window

# The format: `scenes.json` and four or five .npy files, one row per scene, that numpy can map without this package.
#   rgb.npy    uint8   [n h w 3]   sRGB
#   near.npy   uint16  [n h w]     1/z; 0 is sky, code c in 1..65535 is low + (c - 1) / 65534 * (high - low)
#   edges.npy  uint8   [n h w/8]   occlusion edges (`synthetic.edges`), bits packed along the rows, the first pixel in the highest bit
#   facts.npy  float32 [n 4]       low, high (1/m), focal length in pixels, number of the kind in scenes.json
#   done.npy   uint8   [n]         1 when a row is whole
MANIFEST, FORMAT = "scenes.json", 1
FAR = 65534  # steps of the code
HELD_OUT = 1_000_000  # scenes with this number and above are for validation and benchmarks only


class SceneCacheError(ValueError):
    """A folder that is no scene cache, or one made with other settings."""


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
        if not is_cache(self.folder):
            raise SceneCacheError(f"{folder}: no {MANIFEST} in it, so this is no scene cache")
        content = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        if content.pop("format", None) != FORMAT:
            raise SceneCacheError(f"{folder}: expected a scene cache of format {FORMAT}; render it again")
        self.options = SceneOptions(**{**content, "size": tuple(content["size"])})
        self.rgb, self.near, self.edges, self.facts, self.done = _open(self.folder, "r")
        self.rows = np.flatnonzero(self.done)

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
    return (folder / MANIFEST).is_file()


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

    SceneCacheError where the folder holds a cache with other options; a larger count than before is another cache: make a second one.
    ModuleNotFoundError without the extra `scenes`, FileNotFoundError for "furnished" without the furniture package.
    """
    folder = Path(folder)
    _create(folder, options)
    done = _open(folder, "r")[4]
    todo = np.flatnonzero(np.asarray(done) == 0).tolist()
    work = partial(_render_row, str(folder), options)
    if processes <= 1:
        for number, row in enumerate(todo, 1):
            work(row)
            if progress:
                progress(number, len(todo))
        return SceneCache(folder)
    # A fresh interpreter each: OpenGL contexts and numba's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(work, row) for row in todo]
        for number, finished in enumerate(as_completed(waiting), 1):
            finished.result()
            if progress:
                progress(number, len(todo))
    return SceneCache(folder)


def _render_row(folder: str, options: SceneOptions, row: int) -> None:
    from keendepth.data import synthetic

    kind = options.kind_of(row)
    seed = options.first + row
    frame = synthetic.render(seed, options.size, list(options.kinds)[kind], samples=options.samples, threads=1)[0]
    code, low, high = encode(frame.depth.inverse())
    rgb, near, edges, facts, done = _open(Path(folder), "r+")
    rgb[row], near[row] = frame.image.rgb, code
    edges[row] = np.packbits(synthetic.edges(frame), axis=1)
    facts[row] = low, high, frame.image.camera.fx, kind
    for array in (rgb, near, edges, facts):
        array.flush()
    done[row] = 1
    done.flush()


def _create(folder: Path, options: SceneOptions) -> None:
    content = json.loads(json.dumps({"format": FORMAT, **asdict(options)}))
    if is_cache(folder):
        there = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if there != content:
            keys = [key for key in content if there.get(key) != content[key]]
            raise SceneCacheError(f"{folder}: made with another {', '.join(keys)}: choose another folder")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise SceneCacheError(f"{folder}: expected a scene cache or an empty folder, found other files")
    folder.mkdir(parents=True, exist_ok=True)
    n, (h, w) = options.count, options.size
    for name, dtype, shape in _layout(n, h, w):
        np.lib.format.open_memmap(folder / name, "w+", dtype, shape).flush()
    with atomic(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _layout(n: int, h: int, w: int) -> list[tuple[str, Any, tuple[int, ...]]]:
    return [
        ("rgb.npy", np.uint8, (n, h, w, 3)),
        ("near.npy", np.uint16, (n, h, w)),
        ("edges.npy", np.uint8, (n, h, -(-w // 8))),
        ("facts.npy", np.float32, (n, 4)),
        ("done.npy", np.uint8, (n,)),
    ]


def _open(folder: Path, mode: str) -> list[Any]:
    return [np.lib.format.open_memmap(folder / name, mode) for name, _, _ in _layout(0, 0, 0)]
