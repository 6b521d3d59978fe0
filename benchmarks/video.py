"""Steadiness of video depth on rendered clips with exact depth and camera path: flicker, accuracy, edges from frame to frame, speed, memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keendepth import Camera, DepthKind, DepthMap, Image, load
from keendepth.core.edges import depth_edges
from keendepth.io import video as clips
from keendepth.temporal import Stabiliser, Steadiness, motion

# Constants of the stabiliser were chosen on clips 91000 and later of both kinds; these are others.
SCENES = (
    ("room", 90000), ("room", 90001), ("room", 90002), ("room", 90003), ("furnished", 90000), ("furnished", 90001),
)  # fmt: skip
SIZE = (240, 320)
WAYS = {
    "frame by frame": None,
    "scale held (--smooth 0)": Steadiness(smooth=0),
    "scale and shape held (default)": Steadiness(),
}
FIGURES = ("flicker", "flicker / frame by frame", "AbsRel", "AbsRel / frame by frame", "local flicker", "edges kept")


class Film(NamedTuple):
    """A rendered clip: uint8 [t h w 3], metres [t h w] (NaN sky), world from camera [t 4 4], K [3 3]."""

    rgb: np.ndarray
    depth: np.ndarray
    pose: np.ndarray
    K: np.ndarray


def film(kind: str, seed: int, frames: int, cache: Path) -> Film:
    """The clip from the cache, or rendered into it."""
    path = cache / f"{kind}-{seed}.npz"
    if not path.is_file():
        from keendepth.data.synthetic import render

        made = render(seed, SIZE, kind, frames)
        rgb, depth, pose = (
            np.stack(each) for each in zip(*((f.image.rgb, f.depth.values, f.pose) for f in made), strict=True)
        )
        np.savez(path, rgb=rgb, depth=depth, pose=pose, K=made[0].image.camera.K)
    with np.load(path) as found:
        depth = np.where((found["depth"] > 0) & np.isfinite(found["depth"]), found["depth"], np.nan)
        return Film(found["rgb"][:frames], depth[:frames], found["pose"][:frames], found["K"])


def judge(truth: Film, depth: np.ndarray) -> dict[str, float]:
    """flicker: mean step of the median log ratio to truth; local flicker: mean step of a point's log ratio; edges kept: share of a
    frame's edge pixels that lie within a pixel of the edges before, carried along by the true motion."""
    error = np.log(depth / truth.depth)
    level = np.nanmedian(error.reshape(len(error), -1), axis=1)
    steps, kept = [], []
    for t in range(1, len(depth)):
        before = np.linalg.inv(truth.pose[t - 1]) @ truth.pose[t]
        near = (1 / truth.depth[t]).astype(np.float32)
        u, v, growth, inside = motion.carry(near, truth.K, before[:3, :3], before[:3, 3])
        there = motion.sample(truth.depth[t - 1], u, v)
        with np.errstate(invalid="ignore"):
            same = inside & (np.abs(there * near / growth - 1) < 0.03)  # seen by both
        step = np.abs(error[t] - motion.sample(error[t - 1], u, v))[same]
        steps.append(np.nanmean(step))
        now, old = (depth_edges(depth[k]).astype(np.float32) for k in (t, t - 1))
        carried = motion.sample(grown(old), u, v) > 0.25
        if (edges := same & (now > 0)).any():
            kept.append(carried[edges].mean())
    return {
        "flicker": float(np.abs(np.diff(level)).mean()),
        "AbsRel": float(np.nanmean(np.abs(depth / truth.depth - 1), axis=(1, 2)).mean()),
        "local flicker": float(np.mean(steps)),
        "edges kept": float(np.mean(kept)) if kept else float("nan"),
    }


def grown(edges: np.ndarray) -> np.ndarray:
    """Edges one pixel wider on each side."""
    from scipy import ndimage

    return ndimage.maximum_filter(edges, 3)


