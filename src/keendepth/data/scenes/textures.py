"""Procedural surfaces: brick, wood, tiles, fabric, pictures, facades and the like, as numba kernels of a point in metres."""

from __future__ import annotations

import math
from typing import no_type_check

from keendepth.data.scenes.casting import chance, kernel

PLAIN, MOTTLE, BRICK, WOOD, PLANKS, TILES, STRIPES, CHECKER, PICTURE, WEAVE = range(10)
CARPET, RUG, ASPHALT, GRASS, FACADE, WRITING, LEAFY, BARK, MARBLE, DOTS = range(10, 20)


@kernel
@no_type_check
def _corner(h):
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return (h ^ (h >> 13)) & 0xFFFF


@kernel
@no_type_check
def noise(x, y, z, seed):
    """Smooth value noise in 0..1 with cells of size 1."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y), z * z * (3.0 - 2.0 * z)
    i = (int(fx) * 73856093) & 0xFFFFFFFF
    j, k = (int(fy) * 19349663) & 0xFFFFFFFF, ((int(fz) * 83492791) ^ (seed * 40503)) & 0xFFFFFFFF
    i1, j1, k1 = (i + 73856093) & 0xFFFFFFFF, (j + 19349663) & 0xFFFFFFFF, (k + 83492791) & 0xFFFFFFFF
    a, b = _corner(i ^ j ^ k), _corner(i ^ j1 ^ k)
    a, b = a + (_corner(i1 ^ j ^ k) - a) * x, b + (_corner(i1 ^ j1 ^ k) - b) * x
    c, d = _corner(i ^ j ^ k1), _corner(i ^ j1 ^ k1)
    c, d = c + (_corner(i1 ^ j ^ k1) - c) * x, d + (_corner(i1 ^ j1 ^ k1) - d) * x
    a, c = a + (b - a) * y, c + (d - c) * y
    return (a + (c - a) * z) * (1.0 / 65535.0)


@kernel
@no_type_check
def clouds(x, y, z, seed, octaves, blur):
    """Sum of `octaves` of noise in 0..1; octaves finer than `blur` (in cells) fade to their mean, so that nothing aliases."""
    total, gain, weight = 0.0, 0.5, 0.0
    for _ in range(octaves):
        weight += gain
        if blur < 1.0:
            keep = min(1.0, 2.0 - 2.0 * blur)
            total += gain * (0.5 + keep * (noise(x, y, z, seed) - 0.5))
        else:
            total += gain * 0.5
        x, y, z, seed = x * 2.03 + 5.1, y * 2.03 + 1.7, z * 2.03 + 9.2, seed + 1
        gain, blur = gain * 0.5, blur * 2.0
    return total / weight


@kernel
@no_type_check
def _line(x, half, blur):
    """1 within `half` of x = 0, 0 outside, softened over `blur`."""
    return min(1.0, max(0.0, (half - abs(x)) / max(blur, 1e-6) + 0.5)) * min(1.0, 2.0 * half / max(blur, 1e-6))


@kernel
@no_type_check
def _masonry(u, v, size, ratio, gap, shift, seed, blur):
    """(mortar 0..1, tint -1..1) of courses `size` high with blocks `ratio` times as long; rows shift by `shift`."""
    high, long = size, size * ratio
    row = math.floor(v / high)
    u += shift * long * (row - 2.0 * math.floor(row / 2.0)) if shift > 0.0 else chance(int(row), 3, 5, seed) * long
    column = math.floor(u / long)
    x, y = u - (column + 0.5) * long, v - (row + 0.5) * high
    mortar = max(_line(abs(x) - long * 0.5, gap, blur), _line(abs(y) - high * 0.5, gap, blur))
    return mortar, (chance(int(column), int(row), 11, seed) * 2.0 - 1.0) * min(1.0, high / blur)


@kernel
@no_type_check
def _grain(along, x, y, size, seed, blur):
    """Wood figure in 0..1."""
    ring = clouds(along * 0.35 / size, x / size, y / size, seed, 2, blur / size) * 9.0
    fine = clouds(along * 3.0 / size, x * 9.0 / size, y * 9.0 / size, seed + 9, 2, 9.0 * blur / size)
    return 0.65 * abs(2.0 * (ring - math.floor(ring)) - 1.0) + 0.35 * fine


@kernel
@no_type_check
def _picture(u, v, seed):
    """(mix of the two colours, brightness, warmth) of an abstract picture or landscape; u, v in -1..1."""
    style = int(chance(1, 2, 3, seed) * 4.0)
    if style == 0:  # hills under a sky
        bright, mixed, ridge = 1.25 - 0.35 * (v + 1.0) * 0.5, 0.15, 0.35
        for k in range(4):
            ridge -= 0.28
            if v < ridge + 0.5 * noise(u * (1.5 + k), k * 7.0, 0.0, seed + k):
                bright, mixed = 1.0 - 0.2 * k, 0.4 + 0.2 * k
        return mixed, bright, 0.0
    if style == 1:  # blocks
        mixed, bright, warm = 0.0, 1.0, 0.0
        for k in range(9):
            x, y = chance(k, 1, 0, seed) * 2.2 - 1.1, chance(k, 2, 0, seed) * 2.2 - 1.1
            if abs(u - x) < 0.1 + 0.5 * chance(k, 3, 0, seed) and abs(v - y) < 0.1 + 0.5 * chance(k, 4, 0, seed):
                mixed, bright = chance(k, 5, 0, seed), 0.3 + chance(k, 6, 0, seed)
                warm = chance(k, 7, 0, seed) * 2.0 - 1.0
        return mixed, bright, warm
    if style == 2:  # discs
        mixed, bright, warm = 0.1, 1.1, 0.0
        for k in range(8):
            x, y = u - chance(k, 1, 1, seed) * 2.0 + 1.0, v - chance(k, 2, 1, seed) * 2.0 + 1.0
            r = 0.1 + 0.5 * chance(k, 3, 1, seed)
            if x * x + y * y < r * r:
                mixed, bright = chance(k, 4, 1, seed), 0.3 + chance(k, 5, 1, seed)
                warm = chance(k, 6, 1, seed) * 2.0 - 1.0
        return mixed, bright, warm
    a = clouds(u * 1.7, v * 1.7, 0.0, seed, 4, 0.0)
    return min(1.0, max(0.0, 4.0 * a - 1.5)), 0.5 + clouds(u * 4.0, v * 4.0, 3.0, seed + 3, 3, 0.0), 2.0 * a - 1.0


@kernel
@no_type_check
def _writing(u, v, size, seed, blur):
    """Lines of words: 1 where there is ink."""
    row = math.floor(v / size)
    y = v / size - row
    if y < 0.25 or y > 0.75 or chance(int(row), 1, 1, seed) < 0.15:
        return 0.0
    letter = math.floor(u / (size * 0.5))
    word = math.floor(letter / 5.0)
    if chance(int(word), int(row), 2, seed) < 0.2 or letter - 5.0 * word > 3.5:
        return 0.0
    ink = 1.0 if chance(math.floor(u / (size * 0.17)), int(row * 3 + math.floor(y * 6.0)), 3, seed) < 0.6 else 0.0
    keep = min(1.0, size * 0.17 / blur)
    return ink * keep + 0.6 * (1.0 - keep)


@kernel
@no_type_check
def _ground(kind, x, y, z, size, seed, blur):
    """(mix, brightness) of asphalt, grass or carpet."""
    if kind == ASPHALT:
        speck = clouds(x / size, y / size, z / size, seed, 2, blur / size)
        stain = clouds(x * 0.4, y * 0.15, z * 0.4, seed + 5, 3, blur)
        crack = abs(clouds(x * 0.5, y * 0.5, z, seed + 8, 4, blur) - 0.5)
        return 0.55 * speck + 0.25 * stain, (0.75 + 0.5 * stain) * (0.72 if crack < 0.004 + 0.3 * blur * 0.01 else 1.0)
    if kind == GRASS:
        patch = clouds(x * 0.5, y * 0.5, z * 0.5, seed, 3, blur * 0.5)
        blade = clouds(x / size, y / size, z / size, seed + 3, 3, blur / size)
        return min(1.0, max(0.0, 2.2 * patch - 0.6)), 0.45 + 1.1 * blade
    tuft = clouds(x / size, y / size, z / size, seed, 2, blur / size)
    return clouds(x * 1.5, y * 1.5, z * 1.5, seed + 4, 2, blur), 0.6 + 0.8 * tuft


@kernel
@no_type_check
def _facade(u, v, size, ratio, seed):
    """(mix, brightness) of rows of windows, `size` high and `ratio` as wide."""
    i, j = math.floor(u / (size * ratio)), math.floor(v / size)
    x, y = abs(u / (size * ratio) - i - 0.5), abs(v / size - j - 0.5)
    if x > 0.3 or y > 0.33:
        return 0.0, 1.0 if y < 0.47 else 0.85
    if x > 0.27 or y > 0.3 or (x < 0.015 and chance(3, 3, 3, seed) < 0.6):
        return 0.0, 1.35
    return 1.0, 0.4 + 1.3 * chance(int(i), int(j), 21, seed)


@kernel
@no_type_check
def pattern(kind, u, v, x, y, z, hu, hv, size, ratio, gap, seed, blur):
    """(mix of the two colours, brightness, warmth): u, v on the surface in metres, (x, y, z) the point, hu, hv half sizes,
    size, ratio and gap the paint's numbers, blur the size of a pixel there."""
    if kind == PLAIN:
        return 0.0, 0.96 + 0.08 * noise(x * 4.0, y * 4.0, z * 4.0, seed), 0.0
    if kind == MOTTLE:
        m = clouds(x / size, y / size, z / size, seed, 3, blur / size)
        return min(1.0, max(0.0, (m - 0.5) * ratio + 0.5)), 1.0, 0.0
    if kind in (BRICK, PLANKS, TILES):
        shift = 0.5 if kind == BRICK else (0.0 if kind == PLANKS else 1e-9)
        mortar, tint = _masonry(u, v, size, ratio, gap, shift, seed, blur)
        if kind == PLANKS:
            fine = _grain(u + 40.0 * tint, v + tint, 0.0, size, seed, blur)
            return mortar, 1.0 + 0.22 * tint + 0.35 * (fine - 0.5), 0.3 * tint
        fine = clouds(x * 20.0, y * 20.0, z * 20.0, seed + 2, 2, 20.0 * blur)
        return mortar, 1.0 + (0.16 if kind == BRICK else 0.05) * tint + 0.25 * (fine - 0.5), 0.2 * tint
    if kind == WOOD:
        return _grain(x, y, z, size, seed, blur), 1.0, 0.0
    if kind == STRIPES:
        a = u / size
        return _line(a - math.floor(a) - 0.5, 0.5 * ratio, blur / size), 1.0, 0.0
    if kind == CHECKER:
        a = math.floor(u / size) + math.floor(v / size)
        return a - 2.0 * math.floor(a * 0.5), 1.0, 0.0
    if kind == PICTURE:
        return _picture(u / hu, v / hv, seed)
    if kind == WEAVE:
        keep = min(1.0, max(0.0, size / blur - 0.5))
        a, b = math.sin(u * 6.2832 / size), math.sin(v * 6.2832 / size)
        fold = clouds(x * 6.0, y * 6.0, z * 6.0, seed, 3, 6.0 * blur)
        return min(1.0, max(0.0, fold * 1.4 - 0.4)), 0.8 + 0.4 * fold + 0.15 * keep * a * b, 0.0
    if kind == RUG:
        a, b = abs(u) / hu, abs(v) / hv
        edge = min(hu - abs(u), hv - abs(v)) / size
        band = edge - math.floor(edge)
        diamond = (a + b) * 3.0 - math.floor((a + b) * 3.0)
        mixed = (0.9 if band < 0.4 else 0.1) if edge < 3.0 else (0.8 if diamond < 0.35 else 0.15)
        return mixed, 0.75 + 0.5 * clouds(x * 60.0, y * 60.0, 0.0, seed, 2, 60.0 * blur), 1.0 if edge < 1.0 else -0.3
    if kind in (ASPHALT, GRASS, CARPET):
        mixed, bright = _ground(kind, x, y, z, size, seed, blur)
        return mixed, bright, 0.0
    if kind == FACADE:
        mixed, bright = _facade(u, v, size, ratio, seed)
        return mixed, bright, 0.0
    if kind == WRITING:
        return _writing(u, v, size, seed, blur), 1.0, 0.0
    return _living(kind, u, v, x, y, z, hv, size, ratio, seed, blur)


@kernel
@no_type_check
def _living(kind, u, v, x, y, z, hv, size, ratio, seed, blur):
    if kind == LEAFY:
        vein = _line(v, 0.04 * hv, blur)
        spots = clouds(x * 30.0, y * 30.0, z * 30.0, seed, 2, 30.0 * blur)
        return 0.6 * vein + 0.4 * spots, 0.8 + 0.4 * spots, 0.0
    if kind == BARK:
        ridge = abs(clouds(x / size, y / size, z * 0.25 / size, seed, 3, blur / size) * 2.0 - 1.0)
        return min(1.0, 3.0 * ridge), 0.8 + 0.5 * ridge, 0.0
    if kind == MARBLE:
        bend = clouds(x / size, y / size, z / size, seed, 4, blur / size)
        vein = abs(math.sin((x + y + z) * 2.0 / size + 9.0 * bend))
        return max(0.0, 1.0 - 2.5 * vein), 0.9 + 0.2 * bend, 0.0
    i, j = math.floor(u / size), math.floor(v / size)  # dots
    a, b = u / size - i - 0.5, v / size - j - 0.5
    return (1.0 if a * a + b * b < ratio * ratio else 0.0), 1.0, 0.0
