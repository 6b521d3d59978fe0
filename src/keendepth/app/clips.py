"""Clips on the page: one at a time, within limits, and frame by frame through the pool, so that pictures are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import shutil
import tempfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

from keendepth import io
from keendepth.app.engine import Order
from keendepth.app.jobs import Gate, Slot
from keendepth.app.refusals import RefusedError, busy
from keendepth.app.settings import Settings
from keendepth.app.workbench import Workbench
from keendepth.io import video
from keendepth.temporal import Steadiness
from keendepth.video import Progress, convert
from keendepth.video import Settings as ClipSettings

T = TypeVar("T")
FRAMES = {"16-bit PNG": "png16", "EXR (float)": "exr", "None": ""}
LISTEN = 0.3  # seconds between two looks at how far the work is
FILMS = 4  # kept on disk at a time, over all visitors; the oldest leaves first
LONGEST_NAME = 60  # characters that a result takes from the clip's name


@dataclass(frozen=True)
class ClipWish:
    """What the visitor chose for a clip."""

    model: str
    refiner: str
    strength: float = 1.0
    steady: bool = True  # else frame by frame
    frames: str = "16-bit PNG"  # of `FRAMES`


@dataclass(frozen=True)
class Heard:
    """How far a clip is."""

    stage: str  # "opening", "looking", "depth" or "packing"
    done: int = 0
    total: int = 0
    left: float | None = None  # seconds, at the pace so far


@dataclass(frozen=True)
class Made:
    """What came of a clip; the files stay until the visitor leaves or makes another."""

    film: Path
    archive: Path | None  # the frames, with the list of them and the clip's description
    facts: dict[str, Any]
    seconds: float


class Clips:
    """The one clip that is being worked on, and the films that were made. To be used from the server's loop."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._gate = Gate(1, 1 << 62)
        self._running: tuple[str, asyncio.Future[Made]] | None = None
        self._heard = Heard("opening")
        self._kept: OrderedDict[str, Path] = OrderedDict()  # folder by session

    async def run(self, clip: Path, wish: ClipWish, session: str) -> AsyncIterator[Heard | Made]:
        """How far it is, again and again, then what was made; who stops listening cancels the work.

        RefusedError while another clip is worked on, for a model or refiner that is not on offer and for a clip beyond the limits;
        FileError for what is no clip.
        """
        order = self._bench.engine.order(wish.model, wish.refiner, wish.strength)
        if wish.frames not in FRAMES:
            raise RefusedError(422, "unknown_format", f"frames: expected one of {', '.join(FRAMES)}")
        place = self._enter()
        self._heard = Heard("opening")
        work = asyncio.ensure_future(self._work(place, clip, wish, order, session))
        work.add_done_callback(lambda _: place.release())
        self._running = (session, work)
        told: Heard | None = None
        try:
            while not work.done():
                if self._heard is not told:
                    told = self._heard
                    yield told
                await asyncio.wait((work,), timeout=LISTEN)
            if not work.cancelled():
                yield work.result()
        finally:
            work.cancel()

    def stop(self, session: str) -> None:
        """Cancel this visitor's clip, if one is being worked on."""
        if self._running and self._running[0] == session:
            self._running[1].cancel()

    def forget(self, session: str) -> None:
        """The visitor has left: cancel the work and remove the film."""
        self.stop(session)
        folder = self._kept.pop(session, None)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)

    def _enter(self) -> Slot:
        try:
            return self._gate.enter()
        except RefusedError as error:
            now = self._heard
            far = f" ({now.done} of {now.total} frames are done)" if now.stage == "depth" else ""
            raise busy(now.left or 10.0, f"another clip is being worked on{far}, and one goes at a time") from error

    async def _work(self, place: Slot, clip: Path, wish: ClipWish, order: Order, session: str) -> Made:
        bench, started = self._bench, time.monotonic()
        with bench.inside() as slot:
            found = await bench.in_pool(slot, opened, clip, bench.settings)
            slot.charge(found.size[0] * found.size[1] if found.size else 0)
            model = await bench.in_pool(slot, bench.engine.whole, order)
            folder = Path(tempfile.mkdtemp(dir=bench.desk.folder))
            saved = ("mp4", FRAMES[wish.frames]) if FRAMES[wish.frames] else ("mp4",)
            steadiness = Steadiness() if wish.steady else None
            settings = ClipSettings(saved, f"{order.model}+{order.refiner}", order.strength, steadiness)
            steps = convert(clip, folder, settings, model, _name(clip))
            reel = _Reel(cast("Generator[Progress, None, None]", steps), bench.settings.max_clip_pixels)
            made: Made | None = None
            try:
                last = await self._drawn(slot, reel, found.rate)
                self._heard = Heard("packing")
                archive = await bench.in_pool(slot, reel.do, functools.partial(packed, last.files))
                made = Made(last.files[0], archive, last.facts, time.monotonic() - started)
                self._keep(session, folder)
                return made
            finally:
                with contextlib.suppress(RuntimeError):  # the pool is closed: the whole private folder goes
                    closing = bench.pool.submit(functools.partial(_wind_up, reel, None if made else folder))
                    slot.hold(closing)
                    place.hold(closing)

    async def _drawn(self, slot: Slot, reel: _Reel, rate: Fraction) -> Progress:
        """Draw every step, each as a job of its own between those of pictures; the last one."""
        last: Progress | None = None
        began, first = time.monotonic(), 0
        while (step := await self._bench.in_pool(slot, reel.draw)) is not None:
            if step.stage == "depth" and step.image:
                check(self._bench.settings, step.done, rate, step.image.size)
            if last is None or last.stage != step.stage:
                began, first = time.monotonic(), step.done
            pace = (time.monotonic() - began) / (step.done - first) if step.done > first else None
            self._heard = Heard(step.stage, step.done, step.total, pace and pace * (step.total - step.done))
            last = step
        if last is None or not last.files:
            raise RefusedError(503, "stopped", "the work was stopped")
        return last

    def _keep(self, session: str, folder: Path) -> None:
        """The visitor's film, instead of the last one; the oldest of all leaves where there are too many."""
        gone = [self._kept.pop(session)] if session in self._kept else []
        self._kept[session] = folder
        while len(self._kept) > FILMS:
            gone.append(self._kept.popitem(last=False)[1])
        for old in gone:
            shutil.rmtree(old, ignore_errors=True)


