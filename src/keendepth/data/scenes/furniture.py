"""Furniture from unit solids; each function lays one piece on a spot: origin on the floor, front towards -y, w x d x h metres."""

from __future__ import annotations

import math

from keendepth.data.scenes import casting, paint, small
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.world import Dice, Spot, turned


def _cushion(
    spot: Spot, centre: tuple[float, float, float], size: tuple[float, float, float], cloth: Paint, tilt: float = 0.0
) -> None:
    """A slab with rounded long edges, leaning back by `tilt` degrees."""
    axes = turned("x", -tilt)
    w, d, h = size
    r = 0.45 * min(d, h)
    spot.box(centre, (w, d - 2 * r if d > h else d, h - 2 * r if h >= d else h), cloth, axes)
    for side in (-1, 1):
        off = side * (max(d, h) / 2 - r)
        move = axes[1] if d > h else axes[2]
        p = [centre[k] + move[k] * off for k in range(3)]
        spot.rod((p[0] - w / 2, p[1], p[2]), (p[0] + w / 2, p[1], p[2]), r, cloth)


def sofa(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    cloth = paint.fabric(dice)
    foot = paint.wood(dice)
    seat, arm, back = dice.between(0.4, 0.46), dice.between(0.1, 0.22), dice.between(0.14, 0.22)
    legs = dice.between(0.06, 0.14)
    spot.box((0, 0, (legs + seat - 0.14) / 2 + legs / 2), (w, d, seat - 0.14 - legs), cloth)
    for x in (-w / 2 + 0.08, w / 2 - 0.08):
        for y in (-d / 2 + 0.08, d / 2 - 0.08):
            spot.rod((x, y, legs), (x, y, 0), 0.028, foot, 0.6)
    inner = w - 2 * arm
    number = max(1, round(inner / 0.7))
    for i in range(number):
        x = -inner / 2 + (i + 0.5) * inner / number
        _cushion(spot, (x, -back / 2, seat - 0.06), (inner / number - 0.012, d - back - 0.03, 0.15), cloth)
        _cushion(
            spot,
            (x, d / 2 - back / 2, (seat + h) / 2),
            (inner / number - 0.012, back, h - seat),
            cloth,
            dice.between(4, 12),
        )
    top = dice.between(0.55, 0.66)
    for side in (-1, 1):
        x = side * (w - arm) / 2
        spot.box((x, 0, (legs + top) / 2), (arm, d, top - legs), cloth)
        if arm > 0.15:
            spot.rod((x, -d / 2, top), (x, d / 2, top), arm / 2, cloth)
    for _ in range(dice.whole(0, 3)):
        pillow, x = paint.fabric(dice), dice.between(-inner / 2 + 0.2, inner / 2 - 0.2)
        axes = turned("z", dice.between(-20, 20), turned("x", -dice.between(10, 25)))
        spot.thing(Label.OBJECT).ball((x, d / 2 - back - 0.1, seat + 0.22), (0.24, 0.08, 0.2), pillow, axes)


def chair(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    frame = paint.wood(dice) if dice.chance(0.65) else paint.metal(dice)
    seat_paint = frame if dice.chance(0.5) else paint.fabric(dice)
    seat, r = dice.between(0.43, 0.48), dice.between(0.010, 0.022)
    splay = dice.between(0.0, 0.05)
    x, y = w / 2 - r, d / 2 - r
    for side in (-1, 1):
        spot.rod((side * (x + splay), -y - splay, 0), (side * x, -y, seat), r, frame)
        spot.rod((side * (x + splay), y + splay, 0), (side * x, y, seat), r, frame)
        spot.rod((side * x, y, seat), (side * x, y + 0.05, h), r, frame)
    spot.box((0, 0, seat), (w, d, dice.between(0.02, 0.06)), seat_paint)
    _chair_back(spot, dice, (x, y, seat, h), r, seat_paint)
    if dice.chance(0.35):
        z = dice.between(0.12, 0.25)
        for side in (-1, 1):
            spot.rod((side * x, -y, z), (side * x, y, z), r * 0.7, frame)
    if dice.chance(0.2):
        for side in (-1, 1):
            spot.rod((side * x, -y, seat), (side * x, -y, seat + 0.2), r, frame)
            spot.rod((side * x, -y - 0.02, seat + 0.2), (side * x, y + 0.03, seat + 0.22), r, frame)


def _chair_back(spot: Spot, dice: Dice, corner: tuple[float, float, float, float], r: float, look: Paint) -> None:
    x, y, seat, h = corner
    style = dice.whole(0, 3)
    axes = turned("x", -5.0)
    if style == 0:  # slats across
        for i in range(dice.whole(2, 4)):
            spot.box((0, y + 0.04, h - 0.06 - 0.11 * i), (2 * x, 0.018, 0.06), look, axes)
    elif style == 1:  # bars upright
        number = dice.whole(3, 8)
        spot.rod((-x, y + 0.05, h - 0.02), (x, y + 0.05, h - 0.02), r, look)
        for i in range(number):
            p = -x + (i + 1) * 2 * x / (number + 1)
            spot.rod((p, y, seat), (p, y + 0.05, h - 0.02), r * 0.6, look)
    elif style == 2:
        spot.box((0, y + 0.03, (seat + h) / 2 + 0.08), (2 * x, 0.03, (h - seat) * 0.65), look, axes)
    else:  # a lattice or a cane panel
        cut = (casting.GRID, dice.between(0.02, 0.05), dice.between(0.2, 0.4))
        spot.sheet((0, y + 0.04, (seat + h) / 2 + 0.06), (2 * x, (h - seat) * 0.7), look, turned("x", 85.0), cut)
        spot.rod((-x, y + 0.05, h - 0.01), (x, y + 0.05, h - 0.01), r, look)


def office_chair(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    black, cloth = paint.plastic(dice, (0x202124, 0x8E8E93, 0xF4F4F2)), paint.fabric(dice)
    for i in range(5):
        a = math.radians(72 * i + dice.between(0, 10))
        p = (0.3 * math.cos(a), 0.3 * math.sin(a))
        spot.rod((0, 0, 0.12), (*p, 0.08), 0.022, black, 0.7)
        spot.ball((*p, 0.03), (0.03, 0.03, 0.03), black)
    spot.rod((0, 0, 0.1), (0, 0, 0.45), 0.025, black)
    _cushion(spot, (0, 0, 0.48), (w * 0.75, d * 0.75, 0.09), cloth)
    spot.rod((0, d * 0.2, 0.45), (0, d * 0.42, 0.7), 0.02, black)
    _cushion(spot, (0, d * 0.4, (h + 0.62) / 2), (w * 0.7, 0.08, h - 0.62), cloth, 8)
    for side in (-1, 1):
        spot.rod((side * w * 0.36, 0, 0.46), (side * w * 0.42, 0, 0.66), 0.015, black)
        spot.box((side * w * 0.42, 0, 0.67), (0.06, 0.26, 0.03), black)


def table(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    top, leg = paint.wood(dice), paint.wood(dice) if dice.chance(0.5) else paint.metal(dice)
    thick, r = dice.between(0.02, 0.045), dice.between(0.015, 0.04)
    if w < 1.3 and abs(w - d) < 0.35 and dice.chance(0.4):
        spot.rod((0, 0, h - thick), (0, 0, h), w / 2, top)
        spot.rod((0, 0, 0.03), (0, 0, h - thick), 0.04, leg)
        spot.rod((0, 0, 0), (0, 0, 0.03), w / 4, leg)
    else:
        spot.box((0, 0, h - thick / 2), (w, d, thick), top)
        lean = dice.pick((0.0, 0.0, 0.06))
        for sx in (-1, 1):
            for sy in (-1, 1):
                x, y = sx * (w / 2 - 0.06), sy * (d / 2 - 0.06)
                spot.rod((x + sx * lean, y + sy * lean, 0), (x, y, h - thick), r, leg, dice.pick((1.0, 1.0, 1.4)))
        if dice.chance(0.6):
            for sy in (-1, 1):
                spot.box((0, sy * (d / 2 - 0.06), h - thick - 0.04), (w - 0.14, 0.02, 0.07), leg)
    small.strew(spot, dice, (w * 0.8, d * 0.75, h), dice.whole(1, 9))


def desk(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    top, leg = paint.wood(dice), paint.metal(dice)
    spot.box((0, 0, h - 0.0125), (w, d, 0.025), top)
    for sx in (-1, 1):
        for sy in (-1, 1):
            spot.rod(
                (sx * (w / 2 - 0.05), sy * (d / 2 - 0.05), 0),
                (sx * (w / 2 - 0.05), sy * (d / 2 - 0.05), h - 0.02),
                0.018,
                leg,
            )
    if dice.chance(0.6):
        drawers(spot.at(dice.pick((-1, 1)) * (w / 2 - 0.25), 0), dice, 0.4, d * 0.9, h - 0.06)
    x = dice.between(-w * 0.15, w * 0.15)
    small.monitor(spot.thing(Label.APPLIANCE, x, d * 0.2, h, dice.between(-15, 15)), dice)
    keys = spot.thing(Label.OBJECT, x + 0.02, -d * 0.18, h, dice.between(-6, 6))
    keys.box((0, 0, 0.012), (0.43, 0.14, 0.02), Paint(paint.rgb(0x2A2A2E), paint.rgb(0x77777A), 7, 0.019))
    keys.ball((0.32, 0, 0.012), (0.03, 0.05, 0.02), paint.plastic(dice))
    small.cable(spot.thing(Label.WIRE), dice, (x, d * 0.3, h), (x + dice.between(-0.5, 0.5), d * 0.48, 0.02))
    if dice.chance(0.5):
        small.desk_lamp(spot.thing(Label.LAMP, -w * 0.38, d * 0.25, h, dice.between(-180, 180)), dice)
    small.strew(spot, dice, (w * 0.9, d * 0.8, h), dice.whole(2, 7))


def drawers(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    body, knob = paint.wood(dice), paint.metal(dice)
    front = body if dice.chance(0.6) else paint.plain(dice.pick(paint.WALLS), 0.1)
    feet = dice.pick((0.0, 0.05, 0.14))
    spot.box((0, 0, (h + feet) / 2), (w, d, h - feet), body)
    for x in (-w / 2 + 0.04, w / 2 - 0.04):
        for y in (-d / 2 + 0.04, d / 2 - 0.04):
            spot.rod((x, y, 0), (x, y, feet + 0.01), 0.018, body)
    rows, columns = max(1, round((h - feet) / dice.between(0.18, 0.3))), max(1, round(w / dice.between(0.45, 0.9)))
    tall, wide = (h - feet - 0.03) / rows, (w - 0.03) / columns
    handle = dice.whole(0, 2)
    for i in range(rows):
        for j in range(columns):
            x, z = -w / 2 + 0.015 + (j + 0.5) * wide, feet + 0.015 + (i + 0.5) * tall
            spot.box((x, -d / 2 - 0.008, z), (wide - 0.012, 0.018, tall - 0.012), front)
            if handle == 0:
                spot.ball((x, -d / 2 - 0.03, z), (0.016, 0.016, 0.016), knob)
            elif handle == 1:
                spot.rod((x - 0.06, -d / 2 - 0.035, z), (x + 0.06, -d / 2 - 0.035, z), 0.006, knob)


def dresser(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    drawers(spot, dice, w, d, h)
    small.strew(spot, dice, (w * 0.85, d * 0.6, h), dice.whole(2, 8))


def shelves(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    board = paint.wood(dice) if dice.chance(0.6) else paint.plain(dice.pick(paint.WALLS), 0.1)
    thick, number = dice.between(0.015, 0.03), max(2, round(h / dice.between(0.28, 0.42)))
    bare = dice.chance(0.25)  # a rack of thin posts instead of boards
    post = paint.metal(dice)
    for side in (-1, 1):
        if bare:
            for y in (-d / 2 + 0.01, d / 2 - 0.01):
                spot.rod((side * (w / 2 - 0.01), y, 0), (side * (w / 2 - 0.01), y, h), 0.009, post)
        else:
            spot.box((side * (w - thick) / 2, 0, h / 2), (thick, d, h), board)
    if not bare and dice.chance(0.7):
        spot.box((0, d / 2 - 0.004, h / 2), (w, 0.006, h), board)
    for i in range(number + 1):
        z = 0.04 + i * (h - 0.04 - thick) / number
        spot.box((0, 0, z + thick / 2), (w - 2 * thick, d, thick), board)
        if i < number:
            small.shelf_load(spot.at(0, 0, z + thick), dice, (w - 2 * thick, d, (h - 0.04 - thick) / number - thick))


def wardrobe(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    body, knob = paint.wood(dice) if dice.chance(0.5) else paint.plain(dice.pick(paint.WALLS), 0.1), paint.metal(dice)
    spot.box((0, 0, h / 2 + 0.03), (w, d, h - 0.06), body)
    spot.box((0, 0.02, 0.03), (w - 0.04, d - 0.06, 0.06), body)
    number = max(2, round(w / 0.5))
    mirror = Paint(paint.rgb(0x303030), mirror=0.85) if dice.chance(0.2) else None
    for i in range(number):
        x = -w / 2 + (i + 0.5) * w / number
        look = mirror if mirror and i == 0 else body
        spot.box((x, -d / 2 - 0.01, h / 2 + 0.03), (w / number - 0.008, 0.02, h - 0.1), look)
        side = 1 if i % 2 == 0 else -1
        x += side * (w / number / 2 - 0.05)
        spot.rod((x, -d / 2 - 0.04, h * 0.45), (x, -d / 2 - 0.04, h * 0.45 + 0.15), 0.006, knob)
    if dice.chance(0.4):
        small.strew(spot, dice, (w * 0.8, d * 0.6, h), dice.whole(1, 3))


def bed(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    """The head lies at +y; h is the height of the head board."""
    frame, sheet, duvet = paint.wood(dice), paint.plain(dice.pick((0xF2F0EC, 0xE4E0D8, 0xD5DCE2))), paint.fabric(dice)
    top = dice.between(0.45, 0.6)
    spot.box((0, 0, 0.22), (w, d, 0.14), frame)
    for x in (-w / 2 + 0.05, w / 2 - 0.05):
        for y in (-d / 2 + 0.05, d / 2 - 0.05):
            spot.rod((x, y, 0), (x, y, 0.2), 0.03, frame)
    _cushion(spot, (0, -0.02, (0.29 + top) / 2), (w - 0.06, d - 0.08, top - 0.29), sheet)
    reach = d * dice.between(0.55, 0.72)
    spot.box((0, -d / 2 + reach / 2, top - 0.05), (w + 0.05, reach, 0.16), duvet)
    spot.rod((-w / 2 - 0.025, -d / 2 + reach, top - 0.01), (w / 2 + 0.025, -d / 2 + reach, top - 0.01), 0.055, duvet)
    if dice.chance(0.3):
        number = dice.whole(5, 12)
        for i in range(number):
            x = -w / 2 + 0.02 + i * (w - 0.04) / (number - 1)
            spot.rod((x, d / 2, 0.2), (x, d / 2, h), 0.014, frame)
        spot.rod((-w / 2, d / 2, h), (w / 2, d / 2, h), 0.02, frame)
    else:
        spot.box((0, d / 2, h / 2), (w + 0.04, 0.05, h), frame if dice.chance(0.5) else duvet)
    for i in range(2 if w > 1.2 else 1):
        x = 0.0 if w <= 1.2 else (i - 0.5) * w * 0.48
        axes = turned("z", dice.between(-8, 8), turned("x", dice.between(10, 30)))
        spot.thing(Label.OBJECT).ball((x, d / 2 - 0.3, top + 0.08), (0.33, 0.22, 0.1), sheet, axes)


def media(spot: Spot, dice: Dice, w: float, d: float, h: float) -> None:
    """A low cabinet with a television."""
    drawers(spot, dice, w, d, h)
    wide = min(w * 0.95, dice.between(0.8, 1.4))
    tv = spot.thing(Label.APPLIANCE, dice.between(-0.1, 0.1), 0.05, h)
    tv.box((0, 0, 0.06 + wide * 0.28), (wide, 0.03, wide * 0.56), paint.plain(0x101012, 0.3))
    tv.sheet((0, -0.0155, 0.06 + wide * 0.28), (wide - 0.03, wide * 0.56 - 0.03), paint.screen(dice), turned("x", 90.0))
    for x in (-wide * 0.3, wide * 0.3):
        tv.rod((x, 0, 0.06), (x, -0.1, 0), 0.008, paint.plain(0x101012))
        tv.rod((x, 0, 0.06), (x, 0.1, 0), 0.008, paint.plain(0x101012))
    small.strew(spot.at(0, -d * 0.25), dice, (w * 0.9, d * 0.25, h), dice.whole(0, 3))
    small.cable(spot.thing(Label.WIRE), dice, (0, d * 0.4, h + 0.1), (w * 0.6, d * 0.45, 0.01))
