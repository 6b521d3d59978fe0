"""The workbench's parts without a browser: measuring, legends, clouds for the viewer, the shelf, and what may be read."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("prometheus_client", reason="needs the extra app")

from keendepth import io as kio
from keendepth import viz
from keendepth.app import actions, measure, views, words
from keendepth.app.actions import SAMPLES, Actions, Request
from keendepth.app.desk import Desk
from keendepth.app.engine import Order
from keendepth.app.refusals import RefusedError
from keendepth.app.settings import Settings
from keendepth.app.shelf import Shelf
from keendepth.app.workbench import Result, Workbench
from keendepth.core.types import Camera, DepthKind, DepthMap, Image, KindError

CAMERA = Camera(200.0, 210.0, 80.0, 60.0, 160, 120)


def wall(metres: float = 2.0, source: str = "given", **changes: Any) -> DepthMap:
    camera = replace(CAMERA, source=source)
    return DepthMap(np.full((120, 160), metres, np.float32), DepthKind.METRIC, camera, **changes)


def test_a_length_on_a_wall_is_exact() -> None:
    found = measure.measure(wall(), (20.5, 60.0), (120.5, 60.0), by_model=False)
    assert found.metres == pytest.approx(100 / 200 * 2)
    assert found.distances == (2.0, 2.0)
    assert found.parts["camera"] == found.parts["scale"] == 0
    assert 0 < found.error < 0.02  # a click may be a pixel beside


def test_a_length_in_depth_is_exact() -> None:
    values = np.tile(np.linspace(1, 3, 160, dtype=np.float32), (120, 1))
    depth = DepthMap(values, DepthKind.METRIC, CAMERA)
    found = measure.measure(depth, (10.5, 30.5), (150.5, 90.5), by_model=False)
    points = depth.points()
    wanted = np.linalg.norm(points[30, 10].astype(np.float64) - points[90, 150])
    assert found.metres == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_a_known_distance_in_a_rendered_room_is_within_one_percent() -> None:
    pytest.importorskip("numba", reason="needs the extra scenes")
    from keendepth.data.synthetic import render

    frame = render(90106, (120, 160), "room", samples=4, threads=1)[0]
    bench = Workbench(Settings())
    try:
        order = bench.engine.order(refiner="median")
        depth = bench.engine.refine(frame.image, frame.depth, order, given=True)
        points = frame.depth.points().astype(np.float64)
        rng = np.random.default_rng(5)
        checked = 0
        for ra, ca, rb, cb in zip(*(rng.integers(4, side - 4, 60) for side in (120, 160, 120, 160)), strict=True):
            wanted = np.linalg.norm(points[ra, ca] - points[rb, cb])
            found = measure.measure(depth, (ca + 0.5, ra + 0.5), (cb + 0.5, rb + 0.5), by_model=False)
            if found.parts["points"] < 0.03 * wanted:  # both points on surfaces, not at an edge
                assert found.metres == pytest.approx(wanted, rel=0.01)
                checked += 1
        assert checked >= 20, checked
    finally:
        bench.close()


def test_uncertainty_says_where_it_comes_from() -> None:
    guessed = measure.measure(wall(source="guess"), (20.5, 60), (120.5, 60), by_model=True)
    known = measure.measure(wall(source="exif"), (20.5, 60), (120.5, 60), by_model=True)
    assert guessed.parts["camera"] > 5 * known.parts["camera"] > 0
    assert guessed.parts["scale"] == pytest.approx(measure.MODEL_ERROR * guessed.metres)
    stepped = wall().values.copy()
    stepped[:, 121:] = 4
    edge = measure.measure(wall().with_values(stepped), (20.5, 60), (120.5, 60), by_model=False)
    assert edge.parts["points"] > 10 * measure.measure(wall(), (20.5, 60), (120.5, 60), False).parts["points"]
    said = words.measured(guessed)
    assert "the lens" in said
    assert "±" in said


@pytest.mark.parametrize(
    ("length", "error", "text"),
    [(1.2345, 0.012, "1.234 m ± 0.012 m"), (2.5, 0.36, "2.50 m ± 0.36 m"), (30.4, 4.2, "30.4 m ± 4.2 m")],
)
def test_as_many_digits_as_mean_something(length: float, error: float, text: str) -> None:
    assert measure.Measurement(length, error, {}, (1, 1)).text() == text


def test_a_tape_sets_the_scale_and_its_doubt() -> None:
    depth = wall(source="exif")
    found = measure.measure(depth, (20.5, 60), (120.5, 60), by_model=True)
    scaled = measure.scaled_to(depth, found, 1.5)
    again = measure.measure(scaled, (20.5, 60), (120.5, 60), by_model=True)
    assert again.metres == pytest.approx(1.5)
    assert scaled.calibration is not None
    assert scaled.calibration.scale == pytest.approx(1.5)
    assert again.parts["scale"] < found.parts["scale"] / 5
    with pytest.raises(ValueError, match="above 0"):
        measure.scaled_to(depth, found, 0)


def test_what_cannot_be_measured_says_why() -> None:
    values = wall().values.copy()
    values[60, 20], values[60, 30] = np.nan, np.inf
    holed = wall().with_values(values)
    for point, word in (((20, 60), "unknown"), ((30, 60), "sky"), ((500, 60), "outside")):
        with pytest.raises(ValueError, match=word):
            measure.measure(holed, point, (100, 60), by_model=False)
    with pytest.raises(KindError):
        measure.measure(DepthMap(values, DepthKind.DISPARITY), (1, 1), (5, 5), by_model=False)


def test_legend_marks_are_round_metres_in_order() -> None:
    found = views.ticks(DepthKind.METRIC, (1 / 8.0, 1 / 0.9))
    places = [place for place, _ in found]
    assert places == sorted(places)
    assert found[0] == (0.0, "0.9 m")
    assert found[-1] == (1.0, "8 m")
    assert {"1", "2", "5"} & {text for _, text in found}
    two = next(place for place, text in found if text == "2")
    assert two == pytest.approx((1 / 0.9 - 1 / 2) / (1 / 0.9 - 1 / 8))
    assert "no unit" in views.ticks(DepthKind.DISPARITY, (0.0, 1.0))[1][1]


def test_legend_colours_are_those_of_the_picture() -> None:
    values = np.tile(np.linspace(1, 4, 400, dtype=np.float32), (40, 1))
    depth = DepthMap(values, DepthKind.METRIC)
    between = viz.span(depth)
    picture = viz.colourise(depth, between=between)
    with_bar = views.with_legend(picture, depth.kind, "spectral", between)
    assert with_bar.shape[0] > picture.shape[0]
    two = next(place for place, text in views.ticks(depth.kind, between) if text == "2")
    margin = max(8, 400 // 40)
    bar = with_bar[40 + 8, round(margin + two * (400 - 2 * margin - 1))]
    seen = picture[20, np.abs(values[20] - 2).argmin()]
    assert np.abs(bar.astype(int) - seen).max() < 12


def test_two_maps_can_share_their_colours() -> None:
    near, far = wall(1.0), wall(3.0)
    between = (1 / 3, 1.0)
    assert (viz.colourise(near, between=between)[0, 0] != viz.colourise(far, between=between)[0, 0]).any()
    np.testing.assert_allclose(viz.nearness(wall(1.5), between=between), 0.5, atol=1e-6)


def test_the_viewers_cloud_is_sound_gltf_of_the_seen_points() -> None:
    rgb = np.full((120, 160, 3), (200, 100, 50), np.uint8)
    blob = views.cloud_for_viewer(wall(), Image(rgb))
    magic, version, length = struct.unpack("<4sII", blob[:12])
    assert (magic, version, length) == (b"glTF", 2, len(blob))
    size = struct.unpack("<I", blob[12:16])[0]
    tree = json.loads(blob[20 : 20 + size])
    assert tree["meshes"][0]["primitives"][0]["mode"] == 0
    assert tree["accessors"][0]["count"] == 120 * 160
    body = blob[28 + size :]
    assert len(body) == tree["buffers"][0]["byteLength"]
    points = np.frombuffer(body, "<f4", 3 * 120 * 160).reshape(-1, 3)
    np.testing.assert_allclose(points[:, 2], -2)
    assert points[0, 0] < 0 < points[0, 1]  # the first pixel is at the top left


def test_the_viewers_mesh_opens() -> None:
    trimesh = pytest.importorskip("trimesh")
    blob = views.mesh_for_viewer(wall(), Image(np.zeros((120, 160, 3), np.uint8)))
    made = trimesh.load(io.BytesIO(blob), file_type="glb")
    assert np.asarray(made.bounds)[:, 2] == pytest.approx([-2, -2])


def test_marks_are_drawn_where_they_belong() -> None:
    plain = np.full((200, 300, 3), 128, np.uint8)
    drawn = views.marked(plain, {"A": (0.25, 0.5), "B": (0.75, 0.5)}, "1 m")
    assert (drawn[95:105, 65:85] != 128).any()
    assert (drawn[95:105, 215:235] != 128).any()
    assert (drawn[:40] == 128).all()
    assert (plain == 128).all()


def result(pixels: int) -> Result:
    depth = DepthMap(np.ones((1, pixels), np.float32), DepthKind.METRIC)
    return Result(Image(np.zeros((1, pixels, 3), np.uint8)), depth, depth, Order("a", "none"), False)


def test_the_shelf_keeps_what_was_used_last() -> None:
    shelf = Shelf(100)
    pinned, old, used = shelf.put(result(30), pinned=True), shelf.put(result(30)), shelf.put(result(30))
    shelf.get(used)
    newest = shelf.put(result(40))
    assert shelf.get(pinned).image.size == (1, 30)
    assert shelf.get(newest).image.size == (1, 40)
    assert shelf.get(used).image.size == (1, 30)
    with pytest.raises(RefusedError, match="any more"):
        shelf.get(old)
    with pytest.raises(RefusedError, match="no result"):
        shelf.get(None)
    assert shelf.get(shelf.put(result(500))).image.size == (1, 500)  # larger than the shelf: it alone


@pytest.fixture(scope="module")
def do() -> Iterator[Actions]:
    bench = Workbench(Settings(max_bytes=3_000_000))
    yield Actions(bench)
    bench.close()


def request(photo: str | None, depth: str | None = None, **changes: Any) -> Request:
    fields = {"units": None, "model": "indoor-small", "refiner": "median", "strength": 1.0, "size": None}
    return Request(photo, depth, **{**fields, "focal": None, "lens": "pixels", **changes})


def run(do: Actions, wanted: Request) -> tuple[list[str], str]:
    async def collect() -> tuple[list[str], str]:
        said = [pair async for pair in do.run(wanted, "a")]
        return [text for text, token in said if text], said[-1][1]

    return asyncio.run(collect())


def test_a_run_tells_its_stages_and_ends_with_a_token(do: Actions) -> None:
    said, token = run(do, request(str(SAMPLES / "coffee.jpg")))
    assert any("Looking" in text for text in said)
    assert do.shelf.get(token).depth.size == (400, 600)
    assert "indoor-small" in do.summary(token)
    assert do.bench.gate.inside == 0


def test_the_sample_with_its_lidar_is_sharpened_in_its_own_metres(do: Actions) -> None:
    wanted = request(str(SAMPLES / "room.jpg"), str(SAMPLES / "room.lidar.png"), units="mm", focal=words.ROOM_FOCAL)
    _, token = run(do, wanted)
    found = do.shelf.get(token)
    assert found.given
    assert found.depth.size == (480, 640)
    assert found.base.size == (60, 80)
    lidar = kio.read(SAMPLES / "room.lidar.png", units="mm")
    assert np.nanmedian(found.depth.values) == pytest.approx(np.nanmedian(lidar.values), rel=0.03)
    assert np.isnan(found.depth.values).any()
    with pytest.raises(RefusedError, match="file"):
        asyncio.run(do.mirror(token))
    _, token = run(do, replace(wanted, fill_holes=True))
    assert not np.isnan(do.shelf.get(token).depth.values).any()


def test_a_refiner_that_knows_its_error_is_asked_too(do: Actions) -> None:
    photo, lidar = str(SAMPLES / "room.jpg"), str(SAMPLES / "room.lidar.png")
    _, token = run(do, request(photo, lidar, units="mm", focal=words.ROOM_FOCAL, refiner="sharp"))
    picture, said = asyncio.run(do.mirror(token))
    assert picture.shape == (480, 640, 3)
    assert "expects" in said
    assert "mirrored" not in said
    _, token = run(do, request(photo, refiner="sharp"))
    _, said = asyncio.run(do.mirror(token))
    assert "expects" in said
    assert "mirrored" in said


@pytest.mark.parametrize("path", ["/etc/passwd", __file__, "http://example.org/a.png", str(SAMPLES / ".." / "page.py")])
def test_only_uploads_and_samples_are_read(do: Actions, path: str) -> None:
    with pytest.raises(RefusedError, match="not uploaded"):
        run(do, request(path))
    with pytest.raises(RefusedError, match="not uploaded"):
        run(do, request(str(SAMPLES / "room.jpg"), path))
    assert do.bench.gate.inside == 0


def test_a_stopped_run_says_nothing_more(do: Actions) -> None:
    """The page tells of the end of a run in the run's own stream: what came before cannot come after it."""
    photo = request(str(SAMPLES / "cat.jpg"))

    async def visit() -> list[str]:
        heard = []
        async for said, token in do.run(photo, "mine"):
            assert not token
            heard.append(said)
            do.stop("another visitor's")
            do.stop("mine")
        return heard

    assert len(asyncio.run(visit())) == 1
    assert run(do, photo)[1]  # the next one comes to its end


