"""Thin things: wires, fences, bare twigs, grasses, racks, ladders, bicycles and chair legs close to the camera, indoors and out."""

from __future__ import annotations

import math
from collections.abc import Callable

from keendepth.data.scenes import casting, fittings, furniture, outdoors, paint, rooms, small, stage, streets, vehicles
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.stage import Stage, View
from keendepth.data.scenes.world import Builder, Dice, Spot, Vector, pack, turned


def make(dice: Dice, seed: int) -> Stage:
    """Four to nine thin props in front of a room, a garden or a yard."""
    inside = dice.chance(0.45)
    return _indoors(dice, seed) if inside else _outdoors(dice, seed)


def _indoors(dice: Dice, seed: int) -> Stage:
    room = rooms.Room(Builder(), dice, dice.between(3.5, 6.0), dice.between(3.5, 6.0), dice.between(2.4, 3.0))
    holes = rooms.shell(room, dice.chance(0.8))
    rooms.along_walls(room, dice.pick(("store", "living", "office")), holes)
    props = (ladder, coat_stand, drying_rack, seat, plant, lamp, wire_rack, bicycle, tripod)
    for _ in range(dice.whole(9, 18)):
        x, y = dice.between(0.4, room.width - 0.4), dice.between(0.4, room.depth - 0.4)
        spot = room.builder.spot(Label.OBJECT, x, y, 0, dice.between(0, 360))
        if room.claim(spot, (0.5, 0.5)):
            dice.pick(props)(spot, dice)
    for _ in range(dice.whole(1, 5)):
        a = (dice.between(0, room.width), dice.between(0, room.depth), dice.between(1.2, room.height))
        b = (dice.between(0, room.width), dice.between(0, room.depth), dice.between(1.2, room.height))
        small.cable(room.builder.spot(Label.WIRE), dice, a, b, dice.between(0.0015, 0.005))
    for k in range(4):
        rooms.decorate(room, k, holes[k])
    sky = rooms.light(room, holes, any(h and not h.door for h in holes))
    fittings.outside(room.builder, dice, dice.pick((0.3, 3.2)))
    world = pack(room.builder, sky)
    return Stage(
        world, rooms.look(room, world), stage.sensor(dice, dice.between(0.2, 0.34)), dice.between(1.0, 1.5), seed
    )


def _outdoors(dice: Dice, seed: int) -> Stage:
    b = Builder()
    ground = dice.pick((paint.grass, paint.paving, paint.grass))
    b.spot(Label.GRASS if ground is paint.grass else Label.PAVEMENT).sheet((0, 0, 0), (600, 600), ground(dice))
    far = dice.between(7, 16)
    _backdrop(b, dice, far)
    outdoors_props: tuple[Callable[[Spot, Dice], None], ...] = (
        bare_tree, grasses, railing, bicycle, clothes_line, trellis, ladder, seat, bench, twigs, pole_lines, wire_rack,
    )  # fmt: skip
    for _ in range(dice.whole(8, 15)):
        y = 1.5 + (far - 2.5) * dice.between(0.0, 1.0) ** 1.5
        spot = b.spot(Label.FENCE, dice.between(-0.5, 0.5) * (y + 1.0), y, 0, dice.between(-40, 40))
        dice.pick(outdoors_props)(spot, dice)
    world = pack(b, streets.weather(dice))
    eye: Vector = (dice.between(-0.5, 0.5), dice.between(-1.0, 0.3), dice.between(0.8, 1.7))
    view = View(
        eye, dice.between(-10, 10), dice.between(-12, 8), dice.between(-2, 2), dice.between(45, 75), (0.0, 0.0, 0.0), dice.between(50, 90),
        (dice.between(-6, 6), dice.between(-2, 2), dice.between(-1, 1)),
    )  # fmt: skip
    view = stage.walking(world, view, (1.0, dice.between(-0.3, 0.5), 0.2), 0.5)
    return Stage(world, view, stage.sensor(dice, dice.between(0.2, 0.36)), dice.between(1.0, 1.4), seed)


def _backdrop(b: Builder, dice: Dice, far: float) -> None:
    style = dice.whole(0, 3)
    if style == 0:
        streets.houses.cottage(b.spot(Label.BUILDING, dice.between(-3, 3), far), dice, dice.between(9, 14), 8.0)
    elif style == 1:
        streets.houses.town_house(b.spot(Label.BUILDING, 0, far), dice, 30.0, 10.0)
    elif style == 2:
        outdoors.hedge(b.spot(Label.PLANT, 0, far), dice, 30.0, dice.between(1.2, 2.4))
    for _ in range(dice.whole(2, 8)):
        outdoors.tree(b.spot(Label.TREE, dice.between(-20, 20), far + dice.between(0, 25)), dice, dice.between(4, 11))
    if dice.chance(0.6):
        outdoors.fence(b.spot(Label.FENCE, 0, far * dice.between(0.35, 0.8), 0, dice.between(-15, 15)), dice, 16.0)


