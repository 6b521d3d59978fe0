"""Furnished rooms: models of the Sweet Home 3D catalogue laid out in a room and photographed through OpenGL."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.data import synthetic
from keendepth.data.scenes import catalogue, choice, film, opengl, paint, rooms, stage
from keendepth.data.scenes.catalogue import Model
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.opengl import Lighting, Mesh, Placed
from keendepth.data.scenes.paint import Paint
from keendepth.data.scenes.stage import View
from keendepth.data.scenes.textures import FACADE
from keendepth.data.scenes.world import Builder, Dice, Spot, pack

PLANS = {
    "living": "sofa, storage, armchair, plant, lamp, odd, storage, odd, chair, plant, odd, armchair, storage, odd",
    "dining": "storage, plant, storage, odd, lamp, chair, armchair, odd, storage, plant, odd, chair",
    "bedroom": "bed, nightstand, nightstand, wardrobe, desk, plant, lamp, odd, chair, storage, odd, armchair",
    "office": "desk, desk, storage, desk, storage, plant, odd, office chair, odd, lamp, chair, storage",
    "kitchen": "kitchen, kitchen, kitchen, kitchen, kitchen, storage, plant, odd, chair, odd, storage",
    "hall": "odd, odd, storage, plant, chair, odd, person, storage, armchair, odd, plant, lamp, desk",
}


@dataclass
class Set:
    """A furnished room under construction: the room with boxes in place of the models, the meshes, and what each number is."""

    room: rooms.Room
    models: dict[str, tuple[Model, ...]]
    things: list[Placed] = field(default_factory=list)
    labels: dict[int, int] = field(default_factory=dict)
    windows: list[tuple[tuple[float, float, float], ...]] = field(default_factory=list)

    def mesh(self, spot: Spot, mesh: Mesh, lift: float = 0.0) -> None:
        matrix = np.eye(4)
        matrix[:2, :2], matrix[:3, 3] = [[spot.c, -spot.s], [spot.s, spot.c]], (spot.x, spot.y, spot.z + lift)
        self.things.append(Placed(mesh, matrix, spot.ident))
        self.labels[spot.ident] = spot.label

    def slabs(
        self, spot: Spot, boxes: list[tuple[tuple[float, float, float], tuple[float, float, float]]], mesh: Mesh
    ) -> None:
        """Boxes (centre, size) of one look, also for the camera to keep clear of."""
        for centre, size in boxes:
            spot.box(centre, size, PROXY)
        rows = np.concatenate([_box(centre, size) for centre, size in boxes])
        self.mesh(spot, Mesh(rows, mesh.colour, mesh.picture, mesh.shine, mesh.glow))

    def model(self, spot: Spot, model: Model) -> None:
        for mesh in meshes(model):
            self.mesh(spot, mesh, model.elevation)
        spot.box((0, 0, model.elevation + model.height / 2), (model.width, model.depth, model.height), PROXY)


PROXY = Paint((0.5, 0.5, 0.5))
TILE = 4.0  # metres that a swatch covers


@functools.lru_cache(maxsize=64)
def meshes(model: Model) -> tuple[Mesh, ...]:
    """A model's meshes; the same objects each time, so that OpenGL keeps them."""
    return tuple(
        Mesh(
            p.vertices,
            tuple(max(0.0, c) ** 2.2 for c in p.colour),
            catalogue.picture(p.picture) if p.picture else None,
            0.5 * p.shine,
        )
        for p in catalogue.load(model)
    )


def look(dice: Dice, paint_: Paint, pixels: int = 256, metres: float = TILE) -> Mesh:
    """A mesh without triangles that carries a swatch of a paint."""
    out = np.empty((pixels, pixels, 4), np.uint8)
    film.swatch(np.array(paint_.row()), metres, dice.whole(0, 9999), out)
    return Mesh(np.zeros((0, 11), np.float32), (1.0, 1.0, 1.0), out, 0.3 * paint_.shine)


def _box(centre: tuple[float, float, float], size: tuple[float, float, float]) -> np.ndarray:
    """[36 11] the triangles of a box, textured in metres."""
    rows = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (-1.0, 1.0):
            normal = np.eye(3)[axis] * side
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)):
                p = np.array(centre, dtype=np.float64)
                p[axis] += side * size[axis] / 2
                p[u] += a * size[u] / 2
                p[v] += b * size[v] / 2
                across, up = (p[0], p[1]) if axis == 2 else ((p[1] if axis == 0 else p[0]), p[2])
                rows.append([*p, *normal, *normal, across / TILE + 0.5, up / TILE + 0.5])
    return np.array(rows, np.float32)


