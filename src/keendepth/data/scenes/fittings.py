"""The shell of a room: walls with windows and doors, curtains, radiators, ceiling lamps, pictures, and what is seen outside."""

from __future__ import annotations

import math
from dataclasses import dataclass

from keendepth.data.scenes import casting, paint, small
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.textures import FACADE
from keendepth.data.scenes.world import Builder, Dice, Spot, turned

THICK = 0.18  # metres of wall, seen in the reveal of a window


@dataclass(frozen=True)
class Hole:
    """An opening in a wall: left edge, sill height, width and height in metres; a door reaches the floor."""

    left: float
    sill: float
    width: float
    height: float
    door: bool


def wall(builder: Builder, dice: Dice, spot: Spot, room: tuple[float, float], look: Paint, hole: Hole | None) -> None:
    """A wall `length` x `height` along the spot's x (0..length), its face at y = 0 towards -y."""
    length, height = room
    y = THICK / 2
    if hole is None:
        spot.box((length / 2, y, height / 2), (length + 2 * THICK, THICK, height), look)
    else:
        right, top = hole.left + hole.width, hole.sill + hole.height
        spot.box((hole.left / 2 - THICK / 2, y, height / 2), (hole.left + THICK, THICK, height), look)
        spot.box(((right + length + THICK) / 2, y, height / 2), (length + THICK - right, THICK, height), look)
        spot.box(((hole.left + right) / 2, y, (top + height) / 2), (hole.width, THICK, height - top), look)
        if hole.sill > 0:
            spot.box(((hole.left + right) / 2, y, hole.sill / 2), (hole.width, THICK, hole.sill), look)
        fill = spot.thing(Label.OPENING)
        door(fill, dice, hole) if hole.door else window(fill, dice, hole)
    if dice.chance(0.8):
        board = paint.plain(dice.pick((0xF4F2EE, 0xE6E0D6, 0x6A4A34)), 0.2)
        end = hole.left if hole and hole.door else length
        trim = spot.thing(Label.WALL)
        trim.box((end / 2, -0.006, 0.045), (end, 0.012, 0.09), board)
        if end < length:
            start = hole.left + hole.width if hole else 0.0
            trim.box(((start + length) / 2, -0.006, 0.045), (length - start, 0.012, 0.09), board)


def window(spot: Spot, dice: Dice, hole: Hole) -> None:
    white = paint.plain(dice.pick((0xF6F5F2, 0xF6F5F2, 0x5A3F2A, 0x3A3C40)), 0.2)
    x0, x1, z0, z1, y = hole.left, hole.left + hole.width, hole.sill, hole.sill + hole.height, THICK * 0.6
    bar = 0.05
    for x in (x0 + bar / 2, x1 - bar / 2):
        spot.box((x, y, (z0 + z1) / 2), (bar, 0.06, z1 - z0), white)
    for z in (z0 + bar / 2, z1 - bar / 2):
        spot.box(((x0 + x1) / 2, y, z), (x1 - x0, 0.06, bar), white)
    for i in range(1, max(1, round(hole.width / dice.between(0.5, 0.9)))):
        x = x0 + i * hole.width / max(1, round(hole.width / 0.7))
        if x < x1 - 0.1:
            spot.box((x, y, (z0 + z1) / 2), (0.045, 0.05, z1 - z0), white)
    if dice.chance(0.4):
        spot.box(((x0 + x1) / 2, y, z0 + hole.height * 0.68), (x1 - x0, 0.04, 0.03), white)
    spot.box(((x0 + x1) / 2, -0.03, z0 - 0.015), (hole.width + 0.1, 0.2, 0.03), white)
    style = dice.whole(0, 3)
    if style == 0:
        curtains(spot, dice, hole)
    elif style == 1:
        blinds(spot, dice, hole)
    if dice.chance(0.6) and hole.sill > 0.5:
        radiator(spot.thing(Label.APPLIANCE, (x0 + x1) / 2, -0.09, 0.12), dice, hole.width * 0.8, hole.sill - 0.3)
    if dice.chance(0.5):
        small.strew(spot.at((x0 + x1) / 2, 0.02), dice, (hole.width * 0.8, 0.02, z0), dice.whole(1, 3))


def door(spot: Spot, dice: Dice, hole: Hole) -> None:
    look = paint.wood(dice) if dice.chance(0.5) else paint.plain(dice.pick((0xF4F2EE, 0xE6E0D6, 0xC8CCD0)), 0.15)
    x, z = hole.left + hole.width / 2, hole.height / 2
    spot.box((x, 0.03, z), (hole.width, 0.04, hole.height), look)
    for side in (-1, 1):
        spot.box((x + side * (hole.width / 2 + 0.03), -0.008, z + 0.03), (0.07, 0.024, hole.height + 0.06), look)
    spot.box((x, -0.008, hole.height + 0.035), (hole.width + 0.13, 0.024, 0.07), look)
    rows = dice.whole(1, 3)
    for i in range(rows):
        tall = hole.height / rows
        spot.box((x, 0.008, (i + 0.5) * tall), (hole.width - 0.26, 0.012, tall - 0.22), look)
    steel = paint.metal(dice)
    spot.rod((x + hole.width * 0.42, 0.02, 1.02), (x + hole.width * 0.42, -0.05, 1.02), 0.01, steel)
    spot.rod((x + hole.width * 0.42, -0.045, 1.02), (x + hole.width * 0.42 - 0.11, -0.045, 1.02), 0.009, steel)


