"""What `train scent --data` takes: caches of rendered triplets, folders of numbered frames, and KITTI's raw layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keendepth.data.clip import Clip, film_of
from keendepth.training.frames import Joined, TripletSource
from keendepth.training.triplets import CACHE, RenderedTriplets, Triplet, motion_between

MOST_APART = 64  # triplets that are set apart where no folder is held out


class Film:
    """Triplets of clips, resized; `gap` frames lie between the middle and its neighbours."""

    def __init__(self, clips: Sequence[Clip], size: tuple[int, int], gap: int = 1) -> None:
        for clip in clips:
            if clip.camera is None:
                raise ValueError(
                    f"{clip.frames[0].parent}: no camera: write camera.json with fx, fy, cx, cy (pixels), width and height "
                    "beside the frames; `keendepth doctor FOLDER` says what else is missing"
                )
        self.clips, self.size, self.gap = list(clips), size, gap
        self.places = [(k, n) for k, clip in enumerate(self.clips) for n in clip.triplets(gap)]

    @property
    def posed(self) -> bool:
        return all(clip.poses is not None for clip in self.clips)

    def __len__(self) -> int:
        return len(self.places)

    def set_apart(self, count: int) -> Film:
        """The last `count` triplets, which this one then no longer has."""
        apart = Film(self.clips, self.size, self.gap)
        self.places, apart.places = self.places[:-count], self.places[-count:]
        return apart

    def read(self, number: int) -> Triplet:
        """Triplet `number`; FileError where a frame cannot be read."""
        clip, middle = self.places[number]
        return triplet_of(self.clips[clip], middle, self.size, self.gap)


def triplet_of(clip: Clip, middle: int, size: tuple[int, int], gap: int = 1) -> Triplet:
    """Three frames of a clip at this size, with what is known of their camera and motion."""
    numbers = (middle - gap, middle, middle + gap)
    frames = np.stack([clip.read(number).resized(*size).rgb for number in numbers])
    if clip.camera is None:
        raise ValueError(f"{clip.name}: expected a camera, found none")
    motion = (
        None if clip.poses is None else motion_between(clip.poses[middle], clip.poses[[middle - gap, middle + gap]])
    )
    return Triplet(frames, clip.camera.resized(*size).K, motion)


def find(data: Sequence[Path], size: tuple[int, int], gap: int = 1, listing: str = "") -> tuple[Joined, Joined]:
    """(to learn from, held out). A tenth, at most 64 triplets, is set apart where no folder is held out.

    ValueError for folders that are no film, and where nothing is left to learn from.
    """
    learned: list[RenderedTriplets | Film] = []
    judged: list[TripletSource] = []
    for folder in map(Path, data):
        source = _source(folder, size, gap, listing)
        (judged if isinstance(source, RenderedTriplets) and source.held_out else learned).append(source)
    if learned and not judged and len(learned[0]) > 1:
        judged.append(learned[0].set_apart(min(MOST_APART, max(1, len(learned[0]) // 10))))
    joined = Joined(learned)
    if not len(joined):
        raise ValueError(
            "scent learns from film: give --data with rendered triplets (runs/render.py triplets) or frames"
        )
    return joined, Joined(judged)


def _source(folder: Path, size: tuple[int, int], gap: int, listing: str) -> RenderedTriplets | Film:
    if CACHE.there(folder):
        cache = RenderedTriplets(folder)
        if cache.options.size != tuple(size):
            raise ValueError(f"--data {folder}: rendered at {cache.options.size}, scent.size is {tuple(size)}")
        return cache
    return Film(film_of(folder, Path(listing) if listing else None), size, gap)
