"""Things of the open: cars, people, trees, posts, fences and houses; each function lays one thing on a spot, its front towards -y."""

from __future__ import annotations

import math

import numpy as np

from keendepth.data.scenes import casting, paint, small, vehicles
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.textures import WRITING
from keendepth.data.scenes.world import Dice, Spot, turned


def person(spot: Spot, dice: Dice) -> None:
    """Walking towards -y or standing."""
    tall = dice.between(1.5, 1.9)
    skin = paint.plain(dice.pick((0xE3B899, 0xC68E6A, 0x8D5A3B, 0x5A3825, 0xF0CDB0)))
    coat, trousers = paint.fabric(dice), paint.plain(dice.pick((0x26303F, 0x1C1C1E, 0x5A5046, 0x3A4A66, 0x7A7468)))
    hair, stride = paint.plain(dice.pick((0x1E1611, 0x4A3220, 0x8A6A3A, 0x77757A))), dice.between(0.0, 0.3)
    hip, neck = tall * 0.5, tall * 0.83
    for side in (-1, 1):
        foot, knee = (side * 0.09, side * stride, 0.05), (side * 0.095, side * stride * 0.35 - 0.05, hip * 0.53)
        spot.rod((side * 0.09, 0, hip), knee, 0.085, trousers, 0.75)
        spot.rod(knee, foot, 0.062, trousers, 0.7)
        spot.ball((foot[0], foot[1] - 0.06, 0.045), (0.05, 0.13, 0.05), vehicles.RUBBER)
        hand = (side * 0.25, -side * stride * 0.8, hip * 0.95)
        elbow = (side * 0.26, -side * stride * 0.2 + 0.05, hip * 1.27)
        spot.rod((side * 0.19, 0, neck - 0.06), elbow, 0.055, coat, 0.85)
        spot.rod(elbow, hand, 0.045, coat, 0.8)
        spot.ball(hand, (0.04, 0.05, 0.06), skin)
        spot.ball((side * 0.17, 0, neck - 0.06), (0.075, 0.075, 0.075), coat)
    spot.ball((0, 0, (hip + neck) / 2), (0.21, 0.13, (neck - hip) * 0.62), coat)
    spot.rod((0, 0, hip - 0.06), (0, 0, hip + 0.2), 0.16, coat, 1.05)
    spot.rod((0, 0, neck - 0.04), (0, 0, neck + 0.08), 0.05, skin)
    spot.ball((0, -0.01, tall - 0.12), (0.078, 0.095, 0.12), skin)
    spot.ball((0, 0.02, tall - 0.085), (0.086, 0.096, 0.1), hair)
    if dice.chance(0.3):
        spot.ball((0, 0.2, (hip + neck) / 2 + 0.06), (0.16, 0.1, 0.24), paint.fabric(dice))


def tree(spot: Spot, dice: Dice, tall: float) -> None:
    """A leafy, a bare or a needle tree."""
    style = dice.whole(0, 9)
    bark = paint.bark(dice)
    if style == 0:
        branches(spot, dice, ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), (tall * 0.36, tall * 0.022, 5), bark)
    elif style <= 2:
        _conifer(spot, dice, tall, bark)
    else:
        trunk = tall * dice.between(0.25, 0.4)
        spot.rod((0, 0, 0), (0, 0, trunk), tall * 0.022, bark, 0.8)
        for _ in range(dice.whole(4, 7)):
            a, out = dice.between(0, 6.2832), dice.between(0.12, 0.28) * tall
            spot.rod(
                (0, 0, trunk * dice.between(0.8, 1.0)),
                (out * math.cos(a), out * math.sin(a), tall * dice.between(0.55, 0.85)),
                tall * 0.012,
                bark,
                0.3,
            )
        crown(
            spot,
            dice,
            (0, 0, (trunk * 0.9 + tall) / 2),
            (tall * dice.between(0.2, 0.33), (tall - trunk * 0.9) / 2),
            dice.whole(40, 90),
        )


