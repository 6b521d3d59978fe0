"""Cars, buses and bicycles; each function lays one on a spot, along its x with the front at +x."""

from __future__ import annotations

import math

from keendepth.data.scenes import casting, paint, small
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.textures import WRITING
from keendepth.data.scenes.world import Dice, Spot

GLASS = Paint(paint.rgb(0x10161A), paint.rgb(0x3A4248), 1, 1.5, 2.0, shine=0.3, gloss=7.0, mirror=0.12)
RUBBER = paint.plain(0x1A1A1B)


def car(spot: Spot, dice: Dice) -> None:
    """A hatchback, saloon, off-roader or van along the spot's x, its front at +x."""
    body = Paint(paint.rgb(dice.pick(paint.CARS)), shine=0.7, gloss=6.0, mirror=0.05)
    style = dice.whole(0, 3)
    long, wide = (3.9, 4.5, 4.6, 5.1)[style] * dice.between(0.95, 1.05), (1.7, 1.76, 1.85, 1.95)[style]
    waist, roof = (0.86, 0.84, 1.0, 1.1)[style], (1.46, 1.42, 1.7, 2.1)[style]
    h, low = long / 2, (0.2, 0.18, 0.26, 0.25)[style]
    nose = waist - (0.14 if style < 3 else 0.1)
    spot.prism(
        (
            (-h, low + 0.1),
            (-h + 0.1, low),
            (h - 0.12, low),
            (h, low + 0.12),
            (h, nose - 0.14),
            (h - 0.25, nose),
            (h * 0.42, waist),
            (-h + 0.12, waist + 0.02),
            (-h, waist - 0.12),
        ),
        wide,
        body,
    )
    rear, front = ((-h + 0.15, h * 0.48), (-h * 0.72, h * 0.45), (-h + 0.1, h * 0.5), (-h + 0.05, h * 0.68))[style]
    back, slope = ((0.35, 0.75), (0.75, 0.85), (0.25, 0.65), (0.06, 0.55))[style]
    spot.prism(
        ((rear, waist), (front, waist), (front - slope, roof - 0.05), (rear + back, roof - 0.05)),
        wide - 0.06,
        GLASS,
        0.4,
    )
    spot.prism(
        (
            (rear + back - 0.06, roof - 0.07),
            (front - slope + 0.04, roof - 0.07),
            (front - slope - 0.08, roof),
            (rear + back + 0.08, roof),
        ),
        wide - 0.44,
        body,
    )
    y, top = wide / 2 - 0.04, wide / 2 - 0.24
    for side in (-1, 1):
        for a, b in (
            (rear, rear + back),
            (front, front - slope),
            ((rear + front) / 2, (rear + back + front - slope) / 2),
        ):
            spot.rod((a, side * y, waist), (b, side * top, roof - 0.05), 0.035, body)
        if style == 3:
            spot.box((rear + 0.9, side * (y - 0.05), (waist + roof) / 2), (1.7, 0.1, roof - waist - 0.1), body)
        for x in (-h * 0.6, h * 0.62):
            _wheel(spot, (x, side * (wide / 2 - 0.1), low + 0.12), side)
        spot.ball((front - slope * 0.2, side * (wide / 2 + 0.08), waist + 0.06), (0.06, 0.11, 0.08), body)
        spot.box((-0.1, side * (wide / 2 + 0.002), (waist + low) / 2), (0.012, 0.01, waist - low - 0.1), RUBBER)
    _ends(spot, (h, wide, low), (nose, waist))


def _ends(spot: Spot, body: tuple[float, float, float], heights: tuple[float, float]) -> None:
    """Lamps, number plates and bumpers; `body` is (half length, width, ground clearance), `heights` those of bonnet and waist."""
    h, wide, low = body
    nose, waist = heights
    for side in (-1, 1):
        spot.ball(
            (h - 0.07, side * (wide / 2 - 0.28), nose - 0.15),
            (0.1, 0.2, 0.08),
            Paint(paint.rgb(0xE8ECF0), shine=0.8, gloss=7.0, mirror=0.15),
        )
        spot.ball(
            (-h + 0.03, side * (wide / 2 - 0.2), waist - 0.2),
            (0.06, 0.16, 0.1),
            Paint(paint.rgb(0x8A1010), shine=0.6, gloss=6.0),
        )
    plate = Paint(paint.rgb(0xE6E6E0), paint.rgb(0x202020), WRITING, 0.1)
    for x in (-h - 0.005, h + 0.005):
        spot.box((x, 0, low + 0.24), (0.02, 0.5, 0.11), plate)
        spot.box((x * 0.995, 0, low + 0.08), (0.06, wide - 0.3, 0.1), RUBBER)


