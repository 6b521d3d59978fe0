"""How many scenes a second the renderers make at 320x240 with four colour samples: `python benchmarks/render.py [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from keendepth.data import synthetic

SIZE = (240, 320)


def measure(kind: str, number: int) -> dict[str, float]:
    """Pictures a second by the clock and by processor time (which other processes disturb less), after one warm-up scene."""
    synthetic.render(10_000, SIZE, kind)
    clock, processor = time.perf_counter(), time.process_time()
    for seed in range(number):
        synthetic.render(seed, SIZE, kind)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return {"pictures_per_second": number / clock, "processor_seconds_per_picture": processor / number}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=24, help="scenes of each kind")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    sys.stdout.write("| kind | pictures/s | processor s/picture |\n|---|---|---|\n")
    for kind in synthetic.KINDS:
        try:
            results[kind] = row = measure(kind, options.number)
        except (FileNotFoundError, ModuleNotFoundError) as error:
            sys.stdout.write(f"| {kind} | not measured: {error} | |\n")
            continue
        sys.stdout.write(
            f"| {kind} | {row['pictures_per_second']:.1f} | {row['processor_seconds_per_picture']:.2f} |\n"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