def crown(spot: Spot, dice: Dice, centre: tuple[float, float, float], radii: tuple[float, float], number: int) -> None:
    """Sheets of leaves near the surface of an upright ellipsoid (radius across, radius up)."""
    d = dice.table(number, 6)
    rows = []
    for turn, height, deep, spin, tilt, size in d:
        up = 2.0 * height - 1.0
        flat, r = math.sqrt(1.0 - up * up), 0.45 + 0.5 * deep
        a = 6.2832 * turn
        p = (
            centre[0] + r * radii[0] * flat * math.cos(a),
            centre[1] + r * radii[0] * flat * math.sin(a),
            centre[2] + r * radii[1] * up,
        )
        axes = turned("z", 360 * spin, turned("x", 25 + 130 * tilt))
        rows.append((*spot.place(p), axes, (0.28 + 0.25 * size) * max(radii)))
    turns, half = np.array([r[3] for r in rows]), np.array([(r[4], r[4]) for r in rows])
    look = paint.leaf(dice)
    spot.sheets(np.array([r[:3] for r in rows]), turns, half, (casting.FOLIAGE, dice.between(0.09, 0.16)), look)


def _conifer(spot: Spot, dice: Dice, tall: float, bark: Paint) -> None:
    spot.rod((0, 0, 0), (0, 0, tall), tall * 0.018, bark, 0.1)
    look, rows = paint.leaf(dice), []
    for i in range(26):
        z = tall * (0.12 + 0.86 * i / 26)
        out = 0.24 * (tall - z) + 0.15
        for k in range(5):
            a = 2.4 * i + 1.2566 * k
            axes = turned("z", math.degrees(a), turned("y", dice.between(8, 30), turned("x", dice.between(-25, 25))))
            rows.append(
                (*spot.place((out * 0.5 * math.cos(a), out * 0.5 * math.sin(a), z - out * 0.15)), axes, out * 0.55)
            )
    spot.sheets(
        np.array([r[:3] for r in rows]), np.array([r[3] for r in rows]), np.array([(r[4], r[4] * 0.6) for r in rows]),
        (casting.FOLIAGE, dice.between(0.06, 0.1)), look,
    )  # fmt: skip


def branches(spot: Spot, dice: Dice, start: tuple[tuple, tuple], size: tuple[float, float, int], bark: Paint) -> None:
    """A bough from `start` (point, direction) of `size` (length, radius, generations left), and the boughs that spring from it."""
    (x, y, z), (dx, dy, dz) = start
    length, radius, left = size
    end = (x + dx * length, y + dy * length, z + dz * length)
    spot.rod((x, y, z), end, radius, bark, 0.72)
    if left == 0:
        return
    for _ in range(dice.whole(2, 3)):
        a, out = dice.between(0, 6.2832), dice.between(0.35, 0.85)
        ex, ey, ez = dx + out * math.cos(a), dy + out * math.sin(a), dz + 0.15
        n = math.sqrt(ex * ex + ey * ey + ez * ez)
        branches(
            spot, dice, (end, (ex / n, ey / n, ez / n)), (length * dice.between(0.6, 0.8), radius * 0.7, left - 1), bark
        )


def hedge(spot: Spot, dice: Dice, length: float, tall: float) -> None:
    look = paint.leaf(dice)
    spot.box((0, 0, tall / 2), (length, 0.3, tall * 0.92), Paint(paint.scaled(look.base, 0.5), look.base, 13, 0.04))
    number = int(length * 9)
    d = dice.table(number, 5)
    centres = np.array(
        [spot.place(((u - 0.5) * length, 0.5 * (v - 0.5), tall * (0.08 + 0.9 * w))) for u, v, w, _, _ in d]
    )
    axes = np.array([turned("z", 360 * s, turned("x", 40 + 100 * t)) for _, _, _, s, t in d])
    spot.sheets(centres, axes, np.full((number, 2), 0.3), (casting.FOLIAGE, 0.06), look)


def lamp_post(spot: Spot, dice: Dice) -> None:
    steel, tall = paint.plain(dice.pick((0x3A3D40, 0x6E7377, 0x2A3A30)), 0.3), dice.between(4.0, 9.0)
    arm = dice.pick((0.0, 1.2, 2.0))
    spot.rod((0, 0, 0), (0, 0, 1.0), 0.09, steel, 0.8)
    spot.rod((0, 0, 1.0), (0, 0, tall), 0.065, steel, 0.7)
    if arm:
        spot.rod((0, 0, tall - 0.05), (0, -arm, tall + 0.35), 0.035, steel)
        spot.ball((0, -arm - 0.25, tall + 0.36), (0.13, 0.4, 0.08), steel)
    else:
        spot.ball((0, 0, tall + 0.2), (0.2, 0.2, 0.24), Paint(paint.rgb(0xEFEDE4), shine=0.4))


