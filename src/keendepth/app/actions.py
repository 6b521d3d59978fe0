"""What the page's buttons do: each method takes what the visitor chose and returns what is shown; nothing here draws or lays out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keendepth import viz
from keendepth.app import answers, measure, refusals, views
from keendepth.app.clips import Clips
from keendepth.app.engine import Order
from keendepth.app.refusals import RefusedError
from keendepth.app.shelf import Shelf
from keendepth.app.uploads import CameraWish, DepthWish
from keendepth.app.workbench import Result, Workbench
from keendepth.core.types import Camera, DepthKind, DepthMap

SAMPLES = Path(__file__).parent / "samples"
SAME_FOCAL = 0.6  # pixels: a focal length that differs less from EXIF's is EXIF's, shown and sent back
STEPS = {"predict": "Looking at the photo", "refine": "Sharpening along its edges"}
SHOW_DEPTH, SHOW_EDGES, SHOW_PHOTO = "Depth", "Edges", "Photo and depth"


@dataclass(frozen=True)
class Request:
    """The left side of the page."""

    photo: str | None
    depth: str | None
    units: str | None
    model: str
    refiner: str
    strength: float
    size: int | None
    focal: float | None
    lens: str  # the unit of `focal`: one of LENSES
    fill_holes: bool = False  # of the depth file


LENSES = ("pixels", "mm (35 mm film)", "degrees wide")


class Actions:
    """One per server; results live on the shelf, visitors hold their tokens."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.shelf = Shelf(bench.settings.max_pixels_inside)
        self.clips = Clips(bench)
        self._running: dict[str, asyncio.Future[Result]] = {}  # by session
        self._first: str | None = None
        self._first_lock = asyncio.Lock()

    async def run(self, wanted: Request, session: str) -> AsyncIterator[tuple[str, str]]:
        """(sentence, token): what is being done, then the result's token, which `stop` keeps from coming; who stops listening cancels the work."""
        said: asyncio.Queue[str] = asyncio.Queue()
        work = self._running[session] = asyncio.ensure_future(self._run(wanted, said))
        try:
            while not work.done():
                hearing = asyncio.ensure_future(said.get())
                await asyncio.wait((work, hearing), timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    yield f"{STEPS.get(hearing.result(), hearing.result())} …", ""
                hearing.cancel()
            if not work.cancelled():
                yield "", self.shelf.put(work.result())
        finally:
            work.cancel()
            if self._running.get(session) is work:
                del self._running[session]

    def stop(self, session: str) -> None:
        """Cancel what this visitor's button began, if it is still being worked on."""
        if session in self._running:
            self._running[session].cancel()

    async def _run(self, wanted: Request, said: asyncio.Queue[str]) -> Result:
        engine = self.bench.engine
        order = engine.order(wanted.model, wanted.refiner, wanted.strength, wanted.size, wanted.fill_holes)
        with self.bench.inside() as slot:
            content = await asyncio.to_thread(self.uploaded, wanted.photo, "photo")
            image = await self.bench.open_picture(slot, content, CameraWish())
            image = replace(image, camera=lens(wanted, image.camera, image.size))
            given = None
            if wanted.depth:
                content = await asyncio.to_thread(self.uploaded, wanted.depth, "depth")
                given = await self.bench.open_depth(slot, content, image, DepthWish(wanted.units or None))
            return await self.bench.work(slot, image, given, order, said.put)

    def uploaded(self, path: str | None, what: str) -> bytes:
        """The bytes of a file that this visitor uploaded, or of a sample; any other path is refused, whoever sends it."""
        real = self.own_path(path, what)
        if real.stat().st_size > self.bench.settings.max_bytes:
            raise RefusedError(413, "too_large", f"{what}: more than {self.bench.settings.max_bytes / 1e6:g} MB")
        return real.read_bytes()

    def own_path(self, path: str | None, what: str) -> Path:
        """The place of such a file."""
        if not path:
            raise RefusedError(422, "empty", f"Choose a {what} first.")
        real = Path(path).resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in (self.bench.desk.folder, SAMPLES)):
            raise RefusedError(403, "not_uploaded", f"{what}: this file was not uploaded here")
        return real

    async def first(self) -> str:
        """The token of the sample that the page opens with: made once, for everybody."""
        async with self._first_lock:
            if self._first is None:
                default = self.bench.engine.default
                wanted = Request(
                    str(SAMPLES / "room.jpg"), None, None, default.model, default.refiner, 1.0, None, None, ""
                )
                result = await self._run(wanted, asyncio.Queue())
                self._first = self.shelf.put(result, pinned=True)
            return self._first

    async def camera_found(self, photo: str | None) -> tuple[float | None, str]:
        """(focal length in pixels or None, sentence) of a photo that was just chosen."""
        if not photo:
            return None, ""
        with self.bench.inside() as slot:
            content = await asyncio.to_thread(self.uploaded, photo, "photo")
            image = await self.bench.open_picture(slot, content, CameraWish())
        if image.camera is None:
            return (
                None,
                "The photo says nothing about its lens. Unless you do, 60 degrees are assumed for lengths and the cloud.",
            )
        return round(image.camera.fx, 1), f"From the photo's EXIF: {image.camera.fov_degrees:.0f} degrees wide."

    def slider(self, token: str | None, show: str, cmap: str) -> tuple[np.ndarray, np.ndarray]:
        """Left and right of the divider, in shared colours."""
        result = self.shelf.get(token)
        between = views.shared_span(result.base, result.depth)
        after = views.coloured(result.depth, result.image.size, cmap, between)
        if show == SHOW_PHOTO:
            return views.for_screen(result.image.rgb), after
        if show == SHOW_EDGES:
            maps = (result.base.resized(*result.image.size), result.depth)
            left, right = (views.for_screen(viz.edge_overlay(result.image, depth)) for depth in maps)
            return left, right
        return views.coloured(result.base, result.image.size, cmap, between), after

    def coloured(self, token: str | None, cmap: str) -> np.ndarray:
        """The refined depth with its legend."""
        result = self.shelf.get(token)
        between = viz.span(result.depth)
        picture = views.coloured(result.depth, result.image.size, cmap, between)
        return views.with_legend(picture, result.depth.kind, cmap, between)

    def model3d(self, token: str | None, as_mesh: bool) -> str:
        """A GLB file for the viewer."""
        result = self.shelf.get(token)
        make = views.mesh_for_viewer if as_mesh else views.cloud_for_viewer
        folder = Path(tempfile.mkdtemp(dir=self.bench.desk.folder))
        path = folder / ("mesh.glb" if as_mesh else "cloud.glb")
        path.write_bytes(make(result.depth, result.image))
        return str(path)

    def summary(self, token: str | None) -> str:
        """What came out, in one line."""
        result = self.shelf.get(token)
        depth = result.depth
        parts = [f"**{result.image.size[1]} × {result.image.size[0]}**", _range(depth)]
        parts.append("your depth file" if result.given else f"`{result.order.model}`")
        if depth.refinement:
            drift = depth.refinement.residual_scale
            parts.append(f"`{depth.refinement.name}` (scale drift {abs(drift - 1):.1%})")
        parts.append(_camera(depth.camera))
        if result.seconds:
            parts.append(f"{sum(result.seconds.values()):.1f} s")
        return " · ".join(parts)

    def view_for_measuring(
        self, token: str | None, points: dict[str, tuple[float, float]], label: str = ""
    ) -> np.ndarray:
        """The photo with the points on it; coordinates are pixels of the photo."""
        result = self.shelf.get(token)
        height, width = result.image.size
        shares = {name: (x / width, y / height) for name, (x, y) in points.items()}
        return views.marked(views.for_screen(result.image.rgb), shares, label)

    def on_photo(self, token: str | None, clicked: tuple[float, float]) -> tuple[float, float]:
        """A click on the picture for measuring, in pixels of the photo."""
        height, width = self.shelf.get(token).image.size
        shown = views.for_screen(self.shelf.get(token).image.rgb).shape
        return (clicked[0] + 0.5) * width / shown[1], (clicked[1] + 0.5) * height / shown[0]

    def measured(self, token: str | None, a: measure.Point, b: measure.Point) -> measure.Measurement:
        result = self.shelf.get(token)
        return measure.measure(result.depth, a, b, by_model=not result.given)

    def rescaled(self, token: str | None, a: measure.Point, b: measure.Point, metres: float) -> str:
        """The token of the same result in the scale that a real distance gives."""
        result = self.shelf.get(token)
        found = self.measured(token, a, b)
        depth = measure.scaled_to(result.depth, found, metres)
        base = result.base.with_scale(metres / found.metres)
        return self.shelf.put(replace(result, depth=depth, base=base))

    async def mirror(self, token: str | None) -> tuple[np.ndarray, str]:
        """The mirror test: picture and sentence; the errors that the refiner expects, where it knows any, and alone for depth from a file."""
        result = self.shelf.get(token)
        expected = result.depth.expected_error
        told = "" if expected is None else _expected(expected)
        if expected is not None and result.given:
            return views.agreement(expected), told
        with self.bench.inside() as slot:
            slot.charge(result.image.size[0] * result.image.size[1])
            share = await self.bench.disagreement(slot, result)
        known = share[np.isfinite(share)]
        middle, worst = (float(np.percentile(known, q)) for q in (50, 95)) if known.size else (0.0, 0.0)
        what = "depth" if result.depth.kind.positive else "the depth range"
        return views.agreement(share), (
            f"Shown the photo mirrored, the model changes its answer by **{middle:.1%}** of {what} at half of the pixels, and by more "
            f"than {worst:.0%} at one in twenty. Yellow: do not rely on it. Dark: steady, which is needed for right, though not enough.{told}"
        )

    async def second(
        self, token: str | None, model: str, refiner: str, cmap: str
    ) -> tuple[tuple[np.ndarray, np.ndarray], str]:
        """Another model or refiner on the same photo: both pictures, and how far they differ."""
        result = self.shelf.get(token)
        order = self.bench.engine.order(model, refiner, *_how(result.order))
        with self.bench.inside() as slot:
            slot.charge(result.image.size[0] * result.image.size[1])
            given = result.base if result.given else None
            other = await self.bench.work(slot, result.image, given, order)
        return _pair(result.depth, other.depth, result.image.size, cmap), _difference(
            result.order, result.depth, order, other.depth
        )

    def files(self, token: str | None, names: list[str], convention: str | None) -> list[str]:
        """Files to download, each with its JSON description."""
        result = self.shelf.get(token)
        if not names:
            raise RefusedError(422, "empty", "Choose at least one format.")
        folder = Path(tempfile.mkdtemp(dir=self.bench.desk.folder))
        found: list[str] = []
        for name in names:
            form = answers.choose(name, None)
            if form.kind:
                wanted = (
                    (convention or None) if form.kind == "png16" and result.depth.kind is DepthKind.METRIC else None
                )
                path = answers.file(result.depth, result.image, form, folder, wanted)
                found += [str(path), f"{path}.json"]
        return found


