"""Rendered scenes: depth against formulas, the pixel convention, poses, determinism, sizes, labels, and both renderers."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest

pytest.importorskip("numba", reason="rendering needs the extra `scenes`")

from keendepth.core.geometry import pixel_rays, project
from keendepth.core.types import DepthKind
from keendepth.data import synthetic
from keendepth.data.scenes import paint, stage
from keendepth.data.scenes.labels import Label
from keendepth.data.scenes.stage import Stage, View
from keendepth.data.scenes.world import Builder, Dice, pack, turned

pytestmark = pytest.mark.slow  # the first run compiles the kernels
SMALL = (48, 64)
FLAT = paint.plain(0xB0B0B0)


def photograph(builder: Builder, size: tuple[int, int], fov: float = 60.0, view: View | None = None) -> synthetic.Frame:
    """A hand-made scene, seen from the origin along +y."""
    sky = stage.sky((0.3, -1.0, 1.0), (2.0, 2.0, 2.0), (0.5, 0.6, 0.9), (0.8, 0.8, 0.8))
    view = view or View((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, fov)
    scene = Stage(pack(builder, sky), view, stage.sensor(Dice(1), 0.2), 1.0, 5)
    return next(iter(synthetic.photographed(scene, size, range(1), 4, 1)))


def room(seed: int = 3, **options: int) -> list[synthetic.Frame]:
    return synthetic.render(seed, SMALL, "room", **options)


def rays_of(frame: synthetic.Frame) -> np.ndarray:
    return pixel_rays(*frame.depth.size, frame.image.camera.K)


def test_sphere_and_wall_have_the_depth_of_the_formula() -> None:
    b = Builder()
    b.spot(Label.OBJECT).ball((0.2, 3.0, -0.1), (0.5, 0.5, 0.5), FLAT)
    b.spot(Label.WALL).box((0.0, 6.1, 0.0), (40.0, 0.2, 40.0), FLAT)
    frame = photograph(b, (61, 83))
    rays = rays_of(frame)  # camera x right, y down, z forward = world x, -z, y
    centre = np.array([0.2, 0.1, 3.0])
    a, half_b, c = (rays**2).sum(-1), (rays * centre).sum(-1), (centre**2).sum() - 0.25
    root = half_b**2 - a * c
    expected = np.where(root > 0, (half_b - np.sqrt(np.maximum(root, 0))) / a, 6.0)
    np.testing.assert_allclose(frame.depth.values, expected, rtol=2e-7)
    assert frame.depth.kind is DepthKind.METRIC
    assert 200 < (root > 0).sum() < 2000


def test_a_wire_of_four_millimetres_five_metres_away() -> None:
    b = Builder()
    b.spot(Label.WIRE).rod((-3.0, 5.0, -0.5), (3.0, 5.0, 0.5), 0.002, FLAT)
    frame = photograph(b, (480, 640), 40.0)
    rays = rays_of(frame)
    axis = np.array([6.0, -1.0, 0.0]) / math.sqrt(37.0)  # in camera axes
    across = rays - (rays @ axis)[..., None] * axis
    middle = np.array([0.0, 0.0, 5.0])
    a, half_b, c = (across**2).sum(-1), across @ middle, 25.0 - 0.002**2
    root = half_b**2 - a * c
    hit = root > 0
    assert 200 < hit.sum() < 2000
    np.testing.assert_array_equal(np.isfinite(frame.depth.values), hit)
    exact = (half_b - np.sqrt(np.maximum(root, 0))) / a
    assert np.abs(frame.depth.values[hit] - exact[hit]).max() < 1e-6
    assert (frame.depth.values[~hit] == np.inf).all()


@pytest.mark.parametrize(("edge", "covered"), [(10.45, False), (10.55, True)])
def test_depth_belongs_to_the_pixel_centre_while_colour_mixes(edge: float, covered: bool) -> None:
    size, fov = (20, 20), 60.0
    camera = synthetic.camera_of(fov, size)
    x = (edge - camera.cx) / camera.fx * 2.0  # the sheet's right border at z = 2, in pixels `edge`
    b = Builder()
    b.spot(Label.WALL).sheet(
        (x - 10.0, 2.0, 0.0), (20.0, 20.0), paint.Paint(paint.rgb(0xFFFFFF), glow=5.0), turned("x", 90.0)
    )
    b.spot(Label.WALL).sheet((0.0, 9.0, 0.0), (90.0, 90.0), paint.plain(0x000000), turned("x", 90.0))
    frame = photograph(b, size, fov)
    depth = frame.depth.values
    np.testing.assert_allclose(depth[:, :10], 2.0, rtol=1e-6)
    np.testing.assert_allclose(depth[:, 11:], 9.0, rtol=1e-6)
    np.testing.assert_allclose(depth[:, 10], 2.0 if covered else 9.0, rtol=1e-6)
    mean = frame.albedo.mean((0, 2))
    assert mean[9] > 0.9 > mean[10] > 0.2 > mean[11]


def test_solids_that_are_turned_tapered_and_convex_agree_with_their_surfaces() -> None:
    b = Builder()
    spot = b.spot(Label.OBJECT, 0.0, 4.0, 0.0, 30.0)
    spot.prism(((-1.0, -0.5), (1.0, -0.5), (0.0, 0.8)), 1.2, FLAT)
    spot.rod((1.5, 0.0, -1.0), (1.3, 0.2, 1.0), 0.3, FLAT, 0.5)
    spot.box((-1.6, 0.0, 0.0), (0.6, 0.6, 0.6), FLAT, turned("x", 40.0, turned("z", 20.0)))
    frame = photograph(b, (120, 160), 70.0)
    points, n = frame.depth.points().astype(np.float64), frame.normals.astype(np.float64)
    known = frame.depth.valid
    assert 2000 < known.sum() < 15000
    interior = known.copy()
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        with np.errstate(invalid="ignore"):
            interior &= (n * np.roll(n, shift, (0, 1))).sum(-1) > 0.999
    for shift in ((0, 1), (1, 0)):  # neighbours lie in each other's tangent plane
        gap = ((np.roll(points, shift, (0, 1)) - points) * n).sum(-1)[interior]
        assert np.abs(gap).max() < 2e-3


@pytest.mark.parametrize("kind", ["room", "street", "thin"])
def test_what_every_frame_promises(kind: str) -> None:
    frame = synthetic.render(11, SMALL, kind)[0]
    known, sky = frame.depth.valid, frame.depth.sky
    assert (known | sky).all()
    assert known.mean() > 0.3
    length = np.linalg.norm(frame.normals[known], axis=-1)
    np.testing.assert_allclose(length, 1.0, atol=1e-5)
    assert ((frame.normals * rays_of(frame)).sum(-1)[known] <= 1e-6).all(), "normals face the camera"
    assert np.isnan(frame.normals[sky]).all()
    np.testing.assert_array_equal(frame.ids == 0, sky)
    np.testing.assert_array_equal(frame.labels == Label.SKY, sky)
    assert set(np.unique(frame.labels)) <= set(map(int, Label))
    assert frame.albedo.min() >= 0
    assert frame.albedo.max() <= 1
    assert frame.shading.min() >= 0
    assert frame.image.rgb.std() > 15
    np.testing.assert_allclose(frame.pose[:3, :3] @ frame.pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame.pose[:3, :3]) > 0


def test_rooms_and_streets_contain_what_they_should() -> None:
    rooms = np.concatenate([synthetic.render(s, SMALL, "room")[0].labels.ravel() for s in range(4)])
    streets = np.concatenate([synthetic.render(s, SMALL, "street")[0].labels.ravel() for s in range(4)])
    assert {Label.FLOOR, Label.WALL, Label.STORAGE} <= set(rooms.tolist())
    assert {Label.SKY, Label.ROAD} <= set(streets.tolist())
    assert Label.ROAD not in rooms
    assert Label.CEILING not in streets


def _warp_errors(first: synthetic.Frame, second: synthetic.Frame) -> np.ndarray:
    """Relative depth errors of the second frame's points in the first, where both see the same thing: nearest pixel, moved along its tangent plane."""
    points = second.depth.points().reshape(-1, 3).astype(np.float64)
    keep = np.isfinite(points).all(1)
    points, ids = points[keep], second.ids.ravel()[keep]
    move = np.linalg.inv(first.pose) @ second.pose
    moved = points @ move[:3, :3].T + move[:3, 3]
    K = first.image.camera.K
    u, v, z = project(moved, K)
    h, w = first.depth.size
    inside = (z > 0.05) & (u > 0) & (v > 0) & (u < w) & (v < h)
    u, v, z, moved, ids = u[inside], v[inside], z[inside], moved[inside], ids[inside]
    x, y = u.astype(int), v.astype(int)
    n, ray = first.normals[y, x].astype(np.float64), moved / z[:, None]
    centre = rays_of(first)[y, x]
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = first.depth.values[y, x] * (n * centre).sum(1) / (n * ray).sum(1)
        error = np.abs(predicted / z - 1)
    return error[(first.ids[y, x] == ids) & np.isfinite(error)]


