"""Buildings: town houses with set-back windows, shops and balconies, and detached houses with gables."""

from __future__ import annotations

from keendepth.data.scenes import casting, outdoors, paint, small, vehicles
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.textures import BRICK, FACADE, MOTTLE, WRITING
from keendepth.data.scenes.world import Dice, Spot, turned

DEEP = 0.16  # metres by which windows sit back


def masonry(dice: Dice) -> Paint:
    if dice.chance(0.4):
        return Paint(
            paint.rgb(dice.pick(paint.BRICKS)), paint.rgb(0xB5ACA0), BRICK, 0.075, 3.1, 0.006, tint=0.1, world=True
        )
    base = paint.rgb(dice.pick(paint.PLASTERS))
    return Paint(base, paint.scaled(base, 0.8), MOTTLE, dice.between(0.5, 1.5), 1.5, tint=0.1, world=True)


def town_house(spot: Spot, dice: Dice, wide: float, deep: float) -> None:
    """A terrace front of several storeys on y = 0, the street towards -y."""
    wall, trim = masonry(dice), paint.plain(dice.pick((0xE8E2D6, 0xC8C0B2, 0x8A847A, 0x4A4640)))
    ground, storey = dice.between(3.2, 4.2), dice.between(2.8, 3.5)
    floors = dice.whole(2, 6)
    tall = ground + floors * storey
    spot.box(
        (0, deep / 2 + DEEP, tall / 2),
        (wide, deep, tall),
        Paint(wall.base, vehicles.GLASS.base, FACADE, storey, 0.8, tint=0.1),
    )
    spot.box((0, DEEP / 2, ground + (tall - ground) / 2), (wide - 0.02, DEEP, tall - ground), vehicles.GLASS)
    bays = max(2, round(wide / dice.between(1.8, 3.0)))
    share = dice.between(0.38, 0.6)
    _grid(spot, (wide, ground, storey, floors), bays, share, wall)
    _windows(spot, dice, (wide, ground, storey, floors), bays, share, trim)
    if dice.chance(0.6):
        _shop(spot, dice, wide, ground, wall)
    else:
        spot.box((0, 0, ground / 2), (wide, 0.2, ground), paint.stone(dice) if dice.chance(0.4) else wall)
        _doors(spot, dice, wide, trim)
    spot.box((0, 0.0, tall + 0.1), (wide, 0.5, 0.35), trim)
    spot.box((0, deep / 2, tall + 0.06), (wide, deep, 0.12), trim)
    if dice.chance(0.5):
        x = wide / 2 - 0.15
        spot.rod((x, -0.1, 0), (x, -0.1, tall), 0.05, trim)


def _grid(spot: Spot, size: tuple[float, float, float, int], bays: int, share: float, wall: Paint) -> None:
    """Piers and bands that leave window holes: full height and full width, so few solids do."""
    wide, ground, storey, floors = size
    tall, bay = ground + floors * storey, wide / bays
    pier = bay * (1 - share)
    for i in range(bays + 1):
        x = -wide / 2 + i * bay
        left, right = max(x - pier / 2, -wide / 2), min(x + pier / 2, wide / 2)
        spot.box(((left + right) / 2, -DEEP / 2, (ground + tall) / 2), (right - left, DEEP, tall - ground), wall)
    for k in range(floors + 1):
        low, high = ground + k * storey - (0.5 if k else 0.0), ground + k * storey + (0.75 if k < floors else 0.0)
        spot.box((0, -DEEP / 2 - 0.002, (low + high) / 2), (wide, DEEP, high - low), wall)


def _windows(
    spot: Spot, dice: Dice, size: tuple[float, float, float, int], bays: int, share: float, trim: Paint
) -> None:
    """Frames, sills, curtains, and balconies on some."""
    wide, ground, storey, floors = size
    bay, tall = wide / bays, ground + floors * storey
    frame = paint.plain(dice.pick((0xF2F0EA, 0x3A2A20, 0x2A2C2E, 0xF2F0EA)))
    balcony, cross = dice.chance(0.35), dice.chance(0.5)
    for i in range(bays):
        x = -wide / 2 + (i + 0.5) * bay
        half = bay * share / 2
        for dx in (-half + 0.03, 0.0, half - 0.03):
            spot.box((x + dx, -0.02, (ground + tall) / 2), (0.06, 0.05, tall - ground), frame)
        for k in range(floors):
            low, high = ground + k * storey + 0.75, ground + (k + 1) * storey - 0.5
            spot.box((x, -DEEP - 0.03, low - 0.04), (2 * half + 0.2, 0.14, 0.08), trim)
            if cross:
                spot.box((x, -0.02, low + (high - low) * 0.7), (2 * half, 0.05, 0.05), frame)
            if dice.chance(0.4):
                drawn = dice.between(0.2, 1.0) * (high - low)
                cloth = paint.plain(dice.pick((0xE8E2D4, 0xC8B8A0, 0x8A9AA8, 0xF4F0E8)))
                spot.sheet((x, -0.003, high - drawn / 2), (2 * half, drawn), cloth, small.FACING)
            if balcony and i % 2 == 0:
                _balcony(spot.at(x, -DEEP, low - 0.6), dice, 2 * half + 0.7)