def one(truth: Film, model: str) -> tuple[dict[str, dict[str, float]], float]:
    """({way: figures}, seconds a frame that the default way of holding takes) for one clip; the network runs once."""
    pipeline = load(model)
    camera = Camera(*truth.K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), SIZE[1], SIZE[0])
    images = [Image(rgb, camera) for rgb in truth.rgb]
    raw = [pipeline(image).values for image in images]
    rows = {}
    for way, steadiness in WAYS.items():
        hold, start = Stabiliser(steadiness), time.process_time()
        maps = [DepthMap(values, DepthKind.METRIC, camera) for values in raw]
        made = [
            hold(image, depth).values if steadiness else depth.values for image, depth in zip(images, maps, strict=True)
        ]
        seconds = (time.process_time() - start) / len(images)
        rows[way] = judge(truth, np.stack(made))
        first = rows["frame by frame"]
        for name in ("flicker", "AbsRel"):
            rows[way][f"{name} / frame by frame"] = rows[way][name] / first[name]
    return rows, seconds


def table(results: list[dict[str, dict[str, float]]]) -> None:
    """Mean and spread over clips."""
    print(f"| way | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for way in WAYS:
        columns = [np.array([result[way][name] for result in results]) for name in FIGURES]
        cells = [
            f"{np.nanmean(c):.3f} ({np.nanstd(c):.3f}; worst {worst(n, c):.3f})"
            for n, c in zip(FIGURES, columns, strict=True)
        ]
        print(f"| {way} | {' | '.join(cells)} |")


def worst(name: str, column: np.ndarray) -> float:
    """The least where more is better."""
    return float(np.nanmin(column) if name == "edges kept" else np.nanmax(column))


def run_once(count: int, folder: Path, model: str) -> tuple[float, float, float]:
    """(frames a second, peak MB, seconds) of `keendepth video` on a clip of `count` frames of 640 x 480, in a process of its own."""
    source = folder / f"{count}.mp4"
    rng = np.random.default_rng(0)
    paper = rng.integers(0, 255, (60, 80, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    piece = folder / "piece.nut"
    pictures = ((k * 3600, paper[k % 120 : k % 120 + 480, k % 200 : k % 200 + 640]) for k in range(count))
    clips.encode(piece, ((ticks, np.ascontiguousarray(rgb)) for ticks, rgb in pictures), Fraction(25))
    clips.join(source, [piece])
    command = ["-m", "keendepth", "video", str(source), "-o", str(folder / "out"), "--model", model, "--overwrite"]
    code = f"import resource, subprocess, sys; subprocess.run([sys.executable, *{command!r}], check=True, capture_output=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    return count / seconds, float(done.stdout), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="indoor-small")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument(
        "--lengths", type=int, nargs=2, default=(100, 400), help="frames of the two clips whose memory is compared"
    )
    parser.add_argument("--cache", type=Path, help="folder for the rendered clips")
    parser.add_argument("--quick", action="store_true", help="two rooms of 12 frames, memory at 20 and 80 frames")
    parser.add_argument("--out", type=Path, help="JSON with all figures")
    options = parser.parse_args()
    scenes = SCENES[:2] if options.quick else SCENES
    frames, lengths = (12, (20, 80)) if options.quick else (options.frames, options.lengths)
    with tempfile.TemporaryDirectory() as name:
        cache = options.cache or Path(name)
        cache.mkdir(parents=True, exist_ok=True)
        results, seconds = [], []
        for kind, seed in scenes:
            rows, each = one(film(kind, seed, frames, cache), options.model)
            results.append(rows)
            seconds.append(each)
        print(
            f"{options.model}, {len(scenes)} rendered clips of {frames} frames; mean (spread over clips; worst clip)\n"
        )
        table(results)
        print(f"\nHolding takes {1000 * np.mean(seconds):.0f} ms of processor time a frame of {SIZE[1]} x {SIZE[0]}.\n")
        print("| clip of 640 x 480, mp4 + png16 | frames a second (with start) | peak MB |\n|---|---|---|")
        speed = {count: run_once(count, Path(name), options.model) for count in lengths}
        for count, (rate, peak, _) in speed.items():
            print(f"| {count} frames | {rate:.1f} | {peak:.0f} |")
    if options.out:
        facts = {
            "scenes": [f"{kind}-{seed}" for kind, seed in scenes],
            "clips": results,
            "speed": {str(k): v for k, v in speed.items()},
        }
        options.out.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
