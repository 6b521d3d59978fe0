"""Streets: town, suburb, country road and park, with traffic, people, trees, posts, wires and weather."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from keendepth.data.scenes import casting, houses, outdoors, paint, stage, vehicles
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.stage import Stage, View
from keendepth.data.scenes.world import Builder, Dice, Vector, pack

FAR = 110.0  # metres of street ahead
BACK = -25.0
KERB = 0.13


@dataclass(frozen=True)
class Street:
    """Widths in metres; the street runs along y with its middle at x = 0."""

    builder: Builder
    dice: Dice
    road: float
    walk: float
    style: str  # "town", "suburb", "country", "park"

    @property
    def edge(self) -> float:
        """Where the pavement ends."""
        return self.road / 2 + self.walk


def make(dice: Dice, seed: int) -> Stage:
    """A street seen from a car or by somebody on foot."""
    style = dice.pick(("town", "town", "suburb", "country", "park"))
    park = style == "park"
    road = dice.between(2.0, 3.5) if park else dice.between(5.5, 10.0)
    street = Street(Builder(), dice, road, 0.0 if style in ("park", "country") else dice.between(1.6, 3.8), style)
    _ground(street)
    for side in (-1, 1):
        {"town": _terrace, "suburb": _gardens, "country": _fields, "park": _lawn}[style](street, side)
    _skyline(street)
    if not park:
        _traffic(street)
    _roadside(street)
    _people(street)
    world = pack(street.builder, weather(dice))
    return Stage(
        world, _look(street, world), stage.sensor(dice, dice.between(0.26, 0.42)), dice.between(1.0, 1.5), seed
    )


def weather(dice: Dice) -> np.ndarray:
    """Sun, sky and haze: clear, cloudy, overcast, or a low sun."""
    style = dice.whole(0, 6)
    turn = dice.between(0, 2 * math.pi)
    low = style == 6
    sun = (math.cos(turn), math.sin(turn), dice.between(0.12, 0.35) if low else dice.between(0.4, 1.8))
    haze = dice.pick((0.0005, 0.001, 0.002, 0.004, 0.008))
    if style in (4, 5):  # overcast
        grey = dice.between(0.7, 1.1)
        top, rim = (0.85 * grey, 0.9 * grey, 0.98 * grey), (0.95 * grey, 0.97 * grey, grey)
        return stage.sky(sun, (0.0, 0.0, 0.0), top, rim, (dice.between(0.2, 0.6), dice.whole(0, 999)), haze * 1.5)
    blue = dice.between(0.8, 1.2)
    top, rim = (0.18 * blue, 0.36 * blue, 0.78 * blue), (0.62, 0.74, 0.92)
    rays = (3.4, 3.1, 2.7)
    if low:
        top, rim, rays = (0.16, 0.24, 0.45), (0.95, 0.66, 0.45), (3.0, 1.9, 1.0)
    clouds = (dice.between(0.0, 0.9), dice.whole(0, 999))
    return stage.sky(sun, rays, top, rim, clouds, haze)


def _ground(street: Street) -> None:
    b, dice, w = street.builder, street.dice, street.road
    middle, long = (FAR + BACK) / 2, FAR - BACK + 60
    b.spot(Label.GRASS, 0, 60, -0.04).sheet((0, 0, 0), (1200, 1200), paint.grass(dice))
    tar = b.spot(Label.ROAD, 0, middle)
    tar.box(
        (0, 0, -0.05),
        (w, long, 0.1),
        paint.paving(dice) if street.style == "park" or dice.chance(0.1) else paint.asphalt(dice),
    )
    if street.walk:
        look, stone = paint.paving(dice), paint.stone(dice)
        for side in (-1, 1):
            walk = b.spot(Label.PAVEMENT, side * (w + street.walk) / 2, middle)
            walk.box((0, 0, KERB / 2 - 0.1), (street.walk, long, KERB + 0.2), look)
            walk.box((-side * (street.walk - 0.15) / 2, 0, KERB / 2 - 0.098), (0.15, long, KERB + 0.2), stone)
    if street.style == "park":
        return
    white = paint.plain(0xDAD8D0)
    lines = b.spot(Label.ROAD, 0, 0, 0.002)
    if dice.chance(0.8):
        dash, gap = dice.pick(((3.0, 6.0), (1.5, 1.5), (200.0, 1.0)))
        y = BACK
        while y < FAR:
            lines.box((0, y + dash / 2, 0), (0.12, dash, 0.004), white)
            y += dash + gap
    if dice.chance(0.5):
        for side in (-1, 1):
            lines.box((side * (w / 2 - 0.3), middle, 0), (0.12, long, 0.004), white)
    if dice.chance(0.4):
        y = dice.between(6, 30)
        for i in range(int(w / 1.0)):
            lines.box((-w / 2 + 0.5 + i, y, 0), (0.5, 3.0, 0.004), white)
    for _ in range(dice.whole(0, 4)):
        x, y = dice.between(-0.4, 0.4) * w, dice.between(3, 40)
        lines.rod((x, y, -0.01), (x, y, 0.004), 0.32, Paint(paint.rgb(0x3A3836), paint.rgb(0x6A6660), 7, 0.08))


def _terrace(street: Street, side: int) -> None:
    b, dice, y = street.builder, street.dice, BACK
    while y < FAR:
        wide = dice.between(7, 18)
        if dice.chance(0.9):
            house = b.spot(Label.BUILDING, side * street.edge, y + wide / 2, 0, -90.0 * side)
            houses.town_house(house, dice, wide, dice.between(9, 14))
        y += wide + dice.pick((0.0, 0.0, 0.0, 4.0))


def _gardens(street: Street, side: int) -> None:
    b, dice, y = street.builder, street.dice, BACK
    while y < FAR:
        wide = dice.between(8, 14)
        x = side * (street.edge + dice.between(3.5, 8))
        houses.cottage(b.spot(Label.BUILDING, x, y + wide / 2, 0, -90.0 * side), dice, wide, dice.between(7, 10))
        plot = wide + dice.between(3, 8)
        line = b.spot(Label.FENCE, side * (street.edge + 0.25), y + plot / 2, 0, 90.0)
        border = dice.whole(0, 3)
        if border == 0:
            outdoors.fence(line, dice, plot * 0.8)
        elif border == 1:
            outdoors.hedge(
                b.spot(Label.PLANT, side * (street.edge + 0.4), y + plot / 2, 0, 90.0),
                dice,
                plot * 0.75,
                dice.between(0.7, 1.6),
            )
        elif border == 2:
            line.box((0, 0, 0.4), (plot * 0.8, 0.25, 0.8), paint.stone(dice))
        if dice.chance(0.6):
            outdoors.tree(
                b.spot(Label.TREE, side * (street.edge + dice.between(1.5, 3)), y + plot * dice.between(0, 1)),
                dice,
                dice.between(3, 8),
            )
        y += plot


def _fields(street: Street, side: int) -> None:
    b, dice = street.builder, street.dice
    if dice.chance(0.5):
        rail = b.spot(Label.FENCE, side * (street.road / 2 + 0.8), (FAR + BACK) / 2, 0, 90.0)
        steel = Paint(paint.rgb(0x9A9DA0), shine=0.5, gloss=5.0)
        rail.box((0, 0, 0.6), (FAR - BACK, 0.05, 0.3), steel)
        for i in range(40):
            rail.box((BACK + 3.4 * i, 0.05, 0.35), (0.1, 0.06, 0.75), steel)
    elif dice.chance(0.6):
        line = b.spot(Label.FENCE, side * (street.road / 2 + 2.5), 30, 0, 90.0)
        outdoors.fence(line, dice, 60.0)
    for _ in range(dice.whole(8, 24)):
        x, y = side * (street.road / 2 + dice.between(2.5, 30)), dice.between(0, FAR)
        outdoors.tree(b.spot(Label.TREE, x, y), dice, dice.between(4, 13))
    if dice.chance(0.5):
        y = dice.between(15, 70)
        houses.cottage(
            b.spot(Label.BUILDING, side * (street.road / 2 + dice.between(8, 20)), y, 0, -90.0 * side),
            dice,
            dice.between(9, 14),
            8.0,
        )


def _lawn(street: Street, side: int) -> None:
    b, dice = street.builder, street.dice
    for _ in range(dice.whole(8, 16)):
        x, y = side * (street.road / 2 + dice.between(1.2, 22)), dice.between(BACK, 60)
        outdoors.tree(b.spot(Label.TREE, x, y), dice, dice.between(5, 14))
    for _ in range(dice.whole(1, 3)):
        outdoors.bench(
            b.spot(Label.STREET_FURNITURE, side * (street.road / 2 + 0.6), dice.between(2, 30), 0, -90.0 * side), dice
        )
    if dice.chance(0.4):
        outdoors.fence(b.spot(Label.FENCE, side * (street.road / 2 + 0.5), 20, 0, 90.0), dice, 40.0)
    if dice.chance(0.6):
        outdoors.hedge(
            b.spot(Label.PLANT, side * (street.road / 2 + dice.between(4, 9)), 15, 0, 90.0),
            dice,
            30.0,
            dice.between(0.8, 1.8),
        )


def _skyline(street: Street) -> None:
    """What closes the view: blocks, a wood, hills."""
    b, dice = street.builder, street.dice
    for _ in range(dice.whole(3, 12)):
        far, turn = (
            dice.between(130, 350),
            math.radians(dice.between(20, 160) if dice.chance(0.7) else dice.between(200, 340)),
        )
        x, y = far * math.cos(turn), far * math.sin(turn)
        if street.style == "town" or dice.chance(0.3):
            w, h = dice.between(12, 40), dice.between(12, 60)
            block = b.spot(Label.BUILDING, x, y, 0, dice.between(0, 90))
            block.box(
                (0, 0, h / 2),
                (w, w, h),
                Paint(paint.rgb(dice.pick(paint.PLASTERS)), paint.rgb(0x3A424A), 14, 3.2, 0.9, tint=0.2),
            )
        else:
            r = dice.between(40, 110)
            b.spot(Label.GRASS, x * 1.6, y * 1.6).ball(
                (0, 0, -r * 0.2),
                (2.5 * r, 1.5 * r, 0.5 * r),
                Paint(paint.rgb(0x4A5E3A), paint.rgb(0x66703F), 1, 9.0, 2.0),
            )


def _traffic(street: Street) -> None:
    """Parked cars at the kerbs and some on the road."""
    b, dice, w = street.builder, street.dice, street.road
    for side in (-1, 1):
        if street.style == "country" or not dice.chance(0.7):
            continue
        y = dice.between(2, 14)
        while y < 70:
            if dice.chance(0.7):
                x = side * (w / 2 - 1.1)
                vehicles.car(
                    b.spot(Label.VEHICLE, x, y, 0, 90.0 + (180.0 if side < 0 else 0.0) + dice.between(-2, 2)), dice
                )
            y += dice.between(5.6, 9)
    for _ in range(dice.whole(0, 5)):
        lane = dice.pick((-1, 1))
        spot = b.spot(Label.VEHICLE, lane * w * 0.2, dice.between(11, 60), 0, 90.0 if lane > 0 else -90.0)
        (vehicles.bus if dice.chance(0.15) else vehicles.car)(spot, dice)


def _roadside(street: Street) -> None:
    """Posts, signs, wires, street trees, bins, bollards and bicycles along both kerbs."""
    b, dice = street.builder, street.dice
    for side in (-1, 1):
        x = side * (street.road / 2 + (0.45 if street.walk else 1.6))
        base = KERB if street.walk else 0.0
        if street.walk > 2.2 and dice.chance(0.5):
            step = dice.between(7, 14)
            for i in range(int(80 / step)):
                outdoors.tree(b.spot(Label.TREE, x + side * 0.4, 3 + i * step, base), dice, dice.between(4, 8))
        if dice.chance(0.7):
            step, state = dice.between(16, 30), dice.whole(0, 2**30)
            for i in range(int(100 / step)):
                outdoors.lamp_post(b.spot(Label.POLE, x, 5 + i * step, base, 90.0 * side), Dice(state))
        for _ in range(dice.whole(2, 6)):
            y = dice.between(3, 45)
            style = dice.whole(0, 6)
            if style <= 2:
                outdoors.sign(b.spot(Label.POLE, x, y, base, dice.between(-20, 20)), dice)
            elif style == 3:
                outdoors.traffic_light(b.spot(Label.POLE, x, y, base), dice)
            elif style == 4:
                bin_ = b.spot(Label.STREET_FURNITURE, x + 0.3 * side, y, base)
                bin_.rod((0, 0, 0), (0, 0, 1.0), 0.25, paint.plastic(dice), 1.1)
            elif style == 5:
                for i in range(6):
                    post = b.spot(Label.STREET_FURNITURE, x, y + 1.5 * i, base)
                    post.rod((0, 0, 0), (0, 0, 0.9), 0.06, paint.plain(0x2A2C2E, 0.3), 0.8)
            else:
                vehicles.bicycle(b.spot(Label.VEHICLE, x + side * 0.6, y, base, 90.0 + dice.between(-10, 10)), dice)
    if dice.chance(0.5):
        _overhead(street, dice.pick((-1, 1)))


def _overhead(street: Street, side: int) -> None:
    """Poles with lines from one to the next, some across the street."""
    b, dice = street.builder, street.dice
    x, step, tall = side * (street.road / 2 + 0.9), dice.between(22, 35), dice.between(6.5, 9)
    bark, black, number = paint.bark(dice), paint.plain(0x18181A), dice.whole(2, 5)
    for i in range(5):
        y = -12 + i * step
        pole = b.spot(Label.POLE, x, y)
        pole.rod((0, 0, 0), (0, 0, tall), 0.13, bark, 0.7)
        pole.box((0, 0, tall - 0.5), (1.8, 0.1, 0.12), bark)
        lines = b.spot(Label.WIRE)
        for k in range(number):
            off = -0.8 + 1.6 * k / (number - 1)
            outdoors.wire(lines, (x + off, y, tall - 0.4), (x + off, y + step, tall - 0.4), 0.6, 0.012, black)
        if dice.chance(0.4):
            outdoors.wire(
                lines, (x, y, tall - 0.7), (-side * street.edge, y + dice.between(-8, 8), tall - 1.5), 0.4, 0.01, black
            )


def _people(street: Street) -> None:
    b, dice = street.builder, street.dice
    for _ in range(dice.whole(1, 12) if street.style != "country" else dice.whole(0, 1)):
        side = dice.pick((-1, 1))
        x = (
            side * (street.road / 2 + street.walk * dice.between(0.3, 0.8))
            if street.walk
            else dice.between(-0.4, 0.4) * street.road
        )
        outdoors.person(
            b.spot(
                Label.PERSON,
                x,
                dice.between(4, 35),
                KERB if street.walk else 0.0,
                dice.pick((0, 180)) + dice.between(-25, 25),
            ),
            dice,
        )


def _look(street: Street, world: casting.World) -> View:
    """From a car in its lane, from the pavement, or across the street; the freest of a few tries."""
    dice, w = street.dice, street.road
    best, score = None, -1.0
    for _ in range(10):
        driving = dice.chance(0.5) and street.style != "park"
        if driving:
            eye: Vector = (dice.pick((-1, 1)) * w * 0.22, dice.between(-6, 4), dice.between(1.25, 1.9))
            yaw, pitch, fov = dice.between(-6, 6), dice.between(-4, 1), dice.between(60, 90)
        else:
            side = dice.pick((-1, 1))
            eye = (
                side * (w / 2 + dice.between(-0.4, 0.8) * max(street.walk, 0.6)),
                dice.between(-4, 12),
                dice.between(1.3, 1.8),
            )
            yaw, pitch, fov = side * dice.between(-20, 80), dice.between(-8, 8), dice.between(50, 80)
        view = View(
            eye, yaw, pitch, dice.between(-1, 1), fov, (0.0, 0.0, 0.0), 150.0 if driving else 100.0,
            (dice.between(-4, 4), dice.between(-1, 1), dice.between(-0.5, 0.5)),
        )  # fmt: skip
        good = stage.judge(world, view, (0.8, 2.0, 7.0))
        if good > score:
            best, score = (view, driving), good
    view, driving = best or (view, driving)
    aim = (0.0, 1.0, 0.0) if driving else (dice.between(-0.3, 0.3), 1.0, 0.0)
    return stage.walking(world, view, aim, 12.0 if driving else 2.5)
