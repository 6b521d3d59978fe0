"""Small things of a room: what lies on tables and shelves, lamps, cables and pot plants."""

from __future__ import annotations

import math

import numpy as np

from keendepth.data.scenes import casting, paint
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.textures import WRITING
from keendepth.data.scenes.world import Dice, Spot, turned

FACING = turned("x", 90.0)  # a sheet that faces -y, upright

# What stands on a surface: the function and the room it needs across (m).


def mug(spot: Spot, dice: Dice) -> None:
    look, r, h = paint.ceramic(dice), dice.between(0.035, 0.045), dice.between(0.07, 0.11)
    spot.rod((0, 0, 0), (0, 0, h), r, look, dice.between(1.0, 1.15), hollow=True)
    spot.rod((0, 0, 0.004), (0, 0, 0.006), r * 0.98, look)
    for a, b in (
        ((r, h * 0.8), (r + 0.03, h * 0.7)),
        ((r + 0.03, h * 0.7), (r + 0.028, h * 0.35)),
        ((r + 0.028, h * 0.35), (r, h * 0.2)),
    ):
        spot.rod((a[0], 0, a[1]), (b[0], 0, b[1]), 0.005, look)


def bottle(spot: Spot, dice: Dice) -> None:
    look = Paint(
        paint.rgb(dice.pick((0x1E3A24, 0x3A2412, 0xB8C8C4, 0x9C2A20, 0x20508A))), shine=0.8, gloss=6.0, mirror=0.05
    )
    r, h = dice.between(0.03, 0.045), dice.between(0.2, 0.32)
    spot.rod((0, 0, 0), (0, 0, h * 0.6), r, look)
    spot.rod((0, 0, h * 0.6), (0, 0, h * 0.75), r, look, 0.35)
    spot.rod((0, 0, h * 0.75), (0, 0, h), r * 0.35, look)
    label = Paint(paint.rgb(0xEDE6D6), paint.rgb(dice.pick(paint.PLASTICS)), WRITING, 0.02)
    spot.rod((0, 0, h * 0.2), (0, 0, h * 0.45), r * 1.01, label, hollow=True)


def books(spot: Spot, dice: Dice) -> None:
    z = 0.0
    for _ in range(dice.whole(1, 5)):
        w, d, t = dice.between(0.13, 0.24), dice.between(0.18, 0.3), dice.between(0.012, 0.045)
        axes = turned("z", dice.between(-25, 25))
        spot.box((0, 0, z + t / 2), (w, d, t), Paint(paint.rgb(dice.pick(paint.SPINES)), tint=0.6), axes)
        spot.box((0.004, 0, z + t / 2), (w, d - 0.008, t - 0.006), paint.plain(0xEDE7D8), axes)
        z += t


def bowl(spot: Spot, dice: Dice) -> None:
    look, r = paint.ceramic(dice), dice.between(0.09, 0.16)
    spot.rod((0, 0, 0.005), (0, 0, r * 0.5), r * 0.5, look, 2.0, hollow=True)
    spot.rod((0, 0, 0), (0, 0, 0.012), r * 0.5, look)
    fruit = paint.plain(dice.pick((0xC0392B, 0xD9A520, 0x7A9A2A, 0xD9782A)), 0.2)
    for i in range(dice.whole(0, 5)):
        a = i * 2.4 + dice.between(0, 1)
        spot.ball((r * 0.4 * math.cos(a), r * 0.4 * math.sin(a), r * 0.42 + 0.012 * i), (0.036, 0.036, 0.034), fruit)


def vase(spot: Spot, dice: Dice) -> None:
    look, r, h = paint.ceramic(dice), dice.between(0.04, 0.07), dice.between(0.14, 0.3)
    spot.rod((0, 0, 0), (0, 0, h * 0.5), r * 0.6, look, 1.6)
    spot.rod((0, 0, h * 0.5), (0, 0, h), r * 0.96, look, 0.5, hollow=True)
    stalk, bloom = paint.leaf(dice), paint.plain(dice.pick((0xD94F70, 0xE8C040, 0xF4F0F0, 0x9A60B0, 0xD9602A)))
    flowers = spot.thing(Label.PLANT)
    for _ in range(dice.whole(0, 9)):
        a, out, up = dice.between(0, 6.28), dice.between(0.02, 0.14), h + dice.between(0.1, 0.3)
        tip = (out * math.cos(a), out * math.sin(a), up)
        flowers.rod((0, 0, h * 0.7), tip, 0.0022, stalk)
        flowers.ball(tip, (0.02, 0.02, 0.014), bloom)


