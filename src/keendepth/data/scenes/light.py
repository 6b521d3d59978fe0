"""How a point of a scene looks: albedo, sun, sky, lamps, one bounce and one mirror ray, as numba kernels.

`World.sky`: 0-2 towards the sun, 3-5 its colour, 6 its radius (rad), 7-9 zenith, 10-12 horizon, 13 clouds 0..1, 14 their seed,
15 haze per metre, 16-18 ground below the horizon, 19 reach of the bounce ray (m), 20 share of the sky that an open ray sees,
21-23 light that is everywhere. A row of `World.lamps`: 0-2 centre, 3-5 and 6-8 half sides, 9-11 colour, 12 one-sided (a window).
"""

from __future__ import annotations

import math
from typing import no_type_check

from keendepth.data.scenes.casting import BALL, HALF, IDENT, PAINT, ROD, SHAPE, chance, kernel, trace
from keendepth.data.scenes.facing import normal_at
from keendepth.data.scenes.textures import clouds, pattern

LIFT = 1e-4  # metres by which a secondary ray starts off its surface


@kernel
@no_type_check
def sky_colour(w, dx, dy, dz, detail):
    """Radiance from direction d (unit, z up); without `detail` the clouds are evened out."""
    s = w.sky
    if dz < 0.0:
        k = min(1.0, -dz * 8.0)
        r, g, b = s[10] + (s[16] - s[10]) * k, s[11] + (s[17] - s[11]) * k, s[12] + (s[18] - s[12]) * k
        return r, g, b
    k = math.sqrt(dz)
    r, g, b = s[10] + (s[7] - s[10]) * k, s[11] + (s[8] - s[11]) * k, s[12] + (s[9] - s[12]) * k
    near = max(0.0, dx * s[0] + dy * s[1] + dz * s[2])
    glow = 0.25 * near**8 + 0.6 * near**64
    r, g, b = r + glow * s[3] * 0.2, g + glow * s[4] * 0.2, b + glow * s[5] * 0.2
    if s[13] > 0.0:
        cover = s[13]
        shade = 1.0
        if detail:
            h = 1.0 / (dz + 0.1)
            m = clouds(dx * h, dy * h, 0.5, int(s[14]), 5, 0.0)
            cover = min(1.0, max(0.0, (m - 0.72 + 0.5 * s[13]) * 4.0))
            shade = 1.25 - 0.7 * m
        cover *= min(1.0, dz * 6.0)
        white = (0.3 * (s[3] + s[4] + s[5]) / 3.0 + (s[10] + s[11] + s[12]) / 3.0) * shade
        r, g, b = r + (white - r) * cover, g + (white - g) * cover, b + (white * 1.02 - b) * cover
    return r, g, b


@kernel
@no_type_check
def surface(w, i, px, py, pz, blur):
    """(albedo r g b, normal x y z, share of the second colour) of solid i at a point, seen with pixels `blur` metres wide."""
    x, y, z, nx, ny, nz, axis = normal_at(w.solids, w.planes, i, px, py, pz)
    s, p, k = w.solids, w.paints, int(w.solids[i, PAINT])
    ha, hb, hc = s[i, HALF], s[i, HALF + 1], s[i, HALF + 2]
    hu, hv = ha, hb
    if p[k, 15] > 0.5:  # in the world's frame, so that the parts of a wall join
        x, y, z = px, py, pz
        ax, ay, az = abs(nx), abs(ny), abs(nz)
        axis = 0 if ax > ay and ax > az else (1 if ay > az else 2)
    else:
        x, y, z = x * ha, y * hb, z * hc
    u, v = x, y
    if axis == 0:
        u, v, hu, hv = y, z, hb, hc
    elif axis == 1:
        u, v, hu, hv = x, z, ha, hc
    if (s[i, SHAPE] == ROD or s[i, SHAPE] == BALL) and axis != 2 and p[k, 15] < 0.5:
        u = math.atan2(y, x) * ha
    seed = int(s[i, IDENT])
    mixed, bright, warm = pattern(int(p[k, 6]), u, v, x, y, z, hu, hv, p[k, 7], p[k, 8], p[k, 9], seed, max(blur, 1e-6))
    bright *= 1.0 + p[k, 14] * (chance(seed, i if p[k, 14] > 0.3 else 0, 17, 3) - 0.5)
    r = (p[k, 0] + (p[k, 3] - p[k, 0]) * mixed) * bright * (1.0 + 0.3 * warm)
    g = (p[k, 1] + (p[k, 4] - p[k, 1]) * mixed) * bright
    b = (p[k, 2] + (p[k, 5] - p[k, 2]) * mixed) * bright * (1.0 - 0.3 * warm)
    return min(0.95, max(0.0, r)), min(0.95, max(0.0, g)), min(0.95, max(0.0, b)), nx, ny, nz, mixed