def ladder(spot: Spot, dice: Dice) -> None:
    look, tall = paint.metal(dice), dice.between(1.6, 2.4)
    for side in (-1, 1):
        spot.rod((side * 0.22, -0.3, 0), (side * 0.18, 0.1, tall), 0.016, look)
        spot.rod((side * 0.22, 0.5, 0), (side * 0.18, 0.1, tall), 0.012, look)
    for i in range(1, int(tall / 0.26)):
        k = i * 0.26 / tall
        spot.box((0, -0.3 + 0.4 * k, i * 0.26), (0.42 - 0.08 * k, 0.07, 0.018), look)


def coat_stand(spot: Spot, dice: Dice) -> None:
    look, tall = paint.wood(dice), dice.between(1.6, 1.9)
    spot.rod((0, 0, 0.1), (0, 0, tall), 0.02, look)
    for k in range(4):
        a = 1.5708 * k + 0.4
        c, s = math.cos(a), math.sin(a)
        spot.rod((0, 0, 0.2), (0.28 * c, 0.28 * s, 0), 0.014, look)
        spot.rod((0, 0, tall - 0.2), (0.15 * c, 0.15 * s, tall - 0.05), 0.01, look)
    if dice.chance(0.6):
        spot.ball((0.16, 0.07, tall - 0.6), (0.1, 0.2, 0.5), paint.fabric(dice))


def drying_rack(spot: Spot, dice: Dice) -> None:
    wire = paint.plain(dice.pick((0xE8E8E8, 0x9A9DA0)), 0.4)
    for side in (-1, 1):
        spot.rod((side * 0.45, -0.25, 0), (side * 0.45, 0.25, 0.95), 0.009, wire)
        spot.rod((side * 0.45, 0.25, 0), (side * 0.45, -0.25, 0.95), 0.009, wire)
    for i in range(9):
        y = -0.4 + 0.1 * i
        spot.rod((-0.5, y, 0.95), (0.5, y, 0.95), 0.003, wire)
        if dice.chance(0.35):
            cloth = paint.fabric(dice)
            x, w, h = dice.between(-0.3, 0.3), dice.between(0.15, 0.4), dice.between(0.2, 0.6)
            spot.sheet((x, y, 0.95 - h / 2), (w, h), cloth, turned("z", dice.between(-3, 3), small.FACING))


def seat(spot: Spot, dice: Dice) -> None:
    furniture.chair(
        spot.thing(Label.SEAT), dice, dice.between(0.4, 0.48), dice.between(0.4, 0.48), dice.between(0.8, 1.05)
    )


def plant(spot: Spot, dice: Dice) -> None:
    small.plant(spot.thing(Label.PLANT), dice, dice.between(0.5, 1.7))


def lamp(spot: Spot, dice: Dice) -> None:
    fittings.floor_lamp(spot.thing(Label.LAMP), dice)


def bicycle(spot: Spot, dice: Dice) -> None:
    vehicles.bicycle(spot.thing(Label.VEHICLE), dice)


def bench(spot: Spot, dice: Dice) -> None:
    outdoors.bench(spot.thing(Label.STREET_FURNITURE), dice)


def wire_rack(spot: Spot, dice: Dice) -> None:
    """Shelves of wire."""
    steel, w, tall = paint.metal(dice), dice.between(0.5, 1.0), dice.between(0.8, 1.8)
    for x in (-w / 2, w / 2):
        for y in (-0.2, 0.2):
            spot.rod((x, y, 0), (x, y, tall), 0.01, steel)
    levels = dice.whole(2, 5)
    for i in range(levels):
        z = 0.1 + i * (tall - 0.15) / max(1, levels - 1)
        number = int(w / 0.045)
        for k in range(number):
            x = -w / 2 + (k + 0.5) * w / number
            spot.rod((x, -0.2, z), (x, 0.2, z), 0.0025, steel)
        for y in (-0.2, 0.2):
            spot.rod((-w / 2, y, z), (w / 2, y, z), 0.005, steel)
        if dice.chance(0.6):
            small.strew(spot.at(0, 0), dice, (w * 0.8, 0.2, z + 0.005), dice.whole(1, 3))