def case(spot: Spot, dice: Dice) -> None:
    """A box, a tin, a parcel."""
    w, d, h = dice.between(0.06, 0.26), dice.between(0.06, 0.2), dice.between(0.04, 0.22)
    look = dice.pick((Paint(paint.rgb(0xB08D5E), paint.rgb(0x8A6A42), 1, 0.1), paint.plastic(dice), paint.fabric(dice)))
    spot.box((0, 0, h / 2), (w, d, h), look, turned("z", dice.between(-40, 40)))
    if dice.chance(0.5):
        text = Paint(paint.rgb(0xF0EDE4), paint.rgb(0x303030), WRITING, dice.between(0.015, 0.03))
        spot.box((0, 0, h / 2), (w * 1.002, d * 0.6, h * 0.7), text)


def frame(spot: Spot, dice: Dice) -> None:
    w, h = dice.between(0.1, 0.2), dice.between(0.13, 0.25)
    axes = turned("z", dice.between(-30, 30), turned("x", -12.0))
    spot.box((0, 0, h / 2), (w, 0.012, h), paint.wood(dice), axes)
    front = (-axes[1][0] * 0.0065, -axes[1][1] * 0.0065, h / 2 - axes[1][2] * 0.0065)
    spot.sheet(front, (w - 0.03, h - 0.03), paint.picture(dice), (axes[0], axes[2], axes[1]))


def laptop(spot: Spot, dice: Dice) -> None:
    grey = paint.plastic(dice, (0x8E8E93, 0x202124, 0xC8C8CC))
    spot.box((0, 0, 0.009), (0.33, 0.23, 0.016), grey)
    axes = turned("x", -dice.between(5, 30))
    p = (0, 0.115 + 0.11 * axes[2][1], 0.017 + 0.11 * axes[2][2])
    spot.box(p, (0.33, 0.008, 0.22), grey, axes)
    spot.sheet((p[0], p[1] - 0.005, p[2]), (0.31, 0.2), paint.screen(dice), (axes[0], axes[2], axes[1]))


def table_lamp(spot: Spot, dice: Dice) -> None:
    base, h = paint.ceramic(dice), dice.between(0.3, 0.5)
    spot.rod((0, 0, 0), (0, 0, 0.02), 0.07, base)
    spot.rod((0, 0, 0), (0, 0, h * 0.7), 0.012, base)
    shade = Paint(paint.rgb(dice.pick((0xF0E2C4, 0xE8D8C8, 0xC8D4D8, 0xD8A878))), glow=dice.pick((0.0, 1.5, 3.0)))
    spot.rod((0, 0, h * 0.6), (0, 0, h), 0.13, shade, 0.65, hollow=True)
    if shade.glow:
        spot.builder.lamp(spot.place((0, 0, h * 0.8)), (0.05, 0, 0), (0, 0, 0.05), (0.35, 0.26, 0.15))


def desk_lamp(spot: Spot, dice: Dice) -> None:
    look = paint.plastic(dice)
    spot.rod((0, 0, 0), (0, 0, 0.02), 0.08, look)
    spot.rod((0, 0, 0.02), (0.08, 0, 0.28), 0.006, look)
    spot.rod((0.08, 0, 0.28), (-0.14, 0, 0.46), 0.006, look)
    spot.rod((-0.14, 0, 0.47), (-0.2, 0, 0.38), 0.025, look, 2.6, hollow=True)


def monitor(spot: Spot, dice: Dice) -> None:
    w = dice.between(0.45, 0.7)
    h, black = w * 0.6, paint.plain(dice.pick((0x151517, 0x2A2A2E, 0xC8C8CC)), 0.2)
    spot.box((0, 0, 0.006), (0.24, 0.18, 0.012), black)
    spot.rod((0, 0.04, 0), (0, 0.04, 0.12 + h / 2), 0.018, black)
    spot.box((0, 0.01, 0.12 + h / 2), (w, 0.03, h), black)
    spot.sheet((0, -0.0055, 0.12 + h / 2), (w - 0.02, h - 0.02), paint.screen(dice), FACING)