@kernel
@no_type_check
def _lamp(w, k, x, y, z, nx, ny, nz, a, b):
    """(weight, direction x y z, distance) of lamp k at a point with normal n; a, b in -1..1 choose the spot on the lamp."""
    q = w.lamps
    dx, dy = q[k, 0] + a * q[k, 3] + b * q[k, 6] - x, q[k, 1] + a * q[k, 4] + b * q[k, 7] - y
    dz = q[k, 2] + a * q[k, 5] + b * q[k, 8] - z
    far = math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / far, dy / far, dz / far
    weight = max(0.0, dx * nx + dy * ny + dz * nz) / max(far * far, 0.06)
    if q[k, 12] > 0.5:
        ux, uy = q[k, 4] * q[k, 8] - q[k, 5] * q[k, 7], q[k, 5] * q[k, 6] - q[k, 3] * q[k, 8]
        uz = q[k, 3] * q[k, 7] - q[k, 4] * q[k, 6]
        size = math.sqrt(ux * ux + uy * uy + uz * uz)
        weight *= max(0.0, -(dx * ux + dy * uy + dz * uz) / size)
    return weight, dx, dy, dz, far


@kernel
@no_type_check
def rough_light(w, x, y, z, nx, ny, nz):
    """Light without shadows, for what is seen in a bounce or a mirror."""
    s = w.sky
    up = 0.5 + 0.5 * nz
    r, g, b = s[21] + s[20] * s[7] * up, s[22] + s[20] * s[8] * up, s[23] + s[20] * s[9] * up
    sun = max(0.0, nx * s[0] + ny * s[1] + nz * s[2]) * 0.5 * s[20]
    r, g, b = r + sun * s[3], g + sun * s[4], b + sun * s[5]
    for k in range(w.lamps.shape[0]):
        weight = 0.5 * _lamp(w, k, x, y, z, nx, ny, nz, 0.0, 0.0)[0]
        r, g, b = r + weight * w.lamps[k, 9], g + weight * w.lamps[k, 10], b + weight * w.lamps[k, 11]
    return r, g, b


@kernel
@no_type_check
def _bounce(w, x, y, z, nx, ny, nz, a, b, stack):
    """Light from all around: one ray, cosine-weighted by (a, b) in 0..1; what it meets is lit roughly, what it misses is the sky."""
    s = w.sky
    h, turn = 1.0 - 2.0 * a, 6.283185307179586 * b
    r = math.sqrt(max(0.0, 1.0 - h * h))
    dx, dy, dz = nx + r * math.cos(turn), ny + r * math.sin(turn), nz + h
    size = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
    dx, dy, dz = dx / size, dy / size, dz / size
    t, i = trace(w, x, y, z, dx, dy, dz, 0.0, s[19], False, stack)
    r, g, b = s[21], s[22], s[23]
    if s[20] > 0.0:
        p, q, o = sky_colour(w, dx, dy, dz, False)
        r, g, b = r + p * s[20], g + q * s[20], b + o * s[20]
    if i < 0:
        return r, g, b
    p = int(w.solids[i, PAINT])
    keep = (t / s[19]) ** 2  # far things shade as much as the open does, so that the ray's reach leaves no border
    k = 0.4 + w.paints[p, 13]
    lr, lg, lb = rough_light(w, x + t * dx, y + t * dy, z + t * dz, -dx, -dy, -dz)
    lr, lg, lb = k * w.paints[p, 0] * lr, k * w.paints[p, 1] * lg, k * w.paints[p, 2] * lb
    return lr + (r - lr) * keep, lg + (g - lg) * keep, lb + (b - lb) * keep


