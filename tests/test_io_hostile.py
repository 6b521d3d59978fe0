"""Damaged and hostile files: every reader answers with FileError, and nothing large is allocated for a lie."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from keendepth import io as kio
from keendepth.core.types import Camera, DepthKind, DepthMap

SUFFIXES = (".png", ".exr", ".tif", ".npz", ".pfm", ".dpt", ".npy", ".jpg", ".pgm")
FUZZ = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def depth() -> DepthMap:
    values = np.linspace(1, 9, 12 * 15, dtype=np.float32).reshape(12, 15)
    values[3, 4] = np.nan
    return DepthMap(values, DepthKind.METRIC, Camera.from_fov(60, 15, 12))


def sound(folder: Path, suffix: str) -> bytes:
    """The bytes of a sound file."""
    path = folder / f"sound{suffix}"
    if not path.exists():
        if suffix == ".npy":
            np.save(path, depth().values)
        elif suffix in (".jpg", ".pgm"):
            PillowImage.fromarray((depth().values.clip(0) * 20).astype(np.uint8, casting="unsafe")).save(path)
        else:
            kio.write(path, DepthMap(np.nan_to_num(depth().values, nan=2), DepthKind.METRIC, depth().camera))
    return path.read_bytes()


def survives(path: Path, **options: object) -> None:
    """Reading gives a map or a FileError; anything else fails the test."""
    with contextlib.suppress(kio.FileError):
        assert isinstance(kio.read(path, **options), DepthMap)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sound")
    with np.errstate(invalid="ignore"):
        for suffix in SUFFIXES:
            sound(made, suffix)
    return made


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_bytes(folder: Path, tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    start = sound(folder, suffix)
    for length in (1, 3, 8, 12, 50, 3000):
        for head in (b"", start[:4], start[:12]):
            path = tmp_path / f"noise{suffix}"
            path.write_bytes(head + rng.bytes(length))
            with pytest.raises(kio.FileError):
                kio.read(path, units="disparity")
            with pytest.raises(kio.FileError):
                kio.read_image(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_files(folder: Path, tmp_path: Path, suffix: str) -> None:
    whole = sound(folder, suffix)
    path = tmp_path / f"cut{suffix}"
    for length in {*range(1, min(len(whole), 40)), *np.linspace(40, len(whole) - 1, 40).astype(int).tolist()}:
        if length < len(whole):
            path.write_bytes(whole[:length])
            survives(path, units="disparity")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(kio.FileError):
        kio.read(path, units="disparity")


@pytest.mark.parametrize("suffix", SUFFIXES)
@FUZZ
@given(data=st.data())
def test_flipped_bytes(folder: Path, tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    content = bytearray(sound(folder, suffix))
    last = min(len(content), data.draw(st.sampled_from([32, 512, len(content)]))) - 1
    changes = data.draw(st.lists(st.tuples(st.integers(0, last), st.integers(0, 255)), min_size=1, max_size=6))
    for at, value in changes:
        content[at] = value
    path = tmp_path / f"flip{suffix}"
    path.write_bytes(content)
    survives(path)
    survives(path, units="disparity")


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".gif", ".webp"])
def test_flipped_photos(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 28
    photo = PillowImage.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3))
    photo.save(stream, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()), exif=exif)
    content = bytearray(stream.getvalue())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)):
        content[at] = value
    cut = data.draw(st.integers(1, len(content)))
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(content if data.draw(st.booleans()) else content[:cut])
    with contextlib.suppress(kio.FileError):
        assert kio.read_image(path).rgb.ndim == 3


@pytest.mark.parametrize("read", [kio.read, kio.read_image])
def test_what_is_no_file(tmp_path: Path, read: object) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name, message in (("no.png", "no such file"), ("empty.png", "empty"), ("folder.png", "folder")):
        with pytest.raises(kio.FileError, match=message):
            read(tmp_path / name)
    with pytest.raises(kio.FileError):
        read("nul\0byte.png")
    with pytest.raises(kio.FileError):
        read("x" * 5000 + ".png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(kio.FileError, match="pipe"):
        read(tmp_path / "pipe.png")


def test_unknown_suffixes(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(kio.FileError, match=r"expected depth in one of .png"):
        kio.read(tmp_path / "a.xyz")
    (tmp_path / "a.ply").write_text("x")
    with pytest.raises(kio.FileError, match="cannot be read back"):
        kio.read(tmp_path / "a.ply")
    (tmp_path / "a.npy").write_text("x")
    with pytest.raises(ValueError, match="units: expected one of m, mm"):
        kio.read(tmp_path / "a.npy", units="furlong")
    with pytest.raises(ValueError, match="convention: expected one of"):
        kio.read(tmp_path / "a.npy", convention="furlong")


def npy_header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", ["(1000000, 1000000)", "(4611686018427387904, 4)", "(-4, -5)", "(0, 5)", "(12, 15)"])
def test_arrays_that_lie_about_their_size(tmp_path: Path, shape: str) -> None:
    (tmp_path / "a.npy").write_bytes(npy_header(shape) + bytes(100))
    with pytest.raises(kio.FileError):
        kio.read(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("depth.npy", npy_header(shape) + bytes(100))
    with pytest.raises(kio.FileError):
        kio.read(tmp_path / "a.npz")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    size = 40_000 * 40_000
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("depth.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(npy_header("(40000, 40000)"))
        for _ in range(50):  # a part of it is enough: the header gives it away
            stream.write(bytes(1_000_000))
    assert size > 178_000_000
    with pytest.raises(kio.FileError, match="megapixels"):
        kio.read(tmp_path / "bomb.npz")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(kio.FileError, match="pickled"):
        kio.read(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(kio.FileError):
        kio.read(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".pfm", b"Pf\n999999999 999999999\n-1.0\n" + bytes(16)),
        (".pfm", b"Pf\n3 2\n0\n" + bytes(24)),
        (".pfm", b"Pf\n3 2\nnan\n" + bytes(24)),
        (".pfm", b"PF\n1 1\n-1\n" + bytes(12)),
        (".pfm", b"Pf\n0 0\n-1\n"),
        (".dpt", struct.pack("<fii", 202021.25, 2**31 - 1, 2**31 - 1) + bytes(16)),
        (".dpt", struct.pack("<fii", 202021.25, -3, -2) + bytes(24)),
        (".dpt", struct.pack("<fii", 1.0, 3, 2) + bytes(24)),
        (".dpt", b"PIEH"),
    ],
)
def test_headers_that_lie(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(kio.FileError):
        kio.read(tmp_path / f"a{suffix}")


def test_a_deflated_tiff_strip_that_unpacks_to_too_much(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((4000, 100), np.float32), compression="zlib", rowsperstrip=4000)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as opened:
        for tag in ("ImageLength", "RowsPerStrip"):
            at = opened.pages[0].tags[tag].valueoffset
            content[at : at + 2] = (4).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(kio.FileError, match="unpacks to more"):
        kio.read(path)


def test_exr_without_a_depth_channel(tmp_path: Path) -> None:
    OpenEXR = pytest.importorskip("OpenEXR")
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {name: np.ones((4, 5), np.float32) for name in ("foo", "bar")}
    OpenEXR.File(header, planes).write(str(tmp_path / "a.exr"))
    with pytest.raises(kio.FileError, match="found bar, foo"):
        kio.read(tmp_path / "a.exr")


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_foreign_files_that_know_nothing(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "a.npy", np.full((3, 4), value))
    with pytest.raises(kio.FileError, match="not one pixel"):
        kio.read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "nonsense"},
        {"kind": None},
        {"size": {"height": 1, "width": 1}},
        {"size": None},
        {"encoding": None},
        {"encoding": {"scale": "x", "offset": 0, "first_code": 0, "unknown": 0, "sky": 65535}},
        {"encoding": {"scale": -1, "offset": 0, "first_code": 0, "unknown": 0, "sky": 65535}},
        {"encoding": {"scale": 1, "offset": 0, "first_code": 0, "unknown": 1e99, "sky": -1}},
        {"camera": {"fx": -1}},
        {"camera": {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 3, "height": 3, "source": "x"}},
        {"model": {"surprise": 1}},
        {"refinement": {"surprise": 1}},
    ],
)
def test_descriptions_that_lie(tmp_path: Path, change: dict) -> None:
    path = kio.write(tmp_path / "a.png", depth())
    described = json.loads((tmp_path / "a.png.json").read_text())
    PillowImage.fromarray(np.asarray(PillowImage.open(path))).save(path)
    kio.read(path)
    (tmp_path / "a.png.json").write_text(json.dumps({**described, **change}))
    with pytest.raises(kio.FileError):
        kio.read(path)
