"""Render the scenes that `runs/sddr.sh` trains on, into caches that many processes fill; what is there is kept.

    python runs/sddr.py scenes FOLDER --count 6000 --processes 2 [--held-out] [--size 384 512] [--kinds room=0.4 street=0.3 thin=0.3]

Scenes with numbers from 1,000,000 on are held out: they validate and score, and are never trained on. "furnished" needs the Debian package
sweethome3d-furniture; leave it out of --kinds where that is missing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from keendepth.training.scenes import HELD_OUT, SceneOptions, render_cache


def options(given: argparse.Namespace) -> SceneOptions:
    first = given.first + (HELD_OUT if given.held_out else 0)
    made = SceneOptions(given.count, first, tuple(given.size), given.samples)
    if not given.kinds:
        return made
    shares = {name: float(share) for name, share in (text.split("=") for text in given.kinds)}
    return replace(made, kinds=shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scenes"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", metavar="KIND=SHARE")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    start = time.time()

    def tell(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            print(f"{done} of {of} scenes, {(time.time() - start) / done:.2f} s each", flush=True)

    cache = render_cache(given.folder, options(given), given.processes, tell)
    print(f"{given.folder}: {len(cache)} scenes")


if __name__ == "__main__":
    main()
