"""Render the triplets that `runs/scent.sh` trains on and is scored on, into caches that many processes fill; what is there is kept.

    python runs/scent.py triplets FOLDER --count 600 [--held-out] [--size 64 128] [--kinds street=0.7 room=0.3] [--processes 2]

Scenes with numbers from 1,000,000 on are held out: they validate and score, and are never trained on.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from keendepth.training.triplets import HELD_OUT, TripletOptions, render_triplets


def options(given: argparse.Namespace) -> TripletOptions:
    first = given.first + (HELD_OUT if given.held_out else 0)
    made = TripletOptions(given.count, first, tuple(given.size), given.samples)
    if not given.kinds:
        return made
    shares = {name: float(share) for name, share in (text.split("=") for text in given.kinds)}
    return replace(made, kinds=shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["triplets"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--kinds", nargs="+", metavar="KIND=SHARE")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    start = time.time()

    def tell(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            print(f"{done} of {of} triplets, {(time.time() - start) / done:.2f} s each", flush=True)

    cache = render_triplets(given.folder, options(given), given.processes, tell)
    print(f"{given.folder}: {len(cache)} triplets")


if __name__ == "__main__":
    main()
