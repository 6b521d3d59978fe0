"""Paints: colours, patterns and shine of the things in rendered scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keendepth.data.scenes import textures as tx

if TYPE_CHECKING:
    from keendepth.data.scenes.world import Dice

Colour = tuple[float, float, float]


def rgb(code: int) -> Colour:
    """Linear colour from an sRGB number such as 0xC08040."""
    r, g, b = (((code >> shift) & 255) / 255.0 for shift in (16, 8, 0))
    return _linear(r), _linear(g), _linear(b)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def scaled(colour: Colour, factor: float) -> Colour:
    return min(0.95, colour[0] * factor), min(0.95, colour[1] * factor), min(0.95, colour[2] * factor)


@dataclass(frozen=True, eq=False)
class Paint:
    """How a surface looks; colours are linear. The pattern mixes `base` and `second`; scale is its size in metres, a and b its own numbers."""

    base: Colour
    second: Colour = (0.5, 0.5, 0.5)
    pattern: int = tx.PLAIN
    scale: float = 0.1
    a: float = 1.0
    b: float = 0.01
    shine: float = 0.0  # strength of the highlight
    gloss: float = 4.0  # the highlight's exponent is 2^gloss
    mirror: float = 0.0  # share reflected at normal incidence
    glow: float = 0.0  # light given off, as a factor on the colour
    tint: float = 0.0  # variation between things; above 0.3 also between the solids of one thing
    world: bool = False  # the pattern follows the world's axes and joins over parts
    thin: float = 0.0  # share of light that passes a sheet from behind
    second_mirror: float | None = None

    def row(self) -> tuple[float, ...]:
        other = self.mirror if self.second_mirror is None else self.second_mirror
        return (
            *self.base, *self.second, self.pattern, self.scale, self.a, self.b, self.shine, self.gloss, self.mirror,
            self.glow, self.tint, 1.0 if self.world else 0.0, self.thin, other,
        )  # fmt: skip


WOODS = (0xB98A5A, 0x8C5E3A, 0x5A3A26, 0xD2B48C, 0xA8713F, 0xC9A36B, 0x3E2A1E, 0xE3CFA9, 0x7A4B2A)
WALLS = (
    0xF2EFE8,
    0xECE6DA,
    0xE4E2DD,
    0xD9D3C5,
    0xDCE3E4,
    0xE8DCC8,
    0xC9D3C4,
    0xD5C3B0,
    0xB9C4CC,
    0xE9D9D2,
    0x9DB0B5,
    0xF7F5F0,
)
FABRICS = (
    0x6C7A89,
    0x8A8D8F,
    0xB7A99A,
    0x4A5A6A,
    0x9C4A3C,
    0x3D5A45,
    0xC9BBA5,
    0x2F3440,
    0xB5803A,
    0x7D5A6E,
    0xD8D2C6,
    0x54606B,
    0x1F3A5F,
    0xA33B3B,
)
PLASTICS = (0xF4F4F2, 0x202124, 0xC0392B, 0x2D6A9F, 0xE0B020, 0x3A8F5C, 0x8E8E93, 0xD35F2A, 0x5B4B8A, 0xE8A0A8)
CARS = (
    0xE8E8E8,
    0x151518,
    0x8F9498,
    0x5A5F66,
    0xA31515,
    0x1E3C70,
    0x2A4A3A,
    0xC7B899,
    0x3F6E9A,
    0xF2F0EA,
    0x70202A,
    0xD98E04,
)
SPINES = (
    0x6A2E2A,
    0x2E4A62,
    0x34503E,
    0xE8E2D2,
    0x2A2A2E,
    0xB59A6A,
    0x7A5A48,
    0x8A8F94,
    0xC9BFA8,
    0x9A3A34,
    0x3A5A7A,
    0xD6CFC0,
    0x5A4A62,
    0xC8743A,
    0xD9B24A,
    0x47615A,
)
BRICKS = (0x9C5A45, 0xB06A4E, 0x7C4538, 0xC99A78, 0xB8A18C, 0x8E6A58)
PLASTERS = (
    0xD9CDB8,
    0xE6DCC9,
    0xC4A98A,
    0xCFC7BE,
    0xB5A89A,
    0xD8B79A,
    0xA8B0B0,
    0xE2C9A0,
    0xBFA6A0,
    0x9AA59A,
    0xEDEAE2,
)


def plain(code: int, shine: float = 0.0, tint: float = 0.0) -> Paint:
    return Paint(rgb(code), shine=shine, gloss=4.0, tint=tint)


def wood(dice: Dice, codes: Sequence[int] = WOODS) -> Paint:
    base = rgb(dice.pick(codes))
    return Paint(
        base, scaled(base, dice.between(0.55, 0.8)), tx.WOOD, dice.between(0.06, 0.18), shine=dice.between(0.0, 0.12),
        gloss=5.0, mirror=dice.pick((0.0, 0.0, 0.02)), tint=0.1,
    )  # fmt: skip


def fabric(dice: Dice, codes: Sequence[int] = FABRICS) -> Paint:
    base = rgb(dice.pick(codes))
    style = dice.whole(0, 5)
    if style == 0:
        return Paint(base, rgb(dice.pick(codes)), tx.STRIPES, dice.between(0.03, 0.12), dice.between(0.3, 0.6))
    if style == 1:
        return Paint(base, rgb(dice.pick(codes)), tx.DOTS, dice.between(0.04, 0.1), dice.between(0.15, 0.35))
    return Paint(base, scaled(base, 0.7), tx.WEAVE, dice.between(0.006, 0.02), tint=0.1)


def plastic(dice: Dice, codes: Sequence[int] = PLASTICS) -> Paint:
    return Paint(rgb(dice.pick(codes)), shine=dice.between(0.1, 0.5), gloss=dice.pick((4.0, 6.0)), tint=0.15)


def metal(dice: Dice) -> Paint:
    base = rgb(dice.pick((0x8A8D90, 0x2A2B2D, 0xB8BABC, 0x5E5A55, 0xA58B5A)))
    return Paint(base, shine=0.8, gloss=dice.pick((4.0, 5.0, 7.0)), mirror=dice.pick((0.0, 0.05, 0.25)), tint=0.05)


def ceramic(dice: Dice) -> Paint:
    return Paint(
        rgb(dice.pick((0xF0EEE8, 0xD8D4CC, 0x35576B, 0x8C3B2E, 0x4E6B4A, 0xE0C9A0))), shine=0.6, gloss=6.0, mirror=0.04
    )


def screen(dice: Dice) -> Paint:
    if dice.chance(0.5):
        return Paint(rgb(0x101113), shine=0.4, gloss=7.0, mirror=0.06)
    return Paint(rgb(dice.pick(PLASTICS)), rgb(0xE8ECEF), tx.PICTURE, glow=dice.between(0.5, 1.2))


def picture(dice: Dice) -> Paint:
    return Paint(rgb(dice.pick(WALLS + FABRICS)), rgb(dice.pick(PLASTICS + FABRICS)), tx.PICTURE, shine=0.05)


def wall(dice: Dice) -> Paint:
    base = rgb(dice.pick(WALLS))
    style = dice.whole(0, 13)
    if style == 0:
        return Paint(rgb(dice.pick(BRICKS)), rgb(0xB5ACA0), tx.BRICK, 0.072, 3.1, 0.006, world=True)
    if style == 1:
        return Paint(base, scaled(base, 0.8), tx.STRIPES, dice.between(0.08, 0.3), 0.5, world=True)
    if style == 2:
        return Paint(base, rgb(dice.pick(WALLS)), tx.DOTS, dice.between(0.12, 0.3), dice.between(0.1, 0.3), world=True)
    if style == 3:
        return Paint(
            base,
            rgb(0xC8C4BC),
            tx.TILES,
            dice.between(0.1, 0.25),
            1.0,
            0.003,
            shine=0.3,
            gloss=6.0,
            mirror=0.03,
            world=True,
        )
    return Paint(base, scaled(base, 0.96), tx.MOTTLE, dice.between(0.3, 0.9), 1.5, world=True)


def floor(dice: Dice) -> Paint:
    style = dice.whole(0, 8)
    base = rgb(dice.pick(WOODS))
    if style <= 4:
        return Paint(
            base, scaled(base, 0.25), tx.PLANKS, dice.between(0.07, 0.2), dice.between(6.0, 12.0), 0.0015, shine=0.1, gloss=6.0,
            mirror=dice.pick((0.0, 0.0, 0.02, 0.04)), world=True,
        )  # fmt: skip
    if style == 5:
        tile = rgb(dice.pick((0xD8D2C6, 0xB8B2A8, 0xE5E2DC, 0x8C8780, 0xC4A484, 0x5A5A5E)))
        side, mirror = dice.between(0.2, 0.6), dice.pick((0.0, 0.0, 0.05))
        return Paint(tile, scaled(tile, 0.5), tx.TILES, side, 1.0, 0.004, 0.2, 6.0, mirror, world=True)
    if style == 6:
        return Paint(rgb(dice.pick(FABRICS)), rgb(dice.pick(FABRICS)), tx.CARPET, dice.between(0.01, 0.03), world=True)
    if style == 7:
        dark = rgb(dice.pick((0x2A2A2C, 0x8A6F5A, 0x4A5A5E)))
        return Paint(rgb(0xE0DCD4), dark, tx.CHECKER, dice.between(0.2, 0.45), mirror=0.02, world=True)
    return stone(dice)


def rug(dice: Dice) -> Paint:
    return Paint(rgb(dice.pick(FABRICS)), rgb(dice.pick(FABRICS)), tx.RUG, dice.between(0.05, 0.12))


def leaf(dice: Dice) -> Paint:
    base = rgb(dice.pick((0x3F6B2E, 0x55802F, 0x2F5530, 0x6F8F3A, 0x4A7A45, 0x7A8B3C)))
    return Paint(base, scaled(base, 1.6), tx.LEAFY, shine=0.08, gloss=4.0, tint=0.5, thin=0.5)


def bark(dice: Dice) -> Paint:
    base = rgb(dice.pick((0x5B4A3A, 0x6E5C4B, 0x4A4038, 0x8A8072)))
    return Paint(scaled(base, 0.5), base, tx.BARK, dice.between(0.02, 0.05))


def grass(dice: Dice) -> Paint:
    base = rgb(dice.pick((0x5E7A35, 0x4C6B2C, 0x77803F, 0x6B8A40)))
    return Paint(base, rgb(dice.pick((0x8A8A4A, 0x6B7A35, 0xA09A60))), tx.GRASS, 0.03, world=True)


def stone(dice: Dice) -> Paint:
    base = rgb(dice.pick((0xA8A39A, 0x8F8B85, 0xB9B0A2, 0x77746F)))
    return Paint(base, scaled(base, 0.75), tx.MOTTLE, dice.between(0.05, 0.3), 2.5, world=True)


def paving(dice: Dice) -> Paint:
    base = rgb(dice.pick((0xA8A49C, 0x8F8C88, 0xB5A898, 0x9A8578)))
    return Paint(
        base, scaled(base, 0.6), tx.TILES, dice.between(0.2, 0.6), dice.pick((1.0, 2.0)), 0.006, tint=0.1, world=True
    )


def asphalt(dice: Dice) -> Paint:
    base = rgb(dice.pick((0x55555A, 0x4A4A4C, 0x6A6864, 0x5E5A58)))
    return Paint(
        base, scaled(base, 1.5), tx.ASPHALT, 0.012, mirror=dice.pick((0.0, 0.0, 0.0, 0.0, 0.0, 0.02)), world=True
    )
