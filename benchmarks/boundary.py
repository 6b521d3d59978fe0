"""Time the boundary metrics at 1 MP against the slow reference of the tests, which is also their check; writes JSON and prints a Markdown table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from keendepth.core.types import Camera, DepthKind, DepthMap
from keendepth.evaluation import METRICS, boundary, contours

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import slow_reference as slow


def scene(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, reference): boxes before a slanted wall, and the same with a little blur and noise."""
    rng = np.random.default_rng(seed)
    reference = 1 / np.linspace(0.16, 0.11, width)[None].repeat(height, 0)
    for _ in range(200):
        y, x = rng.integers(0, height - 20), rng.integers(0, width - 20)
        reference[y : y + rng.integers(5, 200), x : x + rng.integers(5, 200)] = rng.uniform(1.5, 6)
    prediction = ndimage.gaussian_filter(reference, 0.7) * rng.normal(1, 0.005, reference.shape)
    return prediction.astype(np.float32), reference.astype(np.float32)


def timed(work: Callable[[], float], rounds: int) -> tuple[float, float]:
    """(value, best time in seconds)."""
    times = []
    for _ in range(rounds):
        start = time.process_time()  # of this process alone: a busy machine does not count
        value = work()
        times.append(time.process_time() - start)
    return value, min(times)


def compare(p: np.ndarray, g: np.ndarray, loops: bool) -> list[dict[str, float | str]]:
    """One row per metric: value and time of the fast and the slow ways."""
    prediction, reference = (DepthMap(values, DepthKind.METRIC) for values in (p, g))
    p64, g64 = p.astype(float), g.astype(float)
    rows = [
        (
            "Depth Pro F1",
            lambda: boundary.boundary_f1(prediction, reference)["boundary_f1"],
            lambda: slow.depth_pro_f1(p, g),
            lambda: slow.depth_pro_f1_by_threshold(p, g),
        ),
        *(
            (
                f"MoGe-2 F1, radius {radius}",
                lambda r=radius: boundary.moge_f1(prediction, reference, radii=(r,))[f"moge_f1_r{r}"],
                lambda r=radius: slow.moge_f1(p, g, r),
                lambda r=radius: slow.moge_f1_by_threshold(p, g, r),
            )
            for radius in (1, 2, 3)
        ),
        (
            "PDBE accuracy",
            lambda: contours.pdbe(prediction, reference)["pdbe_acc"],
            lambda: slow.pdbe(p64, g64)[0],
            None,
        ),
    ]
    return [measured(*row, loops=loops) for row in rows]


def measured(name: str, fast: Callable, loop: Callable, whole: Callable | None, loops: bool) -> dict[str, float | str]:
    value, seconds = timed(fast, 5)
    row: dict[str, float | str] = {"metric": name, "value": value, "fast_s": seconds}
    for key, slow_way, rounds in (("loop", loop if loops else None, 1), ("by_threshold", whole, 3)):
        if slow_way is not None:
            other, row[f"{key}_s"] = timed(slow_way, rounds)
            row[f"{key}_difference"] = abs(other - value)
            row[f"{key}_speedup"] = row[f"{key}_s"] / seconds
    return row


def table(rows: list[dict[str, float | str]]) -> str:
    lines = [
        "| metric | value | ours, s | pixel loop, s (x) | numpy by threshold, s (x) | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        slow_cells = [
            f"{row[f'{key}_s']:.2f} ({row[f'{key}_speedup']:.1f})" if f"{key}_s" in row else "-"
            for key in ("loop", "by_threshold")
        ]
        worst = max((row[key] for key in row if key.endswith("_difference")), default=0.0)
        lines.append(
            f"| {row['metric']} | {row['value']:.6f} | {row['fast_s']:.3f} | {' | '.join(slow_cells)} | {worst:.1e} |"
        )
    return "\n".join(lines)


def every_metric(p: np.ndarray, g: np.ndarray) -> list[dict[str, float | str]]:
    """The best of three times of each registered metric."""
    camera = Camera.from_fov(60, g.shape[1], g.shape[0])
    prediction, reference = (DepthMap(values, DepthKind.METRIC, camera) for values in (p, g))
    scores = {name: METRICS.build(name).score for name in METRICS}
    return [{"metric": n, "fast_s": timed(lambda s=s: s(prediction, reference), 3)[1]} for n, s in scores.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(1000, 1000), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--no-loops", action="store_true", help="leave out the pixel loops (minutes)")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args()
    p, g = scene(*arguments.size)
    rows, single = compare(p, g, not arguments.no_loops), every_metric(p, g)
    print(table(rows))
    print("\n| metric | ours, s |\n|---|---|")
    print("\n".join(f"| {row['metric']} | {row['fast_s']:.3f} |" for row in single))
    if arguments.out:
        arguments.out.write_text(json.dumps({"size": arguments.size, "against_slow": rows, "each": single}, indent=1))


if __name__ == "__main__":
    main()