def _balcony(spot: Spot, dice: Dice, wide: float) -> None:
    iron = paint.plain(0x1E2022, 0.3)
    spot.box((0, -0.4, 0), (wide, 0.8, 0.12), paint.plain(0xB8B0A4))
    rail = (casting.BARS, 0.11, 0.2, 0.06)
    spot.sheet((0, -0.78, 0.55), (wide, 1.0), iron, small.FACING, rail)
    for x in (-wide / 2, wide / 2):
        spot.sheet((x, -0.4, 0.55), (0.78, 1.0), iron, turned("z", 90.0, small.FACING), rail)
    if dice.chance(0.4):
        outdoors.crown(spot.thing(Label.PLANT), dice, (dice.between(-0.3, 0.3) * wide, -0.6, 0.45), (0.3, 0.35), 8)


def _shop(spot: Spot, dice: Dice, wide: float, ground: float, wall: Paint) -> None:
    """A glazed ground floor with a sign and perhaps an awning."""
    look = paint.plastic(dice)
    spot.box(
        (0, 0.25, ground / 2), (wide, 0.3, ground), Paint(paint.rgb(0x28241E), paint.rgb(0xC8B48A), 8, mirror=0.12)
    )
    for x in (-wide / 2 + 0.2, wide / 2 - 0.2):
        spot.box((x, -0.04, ground / 2), (0.4, 0.28, ground), wall)
    spot.box((0, -0.04, 0.25), (wide, 0.24, 0.5), wall)
    board = Paint(look.base, paint.rgb(dice.pick((0xF4F0E4, 0xF0C840, 0x202020))), WRITING, dice.between(0.35, 0.55))
    spot.thing(Label.PICTURE).box((0, -0.12, ground - 0.4), (wide - 0.4, 0.2, 0.6), board)
    for i in range(1, max(2, round(wide / 1.8))):
        x = -wide / 2 + i * wide / max(2, round(wide / 1.8))
        spot.box((x, 0.06, ground / 2), (0.07, 0.08, ground), look)
    if dice.chance(0.5):
        cloth = Paint(look.base, paint.rgb(0xF2EEE4), 6, dice.between(0.3, 0.6), 0.5)
        spot.thing(Label.STREET_FURNITURE).sheet((0, -0.75, ground - 0.95), (wide - 0.6, 1.4), cloth, turned("x", 25.0))


def _doors(spot: Spot, dice: Dice, wide: float, trim: Paint) -> None:
    look = paint.plain(dice.pick((0x5A2A1E, 0x22402E, 0x1E2E4A, 0x6A4A30, 0x303236)), 0.3)
    x = dice.between(-0.3, 0.3) * wide
    spot.box((x, -0.1, 1.15), (1.3, 0.14, 2.3), trim)
    spot.box((x, -0.12, 1.1), (1.0, 0.14, 2.15), look)
    spot.box((x, -0.4, 0.07), (1.5, 0.7, 0.14), trim)
    for dx in (-wide * 0.3, wide * 0.3):
        if abs(dx - x) > 1.4:
            spot.box((dx, -0.09, 1.7), (1.2, 0.06, 1.5), trim)
            spot.box((dx, -0.1, 1.7), (1.05, 0.06, 1.35), vehicles.GLASS)


def cottage(spot: Spot, dice: Dice, wide: float, deep: float) -> None:
    """A detached house with a gable roof, its front on y = 0."""
    wall, trim = masonry(dice), paint.plain(dice.pick((0xF2EEE6, 0xD8D0C2, 0x3A3A3C)))
    tall = dice.pick((3.0, 5.6))
    body = spot.at(0, deep / 2)
    body.box((0, 0, tall / 2), (wide, deep, tall), wall)
    ridge = tall + dice.between(0.3, 0.55) * deep
    tiles = Paint(
        paint.rgb(dice.pick((0x7A4030, 0x4A4A50, 0x6A5040, 0x8A5038))),
        paint.rgb(0x2A2422),
        BRICK,
        0.2,
        1.4,
        0.015,
        tint=0.1,
    )
    turn = dice.pick((0.0, 90.0))
    long, across = (deep, wide) if turn == 0.0 else (wide, deep)
    body.at(0, 0, 0, turn).prism(
        ((-across / 2 - 0.4, tall - 0.15), (across / 2 + 0.4, tall - 0.15), (0.0, ridge)), long + 0.5, tiles
    )
    chimney = body.at(wide * 0.25, 0.0)
    chimney.box((0, 0, ridge), (0.6, 0.5, 1.6), wall)
    spot.box((-wide * 0.1, -0.02, 1.05), (1.0, 0.08, 2.1), paint.plain(dice.pick((0x5A2A1E, 0x22402E, 0x1E2E4A)), 0.2))
    for z in [1.6] if tall < 4 else [1.6, 4.2]:
        for x in (-wide * 0.35, wide * 0.15, wide * 0.37):
            spot.box((x, -0.02, z), (1.35, 0.08, 1.35), trim)
            spot.box((x, -0.035, z), (1.2, 0.08, 1.2), vehicles.GLASS)
            spot.box((x, -0.08, z), (0.05, 0.04, 1.2), trim)
            spot.box((x, -0.08, z - 0.7), (1.5, 0.2, 0.07), trim)
    if dice.chance(0.4):
        porch = spot.at(-wide * 0.1, -0.7)
        porch.box((0, 0, 2.5), (2.0, 1.5, 0.12), trim)
        for x in (-0.9, 0.9):
            porch.rod((x, -0.65, 0), (x, -0.65, 2.45), 0.06, trim)