def _panel(width: float, height: float) -> np.ndarray:
    """[6 11] an upright sheet towards -y about the origin, with its picture on it once."""
    rows = []
    for a, b in ((-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)):
        rows.append([a * width / 2, 0, b * height / 2, 0, -1, 0, 0, -1, 0, (a + 1) / 2, (b + 1) / 2])
    return np.array(rows, np.float32)


def compose(seed: int) -> tuple[Set, Lighting, View, np.ndarray]:
    """Furnished room number `seed`: the set, its light, the camera path and the camera's habits. Raises FileNotFoundError without the package."""
    dice = Dice(seed, 7)
    models = choice.by_sort(catalogue.models(catalogue.folder()))
    room = rooms.Room(Builder(), dice, dice.between(3.2, 6.5), dice.between(3.4, 7.0), dice.between(2.4, 3.0))
    scene = Set(room, models)
    _shell(scene)
    plan = dice.pick(tuple(PLANS))
    if plan in ("dining", "kitchen", "living") or dice.chance(0.5):
        _middle(scene, plan)
    for sort in PLANS[plan].split(", "):
        _against_wall(scene, sort)
    for _ in range(dice.whole(0, 5)):
        _scatter(scene)
    lighting = _lighting(scene)
    _outside(scene, lighting.day)
    world = pack(room.builder, np.zeros(24))
    return scene, lighting, rooms.look(room, world), stage.sensor(dice, dice.between(0.2, 0.34))


def _shell(scene: Set) -> None:
    """Floor, ceiling, and four walls with a door and windows in them."""
    room, dice = scene.room, scene.room.dice
    w, d, h, b = room.width, room.depth, room.height, room.builder
    scene.slabs(
        b.spot(Label.FLOOR), [((w / 2, d / 2, -0.05), (w + 0.4, d + 0.4, 0.1))], look(dice, paint.floor(dice), 512)
    )
    scene.slabs(
        b.spot(Label.CEILING),
        [((w / 2, d / 2, h + 0.05), (w + 0.4, d + 0.4, 0.1))],
        look(dice, paint.plain(0xF2F0EC), 32),
    )
    common, door = look(dice, paint.wall(dice)), dice.whole(0, 3)
    for k in range(4):
        x, y, yaw, length = room.side(k)
        spot = b.spot(Label.WALL, x, y, 0, yaw)
        opening = (
            dice.pick(scene.models["door"])
            if k == door
            else (dice.pick(scene.models["window"]) if dice.chance(0.65) else None)
        )
        if opening and (opening.width > length - 0.4 or opening.elevation + opening.height > h - 0.05):
            opening = None
        left = dice.between(0.2, length - 0.2 - opening.width) if opening else 0.0
        mesh = look(dice, paint.wall(dice)) if dice.chance(0.15) else common
        scene.slabs(spot, _wall(length, h, opening, left), mesh)
        if opening:
            _open(scene, spot.at(left + opening.width / 2, 0), opening, k == door)
        else:
            _adorn(scene, spot, length)


def _wall(
    length: float, height: float, opening: Model | None, left: float
) -> list[tuple[tuple[float, float, float], tuple[float, float, float]]]:
    t = 0.2
    if opening is None:
        return [((length / 2, t / 2, height / 2), (length + 2 * t, t, height))]
    right, low, top = left + opening.width, opening.elevation, opening.elevation + opening.height
    boxes = [
        ((left / 2 - t / 2, t / 2, height / 2), (left + t, t, height)),
        (((right + length + t) / 2, t / 2, height / 2), (length + t - right, t, height)),
        (((left + right) / 2, t / 2, (top + height) / 2), (opening.width, t, height - top)),
    ]
    return [*boxes, (((left + right) / 2, t / 2, low / 2), (opening.width, t, low))] if low > 0 else boxes


def _open(scene: Set, spot: Spot, opening: Model, door: bool) -> None:
    """Hang a door or window; daylight comes through windows, and the floor before a door stays free."""
    scene.model(spot.thing(Label.OPENING, 0, 0.1), opening)
    if door:
        scene.slabs(
            spot.thing(Label.WALL), [((0, 0.9, 1.1), (3.0, 0.1, 2.4))], look(scene.room.dice, paint.plain(0xB0A89C), 32)
        )
        scene.room.claim(spot.at(0, -0.45), (opening.width, 0.9))
        return
    power = 1.1 * opening.width * opening.height
    centre = spot.place((0, 0.1, opening.elevation + opening.height / 2))
    scene.windows.append((centre, (spot.s, -spot.c, 0.0), (0.9 * power, 0.97 * power, 1.06 * power)))


