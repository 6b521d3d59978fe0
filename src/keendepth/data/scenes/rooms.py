"""Rooms: the shell, furniture along the walls and in the middle, daylight and lamps, and a camera that sees something."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from keendepth.data.scenes import casting, fittings, furniture, paint, small, stage
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.stage import Stage, View
from keendepth.data.scenes.world import Builder, Dice, Spot, Vector, pack

Range = tuple[float, float]
# name: (function, label, width, depth, height in metres, fits under a window)
PIECES = {
    "sofa": (furniture.sofa, Label.SEAT, (1.4, 2.4), (0.8, 0.98), (0.72, 0.92), True),
    "armchair": (furniture.sofa, Label.SEAT, (0.78, 0.95), (0.78, 0.92), (0.75, 0.95), True),
    "shelves": (furniture.shelves, Label.STORAGE, (0.6, 1.8), (0.24, 0.4), (1.1, 2.2), False),
    "low shelves": (furniture.shelves, Label.STORAGE, (0.6, 1.6), (0.26, 0.4), (0.6, 0.95), True),
    "dresser": (furniture.dresser, Label.STORAGE, (0.7, 1.6), (0.4, 0.52), (0.7, 1.0), True),
    "nightstand": (furniture.dresser, Label.STORAGE, (0.4, 0.55), (0.36, 0.42), (0.45, 0.6), True),
    "wardrobe": (furniture.wardrobe, Label.STORAGE, (1.0, 2.2), (0.55, 0.62), (1.9, 2.2), False),
    "bed": (furniture.bed, Label.BED, (0.9, 1.85), (2.0, 2.15), (0.8, 1.2), True),
    "desk": (furniture.desk, Label.TABLE, (1.1, 1.8), (0.6, 0.8), (0.71, 0.76), True),
    "media": (furniture.media, Label.STORAGE, (1.1, 2.0), (0.36, 0.48), (0.35, 0.6), True),
    "table": (furniture.table, Label.TABLE, (0.8, 1.8), (0.75, 0.95), (0.71, 0.77), True),
    "side table": (furniture.table, Label.TABLE, (0.4, 0.6), (0.4, 0.55), (0.4, 0.6), True),
    "coffee table": (furniture.table, Label.TABLE, (0.7, 1.3), (0.5, 0.75), (0.32, 0.46), True),
    "counter": (furniture.dresser, Label.TABLE, (1.5, 3.2), (0.58, 0.64), (0.86, 0.93), True),
    "fridge": (furniture.wardrobe, Label.APPLIANCE, (0.58, 0.75), (0.6, 0.7), (1.6, 1.95), False),
    "chair": (furniture.chair, Label.SEAT, (0.4, 0.48), (0.4, 0.5), (0.8, 1.0), True),
    "office chair": (furniture.office_chair, Label.SEAT, (0.55, 0.65), (0.55, 0.65), (0.95, 1.15), True),
}
PLANS = {
    "living": "sofa, media, shelves, armchair, dresser, plant, lamp, low shelves, side table, chair, plant, armchair",
    "dining": "dresser, low shelves, plant, lamp, chair, shelves, chair, side table, plant, armchair",
    "bedroom": "bed, nightstand, nightstand, wardrobe, desk, dresser, plant, lamp, chair, low shelves, armchair",
    "office": "desk, desk, shelves, low shelves, desk, plant, table, office chair, dresser, lamp, chair",
    "kitchen": "counter, fridge, counter, table, shelves, chair, chair, dresser, plant",
    "store": "shelves, wardrobe, dresser, shelves, chair, table, chair, desk, side table",
}


@dataclass
class Room:
    """A room under construction: inner size in metres and the floor rectangles that are taken."""

    builder: Builder
    dice: Dice
    width: float
    depth: float
    height: float
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def side(self, k: int) -> tuple[float, float, float, float]:
        """(x, y, yaw, length) of wall k: the local x runs along it, the local +y points out of the room."""
        w, d = self.width, self.depth
        return ((0.0, d, 0.0, w), (w, d, -90.0, d), (w, 0.0, 180.0, w), (0.0, 0.0, 90.0, d))[k]

    def claim(self, spot: Spot, size: Range, gap: float = 0.0) -> bool:
        """Take the floor under a piece of `size` (w, d) at a spot, if it is free and inside."""
        c, s = abs(spot.c), abs(spot.s)
        w, d = (c * size[0] + s * size[1]) / 2 + gap, (s * size[0] + c * size[1]) / 2 + gap
        x0, y0, x1, y1 = spot.x - w, spot.y - d, spot.x + w, spot.y + d
        if x0 < -gap - 0.01 or y0 < -gap - 0.01 or x1 > self.width + gap + 0.01 or y1 > self.depth + gap + 0.01:
            return False
        if any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in self.taken):
            return False
        self.taken.append((x0, y0, x1, y1))
        return True


def make(dice: Dice, seed: int) -> Stage:
    """A furnished room seen by a hand-held camera."""
    plan = dice.pick(tuple(PLANS))
    grand = dice.between(0.0, 1.0)
    room = Room(
        Builder(),
        dice,
        dice.between(2.8, 4.2) + 2.2 * grand,
        dice.between(3.0, 4.6) + 2.5 * grand,
        dice.between(2.35, 2.75) + 0.5 * grand,
    )
    daylight = dice.chance(0.75)
    holes = shell(room, daylight)
    if plan in ("dining", "kitchen") or dice.chance(0.2):
        dining_set(room)
    if plan == "living":
        lounge(room)
    along_walls(room, plan, holes)
    _extras(room)
    for k in range(4):
        decorate(room, k, holes[k])
    sky = light(room, holes, daylight)
    fittings.outside(room.builder, dice, dice.pick((0.3, 0.3, 3.2, 9.0)))
    world = pack(room.builder, sky)
    view = look(room, world)
    return Stage(world, view, stage.sensor(dice, dice.between(0.2, 0.34)), dice.between(1.0, 1.5), seed)


def shell(room: Room, daylight: bool) -> list[fittings.Hole | None]:
    """Floor, ceiling and walls; at least one window by day, at most one door."""
    b, dice, w, d, h = room.builder, room.dice, room.width, room.depth, room.height
    b.spot(Label.FLOOR, w / 2, d / 2).box((0, 0, -0.05), (w + 0.4, d + 0.4, 0.1), paint.floor(dice))
    top = b.spot(Label.CEILING, w / 2, d / 2, h)
    top.box((0, 0, 0.05), (w + 0.4, d + 0.4, 0.1), paint.plain(dice.pick((0xF6F5F2, 0xF0EDE6, 0xE8E4DC))))
    if dice.chance(0.15):  # beams
        for i in range(1, int(d / 0.8)):
            top.box((0, -d / 2 + i * 0.8, -0.07), (w, 0.1, 0.14), paint.wood(dice))
    common, feature, door = paint.wall(dice), dice.whole(0, 7), dice.whole(0, 3)
    first = dice.whole(0, 3)
    holes: list[fittings.Hole | None] = []
    for k in range(4):
        x, y, yaw, length = room.side(k)
        hole = None
        if daylight and k != door and (k == first or (first == door and k == (door + 1) % 4) or dice.chance(0.25)):
            wide = dice.between(0.9, min(2.6, length - 0.8))
            sill = dice.pick((0.05, 0.8, 0.9, 1.0))
            hole = fittings.Hole(dice.between(0.3, length - wide - 0.3), sill, wide, min(h - 0.25, 2.3) - sill, False)
        elif k == door:
            hole = fittings.Hole(dice.between(0.2, length - 1.1), 0.0, dice.between(0.76, 0.9), 2.02, True)
        holes.append(hole)
        look = paint.wall(dice) if feature == k else common
        fittings.wall(b, dice, b.spot(Label.WALL, x, y, 0, yaw), (length, h), look, hole)
    for k, hole in enumerate(holes):  # nothing stands in a doorway
        if hole and hole.door:
            x, y, yaw, _ = room.side(k)
            spot = b.spot(Label.WALL, x, y, 0, yaw).at(hole.left + hole.width / 2, -0.45)
            room.claim(spot, (hole.width, 0.9))
    return holes


def put(room: Room, name: str, spot: Spot, width: float = 0.0) -> bool:
    """Set a piece at a spot on the floor if there is room."""
    make, label, w, d, h, _ = PIECES[name]
    dice = room.dice
    size = (width or dice.between(*w), dice.between(*d), dice.between(*h))
    spot = spot.at(0, -size[1] / 2)
    if not room.claim(spot, size[:2]):
        return False
    make(spot.thing(label), dice, *size)
    return True


def along_walls(room: Room, plan: str, holes: list[fittings.Hole | None]) -> None:
    """Set the plan's pieces against the walls, most of them, in any order."""
    dice = room.dice
    for name in PLANS[plan].split(", "):
        if dice.chance(0.12):
            continue
        for _ in range(6):
            k = dice.whole(0, 3)
            x, y, yaw, length = room.side(k)
            wall = room.builder.spot(Label.WALL, x, y, 0, yaw)
            u = dice.between(0.3, length - 0.3)
            if name in ("plant", "lamp"):
                if _upright(room, name, wall.at(u, -0.35)):
                    break
                continue
            wide = min(dice.between(*PIECES[name][2]), length - 0.1)
            u = min(max(u, wide / 2 + 0.02), length - wide / 2 - 0.02)
            hole = holes[k]
            covers = hole is not None and u - wide / 2 < hole.left + hole.width and hole.left < u + wide / 2
            if hole and covers and (not PIECES[name][5] or hole.sill < 0.5):
                continue
            if put(room, name, wall.at(u, -0.03 - (0.16 if covers else 0.0)), wide):
                if name == "desk":
                    put(
                        room,
                        dice.pick(("office chair", "chair")),
                        wall.at(u + dice.between(-0.2, 0.2), -0.78, yaw=180.0).at(0, dice.between(0.3, 0.5)),
                    )
                break