def lens(wanted: Request, found: Camera | None, size: tuple[int, int]) -> Camera | None:
    """The camera that the visitor gave, else the photo's own; RefusedError for an impossible one."""
    if not wanted.focal:
        return found
    height, width = size
    try:
        if wanted.lens == LENSES[1]:
            return Camera.from_35mm(wanted.focal, width, height, source="given")
        if wanted.lens == LENSES[2]:
            return Camera.from_fov(wanted.focal, width, height)
        if found is not None and abs(found.fx - wanted.focal) < SAME_FOCAL:
            return found
        return Camera.from_focal(wanted.focal, width, height)
    except ValueError as error:
        raise RefusedError(422, "out_of_range", str(error)) from error


def words(error: BaseException) -> str:
    """What a visitor is told of an error; a fault of ours stays one."""
    refusal = refusals.of(error)
    if refusal is None:
        raise error
    return refusal.message[:1].upper() + refusal.message[1:]


def _how(order: Order) -> tuple[float, int | None, bool]:
    """What a second run takes over from the first."""
    return order.strength, order.size, order.fill_holes


def _range(depth: DepthMap) -> str:
    known = depth.values[depth.valid]
    if not known.size:
        return "nothing known"
    if depth.kind is not DepthKind.METRIC:
        return f"{depth.kind.value.replace('_', ' ')} (no metres)"
    low, high = np.percentile(known, (1, 99))
    return f"{low:.2f} to {high:.2f} m"