def _adorn(scene: Set, spot: Spot, length: float) -> None:
    """Pictures or a model that hangs."""
    dice = scene.room.dice
    for k in range(dice.whole(0, 3)):
        x = length * (k + 0.7) / 4
        if dice.chance(0.25):
            model = dice.pick(scene.models["wall"])
            scene.model(spot.thing(Label.OBJECT, x, -model.depth / 2 - 0.003), model)
            continue
        w, h = dice.between(0.3, 0.9), dice.between(0.3, 0.8)
        z = dice.between(1.4, 1.7)
        frame = spot.thing(Label.PICTURE, x, 0, z)
        scene.slabs(frame, [((0, -0.012, 0), (w + 0.06, 0.024, h + 0.06))], look(dice, paint.wood(dice), 64))
        art = look(dice, paint.picture(dice), 128, 2.0)
        scene.mesh(spot.thing(Label.PICTURE, x, -0.0255, z), Mesh(_panel(w, h), art.colour, art.picture))


def _set_down(scene: Set, sort: str, spot: Spot, model: Model, gap: float = 0.0) -> bool:
    """Put a model on the floor where there is room, with small things on top of what has a top."""
    spot = spot.thing(choice.SORTS[sort][0])
    if not scene.room.claim(spot, (model.width, model.depth), gap):
        return False
    scene.model(spot, model)
    if sort in ("table", "desk", "coffee table", "storage", "nightstand", "kitchen") and 0.3 < model.top < 1.6:
        _load(scene, spot, model)
    return True


def _load(scene: Set, spot: Spot, model: Model) -> None:
    dice = scene.room.dice
    taken: list[tuple[float, float, float]] = []
    for _ in range(dice.whole(1, 6)):
        thing = dice.pick(scene.models["small"])
        x, y = (dice.between(-0.38, 0.38) * side for side in (model.width, model.depth))
        if all(math.hypot(x - a, y - b) > (max(thing.width, thing.depth) + c) / 2 for a, b, c in taken):
            taken.append((x, y, max(thing.width, thing.depth)))
            scene.model(spot.thing(Label.OBJECT, x, y, model.top, dice.between(-40, 40)), thing)


def _against_wall(scene: Set, sort: str) -> None:
    room, dice = scene.room, scene.room.dice
    if dice.chance(0.1) or not scene.models[sort]:
        return
    model = dice.pick(scene.models[sort])
    for _ in range(8):
        x, y, yaw, length = room.side(dice.whole(0, 3))
        if length < model.width + 0.1:
            continue
        u = dice.between(model.width / 2 + 0.03, length - model.width / 2 - 0.03)
        spot = room.builder.spot(Label.WALL, x, y, 0, yaw).at(u, -model.depth / 2 - dice.between(0.02, 0.12))
        if _set_down(scene, sort, spot, model):
            if sort == "desk":
                seat = dice.pick(scene.models["office chair"] or scene.models["chair"])
                _set_down(
                    scene,
                    "chair",
                    spot.at(
                        dice.between(-0.2, 0.2), -model.depth / 2 - seat.depth * 0.4, 0, 180 + dice.between(-40, 40)
                    ),
                    seat,
                    -0.1,
                )
            return


def _scatter(scene: Set) -> None:
    """Something small or a plant anywhere on the floor."""
    room, dice = scene.room, scene.room.dice
    model = dice.pick(scene.models[dice.pick(("small", "small", "plant", "chair"))])
    spot = room.builder.spot(
        Label.OBJECT, dice.between(0.4, room.width - 0.4), dice.between(0.4, room.depth - 0.4), 0, dice.between(0, 360)
    )
    if room.claim(spot, (model.width, model.depth), 0.02):
        scene.model(spot, model)