@kernel
@no_type_check
def _shine(nx, ny, nz, dx, dy, dz, lx, ly, lz, gloss):
    """Blinn-Phong lobe with exponent 2^gloss, normalised so that sharper is brighter."""
    hx, hy, hz = lx - dx, ly - dy, lz - dz
    size = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    c = max(0.0, (nx * hx + ny * hy + nz * hz) / size)
    for _ in range(int(gloss)):
        c *= c
    return c * (2.0**gloss + 8.0) * 0.04


@kernel
@no_type_check
def _mirror(w, x, y, z, dx, dy, dz, stack):
    """What a mirror ray sees, lit roughly."""
    t, i = trace(w, x, y, z, dx, dy, dz, 0.0, 150.0, False, stack)
    if i < 0:
        return sky_colour(w, dx, dy, dz, True)
    r, g, b, nx, ny, nz, _ = surface(w, i, x + t * dx, y + t * dy, z + t * dz, 0.004 * t)
    if nx * dx + ny * dy + nz * dz > 0.0:
        nx, ny, nz = -nx, -ny, -nz
    lr, lg, lb = rough_light(w, x + t * dx, y + t * dy, z + t * dz, nx, ny, nz)
    glow = w.paints[int(w.solids[i, PAINT]), 13]
    return r * (lr + glow), g * (lg + glow), b * (lb + glow)


@kernel
@no_type_check
def _sunlight(w, x, y, z, nx, ny, nz, thin, e, f, shaded, stack):
    """Share of the sun that arrives (with the cosine), and its direction; `thin` sheets also pass light from behind; `shaded` 0 or 1 where known."""
    s = w.sky
    sx, sy, sz = s[0] + s[6] * (e - 0.5), s[1] + s[6] * (f - 0.5), s[2]
    c = nx * sx + ny * sy + nz * sz
    if c < 0.0:
        c *= -thin
    if c <= 0.0 or s[3] + s[4] + s[5] <= 0.0:
        return 0.0, sx, sy, sz
    if shaded >= 0.0:
        return c * (1.0 - shaded), sx, sy, sz
    side = LIFT if nx * sx + ny * sy + nz * sz > 0.0 else -LIFT
    _, i = trace(w, x + nx * side, y + ny * side, z + nz * side, sx, sy, sz, 0.0, 300.0, True, stack)
    return (0.0 if i >= 0 else c), sx, sy, sz


@kernel
@no_type_check
def _lamplight(w, x, y, z, nx, ny, nz, e, f, g, stack):
    """One lamp chosen in proportion to what it gives: (its index or -1, weight, direction)."""
    total = 0.0
    for k in range(w.lamps.shape[0]):
        weight = _lamp(w, k, x, y, z, nx, ny, nz, 2.0 * e - 1.0, 2.0 * f - 1.0)[0]
        total += weight * (w.lamps[k, 9] + w.lamps[k, 10] + w.lamps[k, 11])
    if total <= 1e-6:
        return -1, 0.0, 0.0, 0.0, 0.0
    ahead = g * total
    for k in range(w.lamps.shape[0]):
        weight, dx, dy, dz, far = _lamp(w, k, x, y, z, nx, ny, nz, 2.0 * e - 1.0, 2.0 * f - 1.0)
        power = weight * (w.lamps[k, 9] + w.lamps[k, 10] + w.lamps[k, 11])
        ahead -= power
        if ahead <= 0.0 and power > 0.0:
            _, i = trace(w, x, y, z, dx, dy, dz, 0.0, far - 0.02, True, stack)
            return (-1 if i >= 0 else k), weight * total / power, dx, dy, dz
    return -1, 0.0, 0.0, 0.0, 0.0


