"""How long loading, the first picture and the others took, for `--verbose`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs from its making; `picture` times each picture. The first one loads the weights and warms up, so it counts apart."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.loading = 0.0
        self.pictures: list[tuple[float, int]] = []  # (seconds, pixels)

    @contextmanager
    def picture(self, size: tuple[int, int]) -> Iterator[None]:
        """Times what stands inside, unless it fails."""
        begin = time.perf_counter()
        if not self.pictures:
            self.loading = begin - self.start
        yield
        self.pictures.append((time.perf_counter() - begin, size[0] * size[1]))

    def summary(self, name: str) -> str:
        """Two sentences at most; without a second picture there is no throughput."""
        if not self.pictures:
            return f"{name}: no picture was worked on"
        first, rest = self.pictures[0], self.pictures[1:]
        text = f"{name}: ready after {self.loading:.2f} s; first picture {first[0]:.2f} s (with loading and warm-up)"
        if not rest:
            return text
        seconds, pixels = sum(each for each, _ in rest), sum(each for _, each in rest)
        return f"{text}; then {len(rest) / seconds:.2f} pictures a second ({pixels / 1e6 / seconds:.2f} megapixels a second)"
