"""Which way a solid's surface faces at a point on it, as numba kernels."""

from __future__ import annotations

import math
from typing import no_type_check

from keendepth.data.scenes.casting import BALL, BOX, FORM, HALF, QUAD, ROD, SHAPE, kernel


@kernel
@no_type_check
def normal_at(s, planes, i, px, py, pz):
    """(unit local point x y z, unit world normal x y z, local axis of the normal) of solid i at a world point on it."""
    x = s[i, 0] * px + s[i, 1] * py + s[i, 2] * pz + s[i, 3]
    y = s[i, 4] * px + s[i, 5] * py + s[i, 6] * pz + s[i, 7]
    z = s[i, 8] * px + s[i, 9] * py + s[i, 10] * pz + s[i, 11]
    a, b, c = _local_normal(s, planes, i, x, y, z)
    nx = s[i, 0] * a + s[i, 4] * b + s[i, 8] * c
    ny = s[i, 1] * a + s[i, 5] * b + s[i, 9] * c
    nz = s[i, 2] * a + s[i, 6] * b + s[i, 10] * c
    k = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
    a, b, c = abs(a) / s[i, HALF], abs(b) / s[i, HALF + 1], abs(c) / max(s[i, HALF + 2], 1e-12)
    axis = 0 if a >= b and a >= c else (1 if b >= c else 2)
    return x, y, z, nx * k, ny * k, nz * k, axis


@kernel
@no_type_check
def _local_normal(s, planes, i, x, y, z):
    shape = int(s[i, SHAPE])
    if shape == QUAD:
        return 0.0, 0.0, 1.0
    if shape == BALL:
        return x, y, z
    if shape == BOX:
        ax, ay, az = abs(x), abs(y), abs(z)
        if ax >= ay and ax >= az:
            return math.copysign(1.0, x), 0.0, 0.0
        if ay >= az:
            return 0.0, math.copysign(1.0, y), 0.0
        return 0.0, 0.0, math.copysign(1.0, z)
    if shape == ROD:
        f = (s[i, FORM] - 1.0) * 0.5
        r = math.sqrt(x * x + y * y)
        if s[i, FORM + 1] > 0.5 or abs(z) < 1.0 - 1e-7 or abs(r - (1.0 + f + f * z)) < 1e-9:
            return x, y, -f * r
        return 0.0, 0.0, math.copysign(1.0, z)
    worst, best, first = -math.inf, 0, int(s[i, FORM])
    for k in range(first, first + int(s[i, FORM + 1])):
        off = planes[k, 0] * x + planes[k, 1] * y + planes[k, 2] * z - planes[k, 3]
        if off > worst:
            worst, best = off, k
    return planes[best, 0], planes[best, 1], planes[best, 2]