def test_points_warp_from_frame_to_frame() -> None:
    frames = synthetic.render(3, (120, 160), "room", frames=4)
    assert np.linalg.norm(frames[3].pose[:3, 3] - frames[0].pose[:3, 3]) > 0.01
    errors = _warp_errors(frames[0], frames[3])
    assert len(errors) > 5000
    assert np.mean(errors < 1e-3) > 0.93, "the rest is occlusion within one thing, and curved things"
    assert np.median(errors) < 1e-6


def test_threads_do_not_change_a_pixel() -> None:
    one, many = room(threads=1)[0], room(threads=5)[0]
    for name in ("normals", "labels", "ids", "albedo", "shading"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    np.testing.assert_array_equal(one.image.rgb, many.image.rgb)
    np.testing.assert_array_equal(one.depth.values, many.depth.values)


def test_a_scene_depends_on_its_number_alone() -> None:
    alone, film = room()[0], room(frames=3)
    np.testing.assert_array_equal(alone.image.rgb, film[0].image.rgb)
    assert not np.array_equal(film[0].depth.values, film[2].depth.values)
    assert not np.array_equal(alone.depth.values, room(seed=4)[0].depth.values)
    mixed = synthetic.render(3, SMALL, "mixed")[0]
    assert any(
        np.array_equal(mixed.depth.values, synthetic.render(3, SMALL, kind)[0].depth.values) for kind in synthetic.CAST
    )


def test_size_and_samples_do_not_change_the_scene() -> None:
    small, large = synthetic.render(5, (20, 30), "thin")[0], synthetic.render(5, (60, 90), "thin", samples=9)[0]
    # every third pixel of the larger picture has its centre where the small one has a centre
    np.testing.assert_allclose(large.depth.values[1::3, 1::3], small.depth.values, rtol=1e-5)
    np.testing.assert_array_equal(large.ids[1::3, 1::3], small.ids)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (41, 17)])