def traffic_light(spot: Spot, dice: Dice) -> None:
    steel, tall = paint.plain(0x44484A, 0.2), dice.between(2.6, 3.4)
    spot.rod((0, 0, 0), (0, 0, tall), 0.055, steel)
    spot.box((0, -0.1, tall - 0.45), (0.3, 0.2, 0.9), paint.plain(0x141414))
    lit = dice.whole(0, 2)
    for i, code in enumerate((0xE02020, 0xF0B020, 0x20C060)):
        spot.rod(
            (0, -0.2, tall - 0.17 - 0.28 * i),
            (0, -0.22, tall - 0.17 - 0.28 * i),
            0.1,
            Paint(paint.rgb(code), glow=3.0 if i == lit else 0.0),
        )


def sign(spot: Spot, dice: Dice) -> None:
    tall, r = dice.between(2.0, 2.8), dice.between(0.28, 0.4)
    spot.rod((0, 0, 0), (0, 0, tall), 0.03, paint.plain(0x8E9296, 0.3))
    code = dice.pick((0xC01818, 0x1C4FA0, 0xF2F2EE, 0xE0B010))
    if dice.chance(0.6):
        spot.rod((0, -0.04, tall - r), (0, -0.05, tall - r), r, paint.plain(code, 0.1))
        spot.rod((0, -0.04, tall - r), (0, -0.055, tall - r), r * 0.75, paint.plain(0xF0F0EC, 0.1))
        spot.box((0, -0.056, tall - r), (r * 0.9, 0.006, r * 0.25), paint.plain(0x202020))
    else:
        spot.box(
            (0, -0.04, tall - r), (2 * r, 0.01, 1.3 * r), Paint(paint.rgb(code), paint.rgb(0xF4F4F4), WRITING, r * 0.3)
        )


def bench(spot: Spot, dice: Dice) -> None:
    plank, iron = paint.wood(dice), paint.plain(0x1E2022, 0.3)
    for i in range(4):
        spot.box((0, -0.2 + 0.11 * i, 0.44), (1.6, 0.09, 0.035), plank)
    for i in range(3):
        spot.box((0, 0.22 + 0.02 * i, 0.56 + 0.12 * i), (1.6, 0.03, 0.09), plank)
    for x in (-0.65, 0.65):
        spot.rod((x, -0.2, 0), (x, -0.2, 0.43), 0.02, iron)
        spot.rod((x, 0.2, 0), (x, 0.27, 0.85), 0.02, iron)
        spot.rod((x, -0.2, 0.42), (x, 0.22, 0.42), 0.018, iron)


def fence(spot: Spot, dice: Dice, length: float) -> None:
    """Pickets, railings, wire mesh or boards along x."""
    style, tall = dice.whole(0, 3), dice.between(0.9, 1.8)
    look = paint.wood(dice) if style in (0, 3) else paint.plain(dice.pick((0x2A3A30, 0x3A3C3E, 0x77797A)), 0.2)
    posts = max(1, round(length / 2.2))
    for i in range(posts + 1):
        x = -length / 2 + i * length / posts
        spot.rod((x, 0, 0), (x, 0, tall + 0.05), 0.035, look)
    if style == 2:
        spot.sheet((0, 0, tall / 2), (length, tall), look, small.FACING, (casting.MESH, 0.085, 0.05))
        spot.rod((-length / 2, 0, tall), (length / 2, 0, tall), 0.018, look)
        return
    for z in (0.15 * tall, 0.85 * tall):
        spot.box((0, 0.02, z), (length, 0.03, 0.06), look)
    gap, wide = ((0.14, 0.08), (0.12, 0.018), (0, 0), (0.155, 0.15))[style]
    for i in range(int(length / gap)):
        x = -length / 2 + (i + 0.5) * gap
        if style == 1:
            spot.rod((x, 0, 0.05), (x, 0, tall), wide / 2, look)
        else:
            spot.box((x, 0, tall / 2 + 0.03), (wide, 0.022, tall - dice.between(0.0, 0.03)), look)


def wire(
    spot: Spot, a: tuple[float, float, float], b: tuple[float, float, float], sag: float, radius: float, look: Paint
) -> None:
    """A hanging line in 14 pieces."""
    last = a
    for i in range(1, 15):
        k = i / 14
        point = (a[0] + (b[0] - a[0]) * k, a[1] + (b[1] - a[1]) * k, a[2] + (b[2] - a[2]) * k - 4 * sag * k * (1 - k))
        spot.rod(last, point, radius, look)
        last = point
