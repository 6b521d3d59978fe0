"""From uploaded bytes to refined depth: the stages that the API and the page share, each in its queue."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np

from keendepth.app import uploads
from keendepth.app.desk import Desk
from keendepth.app.engine import Engine, Order
from keendepth.app.jobs import Batcher, Gate, Pool, Slot, finished
from keendepth.app.memory import give_back
from keendepth.app.meters import Meters
from keendepth.app.refusals import RefusedError
from keendepth.app.settings import Settings
from keendepth.app.uploads import CameraWish, DepthWish
from keendepth.core.types import DepthMap, Image

T = TypeVar("T")
LARGE = 4_000_000  # pixels from which memory is handed back to the system after a request


@dataclass(frozen=True, eq=False)
class Result:
    """What came of one picture."""

    image: Image
    base: DepthMap  # the model's own, or the one that was uploaded
    depth: DepthMap  # refined, at the picture's size
    order: Order
    given: bool  # whether `base` was uploaded
    seconds: dict[str, float] = field(default_factory=dict)


Watch = Callable[[str], Awaitable[None]]  # told the name of each stage before it begins; may raise to stop


async def unwatched(stage: str) -> None:
    """Nobody looks."""


class Workbench:
    """Engine, queues, private folder and meters of one server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings)
        self.desk = Desk()
        self.gate = Gate(settings.max_waiting, settings.max_pixels_inside)
        self.meters = Meters(self.gate)
        self.pool = Pool(settings.threads)
        self.batcher: Batcher[Image, DepthMap] = Batcher(
            self._predict, settings.max_batch, settings.batch_wait, self._crowded, self.meters.batch
        )
        self.ready = False
        self.problem = ""  # why it will not get ready

    def _predict(self, order: Hashable, images: Sequence[Image]) -> list[DepthMap]:
        return self.engine.predict(images, cast(Order, order))

    def _crowded(self, queued: int) -> bool:
        """Whether requests are inside that have not come to the model yet."""
        return self.gate.inside > queued

    def warm_up(self) -> None:
        """Get ready; what goes wrong is kept for `/readyz`."""
        try:
            self.engine.warm_up()
            self.ready = True
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
            raise

    def close(self) -> None:
        """Finish what has begun, refuse the rest, clear up."""
        self.ready = False
        self.pool.close()
        self.batcher.close()
        self.desk.close()

    async def in_pool(self, slot: Slot, work: Callable[..., T], *arguments: object) -> T:
        return await finished(self.pool.submit(functools.partial(work, *arguments)), slot)

    async def open_picture(self, slot: Slot, content: bytes, wish: CameraWish) -> Image:
        """The uploaded photo; its pixels count from now on."""
        image = await self.in_pool(slot, self._picture, content, wish)
        slot.charge(image.size[0] * image.size[1])
        return image

    def _picture(self, content: bytes, wish: CameraWish) -> Image:
        with self.desk.place() as folder:
            return uploads.picture(content, folder, self.settings.max_pixels, wish)

    async def open_depth(self, slot: Slot, content: bytes, image: Image, wish: DepthWish) -> DepthMap:
        """The uploaded depth of that photo."""
        depth = await self.in_pool(slot, self._depth, content, wish)
        slot.charge(depth.size[0] * depth.size[1])
        uploads.check_view(image, depth)
        return depth

    def _depth(self, content: bytes, wish: DepthWish) -> DepthMap:
        with self.desk.place() as folder:
            return uploads.depth_map(content, folder, self.settings.max_pixels, wish)

    async def work(
        self, slot: Slot, image: Image, given: DepthMap | None, order: Order, watch: Watch = unwatched
    ) -> Result:
        """Predict (unless depth is given) and refine; `seconds` says how long each took, waiting included."""
        seconds: dict[str, float] = {}
        base = given
        if base is None:
            await watch("predict")
            base = await _timed(seconds, "predict", finished(self.batcher.submit(order.look(), image), slot))
        await watch("refine")
        refine = self.in_pool(slot, self.engine.refine, image, base, order, given is not None)
        depth = await _timed(seconds, "refine", refine)
        self.meters.pictures.labels(order.model if given is None else "given", order.refiner).inc()
        return Result(image, base, depth, order, given is not None, seconds)

    async def disagreement(self, slot: Slot, result: Result) -> np.ndarray:
        """The mirror test of a result whose depth a model made."""
        if result.given:
            raise RefusedError(422, "not_possible", "the mirror test asks the model again; this depth came from a file")
        return await self.in_pool(slot, self.engine.disagreement, result.image, result.base, result.order)

    @contextmanager
    def inside(self) -> Iterator[Slot]:
        """A place inside the gate, for work of the page."""
        slot = self.gate.enter()
        try:
            yield slot
        finally:
            slot.release()
            self.left(slot.pixels)

    def left(self, pixels: int) -> None:
        """After a request: hand large memory back, or the process would keep what its largest picture took."""
        if pixels >= LARGE:
            give_back()


async def _timed(seconds: dict[str, float], stage: str, work: Awaitable[T]) -> T:
    start = time.perf_counter()
    try:
        return await work
    finally:
        seconds[stage] = round(time.perf_counter() - start, 4)