def test_any_size(size: tuple[int, int]) -> None:
    frame = synthetic.render(2, size, "street")[0]
    assert frame.image.size == frame.depth.size == frame.labels.shape == size
    assert frame.normals.shape == (*size, 3)


def test_edges_mark_occlusions_and_not_slopes() -> None:
    b = Builder()
    b.spot(Label.FLOOR).box((0.0, 20.0, -1.05), (80.0, 80.0, 0.1), FLAT)
    b.spot(Label.OBJECT).box((0.0, 3.0, 0.0), (0.5, 0.5, 0.5), FLAT)
    frame = photograph(b, (60, 80))
    edge = synthetic.edges(frame)
    floor = frame.labels == Label.FLOOR
    assert edge.any()
    below = np.zeros_like(floor)
    below[45:] = True  # well below the horizon and the box
    assert not edge[below & floor].any()
    border = (frame.ids == 2)[:, 1:] != (frame.ids == 2)[:, :-1]
    assert (edge[:, 1:] & edge[:, :-1])[border].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "castle"}, "kind must be one of"),
        ({"samples": 5}, "square number"),
        ({"samples": 1}, "at least 4"),
        ({"size": (0, 4)}, "at least one pixel"),
        ({"frames": 0}, "one frame"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_impossible_wishes_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic.render(**{"seed": 0, "size": SMALL, **options})


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install keendepth\[scenes\]"):
        room()


# What depth scene 1 of each kind has at five pixels; guards "scene N is the same everywhere" (a change of the scenes must change these on purpose).
GOLDEN = {
    "room": (5.27562, 3.05909, 2.95445, 3.81632, 4.90176),
    "street": (80.8258, 4.30263, 4.28202, 9.82491, 7.60229),
    "thin": (1.30428, 0.949496, 1.91095, 0.935228, 3.2493),
}


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_scene_one_is_what_it_was(kind: str) -> None:
    depth = synthetic.render(1, SMALL, kind)[0].depth.values
    found = [float(depth[y, x]) for y, x in ((24, 32), (40, 10), (40, 50), (30, 5), (20, 60))]
    np.testing.assert_allclose(found, GOLDEN[kind], rtol=1e-5)


@pytest.fixture(scope="module")
def furnished() -> list[synthetic.Frame]:
    """Two frames from the second renderer, or a skip that says what is missing."""
    pytest.importorskip("moderngl", reason="the second renderer needs moderngl")
    try:
        return synthetic.render(2, (96, 128), "furnished", frames=2)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    except Exception as error:  # moderngl raises a bare Exception where there is no EGL
        if "EGL" in str(error) or "context" in str(error) or "lib" in str(error):
            pytest.skip(f"no OpenGL here: {error}")
        raise


def test_furnished_rooms_are_exact_too(furnished: list[synthetic.Frame]) -> None:
    frame = furnished[0]
    known = frame.depth.valid
    assert known.mean() > 0.8
    np.testing.assert_allclose(np.linalg.norm(frame.normals[known], axis=-1), 1.0, atol=1e-4)
    assert ((frame.normals * rays_of(frame)).sum(-1)[known] <= 1e-4).all()
    world = frame.depth.points().astype(np.float64) @ frame.pose[:3, :3].T + frame.pose[:3, 3]
    floor = frame.labels == Label.FLOOR
    assert floor.sum() > 200
    assert np.abs(world[floor][:, 2]).max() < 1e-4, "the floor is the plane z = 0"
    assert {Label.FLOOR, Label.WALL} <= set(frame.labels.ravel().tolist())
    np.testing.assert_array_equal(frame.ids == 0, frame.depth.sky)
    assert frame.image.rgb.std() > 15


def test_furnished_rooms_warp_and_repeat(furnished: list[synthetic.Frame]) -> None:
    errors = _warp_errors(*furnished)
    assert len(errors) > 3000
    assert np.mean(errors < 1e-3) > 0.9
    again = synthetic.render(2, (96, 128), "furnished")[0]
    np.testing.assert_array_equal(again.depth.values, furnished[0].depth.values)
    np.testing.assert_array_equal(again.image.rgb, furnished[0].image.rgb)


def test_missing_furniture_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    pytest.importorskip("moderngl")
    monkeypatch.setenv("KEENDEPTH_FURNITURE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="sweethome3d-furniture"):
        synthetic.render(0, SMALL, "furnished")