def test_a_stopped_run_gives_its_place_back(do: Actions) -> None:
    async def stop() -> None:
        steps = do.run(request(str(SAMPLES / "room.jpg")), "a")
        await anext(steps)
        await steps.aclose()
        for _ in range(200):
            if do.bench.gate.inside == 0:
                return
            await asyncio.sleep(0.05)

    asyncio.run(stop())
    assert do.bench.gate.inside == 0


def test_everything_of_a_result_can_be_had(do: Actions) -> None:
    token = asyncio.run(do.first())
    assert token == asyncio.run(do.first())
    for show in (actions.SHOW_DEPTH, actions.SHOW_EDGES, actions.SHOW_PHOTO):
        left, right = do.slider(token, show, "inferno")
        assert left.shape == right.shape == (480, 640, 3)
    assert Path(do.model3d(token, True)).read_bytes()[:4] == b"glTF"
    files = do.files(token, ["png", "exr", "ply"], "tum")
    assert kio.read(files[0]).size == (480, 640)
    assert [Path(file).suffix for file in files] == [".png", ".json", ".exr", ".json", ".ply", ".json"]
    picture, said = asyncio.run(do.mirror(token))
    assert picture.shape == (480, 640, 3)
    assert "%" in said
    pair, said = asyncio.run(do.second(token, "indoor-small", "none", "turbo"))
    assert pair[0].shape == pair[1].shape
    assert "differ" in said