def _upright(room: Room, name: str, spot: Spot) -> bool:
    if not room.claim(spot, (0.45, 0.45)):
        return False
    if name == "lamp":
        fittings.floor_lamp(spot.thing(Label.LAMP), room.dice)
    else:
        small.plant(spot.thing(Label.PLANT, yaw=room.dice.between(0, 360)), room.dice, room.dice.between(0.5, 1.6))
    return True


def dining_set(room: Room) -> None:
    dice, b = room.dice, room.builder
    x, y = (room.width * dice.between(0.38, 0.62), room.depth * dice.between(0.38, 0.62))
    spot = b.spot(Label.TABLE, x, y, 0, dice.pick((0.0, 90.0)))
    w, d, h = dice.between(0.9, 2.0), dice.between(0.8, 1.0), dice.between(0.72, 0.77)
    if not room.claim(spot, (w, d)):
        return
    furniture.table(spot, dice, w, d, h)
    state = dice.whole(0, 2**30)
    for side in (-1, 1):
        number = max(1, round(w / 0.65))
        for i in range(number):
            if dice.chance(0.85):
                u = -w / 2 + (i + 0.5) * w / number + dice.between(-0.05, 0.05)
                seat = spot.thing(
                    Label.SEAT,
                    u,
                    side * (d / 2 + dice.between(-0.05, 0.3)),
                    0,
                    (0 if side > 0 else 180) + dice.between(-15, 15),
                )
                if room.claim(seat, (0.42, 0.3), -0.05):
                    furniture.chair(seat, Dice(state), 0.43, 0.44, 0.9)  # the same chair each time
    if dice.chance(0.6):
        fittings.ceiling_lamp(b.spot(Label.LAMP, x, y), dice, room.height, dice.between(0.6, 1.4))