class _Reel:
    """The steps of a conversion, drawn by whichever thread is free, by one at a time."""

    def __init__(self, steps: Generator[Progress, None, None], most_pixels: int) -> None:
        self._steps, self._most = steps, most_pixels
        self._lock = threading.Lock()

    def draw(self) -> Progress | None:
        """The next step; None after the last."""
        with self._lock, io.pixel_limit(self._most):
            return next(self._steps, None)

    def do(self, work: Callable[[], T]) -> T:
        """Something else that must be done before the reel is put away."""
        with self._lock:
            return work()

    def close(self) -> None:
        with self._lock:
            self._steps.close()


def _wind_up(reel: _Reel, folder: Path | None) -> None:
    """Close the clip's file, then remove what was begun."""
    reel.close()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def opened(clip: Path, settings: Settings) -> video.Clip:
    """The clip, looked at without decoding it; RefusedError beyond a limit or for a picture, FileError for what is no clip."""
    if clip.stat().st_size > settings.max_bytes:
        raise RefusedError(413, "too_large", f"clip: more than {settings.max_bytes / 1e6:g} MB")
    with io.pixel_limit(settings.max_clip_pixels):
        found = video.open_clip(clip)
    if found.frames < 2:
        raise RefusedError(
            422, "unreadable", f"clip: expected at least two frames, found {found.frames}; a picture goes in Photo"
        )
    check(settings, found.frames, found.rate, found.size)
    return found


def check(settings: Settings, frames: int, rate: Fraction, size: tuple[int, int] | None) -> None:
    """RefusedError for more frames, seconds or pixels over all than a clip may have here."""
    volume = frames * size[0] * size[1] if size else 0
    problem = ""
    if frames > settings.max_clip_frames:
        problem = f"{frames} frames, and this server takes {settings.max_clip_frames}"
    elif frames / rate > settings.max_clip_seconds:
        problem = f"{float(frames / rate):.0f} seconds, and this server takes {settings.max_clip_seconds:g}"
    elif volume > settings.max_clip_volume:
        problem = f"{frames} frames make {volume / 1e6:.0f} megapixels, and this server takes {settings.max_clip_volume / 1e6:g}"
    if problem:
        raise RefusedError(
            413, "too_large", f"clip: {problem}; cut or shrink it, or use `keendepth video`, which has no limit"
        )


def packed(files: tuple[Path, ...]) -> Path | None:
    """A zip of the frames with their list and description, None where no frames were saved; each frame leaves the disk as it is packed."""
    folders = [path for path in files if path.is_dir()]
    if not folders:
        return None
    target = folders[0].with_name(f"{folders[0].name}.zip")
    alone = [path for path in files if path.is_file() and path.suffix != ".mp4"]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # PNG and EXR are compressed already
        for path in alone:
            archive.write(path, path.name)
        for frame in sorted(folders[0].iterdir()):
            archive.write(frame, f"{frame.parent.name}/{frame.name}")
            frame.unlink()
    return target


def _name(clip: Path) -> str:
    return re.sub(r"[^\w-]+", "_", clip.stem)[:LONGEST_NAME].strip("_") or "clip"
