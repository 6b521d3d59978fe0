"""Cameras, points and pictures: the half-pixel convention, focal lengths by hand, planes in space, and sizes that must agree."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keendepth.core import geometry
from keendepth.core.types import Camera, DepthKind, DepthMap, Image

METRIC = DepthKind.METRIC
NAN, INF = np.nan, np.inf
quick = settings(deadline=None, max_examples=60, derandomize=True)


def ramp(camera: Camera | None = None) -> DepthMap:
    """Depth 1..4 with one unknown pixel and one of sky."""
    values = np.linspace(1, 4, 30).reshape(5, 6)
    values[1, 2], values[0, 5] = NAN, INF
    return DepthMap(values, METRIC, camera)


# ---- points ----


def test_points_of_a_plane_lie_on_it() -> None:
    """n . X = 2 with n = (0.2, -0.3, 1): z along the ray r is 2 / (n . r)."""
    camera = Camera(310.0, 290.0, 41.3, 27.9, 80, 60)
    u, v = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    rays = np.stack([(u - 41.3) / 310, (v - 27.9) / 290, np.ones_like(u)], -1)
    n = np.array([0.2, -0.3, 1])
    points = DepthMap(2 / (rays @ n), METRIC, camera).points()
    assert points.dtype == np.float32
    np.testing.assert_allclose(points @ n, 2, rtol=1e-6)
    normal = geometry.normals(points)
    np.testing.assert_allclose(normal, np.broadcast_to(-n / np.linalg.norm(n), normal.shape), atol=1e-3)


@quick
@given(st.floats(20, 150), st.integers(1, 30), st.integers(1, 30), st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))
def test_projecting_points_gives_the_pixels_back(fov: float, h: int, w: int, right: float, down: float) -> None:
    focal = Camera.from_fov(fov, w, h).fx
    camera = Camera(focal, focal * 1.1, right * w, down * h, w, h)
    z = np.random.default_rng(h * w).uniform(0.5, 50, (h, w)).astype(np.float32)
    u, v, depth = geometry.project(DepthMap(z, METRIC, camera).points().astype(float), camera.K)
    np.testing.assert_allclose(u, np.broadcast_to(np.arange(w) + 0.5, (h, w)), atol=1e-4)
    np.testing.assert_allclose(v, np.broadcast_to(np.arange(h)[:, None] + 0.5, (h, w)), atol=1e-4)
    np.testing.assert_array_equal(depth, z)


def test_points_of_unknown_and_sky_are_nan_and_need_a_camera() -> None:
    points = ramp(camera=Camera.from_fov(60, 6, 5)).points()
    assert np.isnan(points[1, 2]).all()
    assert np.isnan(points[0, 5]).all()
    assert np.isnan(points).any(-1).sum() == 2
    with pytest.raises(ValueError, match=r"no camera; give it one with Camera\.from_fov"):
        ramp().points()


def test_focal_lengths_by_hand() -> None:
    assert Camera.from_fov(90, 640, 480).fx == pytest.approx(320)
    assert Camera.from_fov(60, 1000, 10).fx == pytest.approx(500 * math.sqrt(3))
    # 26 mm on 4032 x 3024: the diagonal is 5040 px and 43.2666 mm.
    phone = Camera.from_35mm(26, 4032, 3024)
    assert phone.fx == phone.fy == pytest.approx(3028.66, abs=0.01)
    assert (phone.cx, phone.cy, phone.source) == (2016, 1512, "exif")
    assert Camera.from_35mm(26, 3024, 4032).fx == phone.fx
    for degrees in (1, 45, 90, 179):
        assert Camera.from_fov(degrees, 640, 480).fov_degrees == pytest.approx(degrees)


@pytest.mark.parametrize("degrees", [0, 180, -10, 360, NAN])
def test_an_impossible_field_of_view(degrees: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 180 degrees"):
        Camera.from_fov(degrees, 640, 480)


@pytest.mark.parametrize("field", ["fx", "fy"])
@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_an_impossible_camera(field: str, value: float) -> None:
    numbers = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 2, "height": 2}
    with pytest.raises(ValueError, match=f"{field} must be a positive number"):
        Camera(**numbers | {field: value})
    with pytest.raises(ValueError, match="principal point must be finite"):
        Camera(**numbers | {"cx": NAN})
    with pytest.raises(ValueError, match="width must be a positive number, found 0"):
        Camera(**numbers | {"width": 0})


def test_opencvs_pixel_centres_are_whole_numbers() -> None:
    K = np.array([[500, 0, 319.5], [0, 510, 239.5], [0, 0, 1]])
    camera = Camera.from_opencv(K, 640, 480)
    assert (camera.cx, camera.cy) == (320, 240)  # the middle of the picture
    assert camera.K.tolist() == [[500, 0, 320], [0, 510, 240], [0, 0, 1]]
    np.testing.assert_array_equal(camera.K_opencv, K)
    assert all(type(value) is float for value in (camera.fx, camera.fy, camera.cx, camera.cy))
    assert Camera.from_opencv(np.hstack([K, np.ones((3, 1))]), 640, 480) == camera  # a projection matrix
    for shape in ((), (3,), (2, 3), (3, 2), (1, 3, 3)):
        with pytest.raises(ValueError, match="expected a 3x3 matrix"):
            Camera.from_opencv(np.ones(shape), 640, 480)


@pytest.mark.parametrize("size", [(24, 32), (12, 16), (96, 128), (48, 128), (144, 64)])
def test_a_resized_camera_sees_a_resized_picture(size: tuple[int, int]) -> None:
    """The picture whose pixels are their own rays, resized, shows the rays of the resized camera: no half-pixel is lost."""
    camera = Camera(80.0, 90.0, 33.0, 21.0, 64, 48)
    other = camera.resized(*size)
    resized = geometry.resize(geometry.pixel_rays(48, 64, camera.K), size)
    inner = np.s_[3:-3, 3:-3]  # at the border a resize repeats pixels
    np.testing.assert_allclose(resized[inner], geometry.pixel_rays(*size, other.K)[inner], atol=2e-6)
    assert (other.height, other.width) == size
    assert other.fov_degrees == pytest.approx(camera.fov_degrees)
    np.testing.assert_allclose(other.resized(48, 64).K, camera.K, rtol=1e-12)


def test_a_cropped_camera_keeps_its_rays() -> None:
    camera = Camera(80.0, 90.0, 33.0, 21.0, 64, 48)
    part = camera.cropped(top=5, left=9, height=20, width=30)
    assert (part.width, part.height) == (30, 20)
    whole = geometry.pixel_rays(48, 64, camera.K)
    np.testing.assert_allclose(geometry.pixel_rays(20, 30, part.K), whole[5:25, 9:39], rtol=1e-12, atol=1e-12)


def test_a_camera_of_another_size_is_refused() -> None:
    camera = Camera.from_fov(60, 7, 5)
    with pytest.raises(ValueError, match=r"camera is for 7 x 5 pixels, the picture has 6 x 5: use camera\.resized"):
        ramp(camera=camera)
    with pytest.raises(ValueError, match=r"camera is for 7 x 5"):
        Image(np.zeros((7, 5, 3), np.uint8), camera)


# ---- images ----


@pytest.mark.parametrize(
    "rgb",
    [np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)],
)
def test_an_image_is_uint8_rgb(rgb: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[h w 3\] with at least one pixel, found"):
        Image(rgb)


def test_an_image_is_read_only_and_resizes_with_its_camera() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    image = Image(rgb, Camera.from_fov(60, 12, 8), "a")
    with pytest.raises(ValueError, match="read-only"):
        image.rgb[0, 0] = 0
    half = image.resized(4, 6)
    assert (half.size, half.name, half.camera) == ((4, 6), "a", image.camera.resized(4, 6))
    assert image.resized(8, 12) is image
    white = Image(np.full((8, 12, 3), 255, np.uint8)).resized(5, 31)
    assert (white.rgb == 255).all()
