"""Building a scene: dice that every machine throws alike, spots to put solids at, and packing into the arrays that kernels read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from keendepth.data.scenes import casting, film
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.paint import Paint

T = TypeVar("T")
Vector = tuple[float, float, float]
Axes = tuple[Vector, Vector, Vector]  # where the local x, y and z axes point
UPRIGHT: Axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class Dice:
    """Random numbers from PCG64's doubles alone, whose stream NumPy keeps the same across versions and machines."""

    def __init__(self, *seed: int) -> None:
        self._source = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._source.random())

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + min(high - low, int((high - low + 1) * self._source.random()))

    def chance(self, share: float) -> bool:
        return bool(self._source.random() < share)

    def pick(self, things: Sequence[T]) -> T:
        return things[self.whole(0, len(things) - 1)]

    def shuffled(self, things: Sequence[T]) -> list[T]:
        order = np.argsort(self._source.random(len(things)), kind="stable")
        return [things[i] for i in order]

    def table(self, rows: int, columns: int) -> np.ndarray:
        """[rows columns] numbers in 0..1."""
        return self._source.random((rows, columns))


def turned(axis: str, degrees: float, axes: Axes = UPRIGHT) -> Axes:
    """`axes` after a turn about the outer x, y or z axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "x":
        a, b, d = ((x, c * y - s * z, s * y + c * z) for x, y, z in axes)
    elif axis == "y":
        a, b, d = ((c * x + s * z, y, c * z - s * x) for x, y, z in axes)
    else:
        a, b, d = ((c * x - s * y, s * x + c * y, z) for x, y, z in axes)
    return a, b, d


def along(direction: Vector) -> Axes:
    """Axes whose z points along `direction`."""
    n = math.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    x, y, z = direction[0] / n, direction[1] / n, direction[2] / n
    a, b = (-y, x) if abs(z) < 0.999 else (1.0, 0.0)
    m = math.hypot(a, b)
    a, b = a / m, b / m
    return (a, b, 0.0), (-z * b, z * a, x * b - y * a), (x, y, z)


@dataclass
class Builder:
    """The solids, paints and lamps gathered so far."""

    rows: list[tuple] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)
    planes: list[tuple[float, float, float, float]] = field(default_factory=list)
    paints: dict[Paint, int] = field(default_factory=dict)
    lamps: list[tuple] = field(default_factory=list)
    idents: int = 0

    def index(self, paint: Paint) -> int:
        return self.paints.setdefault(paint, len(self.paints))

    def new(self) -> int:
        self.idents += 1
        return self.idents

    def spot(self, label: Label, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Spot:
        """A place for a new thing; yaw in degrees about the vertical."""
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        return Spot(self, x, y, z, c, s, int(label), self.new())

    def lamp(self, centre: Vector, u: Vector, v: Vector, colour: Sequence[float], one_sided: bool = False) -> None:
        self.lamps.append((*centre, *u, *v, *colour, 1.0 if one_sided else 0.0))


@dataclass(frozen=True)
class Spot:
    """A local frame (z up, metres) in which the parts of one thing are laid."""

    builder: Builder
    x: float
    y: float
    z: float
    c: float
    s: float
    label: int
    ident: int

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Spot:
        """A frame within this one, for the same thing."""
        p = self.place((x, y, z))
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        return replace(self, x=p[0], y=p[1], z=p[2], c=self.c * c - self.s * s, s=self.s * c + self.c * s)

    def thing(self, label: Label, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Spot:
        """A frame within this one for another thing."""
        return replace(self.at(x, y, z, yaw), label=int(label), ident=self.builder.new())

    def place(self, p: Sequence[float]) -> Vector:
        return self.x + self.c * p[0] - self.s * p[1], self.y + self.s * p[0] + self.c * p[1], self.z + p[2]

    def _add(
        self, shape: int, centre: Sequence[float], axes: Axes, half: Sequence[float], form: tuple, paint: Paint
    ) -> None:
        c, s = self.c, self.s
        frame: list[float] = []
        for a, b, d in axes:
            frame += (c * a - s * b, s * a + c * b, d)
        tail = (self.builder.index(paint), self.label, self.ident)
        form = form + (0.0,) * (6 - len(form))
        self.builder.rows.append((shape, *self.place(centre), *frame, *half, *form, *tail))

    def box(self, centre: Sequence[float], size: Sequence[float], paint: Paint, axes: Axes = UPRIGHT) -> None:
        self._add(casting.BOX, centre, axes, (size[0] / 2, size[1] / 2, size[2] / 2), (), paint)

    def ball(self, centre: Sequence[float], radii: Sequence[float], paint: Paint, axes: Axes = UPRIGHT) -> None:
        self._add(casting.BALL, centre, axes, radii, (), paint)

    def rod(
        self,
        a: Sequence[float],
        b: Sequence[float],
        radius: float,
        paint: Paint,
        taper: float = 1.0,
        hollow: bool = False,
    ) -> None:
        """From a to b; the radius at b is `taper` times that at a."""
        d = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
        length = math.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2)
        if length > 1e-6:
            centre = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
            form = (taper, 1.0 if hollow else 0.0)
            self._add(casting.ROD, centre, along(d), (radius, radius, length / 2), form, paint)

    def sheet(
        self,
        centre: Sequence[float],
        size: Sequence[float],
        paint: Paint,
        axes: Axes = UPRIGHT,
        cut: tuple = (casting.FULL,),
    ) -> None:
        """A flat rectangle across the local z of `axes`; `cut` is a cut-out of `casting` and its numbers."""
        self._add(casting.QUAD, centre, axes, (size[0] / 2, size[1] / 2, 0.0), tuple(map(float, cut)), paint)

    def prism(self, outline: Sequence[tuple[float, float]], width: float, paint: Paint, lean: float = 0.0) -> None:
        """A convex outline in x, z (anticlockwise seen from -y), `width` deep in y; with `lean` the sides draw in towards the top by that much."""
        xs, zs = [p[0] for p in outline], [p[1] for p in outline]
        centre = ((min(xs) + max(xs)) / 2, 0.0, (min(zs) + max(zs)) / 2)
        half = ((max(xs) - min(xs)) / 2, width / 2, (max(zs) - min(zs)) / 2)
        first = len(self.builder.planes)
        for (x0, z0), (x1, z1) in zip(outline, [*outline[1:], outline[0]], strict=True):
            nx, nz = z1 - z0, x0 - x1
            n = math.hypot(nx, nz)
            self.builder.planes.append((nx / n, 0.0, nz / n, (nx * (x0 - centre[0]) + nz * (z0 - centre[2])) / n))
        n = math.hypot(1.0, lean / (2 * half[2]))
        for side in (-1.0, 1.0):
            distance = (width / 2 - lean / 2) / n
            self.builder.planes.append((0.0, side / n, lean / (2 * half[2]) / n, distance))
        count = len(self.builder.planes) - first
        self._add(casting.HULL, centre, UPRIGHT, half, (float(first), float(count)), paint)

    def sheets(self, centres: np.ndarray, axes: np.ndarray, halves: np.ndarray, cut: tuple, paint: Paint) -> None:
        """Many sheets of one thing: centres [n 3], axes [n 3 3] (rows), halves [n 2], all in the world's frame."""
        n = len(centres)
        rows = np.zeros((n, 25))
        rows[:, 0], rows[:, 1:4], rows[:, 4:13], rows[:, 13:15] = casting.QUAD, centres, axes.reshape(n, 9), halves
        rows[:, 16 : 16 + len(cut)] = cut
        rows[:, 22:] = self.builder.index(paint), self.label, self.ident
        self.builder.blocks.append(rows)