def test_lenses_in_three_units() -> None:
    found = Camera.from_35mm(26, 400, 300)
    size = (300, 400)
    assert actions.lens(request("x"), found, size) is found
    assert actions.lens(request("x", focal=round(found.fx, 1)), found, size) is found  # EXIF's, shown and sent back
    assert actions.lens(request("x", focal=500.0), found, size).source == "given"  # type: ignore[union-attr]
    wide = actions.lens(request("x", focal=65.0, lens=actions.LENSES[2]), None, size)
    assert wide is not None
    assert wide.fov_degrees == pytest.approx(65)
    film = actions.lens(request("x", focal=26.0, lens=actions.LENSES[1]), None, size)
    assert film is not None
    assert film.fx == pytest.approx(found.fx)
    with pytest.raises(RefusedError):
        actions.lens(request("x", focal=200.0, lens=actions.LENSES[2]), None, size)


def test_licences_stand_beside_models(do: Actions) -> None:
    said = words.licence(do.bench.engine, "indoor-small")
    assert "MIT" in said
    assert "commercial use allowed" in said
    assert "rooms" in said


def test_the_private_folder_leaves_with_its_process() -> None:
    desk = Desk()
    with desk.place() as place:
        (place / "upload").write_bytes(b"x")
        assert desk.folder.stat().st_mode & 0o077 == 0  # nobody else looks in
    assert not place.exists()
    desk.close()
    assert not desk.folder.exists()


def test_models_needs_none_of_the_servers_packages() -> None:
    code = (
        "import sys; sys.argv[1:] = ['models']\nfrom keendepth.cli import main\ntry:\n    main()\nfinally:\n"
        "    print([name for name in ('fastapi', 'starlette', 'gradio', 'uvicorn', 'prometheus_client', 'pydantic', 'keendepth.app')"
        " if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
