"""How long a first result takes: `keendepth` in a cold process on a 1 and a 12 megapixel photo, with its peak memory."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

PHOTO = Path(__file__).parent.parent / "examples" / "coffee.png"
CASES = {"1 MP": (1155, 866), "12 MP": (4000, 3000)}


def photos(folder: Path) -> dict[str, Path]:
    """The sample photo enlarged to each size, as JPEG."""
    made = {}
    with Image.open(PHOTO) as picture:
        for name, size in CASES.items():
            made[name] = folder / f"{name.replace(' ', '')}.jpg"
            picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(made[name], quality=92)
    return made


def run(command: list[str]) -> tuple[float, float]:
    """(seconds, peak MB) of one command in a process of its own."""
    code = f"import resource, subprocess, sys; subprocess.run({command!r}, check=True, capture_output=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return time.perf_counter() - start - _idle(), float(done.stdout)


def _idle() -> float:
    """The wrapper's own share: an empty interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import resource, subprocess"], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = photos(folder)
        base = [sys.executable, "-m", "keendepth"]
        for size, photo in made.items():
            out = ["-o", str(folder / "out"), "--overwrite"]
            full = [*base, "depth", str(photo), *out, "--save", "preview", "--save", "png16", "--save", "npz"]
            rows.append((f"depth {size}: preview + png16 + npz", *measure(full, options.repeat)))
            depth = str(folder / "out" / f"{photo.stem}.depth.npz")
            again = [*base, "refine", str(photo), depth, "-o", str(folder / "refined"), "--overwrite", "--save", "npz"]
            rows.append((f"refine {size}: depth file in, npz out", *measure(again, options.repeat)))
        rows.append(("keendepth --help", *measure([*base, "--help"], options.repeat)))
        rows.append(("keendepth models", *measure([*base, "models"], options.repeat)))
    print(f"{options.repeat} cold processes each, median (least to most) seconds, peak MB\n")
    print("| what | seconds | peak MB |\n|---|---|---|")
    for what, seconds, peak in rows:
        print(f"| {what} | {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {peak:.0f} |")
    if options.out:
        options.out.write_text(json.dumps([{"what": w, "seconds": s, "peak_mb": p} for w, s, p in rows], indent=2))


def measure(command: list[str], repeat: int) -> tuple[list[float], float]:
    results = [run(command) for _ in range(repeat)]
    return [seconds for seconds, _ in results], max(peak for _, peak in results)


if __name__ == "__main__":
    main()