def _camera(camera: Camera | None) -> str:
    origin = {"guess": "guessed", "exif": "EXIF", "model": "by the model", "given": "yours"}
    return f"lens {camera.fov_degrees:.0f}° ({origin.get(camera.source, camera.source)})" if camera else "no lens"


def _pair(first: DepthMap, second: DepthMap, size: tuple[int, int], cmap: str) -> tuple[np.ndarray, np.ndarray]:
    spans = [viz.span(first), viz.span(second if second.kind is not first.kind else first)]
    left, right = (views.coloured(depth, size, cmap, span) for depth, span in zip((first, second), spans, strict=True))
    return left, right


def _expected(error: np.ndarray) -> str:
    known = error[np.isfinite(error)]
    middle, worst = (float(np.percentile(known, q)) for q in (50, 95)) if known.size else (0.0, 0.0)
    return f" The refiner expects to be **{middle:.0%}** off at half of the pixels, and more than {worst:.0%} at one in twenty."


def _difference(one: Order, first: DepthMap, two: Order, second: DepthMap) -> str:
    names = f"Left `{one.model}+{one.refiner}`, right `{two.model}+{two.refiner}`"
    if first.kind is not second.kind or not first.kind.positive:
        return f"{names}: {first.kind.value} and {second.kind.value}, each in its own colours."
    shared = first.valid & second.valid
    ratio = second.values[shared] / first.values[shared]
    if not ratio.size:
        return f"{names}: no pixel is known in both."
    middle, apart = float(np.median(ratio)), float(np.median(np.abs(ratio - 1)))
    return f"{names}: they differ by {apart:.1%} (median); the right one is {middle:.3f} times as far."