def curtains(spot: Spot, dice: Dice, hole: Hole) -> None:
    cloth, steel = paint.fabric(dice), paint.metal(dice)
    top, low = hole.sill + hole.height + 0.14, dice.pick((0.03, max(0.05, hole.sill - 0.2)))
    drawn = dice.between(0.1, 0.4) * hole.width
    spot.rod((hole.left - 0.3, -0.09, top), (hole.left + hole.width + 0.3, -0.09, top), 0.013, steel)
    for side in (-1, 1):
        edge = hole.left - 0.22 if side < 0 else hole.left + hole.width + 0.22
        number = max(4, round((drawn + 0.25) / 0.07))
        for i in range(number):
            x = edge - side * i * 0.07
            radius = 0.03 + 0.012 * math.sin(i * 1.9)
            spot.rod((x, -0.09 + 0.012 * math.cos(2.3 * i), low), (x, -0.09, top), radius, cloth, 0.8)


def blinds(spot: Spot, dice: Dice, hole: Hole) -> None:
    look = paint.plain(dice.pick((0xF2F0EA, 0xD8CDB8, 0xA8ACB0)), 0.1)
    low = hole.sill + hole.height * dice.between(0.0, 0.8)
    number = int((hole.sill + hole.height - low) / 0.045)
    axes = turned("x", dice.between(10, 60))
    x = hole.left + hole.width / 2
    for i in range(number):
        spot.box((x, -0.03, hole.sill + hole.height - 0.03 - i * 0.045), (hole.width + 0.04, 0.045, 0.002), look, axes)
    for side in (-0.35, 0.35):
        spot.rod(
            (x + side * hole.width, -0.03, low), (x + side * hole.width, -0.03, hole.sill + hole.height), 0.0015, look
        )


def radiator(spot: Spot, dice: Dice, w: float, h: float) -> None:
    white = paint.plain(0xF2F1ED, 0.3)
    number = max(3, int(w / 0.06))
    for i in range(number):
        x = -w / 2 + (i + 0.5) * w / number
        spot.rod((x, 0, 0.03), (x, 0, h), 0.022, white)
    for z in (0.06, h - 0.04):
        spot.rod((-w / 2, 0, z), (w / 2, 0, z), 0.018, white)
    spot.rod((w / 2, 0, 0.06), (w / 2 + 0.06, 0, -0.1), 0.009, white)


def ceiling_lamp(spot: Spot, dice: Dice, height: float, power: float) -> None:
    """Hangs from `height`; gives `power`."""
    warm = (1.0 * power, dice.between(0.78, 0.95) * power, dice.between(0.5, 0.85) * power)
    style, cord = dice.whole(0, 2), paint.plain(0x1A1A1C)
    shade = Paint(paint.rgb(dice.pick((0xFFF6E8, 0xF6EBDD))), glow=6.0)
    if style == 0:
        spot.rod((0, 0, height - 0.08), (0, 0, height), 0.2, shade, 1.1)
        z = height - 0.14
    else:
        z = height - dice.between(0.4, 0.8)
        spot.rod((0, 0, z), (0, 0, height), 0.004, cord)
        if style == 1:
            spot.ball((0, 0, z), (0.16, 0.16, 0.16), shade)
        else:
            spot.rod((0, 0, z - 0.1), (0, 0, z + 0.08), 0.22, paint.plastic(dice), 0.35, hollow=True)
            spot.ball((0, 0, z - 0.04), (0.06, 0.06, 0.06), shade)
        z -= 0.2
    spot.builder.lamp(spot.place((0, 0, z)), (0.14, 0, 0), (0, 0.14, 0), warm)


def floor_lamp(spot: Spot, dice: Dice) -> None:
    steel, h = paint.metal(dice), dice.between(1.4, 1.8)
    lit = dice.chance(0.5)
    shade = Paint(paint.rgb(dice.pick((0xF2E6CC, 0xE8E0D8, 0xB8A890))), glow=2.5 if lit else 0.0)
    if dice.chance(0.3):
        for k in range(3):
            a = 2.1 * k
            spot.rod((0.28 * math.cos(a), 0.28 * math.sin(a), 0), (0, 0, h - 0.3), 0.012, paint.wood(dice))
    else:
        spot.rod((0, 0, 0), (0, 0, 0.025), 0.14, steel)
        spot.rod((0, 0, 0), (0, 0, h - 0.1), 0.011, steel)
    spot.rod((0, 0, h - 0.3), (0, 0, h), 0.2, shade, 0.7, hollow=True)
    if lit:
        spot.builder.lamp(spot.place((0, 0, h - 0.15)), (0.08, 0, 0), (0, 0, 0.08), (0.9, 0.68, 0.4))