def pot_plant(spot: Spot, dice: Dice) -> None:
    plant(spot, dice, dice.between(0.2, 0.4))


THINGS = (
    (mug, 0.1), (bottle, 0.1), (books, 0.3), (bowl, 0.3), (vase, 0.16), (case, 0.25), (frame, 0.2), (laptop, 0.36), (table_lamp, 0.28),
    (pot_plant, 0.3), (books, 0.3), (case, 0.2), (mug, 0.1), (bottle, 0.1),
)  # fmt: skip


def strew(spot: Spot, dice: Dice, room: tuple[float, float, float], number: int) -> None:
    """Lay `number` things on a surface w x d at height z, where there is room."""
    w, d, z = room
    taken: list[tuple[float, float, float]] = []
    for _ in range(number):
        make, size = dice.pick(THINGS)
        x, y = dice.between(-w / 2, w / 2), dice.between(-d / 2, d / 2)
        yaw = dice.between(-30, 30)
        if all(math.hypot(x - a, y - b) > (size + c) / 2 for a, b, c in taken):
            label = Label.PLANT if make is pot_plant else (Label.LAMP if make is table_lamp else Label.OBJECT)
            make(spot.thing(label, x, y, z, yaw), dice)
            taken.append((x, y, size))


def shelf_load(spot: Spot, dice: Dice, room: tuple[float, float, float]) -> None:
    """Fill one shelf w x d x h with books and a few other things."""
    w, d, h = room
    x = -w / 2 + 0.01
    while x < w / 2 - 0.05:
        style = dice.whole(0, 9)
        if style <= 4 and h > 0.2:
            x = _row_of_books(spot.thing(Label.OBJECT), dice, x, min(w / 2, x + dice.between(0.15, 0.7)), (d, h))
        elif style <= 8:
            make, size = dice.pick(THINGS[:7])
            if x + size < w / 2 and h > 0.3:
                make(spot.thing(Label.OBJECT, x + size / 2, 0), dice)
            x += size
        x += dice.between(0.0, 0.12)


def _row_of_books(spot: Spot, dice: Dice, x: float, end: float, room: tuple[float, float]) -> float:
    d, h = room
    tall = dice.between(0.6, 0.95) * min(h, 0.34)
    look = [Paint(paint.rgb(dice.pick(paint.SPINES)), shine=0.1, tint=0.6) for _ in range(4)]
    while True:
        thick = dice.between(0.012, 0.05)
        if x + thick > end:
            return x
        high, deep = tall * dice.between(0.78, 1.0), min(d * 0.9, dice.between(0.13, 0.2))
        lean = turned("y", dice.pick((0.0, 0.0, 0.0, 0.0, 0.0, 6.0)))
        book = spot.thing(Label.OBJECT)
        book.box((x + thick / 2, -d / 2 + 0.02 + deep / 2, high / 2), (thick, deep, high), dice.pick(look), lean)
        x += thick + 0.001


def cable(
    spot: Spot, dice: Dice, a: tuple[float, float, float], b: tuple[float, float, float], radius: float = 0.004
) -> None:
    """A cable hanging from a to b in `steps` pieces."""
    look = paint.plain(dice.pick((0x151517, 0xE8E8E8, 0x2A2A2E)), 0.2)
    sag, sway = dice.between(0.05, 0.35), dice.between(-0.1, 0.1)
    steps, last = 10, a
    for i in range(1, steps + 1):
        k = i / steps
        bow = 4 * k * (1 - k)
        z = max(radius, a[2] + (b[2] - a[2]) * k - sag * bow)
        point = (a[0] + (b[0] - a[0]) * k + sway * bow, a[1] + (b[1] - a[1]) * k, z)
        spot.rod(last, point, radius, look)
        last = point


