"""`keendepth doctor --model M --size N`: how much memory a model needs at a size, measured on two small runs in a process of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from keendepth.cli.batch import say

SMALL, LARGER = 192, 320  # longer sides of the two runs: quick, and apart enough for a slope
MARGIN = 1.2  # of what the extrapolation says: attention may grow faster than the pixels
GIB = 2**30


def estimate(model: str, size: int, load: list[str]) -> dict[str, Any]:
    """The facts as one JSON-able dictionary. ValueError where the model cannot be loaded or run at all.

    What is measured is the process's peak of resident memory: the network's weights with its runtime, and what each pixel costs.
    A model that takes its native size only is measured there. The estimate is for the CPU; a GPU's memory needs about the
    weights and the pixels' part.
    """
    code = "import sys; from keendepth.cli import memory; memory.probe(sys.argv[1], int(sys.argv[2]), sys.argv[3:])"
    done = subprocess.run(
        [sys.executable, "-c", code, model, str(size), *load], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the process ended with code {done.returncode}"]
        raise ValueError(f"doctor: {model} cannot be run: {lines[-1].removeprefix('keendepth: ')}")
    runs = json.loads(done.stdout.strip().splitlines()[-1])
    return judged(model, size, runs, available())


def judged(model: str, size: int, runs: dict[str, Any], free: int | None) -> dict[str, Any]:
    """The verdict from the measured `runs` ({base, loaded, peaks: [[pixels, bytes], ...], pixels}) and the free memory in bytes."""
    (small, low), (large, high) = runs["peaks"][0], runs["peaks"][-1]
    slope = max(0.0, (high - low) / (large - small)) if large > small else 0.0
    needed = int(runs["loaded"] + max(high - runs["loaded"] - slope * large, 0) + slope * runs["pixels"] * MARGIN)
    fits = free is None or needed <= free
    return {
        "model": model,
        "size": size,
        "processed": runs["processed"],
        "loaded_gib": round(runs["loaded"] / GIB, 2),
        "bytes_per_pixel": round(slope),
        "needed_gib": round(needed / GIB, 2),
        "free_gib": None if free is None else round(free / GIB, 2),
        "fits": fits,
        "advice": "" if fits else _advice(runs, slope, free or 0, size),
    }


def _advice(runs: dict[str, Any], slope: float, free: int, size: int) -> str:
    spare = free - runs["loaded"]
    largest = int(size * (max(spare, 0) / (slope * MARGIN * runs["pixels"])) ** 0.5) if slope else 0
    if largest >= 2 * SMALL:
        return f"process at {largest // 32 * 32} pixels or less, or close other programs"
    return "choose a smaller model, or close other programs: it does not fit at any useful size"


def probe(model: str, size: int, load: list[str]) -> None:
    """Load, run at two small sizes, print the peaks as JSON; to be run in a process of its own."""
    from keendepth import pipeline
    from keendepth.cli.contracts import picture
    from keendepth.core import registry

    registry.load_plugins()
    try:
        for file in load:
            registry.load_file(file)
        base, predictor = peak(), pipeline.load(model).predictor
        predictor.predict(picture((32, 32)), *_sizes(predictor, 32))
        forget_peak()  # making a copy for ONNX Runtime takes more, but once
        loaded, peaks = peak(), []
        for side in (min(SMALL, size), min(LARGER, size)):
            image = picture((side, side))
            predictor.predict(image, *_sizes(predictor, side))
            peaks.append([side * side, peak()])
    except (ValueError, OSError, KeyError, ImportError, MemoryError) as error:
        print(f"keendepth: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    free = bool(_sizes(predictor, size))
    wanted = size * size if free else peaks[-1][0]
    processed = f"{size} x {size}" if free else "its native size only"
    print(json.dumps({"base": base, "loaded": loaded, "peaks": peaks, "pixels": wanted, "processed": processed}))


def _sizes(predictor: Any, side: int) -> tuple[tuple[int, int], ...]:
    """The size to ask for; nothing for a network of one size."""
    own = getattr(predictor, "processing_size", None)
    if own is None:
        return ((side, side),)
    try:
        own((side, side), (side, side))
    except ValueError:
        return ()
    return ((side, side),)


def peak() -> int:
    """The most bytes that this process has held so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # of this process alone; what getrusage says may be its parent's on Linux
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> None:
    """Count the most bytes held from now on, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def available() -> int | None:
    """Bytes that a new program can have without swapping; None where the system does not say."""
    table = Path("/proc/meminfo")
    if not table.is_file():
        return None
    line = next((line for line in table.read_text().splitlines() if line.startswith("MemAvailable")), None)
    return int(line.split()[1]) * 1024 if line else None


def show(facts: dict[str, Any]) -> None:
    """The verdict for people."""
    free = "unknown" if facts["free_gib"] is None else f"{facts['free_gib']:.2f} GiB"
    say(
        f"{facts['model']} at {facts['processed']}: about {facts['needed_gib']:.2f} GiB "
        f"({facts['loaded_gib']:.2f} loaded, {facts['bytes_per_pixel']} bytes a pixel); free: {free}",
        output=True,
    )
    say("fits" if facts["fits"] else f"does not fit: {facts['advice']}", output=True)
