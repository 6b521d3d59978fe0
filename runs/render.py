"""Render what networks are trained on and judged by, into caches that many processes fill; what is there is kept.

    python runs/render.py scenes FOLDER --count 6000 [--held-out] [--size 384 512] [--kinds room=0.4 street=0.3 thin=0.3] [--processes 2]
    python runs/render.py triplets FOLDER --count 600 [--held-out] [--size 64 128] [--kinds street=0.7 room=0.3] [--processes 2]

Scenes are single pictures with exact depth; triplets are three frames of a moving camera, with labels. Numbers from 1,000,000 on are held out: they
validate and score, and are never trained on. "furnished" needs the Debian package sweethome3d-furniture; leave it out of --kinds where that is missing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from keendepth.training.scenes import HELD_OUT, SceneOptions, render_cache
from keendepth.training.triplets import TripletOptions, render_triplets


class Kind(NamedTuple):
    """What can be rendered, and how much of it where nothing is said."""

    options: Callable[..., Any]
    render: Callable[..., Any]
    count: int
    size: tuple[int, int]
    samples: int


KINDS = {
    "scenes": Kind(SceneOptions, render_cache, 6000, (384, 512), 4),
    "triplets": Kind(TripletOptions, render_triplets, 600, (64, 128), 9),
}


def main() -> None:
    """Fill one cache."""
    given = parsed()
    kind, start = KINDS[given.what], time.time()
    first = given.first + (HELD_OUT if given.held_out else 0)
    options = kind.options(
        given.count or kind.count, first, tuple(given.size or kind.size), given.samples or kind.samples
    )
    if given.kinds:
        options = replace(options, kinds={name: float(share) for name, share in (x.split("=") for x in given.kinds)})

    def tell(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            print(f"{done} of {of} {given.what}, {(time.time() - start) / done:.2f} s each", flush=True)

    cache = kind.render(given.folder, options, given.processes, tell)
    print(f"{given.folder}: {len(cache)} {given.what}")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(KINDS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--samples", type=int, help="rays per pixel")
    parser.add_argument("--kinds", nargs="+", metavar="KIND=SHARE")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