def tripod(spot: Spot, dice: Dice) -> None:
    black, tall = paint.plain(0x1A1A1C, 0.3), dice.between(1.0, 1.6)
    for k in range(3):
        a = 2.0944 * k
        spot.rod(
            (0.4 * math.cos(a), 0.4 * math.sin(a), 0), (0.03 * math.cos(a), 0.03 * math.sin(a), tall), 0.011, black
        )
    spot.rod((0, 0, tall * 0.5), (0, 0, tall + 0.1), 0.012, black)
    spot.box((0, 0, tall + 0.16), (0.14, 0.08, 0.1), black)
    spot.rod((0, -0.04, tall + 0.16), (0, -0.14, tall + 0.16), 0.035, black)


def bare_tree(spot: Spot, dice: Dice) -> None:
    outdoors.branches(
        spot.thing(Label.TREE),
        dice,
        ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        (dice.between(0.6, 1.3), dice.between(0.02, 0.06), 5),
        paint.bark(dice),
    )


def twigs(spot: Spot, dice: Dice) -> None:
    """A shrub without leaves."""
    bush, bark = spot.thing(Label.TREE), paint.bark(dice)
    for _ in range(dice.whole(4, 9)):
        a, out = dice.between(0, 6.2832), dice.between(0.2, 0.8)
        n = math.hypot(out, 1.0)
        outdoors.branches(
            bush, dice, ((0.0, 0.0, 0.0), (out * math.cos(a) / n, out * math.sin(a) / n, 1 / n)), (0.45, 0.008, 3), bark
        )


def grasses(spot: Spot, dice: Dice) -> None:
    """Tufts of tall grass: crossed sheets of blades."""
    look, tuft = paint.leaf(dice), spot.thing(Label.PLANT)
    for _ in range(dice.whole(4, 12)):
        x, y, tall = dice.between(-0.8, 0.8), dice.between(-0.4, 0.4), dice.between(0.4, 1.1)
        for k in range(3):
            axes = turned("z", 60.0 * k + dice.between(-20, 20), turned("x", 90 + dice.between(-12, 12)))
            tuft.sheet((x, y, tall / 2), (0.5, tall), look, axes, (casting.BLADES, dice.between(0.012, 0.03)))


def railing(spot: Spot, dice: Dice) -> None:
    outdoors.fence(spot, dice, dice.between(2.0, 5.0))


def clothes_line(spot: Spot, dice: Dice) -> None:
    pole, white = paint.wood(dice), paint.plain(0xE6E6E2)
    for x in (-2.0, 2.0):
        spot.rod((x, 0, 0), (x, 0, 1.9), 0.03, pole)
    lines = spot.thing(Label.WIRE)
    for y in (-0.15, 0.15):
        outdoors.wire(lines, (-2.0, y, 1.85), (2.0, y, 1.85), 0.08, dice.between(0.0015, 0.003), white)
    for _ in range(dice.whole(0, 4)):
        w, h = dice.between(0.3, 0.8), dice.between(0.3, 0.9)
        cloth = spot.thing(Label.OBJECT)
        cloth.sheet(
            (dice.between(-1.4, 1.4), -0.15, 1.77 - h / 2),
            (w, h),
            paint.fabric(dice),
            turned("x", dice.between(-6, 6), small.FACING),
        )


def trellis(spot: Spot, dice: Dice) -> None:
    """A lattice of laths, or a wire mesh in a frame."""
    look, w, h = paint.wood(dice), dice.between(0.8, 2.0), dice.between(1.0, 1.8)
    if dice.chance(0.5):
        spot.sheet(
            (0, 0, h / 2),
            (w, h),
            paint.metal(dice),
            small.FACING,
            (casting.GRID, dice.between(0.04, 0.12), dice.between(0.05, 0.12)),
        )
    else:
        step = dice.between(0.1, 0.2)
        for i in range(int(w / step) + 1):
            spot.box((-w / 2 + i * step, 0, h / 2), (0.018, 0.01, h), look)
        for i in range(int(h / step) + 1):
            spot.box((0, -0.01, i * step), (w, 0.01, 0.018), look)
    for x in (-w / 2, w / 2):
        spot.rod((x, 0, 0), (x, 0, h + 0.05), 0.022, look)


def pole_lines(spot: Spot, dice: Dice) -> None:
    """Wires strung across the view at several heights."""
    black, tall = paint.plain(dice.pick((0x18181A, 0x8A8C8E))), dice.between(1.2, 3.5)
    for x in (-3.5, 3.5):
        spot.rod((x, 0, 0), (x, 0, tall), 0.045, paint.wood(dice))
    lines = spot.thing(Label.WIRE)
    for i in range(dice.whole(2, 6)):
        z = tall * (1 - 0.14 * i)
        outdoors.wire(lines, (-3.5, 0, z), (3.5, 0, z), dice.between(0.0, 0.1), dice.between(0.001, 0.004), black)