def _middle(scene: Set, plan: str) -> None:
    """A table with chairs, or a rug with a low table."""
    room, dice = scene.room, scene.room.dice
    spot = room.builder.spot(
        Label.TABLE, room.width * dice.between(0.4, 0.6), room.depth * dice.between(0.4, 0.6), 0, dice.pick((0.0, 90.0))
    )
    if plan == "living":
        rug = look(dice, paint.rug(dice), 256, 2.0)
        scene.slabs(
            spot.thing(Label.RUG), [((0, 0, 0.005), (dice.between(1.6, 2.4), dice.between(1.2, 1.8), 0.01))], rug
        )
        if _set_down(scene, "coffee table", spot, dice.pick(scene.models["coffee table"])) and dice.chance(0.5):
            sofa = dice.pick(scene.models["sofa"])
            _set_down(scene, "sofa", spot.at(0, 0.9 + sofa.depth / 2), sofa)
        return
    table, chair = dice.pick(scene.models["table"]), dice.pick(scene.models["chair"])
    if not _set_down(scene, "table", spot, table):
        return
    for side in (-1, 1):
        number = max(1, int(table.width / 0.65))
        for i in range(number):
            x = -table.width / 2 + (i + 0.5) * table.width / number
            y = side * (table.depth / 2 + chair.depth * dice.between(0.3, 0.75))
            _set_down(scene, "chair", spot.at(x, y, 0, (0 if side > 0 else 180) + dice.between(-15, 15)), chair, -0.08)


def _outside(scene: Set, day: float) -> None:
    """Ground and houses beyond the windows, lit by the day."""
    dice, b, storey = scene.room.dice, scene.room.builder, scene.room.dice.pick((0.3, 3.2, 9.0))
    scene.slabs(
        b.spot(Label.GRASS), [((0, 0, -storey), (300, 300, 0.1))], replace(look(dice, paint.grass(dice)), glow=day)
    )
    for _ in range(dice.whole(3, 7)):
        a, far, w, h = dice.between(0, 6.2832), dice.between(16, 60), dice.between(7, 16), dice.between(5, 18)
        wall = Paint(paint.rgb(dice.pick(paint.PLASTERS + paint.BRICKS)), paint.rgb(0x2A3038), FACADE, 2.0, 0.8)
        spot = b.spot(Label.BUILDING, far * math.cos(a), far * math.sin(a), -storey, dice.between(0, 90))
        scene.slabs(spot, [((0, 0, h / 2), (w, 0.7 * w, h))], replace(look(dice, wall, 128), glow=day))


def _lighting(scene: Set) -> Lighting:
    room, dice = scene.room, scene.room.dice
    day = dice.between(0.8, 2.4) if scene.windows and dice.chance(0.8) else 0.05
    power = dice.between(0.4, 1.5) if day > 0.1 else dice.between(1.5, 2.5)
    windows = tuple((c, way, (day * r, day * g, day * b)) for c, way, (r, g, b) in scene.windows[:8])
    warm = dice.between(0.0, 0.35)
    total = power + sum(w[2][1] for w in windows)
    lamp = (room.width * dice.between(0.35, 0.65), room.depth * dice.between(0.35, 0.65), room.height - 0.12)
    each = (0.06 + 0.05 * total) * dice.between(0.8, 1.3)
    return Lighting(lamp, (power, power * (1 - 0.4 * warm), power * (1 - warm)), windows, (each, each, each), day)


def frames(seed: int, size: tuple[int, int], count: int, samples: int) -> Iterator[synthetic.Frame]:
    """Pictures of furnished room number `seed`; see `synthetic.render`."""
    scene, lighting, view, sensor = compose(seed)
    camera, gain = synthetic.camera_of(view.fov, size), 0.0
    names = np.zeros(scene.room.builder.idents + 1, np.uint8)
    names[list(scene.labels)] = list(scene.labels.values())
    for number in range(count):
        pose = view.pose(number)
        out = opengl.photograph(scene.things, camera, pose, lighting, math.isqrt(samples))
        colour = out.colour + out.sky[..., None] * _daylight(camera, pose, 1.2 * lighting.day)
        gain = gain or 1.0 / max(synthetic.middle_grey(colour), 1e-6)
        habits, rgb = sensor.copy(), np.empty(colour.shape, np.uint8)
        habits[:3] *= gain
        film.develop(colour, habits, 0, len(colour), seed * 1000 + number, rgb)
        shading = out.light @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        yield synthetic.Frame(
            Image(rgb, camera, f"furnished {seed}"), DepthMap(out.depth, DepthKind.METRIC, camera), out.normal, names[out.ident],
            out.ident, out.albedo, shading, pose,
        )  # fmt: skip


def _daylight(camera: Camera, pose: np.ndarray, bright: float) -> np.ndarray:
    """[h w 3] float32 of a plain sky."""
    rays = synthetic.pixel_rays(camera.height, camera.width, camera.K) @ pose[:3, :3].T
    up = np.clip(rays[..., 2:] / np.linalg.norm(rays, axis=-1, keepdims=True), 0, 1)
    return (bright * (np.array([1.0, 1.02, 1.05]) - up * np.array([0.5, 0.35, 0.0]))).astype(np.float32)
