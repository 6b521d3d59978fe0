"""What is made of a clip: numbered frames of depth in folders, and a film of photo beside depth that is written in pieces, so that a break costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from keendepth import io, viz
from keendepth.core import geometry
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.io import png16, record, video
from keendepth.io.atomic import atomic
from keendepth.io.formats import KEY

# What `save` takes, and the file or folder that it makes after the clip's name.
SAVED = {"mp4": ".depth.mp4", "png16": ".png16", "exr": ".exr", "npz": ".npz"}
SUFFIXES = {"png16": ".png", "exr": ".exr", "npz": ".npz"}
LONGEST = 1280  # pixels of a frame's longer side in the film: two of them side by side play everywhere
PIECE = 32  # frames of a piece of film; they wait on disk until it is full


@dataclass(frozen=True)
class Plan:
    """What is the same for all frames of a clip, found by looking at a few."""

    kind: DepthKind
    camera: Camera | None  # given, or the model's; None: guessed by the pipeline, the same for every frame
    colours: tuple[float, float]  # inverse depth, far and near
    codes: tuple[float, float] | None  # values of the first and last code of a PNG; None where its unit is fixed
    convention: str | None = None  # of PNGs
    shared: Mapping[str, Any] = field(
        default_factory=dict
    )  # what the description of every frame says alike: camera, model, versions

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "kind": self.kind.value, "camera": asdict(self.camera) if self.camera else None}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Plan:
        """The plan of `to_dict`."""
        camera, codes = found["camera"], found["codes"]
        return cls(
            DepthKind(found["kind"]),
            Camera(**camera) if camera else None,
            (found["colours"][0], found["colours"][1]),
            (codes[0], codes[1]) if codes else None,
            found["convention"],
            found["shared"],
        )

    def shown(self, image: Image, depth: DepthMap) -> UInt8[np.ndarray, "h w 3"]:
        """The photo beside its depth in the clip's colours, small enough to play, with even sides."""
        size = geometry.fit_inside(image.size, LONGEST)
        colours = viz.colourise(depth.resized(*size), between=self.colours)
        pair = viz.side_by_side(image.resized(*size).rgb, colours)
        odd = pair.shape[0] % 2, pair.shape[1] % 2
        return np.pad(pair, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")

    def beyond(self, depth: DepthMap) -> int:
        """Known pixels whose value a PNG writes as the end of its range."""
        if self.codes is None:
            return 0
        return int(np.count_nonzero(depth.valid & ((depth.values < self.codes[0]) | (depth.values > self.codes[1]))))


@dataclass(frozen=True)
class Sequence:
    """A folder of numbered frames."""

    folder: Path
    suffix: str

    def put(self, number: int, depth: DepthMap, plan: Plan) -> None:
        """Write one frame, whole or not at all."""
        path = self.folder / f"{number:06d}{self.suffix}"
        linear = self.suffix == ".png" and png16.is_linear(depth.kind, plan.convention)
        convention = plan.convention if self.suffix == ".png" else None
        io.write_frame(path, depth, convention=convention, span=plan.codes if linear else None)

    def clear(self, keep: int = 0) -> None:
        """Delete frames from number `keep` on, and what a killed run left half written; nothing else."""
        for path in self.folder.glob(f"*{self.suffix}"):
            if path.stem.isdigit() and int(path.stem) >= keep:
                path.unlink()
        for path in self.folder.glob(f".*{self.suffix}.*.tmp"):
            path.unlink()


@dataclass(frozen=True)
class Film:
    """Pictures on their way into an mp4: each waits in `folder` as it is; full pieces are encoded, and joined at the end."""

    folder: Path
    rate: Fraction

    def put(self, number: int, ticks: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keep a picture, and encode its piece if it is the last one of it."""
        with atomic(self.folder / f"{number}_{ticks}.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, picture)
        if number % PIECE == PIECE - 1:
            self._encode(number // PIECE)

    def tidy(self, done: int) -> None:
        """Delete the waiting pictures of whole pieces; to be called when `done` frames are known to be safe."""
        for number, path in self._waiting():
            if number // PIECE < done // PIECE:
                path.unlink()

    def finish(self, target: Path, count: int) -> None:
        """Encode what waits, and join the pieces of `count` frames to `target`."""
        last = (count - 1) // PIECE
        if count % PIECE:
            self._encode(last)
        with atomic(target) as temporary:
            video.join(temporary, [self._piece(k) for k in range(last + 1)])

    def _encode(self, piece: int) -> None:
        with atomic(self._piece(piece)) as temporary:
            video.encode(temporary, self._pictures(piece), self.rate)

    def _pictures(self, piece: int) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
        for number, path in sorted(self._waiting()):
            if number // PIECE == piece:
                yield int(path.stem.split("_")[1]), np.load(path, allow_pickle=False)

    def _waiting(self) -> list[tuple[int, Path]]:
        return [(int(path.stem.split("_")[0]), path) for path in self.folder.glob("[0-9]*_*.npy")]

    def _piece(self, piece: int) -> Path:
        return self.folder / f"piece{piece}.nut"


def line_of(frame: video.ClipFrame, depth: DepthMap, beyond: int) -> dict[str, Any]:
    """What the list of frames says of one."""
    known = depth.values[depth.valid]
    return {
        "frame": frame.number,
        "seconds": round(frame.ticks / video.TICKS, 6),
        "min": float(known.min()) if known.size else None,
        "max": float(known.max()) if known.size else None,
        "beyond": beyond,
    }


def shared(depth: DepthMap) -> dict[str, Any]:
    """What a clip's description takes from a frame's: all that is the same for each."""
    own = record.sidecar(depth)
    return {name: own[name] for name in (KEY, "kind", "unit", "size", "camera", "model", "versions")}