def pack(builder: Builder, sky: np.ndarray) -> casting.World:
    """The arrays that the kernels read, with the hierarchy built."""
    rows = np.concatenate([np.array(builder.rows, dtype=np.float64).reshape(-1, 25), *builder.blocks])
    shape, centre, axes, half = (
        rows[:, 0].astype(np.int32),
        rows[:, 1:4],
        rows[:, 4:13].reshape(-1, 3, 3),
        rows[:, 13:16],
    )
    low, high = _bounds(shape, centre, axes, half, rows[:, 16])
    nodes, order = film.build(low, high)
    paints = np.array([p.row() for p in builder.paints], dtype=np.float64)
    solids = np.zeros((len(rows), casting.COLUMNS))
    solids[:, : casting.HALF] = _inverse(shape, centre, axes, half)
    solids[:, casting.HALF : casting.SHAPE] = rows[:, 13:22]
    solids[:, casting.SHAPE], solids[:, casting.PAINT : casting.GLOW] = shape, rows[:, 22:]
    solids[:, casting.GLOW] = paints[rows[:, 22].astype(int), 13]
    planes = np.array(builder.planes, dtype=np.float64).reshape(-1, 4)
    return casting.World(
        nodes, solids[order], planes, paints, np.array(builder.lamps, dtype=np.float64).reshape(-1, 13), sky
    )


def _bounds(
    shape: np.ndarray, centre: np.ndarray, axes: np.ndarray, half: np.ndarray, taper: np.ndarray
) -> tuple[Any, Any]:
    wide = half.copy()
    rod = shape == casting.ROD
    wide[rod, :2] *= np.maximum(1.0, taper[rod])[:, None]
    reach = np.abs(axes[:, 0]) * wide[:, :1] + np.abs(axes[:, 1]) * wide[:, 1:2] + np.abs(axes[:, 2]) * wide[:, 2:]
    reach += 1e-9 + 1e-9 * np.abs(centre)  # flat boxes must not be lost to rounding
    return centre - reach, centre + reach


def _inverse(shape: np.ndarray, centre: np.ndarray, axes: np.ndarray, half: np.ndarray) -> np.ndarray:
    """[n 12] world to unit space; hulls keep metres, and a sheet's missing thickness counts as 1."""
    size = np.where((shape == casting.HULL)[:, None] | (half <= 0), 1.0, half)
    turn = axes / size[:, :, None]
    shift = turn[:, :, 0] * centre[:, :1] + turn[:, :, 1] * centre[:, 1:2] + turn[:, :, 2] * centre[:, 2:]
    return np.concatenate([turn, -shift[:, :, None]], axis=2).reshape(-1, 12)
