"""Where a ray meets a scene: unit solids under affine maps, cut-out sheets, and a bounding volume hierarchy, as numba kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

# `no_type_check` keeps the tests' shape checker away from functions that numba has to read.
# No fastmath: the same operations in the same order on every machine.
kernel = njit(error_model="numpy", nogil=True)


def cached_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """An entry point: compiled once and kept on disk, or in every process where there is no place to keep it."""
    try:
        return njit(error_model="numpy", nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(error_model="numpy", nogil=True)(function)


QUAD, BOX, BALL, ROD, HULL = range(5)  # unit solids; a quad is z = 0, |x|, |y| <= 1
FULL, DISC, LEAF, MESH, BARS, GRID, FOLIAGE, HOLE, BLADES, WHEEL = range(10)  # cut-outs of a quad


# Columns of `World.solids`; one table, so that a solid lies together in memory and kernels take few arguments.
INVERSE, HALF, FORM, SHAPE, PAINT, LABEL, IDENT, GLOW, COLUMNS = 0, 12, 15, 21, 22, 23, 24, 25, 26


class World(NamedTuple):
    """A packed scene; all float64. A solid's form: rod: taper, open; sheet: cut-out and its numbers; hull: first plane, count."""

    nodes: (
        np.ndarray
    )  # [m 9]: lowest x y z, highest x y z; first solid or right child; number of solids (0 = inner node); split axis
    solids: (
        np.ndarray
    )  # [n 26] in leaf order: world to unit space (3x4 by rows), half sizes, form, shape, paint, label, ident, glows
    planes: np.ndarray  # [q 4]: n . p <= d
    paints: np.ndarray  # [k 18], see `paint.Paint`
    lamps: np.ndarray  # [l 13], see `light`
    sky: np.ndarray  # [24], see `light`


@kernel
@no_type_check
def mix_bits(x, y, z, seed):
    """A hash in 0..2^32-1 of four whole numbers."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791) ^ (seed * 2654435761)
    h &= 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return h ^ (h >> 16)


@kernel
@no_type_check
def chance(x, y, z, seed):
    """The same hash as a number in 0..1."""
    return mix_bits(x, y, z, seed) * (1.0 / 4294967296.0)


@kernel
@no_type_check
def _foliage(x, y, cell, seed):
    """Leaves strewn over a sheet: one random ellipse per cell, tested against the 3x3 cells around."""
    i, j = math.floor(x / cell), math.floor(y / cell)
    for di in range(-1, 2):
        for dj in range(-1, 2):
            a, b = i + di, j + dj
            h = mix_bits(a, b, 7, seed)
            u = x / cell - a - (h & 255) / 255.0
            v = y / cell - b - ((h >> 8) & 255) / 255.0
            s, c = ((h >> 16) & 255) / 127.5 - 1.0, ((h >> 24) & 255) / 127.5 - 1.0
            n = s * s + c * c + 1e-9
            along, across = (u * c + v * s) ** 2 / n, (v * c - u * s) ** 2 / n
            if along * 2.2 + across * 9.0 < 1.0:
                return True
    return False


@kernel
@no_type_check
def present(cut, u, v, x, y, f1, f2, f3, f4, seed):
    """Whether the sheet is there; u, v in -1..1, x, y in metres, f the sheet's numbers."""
    if cut == DISC:
        return u * u + v * v <= 1.0
    if cut == LEAF:
        return abs(v) <= (1.0 - u * u) * (1.0 - 0.35 * u)
    if cut == MESH:
        a, b = (x + y) / f1, (x - y) / f1
        return a - math.floor(a) < f2 or b - math.floor(b) < f2
    if cut == BARS:
        a = x / f1
        return a - math.floor(a) < f2 or abs(abs(v) - 0.86) < f3
    if cut == GRID:
        a, b = x / f1, y / f1
        return a - math.floor(a) < f2 or b - math.floor(b) < f2
    if cut == FOLIAGE:
        ragged = 0.75 + 0.25 * chance(math.floor(x / f1), math.floor(y / f1), 3, seed)
        return u * u + v * v <= ragged and _foliage(x, y, f1, seed)
    if cut == HOLE:
        return abs(u - f1) > f3 or abs(v - f2) > f4
    if cut == BLADES:
        a = x / f1
        i = math.floor(a)
        top = chance(int(i), 1, 2, seed) * 1.4 - 0.4
        lean = (chance(int(i), 5, 2, seed) - 0.5) * 0.8 * (v + 1.0)
        return v < top and abs(a - i - 0.5 - lean * 0.3) < 0.42 * (top - v) / (top + 1.0)
    if cut == WHEEL:
        r = math.sqrt(u * u + v * v)
        if r > 1.0:
            return False
        return r > 0.88 or r < 0.1 or abs(u) < f1 or abs(v) < f1 or abs(u - v) < f1 or abs(u + v) < f1
    return True


