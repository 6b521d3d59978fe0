"""From a packed scene and a camera to pictures: the pixel loop, the sensor, and point visibility, as cached numba kernels."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import numpy as np

from keendepth.data.scenes import hierarchy
from keendepth.data.scenes.casting import IDENT, LABEL, cached_kernel, kernel, meet, mix_bits, trace
from keendepth.data.scenes.facing import normal_at
from keendepth.data.scenes.light import shade, sky_colour, soft_light
from keendepth.data.scenes.textures import pattern

STACK = 256  # enough for a hierarchy of any depth that `hierarchy.build` makes


class Exposure(NamedTuple):
    """What one frame's pixel loops fill in; all [h w] or [h w 3]."""

    colour: np.ndarray  # float32, linear light
    albedo: np.ndarray  # float32
    shading: np.ndarray  # float32
    depth: np.ndarray  # float32, z in metres, +inf sky
    normal: np.ndarray  # float32, camera axes, NaN sky
    label: np.ndarray  # uint8
    ident: np.ndarray  # int32
    solid: np.ndarray  # int32, -1 sky
    light: np.ndarray  # float32, soft light at the pixel's centre
    spare: np.ndarray  # float32, for smoothing it


@kernel
@no_type_check
def _ray(cam, u, v):
    """World direction with camera z = 1 through picture point (u, v); cam: fx fy cx cy, world-from-camera by rows, eye."""
    x, y = (u - cam[2]) / cam[0], (v - cam[3]) / cam[1]
    return cam[4] * x + cam[5] * y + cam[6], cam[7] * x + cam[8] * y + cam[9], cam[10] * x + cam[11] * y + cam[12]


@kernel
@no_type_check
def _centre(w, cam, px, py, lights, seed, out, stack):
    """The exact record of a pixel, from the ray through its centre, and the soft light there, the mean of `lights` tries."""
    dx, dy, dz = _ray(cam, px + 0.5, py + 0.5)
    t, i = trace(w, cam[13], cam[14], cam[15], dx, dy, dz, 1e-3, math.inf, False, stack)
    out.depth[py, px] = t
    out.solid[py, px] = i
    if i < 0:
        out.normal[py, px, :] = math.nan
        return
    x, y, z = cam[13] + t * dx, cam[14] + t * dy, cam[15] + t * dz
    _, _, _, nx, ny, nz, _ = normal_at(w.solids, w.planes, i, x, y, z)
    if nx * dx + ny * dy + nz * dz > 0.0:
        nx, ny, nz = -nx, -ny, -nz
    for k in range(3):
        out.normal[py, px, k] = cam[4 + k] * nx + cam[7 + k] * ny + cam[10 + k] * nz
    out.label[py, px] = w.solids[i, LABEL]
    out.ident[py, px] = w.solids[i, IDENT]
    for s in range(lights):
        # a lattice over 4x4 pixels, so that the smoothing below gathers well spread directions
        cell = (px & 3) + 4 * (py & 3) + 16 * s
        key = mix_bits(px, py, s, seed)
        a, b = cell * 0.7548776662 + (key & 0xFFFF) / 400000.0, cell * 0.5698402910 + (key >> 16) / 400000.0
        r, g, blue = soft_light(w, i, x, y, z, nx, ny, nz, key, a - math.floor(a), b - math.floor(b), stack)
        out.light[py, px, 0] += r / lights
        out.light[py, px, 1] += g / lights
        out.light[py, px, 2] += blue / lights


@kernel
@no_type_check
def _alike(cam, out, ax, ay, bx, by):
    """Whether two pixels show the same smooth patch of one thing: the second lies on the first's tangent plane."""
    if out.ident[ay, ax] != out.ident[by, bx]:
        return False
    n, m = out.normal[ay, ax], out.normal[by, bx]
    if n[0] * m[0] + n[1] * m[1] + n[2] * m[2] < 0.9:
        return False
    za, zb = out.depth[ay, ax], out.depth[by, bx]
    x = (zb * (bx + 0.5 - cam[2]) - za * (ax + 0.5 - cam[2])) / cam[0]
    y = (zb * (by + 0.5 - cam[3]) - za * (ay + 0.5 - cam[3])) / cam[1]
    return abs(n[0] * x + n[1] * y + n[2] * (zb - za)) < 0.012 * za


@kernel
@no_type_check
def _smooth(cam, out, source, target, step, first, last):
    """One pass of an edge-stopping 5x5 filter with holes of `step` pixels (Dammertz et al. 2010) over rows first..last-1."""
    height, width = out.depth.shape
    for y in range(first, last):
        for x in range(width):
            if out.solid[y, x] < 0:
                continue
            r, g, b, total = 0.0, 0.0, 0.0, 0.0
            for j in range(-2, 3):
                for i in range(-2, 3):
                    u, v = x + i * step, y + j * step
                    if u < 0 or v < 0 or u >= width or v >= height or not _alike(cam, out, x, y, u, v):
                        continue
                    k = (3.0 - abs(i)) * (3.0 - abs(j))
                    r, g, b = r + k * source[v, u, 0], g + k * source[v, u, 1], b + k * source[v, u, 2]
                    total += k
            target[y, x, 0], target[y, x, 1], target[y, x, 2] = r / total, g / total, b / total


