"""A clip's way through a pipeline: look at a few frames, then depth, steadiness and files frame by frame, from where an earlier run stopped."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from keendepth import io, pipeline
from keendepth.core.types import Camera, DepthMap, Image
from keendepth.io import png16, record, video
from keendepth.pipeline import Pipeline
from keendepth.temporal import Stabiliser, Steadiness
from keendepth.video.outputs import SAVED, Film, Plan, line_of, shared
from keendepth.video.workplace import Workplace, fingerprint

LOOKS, EVERY = 12, 16  # frames looked at beforehand: one of 16, and no more than 12
PATCH = 20_000  # pixels of each of them that the range of colours is taken from
TAIL = 1.0  # per cent of them beyond each end of the colours
MARGIN = 0.05  # of that range, added at both ends, as it comes from a sample
SPARE = 0.5  # of the range of values, added at both ends of a PNG's codes where a kind has no unit


@dataclass(frozen=True)
class Settings:
    """What to make of a clip, and how."""

    save: tuple[str, ...] = ("mp4", "png16")  # of `outputs.SAVED`
    model: str = pipeline.DEFAULT  # as `pipeline.load` takes it
    strength: float = 1.0  # of refiners
    steadiness: Steadiness | None = field(default_factory=Steadiness)  # None: each frame by itself
    focal: float | None = None  # pixels of the upright frame
    fov: float | None = None  # degrees, horizontal
    camera_file: str | None = None
    convention: str | None = None  # of 16-bit PNGs
    overwrite: bool = False  # make again what is there
    card: str | None = None  # of an .onnx file
    providers: str = ""  # of ONNX Runtime

    def __post_init__(self) -> None:
        unknown = [name for name in self.save if name not in SAVED]
        if unknown or not self.save:
            raise ValueError(
                f"--save: of a clip one can save {', '.join(SAVED)}, found {', '.join(unknown) or 'nothing'}"
            )

    def deciding(self) -> dict[str, Any]:
        """What decides about the bytes that come out."""
        own = asdict(self)
        return {name: own[name] for name in own if name not in ("overwrite", "providers")}


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a clip is."""

    stage: str  # "looking" at a sample, "depth", "done", or "skipped" as everything was there
    done: int  # frames, of this stage
    total: int  # as many as the file announces; a damaged one ends before
    image: Image | None = None  # with "depth": the frame just done
    depth: DepthMap | None = None
    plan: Plan | None = None
    files: tuple[Path, ...] = ()  # with "done" and "skipped": what was made
    facts: dict[str, Any] = field(default_factory=dict)  # with "done" and "skipped": what the clip's .video.json says

    @functools.cached_property
    def picture(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """Photo and coloured depth of the frame side by side, as in the film; made when asked for."""
        return self.plan.shown(self.image, self.depth) if self.plan and self.image and self.depth else None


def steady(
    frames: Iterable[Image], model: Pipeline | str = pipeline.DEFAULT, steadiness: Steadiness | None = None
) -> Iterator[DepthMap]:
    """Steady depth for each of a clip's frames, given in order and of one size, from memory to memory; one frame is held at a time."""
    made = pipeline.load(model) if isinstance(model, str) else model
    stabilise = Stabiliser(steadiness)
    for frame in frames:
        yield stabilise(frame, made(frame))


def convert(
    clip: str | Path,
    folder: str | Path,
    settings: Settings | None = None,
    model: Pipeline | None = None,
    name: str | None = None,
) -> Iterator[Progress]:
    """Depth of a clip into `folder`, as a generator that works while it is drawn from and tells how far it is.

    Makes `NAME.depth.mp4` (photo beside depth), folders `NAME.png16`, `NAME.exr`, `NAME.npz` of numbered frames, `NAME.frames.jsonl` (time,
    scale and shift of each) and `NAME.video.json`. One camera and one range of colours hold for the whole clip, and memory does not
    grow with it. It may be stopped at any time, killed too: every file in its place is whole, and the same call goes on
    and ends with the same bytes as an unbroken run. `model`: a pipeline that is loaded already, of `settings.model`; `name`: NAME, where it
    is not the clip's own.
    Raises FileError for a clip that cannot be read or was done with other settings, ValueError for impossible settings.
    """
    settings, clip = settings or Settings(), Path(clip)
    opened = video.open_clip(clip)
    place = Workplace(Path(folder), name or clip.stem, {"clip": fingerprint(clip), **settings.deciding()})
    finished = None if settings.overwrite else place.finished()
    if finished:
        count = finished["frames"]
        yield Progress("skipped", count, count, files=place.files(settings.save), facts=finished)
        return
    model = model or _loaded(settings)
    place.begin(settings.overwrite)
    plan = place.plan()
    if plan is None:
        looks: list[_Look] = []
        for look in _looks(opened, settings, model):
            looks.append(look)
            yield Progress("looking", len(looks), _count_of_looks(opened))
        plan = _planned(looks, settings)
        place.keep_plan(plan)
    yield from _work(opened, place, plan, settings, model)


def _loaded(settings: Settings) -> Pipeline:
    return pipeline.load(settings.model, strength=settings.strength, card=settings.card, providers=settings.providers)


@dataclass(frozen=True, eq=False)
class _Look:
    """What a sample frame tells about the clip."""

    depth: DepthMap  # one row of pixels of it, as many as `PATCH`
    given: Camera | None
    shared: dict[str, Any]
    found: Camera | None  # by the model


def _looks(clip: video.Clip, settings: Settings, model: Pipeline) -> Iterator[_Look]:
    count = _count_of_looks(clip)
    wanted = [0, *((2 * k + 1) * clip.frames // (2 * count) for k in range(1, count))]
    for frame in video.frames(clip, wanted):
        given = io.given_camera(frame.image.size, settings.focal, settings.fov, settings.camera_file)
        depth = model(replace(frame.image, camera=given))
        if "png16" in settings.save and not png16.is_linear(depth.kind, settings.convention):
            png16.prepare(
                depth, settings.convention, clip.path
            )  # raises now, not in the middle, where metres do not fit
        sampled = depth.values.reshape(1, -1)[:, :: max(1, depth.values.size // PATCH)]
        yield _Look(DepthMap(sampled, depth.kind), given, shared(depth), depth.camera)


def _count_of_looks(clip: video.Clip) -> int:
    return max(1, min(LOOKS, clip.frames // EVERY))


def _planned(looks: list[_Look], settings: Settings) -> Plan:
    """One camera, one range of colours and one of codes for the whole clip."""
    first = looks[0]
    near = np.concatenate([look.depth.inverse()[look.depth.valid] for look in looks]).astype(np.float64)
    values = np.concatenate([look.depth.values[look.depth.valid] for look in looks]).astype(np.float64)
    colours = _widened(np.percentile(near, [TAIL, 100 - TAIL]), MARGIN) if near.size else (0.0, 1.0)
    linear = png16.is_linear(first.depth.kind, settings.convention)
    codes = _widened(np.array([values.min(), values.max()]), SPARE) if values.size and linear else None
    cameras = [look.found for look in looks if look.found and look.found.source == "model"]
    camera = first.given or _typical(cameras)
    alike = first.shared | ({"camera": record.describe_camera(camera)} if camera else {})
    return Plan(first.depth.kind, camera, colours, codes, settings.convention, alike)


def _widened(ends: np.ndarray, share: float) -> tuple[float, float]:
    more = share * float(ends[1] - ends[0])
    return float(ends[0]) - more, float(ends[1]) + more


def _typical(cameras: list[Camera]) -> Camera | None:
    """The one whose focal length is in the middle: a clip has one camera, whatever a model says of each frame."""
    if not cameras:
        return None
    return sorted(cameras, key=lambda camera: camera.fx)[len(cameras) // 2]


def _work(clip: video.Clip, place: Workplace, plan: Plan, settings: Settings, model: Pipeline) -> Iterator[Progress]:
    done, state = place.kept()
    stabilise = Stabiliser.restored(state, settings.steadiness) if settings.steadiness else None
    sequences = place.sequences(settings.save)
    film = Film(place.work, clip.rate) if "mp4" in settings.save else None
    for frame in video.frames(clip, start=done):
        image = replace(frame.image, camera=plan.camera)
        depth = model(image)
        line: dict[str, Any] = {}
        if stabilise:
            depth = stabilise(image, depth)
            line = asdict(stabilise.last) if stabilise.last else {}
        for sequence in sequences:
            sequence.put(frame.number, depth, plan)
        done = frame.number + 1
        step = Progress("depth", done, max(done, clip.frames), image, depth, plan)
        if film and step.picture is not None:
            film.put(frame.number, frame.ticks, step.picture)
        place.keep(done, line_of(frame, depth, plan.beyond(depth)) | line, stabilise.state() if stabilise else {})
        if film:
            film.tidy(done)
        yield step
    if film:
        film.finish(place.target("mp4"), done)
    facts = place.finish(_facts(clip, place, plan))
    yield Progress("done", done, done, files=place.files(settings.save), facts=facts)


def _facts(clip: video.Clip, place: Workplace, plan: Plan) -> dict[str, Any]:
    """What the clip's description says, from the list of its frames."""
    count, cuts, beyond, last = 0, 0, 0, 0.0
    low: list[float] = []
    high: list[float] = []
    for line in place.lines():
        count, last, beyond = count + 1, line["seconds"], beyond + line["beyond"]
        cuts += bool(line.get("cut")) and count > 1
        low = [min([*low, line["min"]])] if line["min"] is not None else low
        high = [max([*high, line["max"]])] if line["max"] is not None else high
    return {
        **plan.shared,
        "frames": count,
        "announced": clip.frames,
        "rate": float(clip.rate),
        "seconds": last,
        "cuts": cuts,
        "min": low[0] if low else None,
        "max": high[0] if high else None,
        "colours": list(plan.colours),
        "codes": list(plan.codes) if plan.codes else None,
        "beyond": beyond,
    }