@kernel
@no_type_check
def _quad(s, i, x, y, z, a, b, c, near, far):
    t = -z / c
    if not (t > near and t < far):
        return math.inf
    u, v = x + t * a, y + t * b
    if abs(u) > 1.0 or abs(v) > 1.0:
        return math.inf
    cut = int(s[i, FORM])
    if cut != FULL:
        f1, f2, f3, f4 = s[i, FORM + 1], s[i, FORM + 2], s[i, FORM + 3], s[i, FORM + 4]
        if not present(cut, u, v, u * s[i, HALF], v * s[i, HALF + 1], f1, f2, f3, f4, int(s[i, IDENT])):
            return math.inf
    return t


@kernel
@no_type_check
def _box(x, y, z, a, b, c, near, far):
    ia, ib, ic = 1.0 / a, 1.0 / b, 1.0 / c
    p, q = (-1.0 - x) * ia, (1.0 - x) * ia
    low, high = min(p, q), max(p, q)
    p, q = (-1.0 - y) * ib, (1.0 - y) * ib
    low, high = max(low, min(p, q)), min(high, max(p, q))
    p, q = (-1.0 - z) * ic, (1.0 - z) * ic
    low, high = max(low, min(p, q)), min(high, max(p, q))
    if not low <= high:
        return math.inf
    if low > near and low < far:
        return low
    if low <= near and high > near and high < far:
        return high
    return math.inf


@kernel
@no_type_check
def _ball(x, y, z, a, b, c, near, far):
    A, B, C = a * a + b * b + c * c, x * a + y * b + z * c, x * x + y * y + z * z - 1.0
    # the distance of the line from the centre, free of the cancellation that B * B - A * C suffers far away
    s = B / A
    mx, my, mz = x - s * a, y - s * b, z - s * c
    D = A * (1.0 - (mx * mx + my * my + mz * mz))
    if D < 0.0:
        return math.inf
    q = -B - math.copysign(math.sqrt(D), B)
    t, u = q / A, C / q
    t, u = min(t, u), max(t, u)
    if t > near and t < far:
        return t
    if u > near and u < far:
        return u
    return math.inf


@kernel
@no_type_check
def _rod(x, y, z, a, b, c, near, far, taper, is_open):
    """Radius 1 at z = -1 and `taper` at z = 1, with caps unless open."""
    best = math.inf
    e, f = (1.0 + taper) * 0.5, (taper - 1.0) * 0.5
    A = a * a + b * b - f * f * c * c
    r = e + f * z
    B = x * a + y * b - r * f * c
    C = x * x + y * y - r * r
    if f == 0.0:
        s = B / A
        mx, my = x - s * a, y - s * b
        D = A * (1.0 - (mx * mx + my * my))
    else:
        D = B * B - A * C
    if D >= 0.0:
        q = -B - math.copysign(math.sqrt(D), B)
        for k in range(2):
            t = q / A if k == 0 else C / q
            if t > near and t < far and t < best and abs(z + t * c) <= 1.0 and e + f * (z + t * c) >= 0.0:
                best = t
    if not is_open:
        for k in range(2):
            side = 2.0 * k - 1.0
            t = (side - z) / c
            if t > near and t < far and t < best:
                u, v = x + t * a, y + t * b
                if u * u + v * v <= (taper * taper if k == 1 else 1.0):
                    best = t
    return best


@kernel
@no_type_check
def _hull(s, planes, i, x, y, z, a, b, c, near, far):
    """The overlap of half spaces n . p <= d."""
    low, high = -math.inf, math.inf
    first = int(s[i, FORM])
    for k in range(first, first + int(s[i, FORM + 1])):
        away = planes[k, 0] * a + planes[k, 1] * b + planes[k, 2] * c
        gap = planes[k, 3] - (planes[k, 0] * x + planes[k, 1] * y + planes[k, 2] * z)
        if away < 0.0:
            low = max(low, gap / away)
        elif away > 0.0:
            high = min(high, gap / away)
        elif gap < 0.0:
            return math.inf
        if low > high:
            return math.inf
    if low > near and low < far:
        return low
    if low <= near and high > near and high < far:
        return high
    return math.inf


