"""Depth files of others: conventions, units, foreign npz, PFM, TIFF and EXR, and real sensor files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from keendepth import io as kio
from keendepth.core.types import DepthKind


def save_codes(path: Path, codes: list) -> Path:
    PillowImage.fromarray(np.array([codes], dtype=np.uint16)).save(path)
    return path


@pytest.mark.parametrize(
    ("convention", "metres", "top"),
    [
        (None, [np.nan, 0.001, 1.0, 65.534], np.nan),
        ("mm", [np.nan, 0.001, 1.0, 65.534], np.nan),
        ("ros", [np.nan, 0.001, 1.0, 65.534], np.nan),
        ("kitti", [np.nan, 1 / 256, 1000 / 256, 65534 / 256], 65535 / 256),
        ("tum", [np.nan, 0.0002, 0.2, 13.1068], 13.107),
        ("ibims", [np.nan, 50 / 65535, 50000 / 65535, 65534 * 50 / 65535], 50.0),
        ("vkitti", [np.nan, 0.01, 10.0, 655.34], np.inf),
    ],
)
def test_hand_made_pngs(tmp_path: Path, convention: str | None, metres: list, top: float) -> None:
    path = save_codes(tmp_path / "raw.png", [0, 1, 1000, 65534, 65535])
    found = kio.read(path, convention=convention)
    assert (found.kind, found.camera) == (DepthKind.METRIC, None)
    np.testing.assert_allclose(found.values[0], np.float32([*metres, top]), rtol=1e-6)


def test_sun_rotates_its_bits(tmp_path: Path) -> None:
    millimetres = np.array([0, 1, 1500, 4000], dtype=np.uint16)
    path = save_codes(tmp_path / "sun.png", (millimetres << 3) | (millimetres >> 13))
    np.testing.assert_allclose(kio.read(path, convention="sun").values[0], [np.nan, 0.001, 1.5, 4.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("units", "kind", "expected"),
    [
        ("m", DepthKind.METRIC, [np.nan, 2, 500]),
        ("mm", DepthKind.METRIC, [np.nan, 0.002, 0.5]),
        ("cm", DepthKind.METRIC, [np.nan, 0.02, 5]),
        ("inch", DepthKind.METRIC, [np.nan, 0.0508, 12.7]),
        ("1/m", DepthKind.METRIC, [np.inf, 0.5, 0.002]),
        ("disparity", DepthKind.DISPARITY, [np.nan, 2, 500]),
        ("inverse", DepthKind.DISPARITY, [np.inf, 2, 500]),
        ("relative", DepthKind.AFFINE_INVARIANT, [0, 2, 500]),
        ("scale-invariant", DepthKind.SCALE_INVARIANT, [np.nan, 2, 500]),
        ("affine_invariant", DepthKind.AFFINE_INVARIANT, [0, 2, 500]),
    ],
)
def test_units_of_integers(tmp_path: Path, units: str, kind: DepthKind, expected: list) -> None:
    found = kio.read(save_codes(tmp_path / "raw.png", [0, 2, 500]), units=units)
    assert found.kind is kind
    np.testing.assert_allclose(found.values[0], np.float32(expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (None, [np.nan, np.nan, np.nan, np.inf, 3]),
        ("cm", [np.nan, np.nan, np.nan, np.inf, 0.03]),
        ("1/m", [np.inf, np.nan, np.nan, np.nan, 1 / 3]),
        ("disparity", [0, -1, np.nan, np.nan, 3]),
        ("relative", [0, -1, np.nan, np.inf, 3]),
    ],
)
def test_units_of_floats(tmp_path: Path, units: str | None, expected: list) -> None:
    np.save(tmp_path / "raw.npy", np.array([[0, -1, np.nan, np.inf, 3]]))
    found = kio.read(tmp_path / "raw.npy", units=units)
    np.testing.assert_allclose(found.values[0], np.float32(expected), rtol=1e-6)


def test_a_sky_value(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.float32([[1, 1e10, 900]]))
    np.testing.assert_array_equal(kio.read(tmp_path / "z.npy", sky_value=1000).values, np.float32([[1, np.inf, 900]]))
    found = kio.read(tmp_path / "z.npy", units="disparity", sky_value=1)
    np.testing.assert_array_equal(found.values, np.float32([[np.inf, 1e10, 900]]))
    path = save_codes(tmp_path / "c.png", [256, 65535])
    np.testing.assert_array_equal(kio.read(path, convention="kitti", sky_value=65535).values, np.float32([[1, np.inf]]))


def test_eight_bits_cannot_hold_metres(tmp_path: Path) -> None:
    PillowImage.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(tmp_path / "a.png")
    for units in (None, "m", "mm"):
        with pytest.raises(kio.FileError, match="--units disparity"):
            kio.read(tmp_path / "a.png", units=units)
    found = kio.read(tmp_path / "a.png", units="disparity")
    assert np.isnan(found.values[0, 0])
    assert found.values[2, 3] == 11
    with pytest.raises(kio.FileError, match="16-bit"):
        kio.read(tmp_path / "a.png", convention="kitti")


def test_foreign_npz(tmp_path: Path) -> None:
    z = np.arange(1, 13, dtype=np.float64).reshape(3, 4)
    np.savez(tmp_path / "a.npz", z)
    np.testing.assert_array_equal(kio.read(tmp_path / "a.npz").values, z)
    valid, K = z > 2, np.array([[10.0, 0, 1.5], [0, 11, 1], [0, 0, 1]])
    np.savez(tmp_path / "b.npz", depth=z[None], other=z, valid=valid, K=K)
    found = kio.read(tmp_path / "b.npz")
    np.testing.assert_array_equal(found.valid, valid[0:3] if valid.ndim == 2 else valid)
    assert (found.camera.cx, found.camera.cy) == (2.0, 1.5)
    np.savez(tmp_path / "c.npz", one=z, two=z)
    with pytest.raises(kio.FileError, match=r"one.*two"):
        kio.read(tmp_path / "c.npz")


def test_foreign_pfm_of_either_byte_order(tmp_path: Path) -> None:
    rows = np.float32([[1, 2, 3], [4, 5, np.inf]])
    for scale, order in ((-0.0039, "<f4"), (1.0, ">f4")):
        body = rows[::-1].astype(order).tobytes()
        (tmp_path / "a.pfm").write_bytes(f"Pf\n3 2\n{scale}\n".encode() + body)
        found = kio.read(tmp_path / "a.pfm", units="disparity")
        np.testing.assert_array_equal(found.values, np.float32([[1, 2, 3], [4, 5, np.nan]]))
        assert kio.read(tmp_path / "a.pfm").sky[1, 2]


def test_foreign_dpt(tmp_path: Path) -> None:
    (tmp_path / "a.dpt").write_bytes(struct.pack("<fii", 202021.25, 3, 2) + np.arange(6, dtype="<f4").tobytes())
    np.testing.assert_array_equal(kio.read(tmp_path / "a.dpt").values, np.float32([[np.nan, 1, 2], [3, 4, 5]]))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<u2", ">u2"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_foreign_tiff(tmp_path: Path, dtype: str, compression: str | None) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(1, 301).reshape(15, 20).astype(dtype)
    order = ">" if dtype[0] == ">" else "<"
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, compression=compression, rowsperstrip=4)
    found = kio.read(tmp_path / "a.tif")
    np.testing.assert_allclose(found.values, values * (0.001 if "u2" in dtype else 1.0), rtol=1e-6)


@pytest.mark.parametrize("names", [["R", "G", "B"], ["ViewLayer.Depth.Z", "ViewLayer.Combined.R"], ["odd"], ["Y"]])
def test_foreign_exr_channels(tmp_path: Path, names: list[str]) -> None:
    OpenEXR = pytest.importorskip("OpenEXR")
    planes = {name: np.full((4, 5), 1 + i, np.float16) for i, name in enumerate(names)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, planes).write(str(tmp_path / "a.exr"))
    assert (kio.read(tmp_path / "a.exr").values == 1).all()


def test_foreign_exr_windows(tmp_path: Path) -> None:
    OpenEXR = pytest.importorskip("OpenEXR")
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "dataWindow": (np.int32([2, -1]), np.int32([6, 2])),
        "displayWindow": (np.int32([0, 0]), np.int32([5, 3])),
    }
    OpenEXR.File(header, {"Z": np.arange(1, 21, dtype=np.float32).reshape(4, 5)}).write(str(tmp_path / "a.exr"))
    expected = np.full((4, 6), np.nan, np.float32)
    expected[:3, 2:] = np.arange(1, 21).reshape(4, 5)[1:, :4]
    np.testing.assert_array_equal(kio.read(tmp_path / "a.exr").values, expected)


def test_real_sensor_files(shared: Path) -> None:
    folder = shared / "data" / "open3d_rgbd"
    assert np.nanmedian(kio.read(folder / "RGBD_depth_00000.png").values) == pytest.approx(1.8, abs=0.4)
    tum = kio.read(folder / "RGBD_other_formats_TUM_depth.png", convention="tum")
    assert 1 < np.nanmedian(tum.values) < 5
    sun = kio.read(folder / "RGBD_other_formats_SUN_depth.png", convention="sun")
    assert 1 < np.nanmedian(sun.values) < 5
    camera = kio.read_camera(folder / "camera_primesense.json", 640, 480)
    assert (camera.fx, camera.cx, camera.cy, camera.width) == (525.0, 320.0, 240.0, 640)


def test_real_lidar_and_stereo_files(shared: Path) -> None:
    lidar = kio.read(shared / "data" / "metric3d_kitti" / "depth_0000000050.png", convention="kitti")
    assert 5 < np.nanmedian(lidar.values) < 40
    assert 0.1 < lidar.valid.mean() < 0.4
    stereo = kio.read(shared / "data" / "eth3d_terrace_playground" / "terrace_disp0.pfm", units="disparity")
    assert stereo.size == (434, 713)
    assert 0.3 < stereo.valid.mean() < 0.8
    z = stereo.metric_from_stereo(focal=711.499, baseline=0.0599432)
    assert 1 < np.nanmedian(z.values) < 20
