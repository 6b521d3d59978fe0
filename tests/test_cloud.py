"""Clouds and meshes: geometry, colours, axes, and no curtains between surfaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from keendepth import io as kio
from keendepth.core.types import Camera, DepthKind, DepthMap, Image, KindError
from keendepth.io import cloud, mesh

trimesh = pytest.importorskip("trimesh")


def two_walls(height: int = 60, width: int = 80, blur: float = 0.0) -> DepthMap:
    """A wall at 2 m on the left, one at 5 m on the right, the step blurred in 1/z."""
    z = np.full((height, width), 5.0)
    z[:, : width // 2] = 2.0
    if blur:
        z = 1 / ndimage.gaussian_filter(1 / z, (0, blur))
    return DepthMap(z.astype(np.float32), DepthKind.METRIC, Camera.from_fov(60, width, height))


def road(height: int = 375, width: int = 1242) -> DepthMap:
    """A road seen from a car, to 60 m; sky above."""
    camera = Camera.from_focal(707.0, width, height)
    v = np.arange(height) + 0.5 - height / 2
    with np.errstate(divide="ignore"):
        row = np.where(v > 0, 1.65 * 707.0 / v, np.inf)
    z = np.repeat(np.where(row < 60, row, np.inf)[:, None], width, axis=1)
    return DepthMap(z.astype(np.float32), DepthKind.METRIC, camera)


def photo(depth: DepthMap) -> Image:
    rows, columns = np.indices(depth.size)
    return Image(np.stack([columns % 256, rows % 256, (rows + columns) % 256], axis=-1).astype(np.uint8))


def test_ply_holds_points_and_colours(tmp_path: Path) -> None:
    depth = two_walls()
    values = depth.values.copy()
    values[0, :5], values[1, :7] = np.nan, np.inf
    depth = depth.with_values(values)
    path = kio.write(tmp_path / "a.ply", depth, image=photo(depth))
    found = trimesh.load(path)
    keep = depth.valid
    np.testing.assert_allclose(found.vertices, depth.points()[keep], rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(found.colors)[:, :3], photo(depth).rgb[keep])
    told = json.loads((tmp_path / "a.ply.json").read_text())
    assert told["encoding"]["points"] == keep.sum()
    assert told["encoding"]["axes"].startswith("OpenCV")


def test_ply_without_colours_and_thinned(tmp_path: Path) -> None:
    depth = two_walls()
    assert len(trimesh.load(kio.write(tmp_path / "a.ply", depth)).vertices) == 60 * 80
    draft = cloud.prepare(depth, None, max_points=500)
    assert draft.encoding["points"] <= 500
    assert draft.encoding["stride"] == 4


def test_only_metric_maps_with_a_camera(tmp_path: Path) -> None:
    depth = two_walls()
    for suffix in (".ply", ".glb"):
        with pytest.raises(KindError, match="with_scale_and_shift"):
            kio.write(tmp_path / f"a{suffix}", DepthMap(depth.values, DepthKind.DISPARITY, depth.camera))
        with pytest.raises(ValueError, match="needs a camera"):
            kio.write(tmp_path / f"a{suffix}", DepthMap(depth.values, DepthKind.METRIC))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("blur", [0.8, 1.5, 3.0])
def test_no_points_hang_between_the_walls(blur: float) -> None:
    depth = two_walls(240, 320, blur)
    between = (depth.values > 2.1) & (depth.values < 4.5)
    assert between.sum() > 100
    flying = cloud.flying_pixels(depth)
    assert (
        flying & between
    ).sum() > 0.85 * between.sum()  # the rest is the tail of the ramp, seen at less than 80 degrees
    far_from_the_step = np.abs(np.arange(320) - 160) > 5 * blur + 3
    assert not flying[:, far_from_the_step].any()


def test_a_sharp_step_and_a_wire_lose_nothing() -> None:
    depth = two_walls()
    assert not cloud.flying_pixels(depth).any()
    values = depth.values.copy()
    values[:, 60] = 1.0
    assert not cloud.flying_pixels(depth.with_values(values)).any()


def test_a_blurred_edge_to_the_sky_is_flying_too() -> None:
    values = np.full((20, 40), np.inf, np.float32)
    values[:, :20] = 3.0
    values[:, 20:23] = [4.0, 6.0, 12.0]
    flying = cloud.flying_pixels(DepthMap(values, DepthKind.METRIC, Camera.from_fov(60, 40, 20)))
    assert flying[:, 20:23].all()
    assert not flying[:, :19].any()


def test_a_road_stays_whole() -> None:
    depth = road()
    assert cloud.flying_pixels(depth)[depth.valid].mean() < 0.05
    near = depth.values < 40
    assert not cloud.flying_pixels(depth)[near].any()
    covered = mesh.triangulate(depth).points[:, 2].min()
    assert covered < -35


def test_noise_is_not_flying() -> None:
    rng = np.random.default_rng(0)
    depth = two_walls(300, 400)
    noisy = depth.with_values(depth.values * (1 + 0.003 * rng.standard_normal(depth.size).astype(np.float32)))
    assert cloud.flying_pixels(noisy).mean() < 0.001


@pytest.mark.parametrize("blur", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("most", [1_000_000, 1200])
def test_a_mesh_has_no_curtain(blur: float, most: int) -> None:
    made = mesh.triangulate(two_walls(blur=blur), max_vertices=most)
    z = -made.points[made.triangles][..., 2]
    assert (z.max(axis=1) / z.min(axis=1)).max() < 1.2
    assert z.min() < 2.1
    assert z.max() > 4.8
    assert len(made.points) <= most


def test_small_steps_are_cut_by_their_angle() -> None:
    values = np.full((40, 60), 3.0, np.float32)
    values[:, 30:] = 3.1  # 3 %: no jump by ratio, yet 87 degrees
    depth = DepthMap(values, DepthKind.METRIC, Camera.from_focal(525, 60, 40))
    z = mesh.triangulate(depth).points[mesh.triangulate(depth).triangles][..., 2]
    assert (z.max(axis=1) == z.min(axis=1)).all()


def test_triangles_face_the_camera_in_gltf_axes() -> None:
    made = mesh.triangulate(two_walls())
    a, b, c = (made.points[made.triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    assert ((normals * a).sum(axis=1) < 0).all()  # the camera sits at the origin
    assert (made.points[:, 2] < 0).all()
    top = made.points[made.texture_at[:, 1] < 0.1]
    assert (top[:, 1] > 0).all()  # the picture's top is up


def test_glb_is_read_by_trimesh(tmp_path: Path) -> None:
    depth = two_walls()
    image = photo(depth).resized(120, 160)
    path = kio.write(tmp_path / "a.glb", depth, image=image)
    (found,) = trimesh.load(path).geometry.values()
    made = mesh.triangulate(depth)
    np.testing.assert_allclose(found.vertices, made.points, rtol=1e-6)
    np.testing.assert_array_equal(found.faces, made.triangles)
    assert found.visual.material.baseColorTexture.size == (160, 120)
    np.testing.assert_allclose(found.visual.uv, made.texture_at * [1, -1] + [0, 1], atol=1e-6)  # trimesh turns v
    told = json.loads((tmp_path / "a.glb.json").read_text())["encoding"]
    assert (told["vertices"], told["triangles"]) == (len(made.points), len(made.triangles))


def test_the_texture_lands_on_its_points(tmp_path: Path) -> None:
    depth = two_walls()
    (found,) = trimesh.load(kio.write(tmp_path / "a.glb", depth, image=photo(depth))).geometry.values()
    K = depth.camera.K
    x, y, z = (found.vertices * [1, -1, -1]).T
    np.testing.assert_allclose((x / z * K[0, 0] + K[0, 2]) / 80, found.visual.uv[:, 0], atol=1e-5)
    np.testing.assert_allclose(1 - (y / z * K[1, 1] + K[1, 2]) / 60, found.visual.uv[:, 1], atol=1e-5)


def test_glb_chunks_are_aligned_and_complete(tmp_path: Path) -> None:
    content = kio.write(tmp_path / "a.glb", two_walls(7, 9), image=photo(two_walls(7, 9))).read_bytes()
    assert content[:4] == b"glTF"
    assert int.from_bytes(content[8:12], "little") == len(content)
    length = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20 : 20 + length])
    assert length % 4 == 0
    assert all(view["byteOffset"] % 4 == 0 for view in tree["bufferViews"])
    assert int.from_bytes(content[20 + length : 24 + length], "little") == tree["buffers"][0]["byteLength"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("value", [2.0, np.nan, np.inf])
def test_tiny_and_empty_maps(tmp_path: Path, shape: tuple[int, int], value: float) -> None:
    values = np.full(shape, value, np.float32)
    depth = DepthMap(values, DepthKind.METRIC, Camera.from_fov(60, shape[1], shape[0]))
    for suffix in (".ply", ".glb"):
        assert kio.write(tmp_path / f"a{suffix}", depth, image=photo(depth)).stat().st_size > 50
    assert cloud.prepare(depth, None, max_points=1).encoding["points"] <= 1
    expected = 2 if shape == (2, 2) and value == 2.0 else 0
    assert len(mesh.triangulate(depth).triangles) == expected
