"""What a scene maker hands over: solids, light, a camera path, and the habits of the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from keendepth.data.scenes import film
from keendepth.data.scenes.casting import World
from keendepth.data.scenes.paint import Colour
from keendepth.data.scenes.world import Dice, Vector


@dataclass(frozen=True)
class View:
    """A camera and its path: from `eye`, out and back along `move` (metres) in `period` frames, with a swaying gaze."""

    eye: Vector
    yaw: float  # degrees; 0 looks along +y, positive turns left
    pitch: float  # degrees, positive looks up
    roll: float
    fov: float  # degrees across the longer side of the picture
    move: Vector = (0.0, 0.0, 0.0)
    period: float = 60.0
    sway: Vector = (0.0, 0.0, 0.0)  # degrees of yaw, pitch, roll

    def pose(self, frame: int) -> np.ndarray:
        """World-from-camera [4 4]; frame 0 is the view itself whatever else is asked for."""
        turn = 2 * math.pi * frame / self.period
        s = math.sin(turn)
        yaw, pitch, roll = (
            math.radians(a + w * math.sin(turn * k))
            for a, w, k in zip((self.yaw, self.pitch, self.roll), self.sway, (1, 2, 3), strict=True)
        )
        cy, sy, cp, sp, cr, sr = (
            math.cos(yaw),
            math.sin(yaw),
            math.cos(pitch),
            math.sin(pitch),
            math.cos(roll),
            math.sin(roll),
        )
        ahead = (-sy * cp, cy * cp, sp)
        right = (cy, sy, 0.0)
        down = (-sy * sp, cy * sp, -cp)
        x = [cr * right[k] + sr * down[k] for k in range(3)]
        y = [cr * down[k] - sr * right[k] for k in range(3)]
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = x, y, ahead
        pose[:3, 3] = [self.eye[k] + self.move[k] * s for k in range(3)]
        return pose


@dataclass(frozen=True)
class Stage:
    """A scene ready to be photographed."""

    world: World
    view: View
    sensor: np.ndarray  # see `film._develop`; the gains are relative to the picture's middle grey
    blur: float  # width in pixels of the patch that a pixel gathers
    seed: int


def sky(
    sun: Vector,
    colour: Colour,
    zenith: Colour,
    horizon: Colour,
    clouds: tuple[float, int] = (0.0, 0),
    haze: float = 0.0,
) -> np.ndarray:
    """An outdoor sky as `light` reads it; `sun` points to the sun and need not be of unit length."""
    s = np.zeros(24)
    n = math.sqrt(sun[0] ** 2 + sun[1] ** 2 + sun[2] ** 2)
    s[0:3] = sun[0] / n, sun[1] / n, sun[2] / n
    s[3:6], s[6], s[7:10], s[10:13], s[13:15], s[15] = colour, 0.012, zenith, horizon, clouds, haze
    s[16:19] = [0.35 * c for c in horizon]
    s[19], s[20] = 6.0, 1.0
    return s


def indoors(outside: np.ndarray, everywhere: Colour, reach: float = 1.8) -> np.ndarray:
    """The sky seen through a window, while open bounce rays find `everywhere`."""
    s = outside.copy()
    s[19], s[20], s[21:24] = reach, 0.0, everywhere
    return s


def sensor(dice: Dice, bright: float) -> np.ndarray:
    """A camera's habits; `bright` is the grey to which the middle of the picture is exposed."""
    warm = dice.between(-0.08, 0.08)
    noisy = dice.between(0.0, 1.0) ** 3
    return np.array(
        [
            bright * (1 + warm), bright, bright * (1 - warm), dice.between(0.0, 0.35), dice.between(2.5, 6.0), dice.between(0.1, 0.7),
            dice.between(0.85, 1.2), 2e-5 + 6e-4 * noisy, 1e-7 + 1e-5 * noisy,
        ]
    )  # fmt: skip


def clearance(world: World, eye: Vector, directions: np.ndarray) -> np.ndarray:
    """Metres from `eye` to the nearest solid along unit directions [r 3]."""
    return film.reach(world, np.array(eye, dtype=np.float64), np.ascontiguousarray(directions))[0]


def judge(world: World, view: View, room: tuple[float, float, float]) -> float:
    """How good a view is, 0..4: `room` to each side, nearest thing ahead and middle distance ahead (metres) at least, and many things to see."""
    sides = clearance(world, view.eye, around(12, (-40.0, 0.0, 40.0)))
    x = np.linspace(-0.9, 0.9, 16) * math.tan(math.radians(view.fov / 2))
    rays = np.stack([np.tile(x, 12), np.repeat(x[2:14] * 0.75, 16), np.ones(192)], axis=1)
    turn = view.pose(0)[:3, :3]
    rays = rays[:, :1] * turn[:, 0] + rays[:, 1:2] * turn[:, 1] + rays[:, 2:] * turn[:, 2]
    rays /= np.sqrt((rays * rays).sum(1, keepdims=True))
    far, who = film.reach(world, np.array(view.eye, dtype=np.float64), rays)
    space = min(1.0, float(sides.min()) / room[0]) + min(1.0, float(far.min()) / room[1])
    return space + min(1.0, float(np.sort(far)[96]) / room[2]) + min(1.0, len(set(who[far < 60.0].tolist())) / 35)


def around(turns: int = 12, tilts: tuple[float, ...] = (-50.0, -20.0, 0.0, 20.0, 50.0)) -> np.ndarray:
    """Unit directions on rings about the vertical."""
    rows = []
    for tilt in tilts:
        c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        rows += [
            (c * math.cos(2 * math.pi * k / turns), c * math.sin(2 * math.pi * k / turns), s) for k in range(turns)
        ]
    return np.array(rows)


def free_move(world: World, eye: Vector, aim: Vector, limit: float) -> Vector:
    """The longest step along `aim` (both ways, at most `limit`) that keeps 0.3 m from everything."""
    ring = around(8, (-70.0, -35.0, 0.0, 35.0, 70.0))
    n = math.sqrt(sum(a * a for a in aim))
    axis = np.array(aim) / n
    forth = np.abs(ring @ axis) > 0.8
    far = clearance(world, eye, np.concatenate([ring[forth], axis[None], -axis[None]]))
    length = min(limit, max(0.0, float(far.min()) - 0.3))
    return axis[0] * length, axis[1] * length, axis[2] * length


def walking(world: World, view: View, aim: Vector, limit: float) -> View:
    """The view with the longest free path along `aim`, at most `limit` metres."""
    return replace(view, move=free_move(world, view.eye, aim, limit))