@kernel
@no_type_check
def _nearby(out, px, py, i):
    """The pixel in the 3x3 around that shows solid i at its centre, or (-1, -1)."""
    if out.solid[py, px] == i:
        return px, py
    height, width = out.solid.shape
    for y in range(max(0, py - 1), min(height, py + 2)):
        for x in range(max(0, px - 1), min(width, px + 2)):
            if out.solid[y, x] == i:
                return x, y
    return -1, -1


@kernel
@no_type_check
def _alone(out, px, py):
    """The solid that every pixel centre within two pixels shows, or -1: there a colour sample need not search the scene."""
    height, width = out.solid.shape
    i = out.solid[py, px]
    for y in range(max(0, py - 2), min(height, py + 3)):
        for x in range(max(0, px - 2), min(width, px + 3)):
            if out.solid[y, x] != i:
                return -1
    return i


@kernel
@no_type_check
def _sample(w, cam, px, py, u, v, key, a, b, alone, out, total, stack):
    """Add one colour sample at picture point (u, v) to total: colour, albedo, light; its tail is `shade`'s."""
    dx, dy, dz = _ray(cam, u, v)
    size = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * size, dy * size, dz * size
    t, i = math.inf, alone
    if alone >= 0:
        t = meet(w.solids, w.planes, alone, cam[13], cam[14], cam[15], dx, dy, dz, 1e-3, math.inf)
    if t == math.inf:
        t, i = trace(w, cam[13], cam[14], cam[15], dx, dy, dz, 1e-3, math.inf, False, stack)
    if i < 0:
        r, g, b = sky_colour(w, dx, dy, dz, True)
        total[0] += r
        total[1] += g
        total[2] += b
        return
    x, y, z = cam[13] + t * dx, cam[14] + t * dy, cam[15] + t * dz
    qx, qy = _nearby(out, px, py, i)
    if qx >= 0:
        lr, lg, lb = float(out.light[qy, qx, 0]), float(out.light[qy, qx, 1]), float(out.light[qy, qx, 2])
    else:
        _, _, _, nx, ny, nz, _ = normal_at(w.solids, w.planes, i, x, y, z)
        if nx * dx + ny * dy + nz * dz > 0.0:
            nx, ny, nz = -nx, -ny, -nz
        lr, lg, lb = soft_light(w, i, x, y, z, nx, ny, nz, key, a, b, stack)
    ar, ag, ab, lr, lg, lb, sr, sg, sb = shade(w, i, x, y, z, dx, dy, dz, t / cam[0], lr, lg, lb, a, b, total, stack)
    r, g, b = ar * lr + sr, ag * lg + sg, ab * lb + sb
    if w.sky[15] > 0.0:
        clear = math.exp(-w.sky[15] * t)
        r = r * clear + w.sky[10] * (1.0 - clear)
        g = g * clear + w.sky[11] * (1.0 - clear)
        b = b * clear + w.sky[12] * (1.0 - clear)
    total[0] += r
    total[1] += g
    total[2] += b
    total[3] += ar
    total[4] += ag
    total[5] += ab
    total[6] += 0.2126 * lr + 0.7152 * lg + 0.0722 * lb


@kernel
@no_type_check
def _pixel(w, cam, px, py, n, spread, seed, out, total, stack):
    """n x n colour samples, one in each cell of a grid over `spread` pixels."""
    total[:] = 0.0
    total[7] = total[11] = -1.0
    alone, hidden = _alone(out, px, py), 0.0
    for order in range(n * n):
        s = order
        if n == 2 and alone >= 0:  # the diagonal first: where it is all in the sun, or all in the shade, so is the rest
            s = (0, 3, 1, 2)[order]
            if order == 2 and hidden != 1.0:
                total[11] = hidden / 2.0
        key = mix_bits(px, py, 16 + s, seed)
        e, f = (key & 0xFFFF) / 65536.0, (key >> 16) / 65536.0
        gx, gy = (s % n + e) / n, (s // n + f) / n
        u, v = px + 0.5 + (gx - 0.5) * spread, py + 0.5 + (gy - 0.5) * spread
        _sample(w, cam, px, py, u, v, key, gy, gx, alone, out, total, stack)
        hidden += total[12]
    scale = 1.0 / (n * n)
    for k in range(3):
        out.colour[py, px, k] = total[k] * scale
        out.albedo[py, px, k] = total[3 + k] * scale
    out.shading[py, px] = total[6] * scale


@kernel
@no_type_check
def _encode(x):
    """Linear light to sRGB (IEC 61966-2-1)."""
    return 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1.0 / 2.4) - 0.055