@kernel
@no_type_check
def meet(s, planes, i, ox, oy, oz, dx, dy, dz, near, far):
    """The nearest t in (near, far) at which origin + t * direction meets solid i, or inf."""
    x = s[i, 0] * ox + s[i, 1] * oy + s[i, 2] * oz + s[i, 3]
    y = s[i, 4] * ox + s[i, 5] * oy + s[i, 6] * oz + s[i, 7]
    z = s[i, 8] * ox + s[i, 9] * oy + s[i, 10] * oz + s[i, 11]
    a = s[i, 0] * dx + s[i, 1] * dy + s[i, 2] * dz
    b = s[i, 4] * dx + s[i, 5] * dy + s[i, 6] * dz
    c = s[i, 8] * dx + s[i, 9] * dy + s[i, 10] * dz
    shape = int(s[i, SHAPE])
    if shape == QUAD:
        return _quad(s, i, x, y, z, a, b, c, near, far)
    if shape == BOX:
        return _box(x, y, z, a, b, c, near, far)
    if shape == BALL:
        return _ball(x, y, z, a, b, c, near, far)
    if shape == ROD:
        return _rod(x, y, z, a, b, c, near, far, s[i, FORM], s[i, FORM + 1] > 0.5)
    return _hull(s, planes, i, x, y, z, a, b, c, near, far)


@kernel
@no_type_check
def trace(w, ox, oy, oz, dx, dy, dz, near, far, shadow, stack):
    """(t, solid) of the nearest hit in (near, far), or (inf, -1); a shadow ray stops at any hit and passes what glows."""
    return _walk(w.nodes, w.solids, w.planes, ox, oy, oz, dx, dy, dz, near, far, shadow, stack)


@kernel
@no_type_check
def _enter(nodes, n, ox, oy, oz, ix, iy, iz, near, far):
    """Where a ray with inverse direction (ix, iy, iz) enters the bounds of node n before `far`, or inf."""
    p, q = (nodes[n, 0] - ox) * ix, (nodes[n, 3] - ox) * ix
    low, high = max(near, min(p, q)), min(far, max(p, q))
    p, q = (nodes[n, 1] - oy) * iy, (nodes[n, 4] - oy) * iy
    low, high = max(low, min(p, q)), min(high, max(p, q))
    p, q = (nodes[n, 2] - oz) * iz, (nodes[n, 5] - oz) * iz
    low, high = max(low, min(p, q)), min(high, max(p, q))
    return low if low <= high else math.inf


@kernel
@no_type_check
def _walk(nodes, solids, planes, ox, oy, oz, dx, dy, dz, near, far, shadow, stack):
    # a component of exactly 0 would make 0 * inf below
    ix = 1.0 / dx if dx != 0.0 else 1e300
    iy = 1.0 / dy if dy != 0.0 else 1e300
    iz = 1.0 / dz if dz != 0.0 else 1e300
    best, found, top, n = far, -1, 0, 0
    while True:
        first, count = int(nodes[n, 6]), int(nodes[n, 7])
        if count == 0:
            a = _enter(nodes, n + 1, ox, oy, oz, ix, iy, iz, near, best)
            b = _enter(nodes, first, ox, oy, oz, ix, iy, iz, near, best)
            one, two = n + 1, first
            if b < a:
                one, two, a, b = two, one, b, a
            if b < math.inf:
                stack[top, 0], stack[top, 1] = two, b
                top += 1
            if a < math.inf:
                n = one
                continue
        for i in range(first, first + count):
            if shadow and solids[i, GLOW] > 0.0:
                continue
            t = meet(solids, planes, i, ox, oy, oz, dx, dy, dz, near, best)
            if t < best:
                best, found = t, i
                if shadow:
                    return best, found
        n = -1
        while top > 0 and n < 0:
            top -= 1
            if stack[top, 1] <= best:
                n = int(stack[top, 0])
        if n < 0:
            return (best, found) if found >= 0 else (math.inf, -1)