def lounge(room: Room) -> None:
    """A rug with a coffee table, and sometimes a free-standing sofa."""
    dice, b = room.dice, room.builder
    x, y = room.width * dice.between(0.4, 0.6), room.depth * dice.between(0.4, 0.6)
    spot = b.spot(Label.TABLE, x, y, 0, dice.pick((0.0, 90.0, 180.0)))
    spot.thing(Label.RUG).box((0, 0, 0.006), (dice.between(1.6, 2.6), dice.between(1.2, 1.9), 0.012), paint.rug(dice))
    put(room, "coffee table", spot.at(0, 0.3))
    if dice.chance(0.6):
        put(room, "sofa", spot.at(0, 1.75))
    if dice.chance(0.4):
        put(room, "armchair", spot.at(0, -0.8, yaw=180.0).at(0, 0.95))


def _extras(room: Room) -> None:
    """Boxes, balls, cables and the like on the floor; sometimes a ladder, a coat stand or a drying rack."""
    dice, b = room.dice, room.builder
    for _ in range(dice.whole(2, 9)):
        spot = b.spot(
            Label.OBJECT,
            dice.between(0.3, room.width - 0.3),
            dice.between(0.3, room.depth - 0.3),
            0,
            dice.between(0, 90),
        )
        if not room.claim(spot, (0.35, 0.35)):
            continue
        style = dice.whole(0, 4)
        if style == 0:
            r = dice.between(0.06, 0.14)
            spot.ball((0, 0, r), (r, r, r), paint.fabric(dice))
        elif style == 1:
            spot.rod((0, 0, 0), (0, 0, dice.between(0.25, 0.4)), 0.14, paint.fabric(dice), 1.2, hollow=True)
        elif style == 2:
            small.books(spot, dice)
        else:
            w, d, h = dice.between(0.25, 0.5), dice.between(0.2, 0.4), dice.between(0.15, 0.45)
            spot.box((0, 0, h / 2), (w, d, h), paint.Paint(paint.rgb(0xB08D5E), paint.rgb(0x9A7848), 1, 0.15))
            spot.box((0, 0, h / 2), (w * 1.002, 0.05, h * 1.002), paint.plain(0xC8B490, 0.2))
    if dice.chance(0.4):
        x, y, yaw, length = room.side(dice.whole(0, 3))
        wall = b.spot(Label.WIRE, x, y, 0, yaw)
        u = dice.between(0.3, length - 0.9)
        small.cable(
            wall,
            dice,
            (u, -0.01, dice.between(0.02, 1.2)),
            (u + dice.between(0.3, 0.8), -dice.between(0.02, 0.6), 0.005),
        )


