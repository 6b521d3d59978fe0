"""What `train scent --data` takes: caches of rendered triplets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keendepth.training.frames import Joined
from keendepth.training.triplets import CACHE, RenderedTriplets


def find(data: Sequence[Path], size: tuple[int, int]) -> tuple[Joined, Joined]:
    """(to learn from, held out). A tenth, at most 64 triplets, is set apart where no folder is held out.

    ValueError for folders that are no film, and where nothing is left to learn from.
    """
    learned, judged = [], []
    for folder in map(Path, data):
        if not CACHE.there(folder):
            raise ValueError(f"--data {folder}: expected a cache of rendered triplets (runs/scent.py), found none")
        cache = RenderedTriplets(folder)
        if cache.options.size != tuple(size):
            raise ValueError(f"--data {folder}: rendered at {cache.options.size}, scent.size is {tuple(size)}")
        (judged if cache.held_out else learned).append(cache)
    if learned and not judged:
        judged.append(learned[0].set_apart(min(64, max(1, len(learned[0]) // 10))))
    joined = Joined(learned)
    if not len(joined):
        raise ValueError("scent learns from film: give --data with rendered triplets (runs/scent.py triplets)")
    return joined, Joined(judged)