@kernel
@no_type_check
def _develop(colour, sensor, first, last, seed, out):
    """Rows first..last-1 as a camera would give them. sensor: 0-2 gain r g b, 3 vignette, 4 white, 5 contrast, 6 saturation, 7 shot noise, 8 read noise."""
    height, width = colour.shape[:2]
    corner = 1.0 / (height * height + width * width)
    for y in range(first, last):
        for x in range(width):
            r2 = ((2 * x + 1 - width) ** 2 + (2 * y + 1 - height) ** 2) * corner
            dim = 1.0 / (1.0 + sensor[3] * r2) ** 2
            grey = 0.0
            for k in range(3):
                grey += colour[y, x, k] * sensor[k] / 3.0
            for k in range(3):
                value = max(0.0, grey + sensor[6] * (colour[y, x, k] * sensor[k] - grey)) * dim
                h = mix_bits(x, y, 40 + k, seed)
                bell = (h & 255) + ((h >> 8) & 255) + ((h >> 16) & 255) + ((h >> 24) & 255)
                value += (bell / 510.0 - 1.0) * 1.73 * math.sqrt(sensor[8] + sensor[7] * value)
                value = max(0.0, value)
                value = min(1.0, value * (1.0 + value / (sensor[4] * sensor[4])) / (1.0 + value))  # Reinhard's curve
                value += sensor[5] * value * (1.0 - value) * (2.0 * value - 1.0)
                out[y, x, k] = int(255.0 * _encode(min(1.0, max(0.0, value))) + 0.5)


@kernel
@no_type_check
def _reach(w, origin, directions):
    count = len(directions)
    stack, far, who = np.empty((STACK, 2)), np.empty(count), np.zeros(count, np.int64)
    for k in range(count):
        dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
        far[k], i = trace(w, origin[0], origin[1], origin[2], dx, dy, dz, 0.0, math.inf, False, stack)
        if i >= 0:
            who[k] = int(w.solids[i, IDENT])
    return far, who


@kernel
@no_type_check
def _swatch(paint, metres, seed, out):
    n = len(out)
    cell, half = metres / n, metres / 2
    for y in range(n):
        for x in range(n):
            u, v = (x + 0.5) * cell - half, (y + 0.5) * cell - half
            mixed, bright, warm = pattern(
                int(paint[6]), u, v, u, v, 0.0, half, half, paint[7], paint[8], paint[9], seed, cell
            )
            for k in range(3):
                value = (paint[k] + (paint[3 + k] - paint[k]) * mixed) * bright * (1.0 + 0.3 * warm * (1 - k))
                out[y, x, k] = int(255.0 * _encode(min(1.0, max(0.0, value))) + 0.5)
            out[y, x, 3] = 255


def _stamp() -> int:
    """A number that changes with any kernel's source: numba's cache alone would only watch this file."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return zlib.crc32(text) + 1


def _passes(stamp: int) -> tuple[Callable[..., Any], ...]:
    """The passes over a picture's rows. `stamp` is a closure variable, hence part of the key under which numba caches them."""

    @cached_kernel
    @no_type_check
    def lay(w, cam, first, last, lights, seed, out):
        """Rows first..last-1 of all that belongs to pixel centres."""
        stack = np.empty((STACK * min(1, stamp), 2))
        for y in range(first, last):
            for x in range(out.depth.shape[1]):
                _centre(w, cam, x, y, lights, seed, out, stack)

    @cached_kernel
    @no_type_check
    def smooth(cam, out, step, first, last):
        """Rows first..last-1 of the soft light, from `light` into `spare` for step 1 and back for any other."""
        if step * min(1, stamp) == 1:
            _smooth(cam, out, out.light, out.spare, step, first, last)
        else:
            _smooth(cam, out, out.spare, out.light, step, first, last)

    @cached_kernel
    @no_type_check
    def expose(w, cam, first, last, n, spread, seed, out):
        """Rows first..last-1 of all that is averaged over pixels; needs the smoothed light."""
        stack, total = np.empty((STACK * min(1, stamp), 2)), np.empty(13)
        for y in range(first, last):
            for x in range(out.depth.shape[1]):
                _pixel(w, cam, x, y, n, spread, seed, out, total, stack)

    @cached_kernel
    @no_type_check
    def develop(colour, sensor, first, last, seed, out):
        """Rows first..last-1 from linear light to sRGB bytes."""
        _develop(colour, sensor, first * min(1, stamp), last, seed, out)

    return lay, smooth, expose, develop


def _services(stamp: int) -> tuple[Callable[..., Any], ...]:
    """What else runs compiled; `stamp` as above."""

    @cached_kernel
    @no_type_check
    def reach(w, origin, directions):
        """(metres to the nearest solid, its ident or 0) from `origin` along unit `directions` [r 3]."""
        return _reach(w, origin, directions[: len(directions) * min(1, stamp)])

    @cached_kernel
    @no_type_check
    def swatch(paint, metres, seed, out):
        """A paint on a square of `metres` x `metres`, as sRGB into out [n n 4]."""
        _swatch(paint, metres, seed * min(1, stamp), out)

    @cached_kernel
    @no_type_check
    def build(low, high):
        """See `hierarchy.build`."""
        return hierarchy.build(low, high[: len(high) * min(1, stamp)])

    return reach, swatch, build


lay, smooth, expose, develop = _passes(_stamp())
reach, swatch, build = _services(_stamp())