@kernel
@no_type_check
def soft_light(w, i, px, py, pz, nx, ny, nz, key, a, b, stack):
    """Diffuse light from all but the sun on solid i at a point with its normal towards the camera; a, b in 0..1 and key drive the random choices."""
    glow = w.paints[int(w.solids[i, PAINT]), 13]
    if glow > 0.0:
        return glow, glow, glow
    x, y, z = px + nx * LIFT, py + ny * LIFT, pz + nz * LIFT
    r, g, blue = _bounce(w, x, y, z, nx, ny, nz, a, b, stack)
    if w.lamps.shape[0] > 0:
        c, weight, _, _, _ = _lamplight(w, x, y, z, nx, ny, nz, b, a, chance(key, 1, 1, 9), stack)
        if c >= 0:
            r, g, blue = r + weight * w.lamps[c, 9], g + weight * w.lamps[c, 10], blue + weight * w.lamps[c, 11]
    return r, g, blue


@kernel
@no_type_check
def _glints(w, x, y, z, nx, ny, nz, dx, dy, dz, gloss):
    """Highlights of all lamps, unshadowed."""
    r, g, b = 0.0, 0.0, 0.0
    for k in range(w.lamps.shape[0]):
        weight, lx, ly, lz, _ = _lamp(w, k, x, y, z, nx, ny, nz, 0.0, 0.0)
        if weight > 0.0:
            weight *= _shine(nx, ny, nz, dx, dy, dz, lx, ly, lz, gloss)
            r, g, b = r + weight * w.lamps[k, 9], g + weight * w.lamps[k, 10], b + weight * w.lamps[k, 11]
    return r, g, b


@kernel
@no_type_check
def shade(w, i, px, py, pz, dx, dy, dz, blur, lr, lg, lb, a, b, notes, stack):
    """(albedo r g b, diffuse light r g b, shine r g b) of solid i at p seen along d, under soft light lr lg lb; a, b in 0..1 choose a spot on the sun.

    `notes` keeps at 7-10 the pixel's last solid that was a mirror, and what it showed, as the samples of a pixel would see much the same;
    11 says whether the sun is hidden (-1: not known yet), and 12 takes what was found."""
    ar, ag, ab, nx, ny, nz, mixed = surface(w, i, px, py, pz, blur)
    p, k = w.paints, int(w.solids[i, PAINT])
    if nx * dx + ny * dy + nz * dz > 0.0:
        nx, ny, nz = -nx, -ny, -nz
    if p[k, 13] > 0.0:
        return ar, ag, ab, lr, lg, lb, 0.0, 0.0, 0.0
    spec, gloss = p[k, 10], p[k, 11]
    sr, sg, sb = 0.0, 0.0, 0.0
    if spec > 0.0:
        sr, sg, sb = _glints(w, px, py, pz, nx, ny, nz, dx, dy, dz, gloss)
        sr, sg, sb = 0.6 * spec * sr, 0.6 * spec * sg, 0.6 * spec * sb
    sun, lx, ly, lz = _sunlight(w, px, py, pz, nx, ny, nz, p[k, 16], b, a, notes[11], stack)
    notes[12] = 0.0 if sun > 0.0 else 1.0
    if sun > 0.0:
        lr, lg, lb = lr + sun * w.sky[3], lg + sun * w.sky[4], lb + sun * w.sky[5]
        if spec > 0.0:
            c = spec * sun * _shine(nx, ny, nz, dx, dy, dz, lx, ly, lz, gloss)
            sr, sg, sb = sr + c * w.sky[3], sg + c * w.sky[4], sb + c * w.sky[5]
    base = p[k, 12] + (p[k, 17] - p[k, 12]) * mixed
    if base > 0.0:
        c = -(nx * dx + ny * dy + nz * dz)
        k = base + (1.0 - base) * (1.0 - c) ** 5  # Schlick's Fresnel term
        if notes[7] != i:
            x, y, z = px + nx * LIFT, py + ny * LIFT, pz + nz * LIFT
            mr, mg, mb = _mirror(w, x, y, z, dx + 2.0 * c * nx, dy + 2.0 * c * ny, dz + 2.0 * c * nz, stack)
            notes[7], notes[8], notes[9], notes[10] = i, mr, mg, mb
        mr, mg, mb = notes[8], notes[9], notes[10]
        lr, lg, lb = lr * (1.0 - k), lg * (1.0 - k), lb * (1.0 - k)
        sr, sg, sb = sr + k * mr, sg + k * mg, sb + k * mb
    return ar, ag, ab, lr, lg, lb, sr, sg, sb
