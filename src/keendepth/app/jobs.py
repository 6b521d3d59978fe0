"""The bounded queue: a gate that lets in what the server can carry, a batcher that lets pictures share a run, a pool for the rest."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from keendepth.app.refusals import busy

Given = TypeVar("Given")
Made = TypeVar("Made")
SMOOTHING = 0.1  # of the running mean of the time between two finished requests


class Gate:
    """Counts requests and pixels inside the server; who finds it full is told when to come back, and nobody waits outside."""

    def __init__(self, most: int, most_pixels: int) -> None:
        self.most, self.most_pixels = most, most_pixels
        self.inside, self.pixels, self.refused = 0, 0, 0
        self._pace: float | None = None  # seconds between two finished requests while there is work
        self._finished = 0.0
        self._lock = threading.Lock()

    def enter(self) -> Slot:
        """A place inside; RefusedError 429 where there is none."""
        with self._lock:
            if self.inside >= self.most:
                self.refused += 1
                raise busy(self._wait(), f"{self.inside} requests are being worked on, which is the limit")
            self.inside += 1
            return Slot(self)

    def _wait(self) -> float:
        """Seconds until a quarter of those inside have left."""
        return (self._pace or 1.0) * max(1, self.inside // 4)

    def charge(self, slot: Slot, pixels: int) -> None:
        """Count a picture's pixels; RefusedError 429 if they are too many now, unless it is the only picture."""
        with self._lock:
            if self.pixels and self.pixels + pixels > self.most_pixels:
                self.refused += 1
                raise busy(self._wait(), "the pictures being worked on fill the server's memory")
            self.pixels += pixels
            slot.pixels += pixels

    def leave(self, slot: Slot) -> None:
        """Give the place back."""
        with self._lock:
            now = time.monotonic()
            if self._finished and self.inside > 1:
                passed = now - self._finished
                self._pace = passed if self._pace is None else self._pace + SMOOTHING * (passed - self._pace)
            self._finished = now
            self.inside -= 1
            self.pixels -= slot.pixels


class Slot:
    """One request's place; kept until the request has been answered and no thread works for it any more."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.pixels = gate, 0
        self._holders = 1
        self._lock = threading.Lock()

    def charge(self, pixels: int) -> None:
        self.gate.charge(self, pixels)

    def hold(self, work: Future[Any]) -> None:
        """Keep the place until `work` is done too: a thread that outlives its request still uses memory."""
        with self._lock:
            self._holders += 1
        work.add_done_callback(lambda _: self.release())

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self.gate.leave(self)


@dataclass(eq=False)
class _Entry(Generic[Given, Made]):
    key: Hashable
    given: Given
    future: Future[Made] = field(default_factory=Future)


class Batcher(Generic[Given, Made]):
    """One thread that runs `work` over what came in meanwhile: the oldest entry, and others of the same key, up to `most`.

    The first of a batch waits `wait` seconds for company, only when `crowded()` says that more requests are on their way. An
    error of a batch is tried again one by one, so that one bad picture spoils no other's answer.
    """

    def __init__(
        self,
        work: Callable[[Hashable, Sequence[Given]], Sequence[Made]],
        most: int,
        wait: float = 0.0,
        crowded: Callable[[int], bool] = lambda queued: True,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._work, self._most, self._wait, self._crowded, self._seen = work, most, wait, crowded, seen
        self._entries: deque[_Entry[Given, Made]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="keendepth-batches", daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, given: Given) -> Future[Made]:
        """The answer to come; cancelling it before its batch begins takes it out of the queue."""
        entry: _Entry[Given, Made] = _Entry(key, given)
        with self._changed:
            if self._closed:
                raise RuntimeError("the queue is closed")
            self._entries.append(entry)
            self._changed.notify()
        return entry.future

    @property
    def waiting(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Finish what is queued, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._entries or self._closed)
                if not self._entries:
                    return
                self._gather()
                batch = self._take()
            if batch:
                self._seen(len(batch))
                self._answer(batch)

    def _gather(self) -> None:
        """Wait a moment for company (the lock is let go meanwhile)."""
        deadline = time.monotonic() + self._wait
        while len(self._entries) < self._most and not self._closed and self._crowded(len(self._entries)):
            left = deadline - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return

    def _take(self) -> list[_Entry[Given, Made]]:
        """The oldest entry that nobody has cancelled, and up to `most` of its key; the order of the others is kept."""
        batch: list[_Entry[Given, Made]] = []
        kept: deque[_Entry[Given, Made]] = deque()
        while self._entries:
            entry = self._entries.popleft()
            if batch and (entry.key != batch[0].key or len(batch) == self._most):
                kept.append(entry)
            elif entry.future.set_running_or_notify_cancel():
                batch.append(entry)
        self._entries.extend(kept)
        return batch

    def _answer(self, batch: list[_Entry[Given, Made]]) -> None:
        try:
            answers = self._work(batch[0].key, [entry.given for entry in batch])
            for entry, answer in zip(batch, answers, strict=True):
                entry.future.set_result(answer)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:
                if not entry.future.done():
                    self._answer([entry])


class Pool:
    """Threads for the work that needs no batch: decoding, refining, encoding."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="keendepth-work")

    def submit(self, work: Callable[[], Made]) -> Future[Made]:
        return self._threads.submit(work)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


async def finished(work: Future[Made], slot: Slot) -> Made:
    """Wait for `work` without blocking the loop; the slot is held until the thread is done, and a cancelled wait cancels what has not begun."""
    slot.hold(work)
    try:
        return await asyncio.wrap_future(work)
    except CancelledError as error:  # the queue was closed under it
        raise busy(5.0, "the server is stopping") from error