def hang(spot: Spot, dice: Dice, room: tuple[float, float]) -> None:
    """Pictures, a clock, a mirror, a small shelf or switches on a wall face (the spot's x is the middle, -y out)."""
    wide, _ = room
    style = dice.whole(0, 9)
    z = dice.between(1.35, 1.7)
    if style <= 5:
        number = dice.pick((1, 1, 2, 3)) if wide > 1.2 else 1
        for i in range(number):
            w, h = dice.between(0.25, min(0.9, 0.8 * wide / number)), dice.between(0.3, 0.8)
            _framed(
                spot.thing(Label.PICTURE, (i - (number - 1) / 2) * wide / number, 0, z + dice.between(-0.1, 0.1)),
                dice,
                w,
                h,
            )
    elif style == 6:
        clock = spot.thing(Label.OBJECT, 0, 0, 1.9)
        r = dice.between(0.12, 0.2)
        clock.rod((0, 0, 0), (0, -0.03, 0), r, paint.plastic(dice))
        clock.rod((0, 0, 0), (0, -0.032, 0), r * 0.88, paint.plain(0xF6F4EE))
        for turn, long in ((dice.between(0, 360), 0.5), (dice.between(0, 360), 0.75)):
            axes = turned("y", turn)
            clock.box(
                [0.4 * r * long * a for a in axes[2][:1]] + [-0.034, 0.4 * r * long * axes[2][2]],
                (0.008, 0.003, r * long),
                paint.plain(0x111111),
                axes,
            )
    elif style == 7:
        mirror = spot.thing(Label.PICTURE, 0, 0, z)
        w, h = dice.between(0.35, 0.7), dice.between(0.5, 1.0)
        mirror.box((0, -0.01, 0), (w, 0.02, h), paint.wood(dice))
        mirror.sheet((0, -0.0205, 0), (w - 0.06, h - 0.06), Paint(paint.rgb(0x282828), mirror=0.88), small.FACING)
    else:
        for i in range(dice.whole(1, 2)):
            w = min(wide * 0.9, dice.between(0.5, 1.2))
            rack = spot.thing(Label.STORAGE, 0, -0.11, 1.25 + 0.38 * i)
            rack.box((0, 0, 0), (w, 0.22, 0.024), paint.wood(dice))
            small.shelf_load(rack.at(0, 0, 0.012), dice, (w, 0.22, 0.34))
    if dice.chance(0.5):
        plug = spot.thing(Label.OBJECT, dice.between(-wide / 2, wide / 2), -0.005, dice.pick((0.3, 0.3, 1.1)))
        plug.box((0, 0, 0), (0.08, 0.012, 0.08), paint.plain(0xF6F5F0, 0.2))


def _framed(spot: Spot, dice: Dice, w: float, h: float) -> None:
    deep = dice.between(0.012, 0.035)
    spot.box((0, -deep / 2, 0), (w, deep, h), paint.wood(dice) if dice.chance(0.7) else paint.metal(dice))
    rim = dice.between(0.012, 0.04)
    spot.sheet((0, -deep - 0.0005, 0), (w - 2 * rim, h - 2 * rim), paint.plain(0xF0EDE6), small.FACING)
    if w > 0.3:
        rim += dice.pick((0.0, 0.04, 0.07))
    spot.sheet((0, -deep - 0.001, 0), (w - 2 * rim, h - 2 * rim), paint.picture(dice), small.FACING)


def outside(builder: Builder, dice: Dice, storey: float) -> None:
    """What the windows look out on: ground far below or near, houses, tree crowns."""
    land = builder.spot(Label.GRASS, 0, 0, -storey)
    land.sheet((0, 0, 0), (400, 400), paint.grass(dice))
    for _ in range(dice.whole(4, 9)):
        a, far = dice.between(0, 2 * math.pi), dice.between(14, 50)
        house = builder.spot(Label.BUILDING, far * math.cos(a), far * math.sin(a), -storey, dice.between(0, 90))
        w, h = dice.between(7, 16), dice.between(5, 18)
        look = Paint(
            paint.rgb(dice.pick(paint.PLASTERS + paint.BRICKS)), paint.rgb(0x2A3038), FACADE, 3.0, 0.8, tint=0.2
        )
        house.box((0, 0, h / 2), (w, w * 0.7, h), look)
    for _ in range(dice.whole(3, 8)):
        a, far = dice.between(0, 2 * math.pi), dice.between(9, 25)
        tree = builder.spot(Label.TREE, far * math.cos(a), far * math.sin(a), -storey)
        h, look = dice.between(4, 9), paint.leaf(dice)
        tree.rod((0, 0, 0), (0, 0, h * 0.6), 0.18, paint.bark(dice), 0.6)
        for _ in range(7):
            axes = turned("z", dice.between(0, 180), turned("x", dice.between(0, 180)))
            p = (dice.between(-1.2, 1.2), dice.between(-1.2, 1.2), h * dice.between(0.5, 1.0))
            tree.sheet(p, (3.2, 3.2), look, axes, (casting.FOLIAGE, 0.3))