def _wheel(spot: Spot, centre: tuple[float, float, float], side: int) -> None:
    x, y, r = centre
    spot.rod((x, y - side * 0.02, r), (x, y + side * 0.085, r), r + 0.07, paint.plain(0x0C0C0D))
    spot.rod((x, y, r), (x, y + side * 0.11, r), r, RUBBER)
    spot.rod(
        (x, y, r), (x, y + side * 0.115, r), r * 0.62, Paint(paint.rgb(0xA8ABAE), shine=0.6, gloss=5.0, mirror=0.1)
    )
    spot.rod((x, y, r), (x, y + side * 0.118, r), r * 0.2, RUBBER)


def bus(spot: Spot, dice: Dice) -> None:
    body, long, high = (
        Paint(paint.rgb(dice.pick(paint.CARS)), shine=0.5, gloss=6.0, mirror=0.04),
        dice.between(7.0, 11.0),
        dice.between(2.7, 3.2),
    )
    spot.box((0, 0, 0.35 + (high - 0.35) / 2), (long, 2.5, high - 0.35), body)
    for side in (-1, 1):
        spot.box((0, side * 1.255, high * 0.62), (long * 0.94, 0.02, 0.95), GLASS)
        for i in range(int(long / 1.4)):
            spot.box((-long / 2 + 0.9 + 1.4 * i, side * 1.26, high * 0.62), (0.08, 0.03, 0.95), body)
        for x in (-long * 0.3, long * 0.34):
            _wheel(spot, (x, side * 1.18, 0.46), side)
    for x in (-long / 2 - 0.005, long / 2 + 0.005):
        spot.box((x, 0, high * 0.6), (0.02, 2.2, 1.2), GLASS)
        spot.box((x, 0, high * 0.9), (0.03, 1.5, 0.25), Paint(paint.rgb(0x101010), paint.rgb(0xF0B030), WRITING, 0.2))


def bicycle(spot: Spot, dice: Dice) -> None:
    """Along x, leaning a little."""
    look, black = paint.plastic(dice), paint.plain(0x161616)
    r, z = 0.34, 0.34
    wheel = (casting.WHEEL, 0.012)
    for x in (-0.5, 0.5):
        spot.sheet((x, 0, z), (2 * r, 2 * r), black, small.FACING, wheel)
        for k in range(16):
            a, b = 0.3927 * k, 0.3927 * (k + 1)
            spot.rod(
                (x + r * math.cos(a), 0, z + r * math.sin(a)),
                (x + r * math.cos(b), 0, z + r * math.sin(b)),
                0.016,
                black,
            )
    joints = {
        "rear": (-0.5, 0, z),
        "crank": (-0.06, 0, 0.3),
        "seat": (-0.2, 0, 0.82),
        "head": (0.34, 0, 0.84),
        "front": (0.5, 0, z),
    }
    for start, end in (
        ("rear", "crank"),
        ("rear", "seat"),
        ("crank", "seat"),
        ("crank", "head"),
        ("seat", "head"),
        ("head", "front"),
    ):
        spot.rod(joints[start], joints[end], 0.016, look)
    spot.rod((-0.2, 0, 0.82), (-0.22, 0, 0.95), 0.013, black)
    spot.ball((-0.22, 0, 0.97), (0.13, 0.07, 0.03), black)
    spot.rod((0.34, 0, 0.84), (0.32, 0, 1.0), 0.013, black)
    spot.rod((0.34, -0.26, 1.02), (0.34, 0.26, 1.02), 0.012, black)
    spot.rod((-0.06, -0.12, 0.2), (-0.06, 0.12, 0.4), 0.01, black)