def plant(spot: Spot, dice: Dice, h: float) -> None:
    """A pot plant h metres high: a bush on stalks, upright blades, or arching fronds."""
    r = 0.13 * h + 0.05
    pot = 0.22 * h + 0.05
    spot.rod((0, 0, 0), (0, 0, pot), r * 0.75, paint.ceramic(dice), 1.33, hollow=True)
    spot.rod((0, 0, 0), (0, 0, pot * 0.9), r * 0.8, paint.plain(0x3A2A20))
    style, look = dice.whole(0, 2), paint.leaf(dice)
    if style == 0:
        _bush(spot, dice, (pot, h, r), look)
    else:
        _fronds(spot, dice, (pot, h), look, upright=style == 1)


def _leaves(spot: Spot, centres: np.ndarray, out: np.ndarray, sizes: tuple[np.ndarray, float], look: Paint) -> None:
    """Leaves at local `centres` that point along `out` [n 3]; sizes: length [n] and the ratio of width to length."""
    turn = np.array([[spot.c, spot.s, 0], [-spot.s, spot.c, 0], [0, 0, 1.0]])
    x = out / np.sqrt((out * out).sum(1, keepdims=True))
    y = np.stack([-x[:, 1], x[:, 0], 0.15 + 0 * x[:, 0]], 1)
    y -= (x * y).sum(1, keepdims=True) * x
    y /= np.sqrt((y * y).sum(1, keepdims=True)) + 1e-9
    z = np.stack(
        [
            x[:, 1] * y[:, 2] - x[:, 2] * y[:, 1],
            x[:, 2] * y[:, 0] - x[:, 0] * y[:, 2],
            x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0],
        ],
        1,
    )
    axes = np.stack([x, y, z], 1) @ turn
    place = centres @ turn + np.array([spot.x, spot.y, spot.z])
    spot.sheets(place, axes, np.stack([sizes[0] / 2, sizes[0] * sizes[1] / 2], 1), (casting.LEAF,), look)


def _bush(spot: Spot, dice: Dice, room: tuple[float, float, float], look: Paint) -> None:
    pot, h, _ = room
    number = dice.whole(40, 140)
    wide = dice.between(0.2, 0.32) * h + 0.04
    d = dice.table(number, 6)
    turn, up = d[:, 0] * 2 * math.pi, d[:, 1]
    out = wide * np.sqrt(d[:, 2]) * np.sqrt(np.maximum(0.05, 1 - (2 * up - 1) ** 2))
    cos, sin = np.array([math.cos(a) for a in turn]), np.array([math.sin(a) for a in turn])
    low = pot + 0.25 * (h - pot)
    centres = np.stack([out * cos, out * sin, low + up * (h - low)], 1)
    aim = np.stack([cos, sin, 0.9 * d[:, 3] - 0.4], 1)
    length = (0.05 + 0.1 * d[:, 4]) * (0.5 + h)
    _leaves(spot, centres, aim, (length, dice.between(0.35, 0.7)), look)
    stalk = paint.bark(dice)
    for i in range(dice.whole(2, 7)):
        spot.rod((0, 0, pot * 0.8), tuple(centres[i]), 0.004 + 0.006 * h, stalk, 0.4)


def _fronds(spot: Spot, dice: Dice, room: tuple[float, float], look: Paint, upright: bool) -> None:
    """Strips of four leaves, each bent a little further."""
    pot, h = room
    centres, aims, lengths = [], [], []
    for _ in range(dice.whole(7, 18)):
        a, steep = dice.between(0, 6.2832), dice.between(1.25, 1.5) if upright else dice.between(0.7, 1.4)
        p = [0.02 * math.cos(a), 0.02 * math.sin(a), pot * 0.9]
        step = (h - pot) * dice.between(0.25, 0.36)
        bend = dice.between(0.0, 0.08) if upright else dice.between(0.25, 0.6)
        for k in range(4):
            aim = (math.cos(a) * math.cos(steep), math.sin(a) * math.cos(steep), math.sin(steep))
            centres.append([p[j] + aim[j] * step * 0.5 for j in range(3)])
            aims.append(aim)
            lengths.append(step * 1.35 * (1.0 if k < 3 else 0.9))
            p = [p[j] + aim[j] * step * 0.9 for j in range(3)]
            steep -= bend * (k + 1) * 0.7
    _leaves(spot, np.array(centres), np.array(aims), (np.array(lengths), dice.between(0.1, 0.22)), look)
