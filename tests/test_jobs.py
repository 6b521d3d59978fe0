"""The queue: what fits is let in, pictures of one model share a run, nobody's error or leaving disturbs another, nothing is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import CancelledError, Future

import pytest

pytest.importorskip("fastapi", reason="needs the extra app")

from keendepth.app.jobs import Batcher, Gate, Pool, finished
from keendepth.app.refusals import RefusedError


class Recorder:
    """Doubles numbers; waits for `go` before the first batch, so that a test can queue what it likes behind it."""

    def __init__(self) -> None:
        self.batches: list[tuple[Hashable, list[int]]] = []
        self.go = threading.Event()

    def __call__(self, key: Hashable, given: Sequence[int]) -> list[int]:
        self.go.wait(5)
        self.batches.append((key, list(given)))
        if 13 in given:
            raise ValueError("thirteen")
        return [2 * number for number in given]


def queued(most: int, numbers: list[tuple[str, int]]) -> tuple[Recorder, list[Future[int]]]:
    """All numbers queued before the first batch is answered, then all answered."""
    work = Recorder()
    batcher: Batcher[int, int] = Batcher(work, most, wait=0.2)
    futures = [batcher.submit(key, number) for key, number in numbers]
    work.go.set()
    batcher.close()
    return work, futures


def test_entries_of_one_key_share_a_batch_up_to_the_limit() -> None:
    work, futures = queued(3, [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 6)])
    assert [future.result(1) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert sorted(number for _, batch in work.batches for number in batch) == [1, 2, 3, 4, 5, 6]
    assert max(len(batch) for _, batch in work.batches) == 3
    assert all(len({key}) == 1 for key, _ in work.batches)
    assert [1, 3, 4] in [batch for _, batch in work.batches]


def test_one_bad_entry_spoils_no_other() -> None:
    work, futures = queued(4, [("a", 1), ("a", 13), ("a", 3)])
    assert futures[0].result(1) == 2
    assert futures[2].result(1) == 6
    with pytest.raises(ValueError, match="thirteen"):
        futures[1].result(1)
    assert [13] in [batch for _, batch in work.batches]


def test_a_cancelled_entry_is_not_worked_on() -> None:
    work = Recorder()
    batcher: Batcher[int, int] = Batcher(work, 1)
    first, second, third = (batcher.submit("a", number) for number in (1, 2, 3))
    time.sleep(0.05)  # the first is being worked on
    assert second.cancel()
    work.go.set()
    assert (first.result(1), third.result(1)) == (2, 6)
    batcher.close()
    assert [2] not in [batch for _, batch in work.batches]


def test_a_lonely_entry_does_not_wait_for_company() -> None:
    batcher: Batcher[int, int] = Batcher(lambda key, given: list(given), 8, wait=5.0, crowded=lambda queued: False)
    start = time.perf_counter()
    assert batcher.submit("a", 7).result(2) == 7
    assert time.perf_counter() - start < 1
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", 1)


def test_the_gate_counts_requests_and_says_when_to_come_back() -> None:
    gate = Gate(most=2, most_pixels=100)
    first, second = gate.enter(), gate.enter()
    with pytest.raises(RefusedError) as caught:
        gate.enter()
    assert caught.value.status == 429
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    first.release()
    third = gate.enter()
    third.release()
    second.release()
    assert (gate.inside, gate.pixels, gate.refused) == (0, 0, 1)


def test_the_gate_counts_pixels_but_lets_one_large_picture_in() -> None:
    gate = Gate(most=9, most_pixels=100)
    large, small = gate.enter(), gate.enter()
    large.charge(250)
    with pytest.raises(RefusedError, match="memory") as caught:
        small.charge(1)
    assert caught.value.status == 429
    large.release()
    small.charge(60)
    assert gate.pixels == 60
    small.release()
    assert gate.pixels == 0


def test_a_place_is_kept_while_a_thread_still_works() -> None:
    gate, pool, go = Gate(1, 100), Pool(1), threading.Event()

    async def impatient() -> None:
        slot = gate.enter()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await finished(pool.submit(lambda: go.wait(5)), slot)
        slot.release()
        assert gate.inside == 1  # the request is over, its thread is not

    asyncio.run(impatient())
    go.set()
    pool.close()
    assert gate.inside == 0


def test_what_has_not_begun_when_the_server_stops_is_told_to_come_back() -> None:
    gate, pool, go = Gate(3, 100), Pool(1), threading.Event()

    async def stopping() -> None:
        slot = gate.enter()
        pool.submit(lambda: go.wait(5))
        later = asyncio.ensure_future(finished(pool.submit(lambda: 1), slot))
        await asyncio.sleep(0.05)
        closing = asyncio.ensure_future(asyncio.to_thread(pool.close))
        await asyncio.sleep(0.05)
        go.set()
        await closing
        with pytest.raises((RefusedError, CancelledError, asyncio.CancelledError)):
            await later

    asyncio.run(stopping())