def decorate(room: Room, k: int, hole: fittings.Hole | None) -> None:
    x, y, yaw, length = room.side(k)
    spans = [(0.2, length - 0.2)]
    if hole:
        spans = [(0.2, hole.left - 0.35), (hole.left + hole.width + 0.35, length - 0.2)]
    for start, end in spans:
        if end - start > 0.6 and room.dice.chance(0.75):
            wall = room.builder.spot(Label.WALL, x, y, 0, yaw)
            fittings.hang(wall.at((start + end) / 2, 0), room.dice, (end - start, room.height))


def light(room: Room, holes: list[fittings.Hole | None], daylight: bool) -> np.ndarray:
    """Window light, sun and lamps; at night the lamps alone."""
    dice, b = room.dice, room.builder
    strength = dice.between(1.2, 3.0)
    blue = dice.between(0.0, 0.3)
    zenith, horizon = (0.004, 0.005, 0.01), (0.02, 0.02, 0.025)
    if daylight:
        zenith = (strength * (0.75 - blue), strength * (0.9 - 0.4 * blue), strength * 1.15)
        horizon = (strength * 1.1, strength * 1.12, strength * 1.15)
    sunny = daylight and dice.chance(0.5)
    turn = dice.between(0, 2 * math.pi)
    sun = (math.cos(turn), math.sin(turn), dice.between(0.35, 1.2))
    rays = strength * dice.between(1.5, 3.0) if sunny else 0.0
    out = stage.sky(
        sun,
        (rays, rays * 0.9, rays * 0.75),
        zenith,
        horizon,
        (dice.between(0.0, 0.9) if daylight else 0.0, dice.whole(0, 99)),
    )
    total = 0.0
    for k, hole in enumerate(holes):
        if hole and not hole.door:
            x, y, yaw, _ = room.side(k)
            spot = b.spot(Label.WALL, x, y, 0, yaw)
            area = hole.width * hole.height
            m = spot.place((hole.left + hole.width / 2, 0.03, hole.sill + hole.height / 2))
            u = (spot.c * hole.width * 0.45, spot.s * hole.width * 0.45, 0.0)
            power = 1.6 * strength * area / math.pi
            b.lamp(m, u, (0.0, 0.0, 0.45 * hole.height), (0.9 * power, 0.97 * power, 1.05 * power), one_sided=True)
            total += power
    if not daylight or dice.chance(0.35):
        power = dice.between(1.0, 2.0)
        fittings.ceiling_lamp(b.spot(Label.LAMP, room.width / 2, room.depth / 2), dice, room.height, power)
        total += power
    each = (0.05 + 0.055 * total) * dice.between(0.8, 1.3)
    return stage.indoors(out, (each * 1.02, each, each * 0.96))


def look(room: Room, world: casting.World) -> View:
    """A camera that stands free and sees much: the best of a few tries."""
    dice = room.dice
    best, score = None, -1.0
    for _ in range(12):
        eye: Vector = (
            dice.between(0.25, room.width - 0.25),
            dice.between(0.25, room.depth - 0.25),
            dice.between(0.75, 1.75),
        )
        target = (room.width * dice.between(0.25, 0.75), room.depth * dice.between(0.25, 0.75), dice.between(0.4, 1.2))
        dx, dy, dz = (target[k] - eye[k] for k in range(3))
        flat = math.hypot(dx, dy)
        view = View(
            eye, math.degrees(math.atan2(-dx, dy)), math.degrees(math.atan2(dz, flat)) * 0.7, dice.between(-1.5, 1.5),
            dice.between(52, 82), (0.0, 0.0, 0.0), dice.between(50, 90), (dice.between(-8, 8), dice.between(-3, 3), dice.between(-1, 1)),
        )  # fmt: skip
        good = stage.judge(world, view, (0.3, 0.6, 2.0))
        if flat > 0.8 and good > score:
            best, score = view, good
    view = best or view
    aim = dice.table(1, 3)[0] - 0.5
    move = stage.free_move(world, view.eye, (float(aim[0]), float(aim[1]), 0.3 * float(aim[2])), 0.5)
    return replace(view, move=move)
