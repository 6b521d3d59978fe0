"""Batches prepared in advance by one thread, which cannot change what they hold: each is asked for by its number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from keendepth.training.recipe import Batch, Batches


class Prefetcher:
    """Hands out batches first, first + stride, ..., with up to `depth` of them prepared; an error comes out where its batch would."""

    def __init__(self, batches: Batches, stride: int, depth: int, pin: bool = False) -> None:
        self._batches, self._stride, self._depth, self._pin = batches, stride, depth, pin
        self._pool = ThreadPoolExecutor(1, "batches") if depth else None
        self._coming: deque[tuple[int, Future[Batch]]] = deque()

    def take(self, number: int, last: int) -> Batch:
        """Batch `number`; none after `last` is prepared."""
        if self._pool is None:
            return self._load(number)
        if not self._coming or self._coming[0][0] != number:
            self.drop()
            self._coming.append((number, self._pool.submit(self._load, number)))
        newest = self._coming[-1][0] + self._stride
        while len(self._coming) <= self._depth and newest <= last:
            self._coming.append((newest, self._pool.submit(self._load, newest)))
            newest += self._stride
        return self._coming.popleft()[1].result()

    def drop(self) -> None:
        """Forget what was prepared; returns once the thread is idle, so that nobody reads while data change."""
        for _, future in self._coming:
            future.cancel()
        for _, future in self._coming:
            if not future.cancelled():
                future.exception()
        self._coming.clear()

    def close(self) -> None:
        self.drop()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _load(self, number: int) -> Batch:
        batch = self._batches.batch(number)
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if self._pin else batch


@contextmanager
def prefetching(batches: Batches, stride: int, depth: int) -> Iterator[Prefetcher]:
    """A prefetcher whose thread ends with the block."""
    prefetcher = Prefetcher(batches, stride, depth, pin=torch.cuda.is_available())
    try:
        yield prefetcher
    finally:
        prefetcher.close()
