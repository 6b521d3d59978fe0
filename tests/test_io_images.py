"""Photos and cameras: modes, orientation, EXIF, colour profiles, HEIC, camera files."""

from __future__ import annotations

import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from keendepth import io as kio
from keendepth.core.types import Camera, DepthKind, DepthMap, Image


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.indices((height, width))
    return np.stack([columns * 8, rows * 12, 255 - columns * 8], axis=-1).astype(np.uint8)


def test_plain_colours_come_back(tmp_path: Path) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "photo.name.png")
    found = kio.read_image(tmp_path / "photo.name.png")
    np.testing.assert_array_equal(found.rgb, picture())
    assert (found.camera, found.name) == (None, "photo.name")


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "webp", "tif", "ppm", "gif", "avif", "jp2", "tga"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    try:
        PillowImage.fromarray(picture()).save(path)
    except (KeyError, ValueError, OSError):
        pytest.skip(f"this Pillow does not write {suffix}")
    gap = np.abs(kio.read_image(path).rgb.astype(int) - picture())
    assert gap.mean() < 15


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "RGBX"])
def test_modes(tmp_path: Path, mode: str) -> None:
    source = PillowImage.fromarray(picture()).convert(mode)
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "RGBX": "tif", "PA": "tif"}.get(mode, "png")
    source.save(tmp_path / f"a.{suffix}")
    expected = np.asarray(PillowImage.open(tmp_path / f"a.{suffix}").convert("RGB")).astype(int)
    found = kio.read_image(tmp_path / f"a.{suffix}").rgb
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_sixteen_bit_grey_is_divided_by_257(tmp_path: Path) -> None:
    values = np.array([[0, 256, 257, 32768, 65535]], dtype=np.uint16)
    PillowImage.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(kio.read_image(tmp_path / "a.png").rgb[0, :, 0], values[0] // 257)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0] = (10, 20, 30, 255)
    PillowImage.fromarray(rgba).save(tmp_path / "a.png")
    found = kio.read_image(tmp_path / "a.png").rgb
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[1, 1].tolist() == [255, 255, 255]
    palette = PillowImage.fromarray(picture()).convert("P")
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 0)))
    assert kio.read_image(tmp_path / "p.png").rgb[0, 0].tolist() == [255, 255, 255]


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [PillowImage.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert kio.read_image(tmp_path / "a.gif").rgb[0, 0].tolist() == [255, 0, 0]


# What each EXIF orientation does to an upright picture when it is stored (TIFF 6.0, tag 274), undone by reading.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def exif_options(suffix: str, turn: int) -> dict:
    if suffix == "tif":  # Pillow leaves the inner block out of TIFF files unless it comes as tags
        tags = ImageFileDirectory_v2()
        tags[0x0112], tags[0x8769] = turn, {0xA405: 28}
        return {"tiffinfo": tags}
    exif = PillowImage.Exif()
    exif[0x0112] = turn
    exif.get_ifd(0x8769)[0xA405] = 28
    return {"exif": exif}


@pytest.mark.parametrize("turn", list(STORED))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_all_orientations(tmp_path: Path, turn: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    stored = PillowImage.fromarray(np.ascontiguousarray(STORED[turn](picture())))
    stored.save(path, **exif_options(suffix, turn), **options)
    found = kio.read_image(path)
    assert found.size == (20, 30)
    assert np.abs(found.rgb.astype(int) - picture()).mean() < (10 if suffix == "jpg" else 0.01)
    assert (found.camera.width, found.camera.height) == (30, 20)


def save_with_focal(path: Path, focal: object) -> Path:
    exif = PillowImage.Exif()
    exif.get_ifd(0x8769)[0xA405] = focal
    PillowImage.fromarray(picture()).save(path, exif=exif)
    return path


def test_camera_from_exif(tmp_path: Path) -> None:
    found = kio.read_image(save_with_focal(tmp_path / "a.jpg", 26)).camera
    assert found == Camera.from_35mm(26, 30, 20)
    assert found.source == "exif"
    assert found.fx == pytest.approx(26 * np.hypot(30, 20) / np.hypot(36, 24))
    assert kio.read_image(save_with_focal(tmp_path / "zero.jpg", 0)).camera is None


def test_what_is_given_wins(tmp_path: Path) -> None:
    path = save_with_focal(tmp_path / "a.jpg", 26)
    assert kio.read_image(path, focal=44).camera == Camera.from_focal(44, 30, 20)
    assert kio.read_image(path, fov=90).camera.fx == pytest.approx(15)
    (tmp_path / "K.txt").write_text("40 41 15 10")
    given = kio.read_image(path, camera_file=tmp_path / "K.txt").camera
    assert (given.fx, given.fy, given.cx, given.cy, given.source) == (40, 41, 15.5, 10.5, "given")
    with pytest.raises(ValueError, match="expected one of focal"):
        kio.read_image(path, focal=44, fov=90)


def test_the_order_of_cameras() -> None:
    model = Camera.from_fov(80, 300, 200, source="whatever")
    rgb = picture()
    exif = Camera.from_35mm(26, 30, 20)
    assert kio.resolve_camera(Image(rgb, exif), model) is exif
    fitted = kio.resolve_camera(Image(rgb), model)
    assert (fitted.source, fitted.width, fitted.fov_degrees) == ("model", 30, pytest.approx(80))
    guess = kio.resolve_camera(Image(rgb))
    assert (guess.source, guess.fov_degrees) == ("guess", pytest.approx(60))


def test_damaged_exif_is_no_exif(tmp_path: Path) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    assert kio.read_image(tmp_path / "a.jpg").camera is None


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged: converting to sRGB must exchange red and blue."""
    profile = bytearray(srgb_profile())
    entries = {}
    for i in range(int.from_bytes(profile[128:132], "big")):
        at = 132 + 12 * i
        entries[bytes(profile[at : at + 4])] = at
    red, blue = entries[b"rXYZ"] + 4, entries[b"bXYZ"] + 4
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_colour_profiles_are_converted(tmp_path: Path) -> None:
    flat = np.zeros((4, 4, 3), np.uint8)
    flat[...] = (200, 100, 50)
    PillowImage.fromarray(flat).save(tmp_path / "swap.png", icc_profile=swapped_profile())
    found = kio.read_image(tmp_path / "swap.png").rgb[0, 0].astype(int)
    assert np.abs(found - [50, 100, 200]).max() <= 3
    for name, profile in (("srgb", srgb_profile()), ("broken", b"no profile at all" * 20)):
        PillowImage.fromarray(flat).save(tmp_path / f"{name}.png", icc_profile=profile)
        np.testing.assert_array_equal(kio.read_image(tmp_path / f"{name}.png").rgb, flat)


def heic(path: Path, **options: object) -> Path:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_pillow(PillowImage.fromarray(picture(64, 96)))
    file.save(path, quality=90, **options)
    return path


def test_heic(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    path = heic(tmp_path / "IMG_1.HEIC", exif=exif.tobytes())
    found = kio.read_image(path)
    assert np.abs(found.rgb.astype(int) - picture(64, 96)).mean() < 12
    assert found.camera == Camera.from_35mm(26, 96, 64)


def test_heic_without_its_library_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(kio.FileError, match=r"pip install 'keendepth\[heic\]'"):
        kio.read_image(tmp_path / "a.jpg")


def test_no_photo(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(kio.FileError, match=r"expected a photo \(JPEG"):
        kio.read_image(tmp_path / "a.jpg")
    PillowImage.fromarray(np.float32([[0.0, 5.5]])).save(tmp_path / "depth.tif")
    with pytest.raises(kio.FileError, match="depth map"):
        kio.read_image(tmp_path / "depth.tif")
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(kio.FileError, match="expected a photo"):
        kio.read_image(tmp_path / "a.eps")


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


K_ROWS = [[100.0, 0, 14.5], [0, 101.0, 9.5], [0, 0, 1]]


@pytest.mark.parametrize(
    ("content", "centre"),
    [
        ({"width": 30, "height": 20, "intrinsic_matrix": [100.0, 0, 0, 0, 101.0, 0, 14.5, 9.5, 1]}, 0.5),
        ({"K": K_ROWS}, 0.5),
        ({"camera_matrix": K_ROWS}, 0.5),
        ({"fx": 100, "fy": 101, "cx": 14.5, "cy": 9.5}, 0.5),
        ({"fl_x": 100, "fl_y": 101, "cx": 15, "cy": 10, "w": 30, "h": 20}, 0),
        ({"fx": 100, "fy": 101, "cx": 15, "cy": 10, "pixel_centre": 0.5}, 0),
        ({"camera": {"fx": 100, "fy": 101, "cx": 15, "cy": 10, "width": 30, "height": 20, "pixel_centre": 0.5}}, 0),
    ],
)
def test_camera_json(tmp_path: Path, content: dict, centre: float) -> None:
    found = kio.read_camera(write_json(tmp_path / "K.json", content), 30, 20)
    assert found == Camera(100, 101, 15, 10, 30, 20, "given")


def test_camera_arrays_and_text(tmp_path: Path) -> None:
    expected = Camera(100, 101, 15, 10, 30, 20, "given")
    np.save(tmp_path / "K.npy", np.array(K_ROWS))
    np.savez(tmp_path / "K.npz", K=np.array(K_ROWS))
    np.savez(tmp_path / "mde.npz", intr=np.array([100, 101, 14.5, 9.5]), depth=np.ones((20, 30)))
    np.savetxt(tmp_path / "K.txt", np.array(K_ROWS))
    (tmp_path / "four.txt").write_text("100, 101, 14.5, 9.5\n")
    for name in ("K.npy", "K.npz", "mde.npz", "K.txt", "four.txt"):
        assert kio.read_camera(tmp_path / name, 30, 20) == expected, name
    ours = kio.write(tmp_path / "ours.npz", DepthMap(np.ones((20, 30), np.float32), DepthKind.METRIC, expected))
    assert kio.read_camera(ours, 30, 20) == expected
    assert kio.read_camera(tmp_path / "ours.npz.json", 30, 20) == expected


def test_a_camera_follows_a_uniform_resize_only(tmp_path: Path) -> None:
    path = write_json(tmp_path / "K.json", {"fx": 100, "fy": 100, "cx": 14.5, "cy": 9.5, "width": 30, "height": 20})
    assert kio.read_camera(path, 61, 40) == Camera(100, 100, 15, 10, 30, 20).resized(40, 61)
    with pytest.raises(kio.FileError, match="no resize"):
        kio.read_camera(path, 40, 40)
    with pytest.raises(kio.FileError, match="turned by 90"):
        kio.read_camera(path, 20, 30)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "damaged"),
        ("a.json", "[1, 2]", "JSON object"),
        ("a.json", "[" * 100_000, "damaged"),
        ("a.json", '{"a": 1}', "found a"),
        ("a.json", '{"K": [[0.58, 0, 0.5], [0, 1.92, 0.5], [0, 0, 1]]}', "normalised"),
        ("a.json", '{"K": [[100, 0, 960], [0, 100, 5], [0, 0, 1]]}', "principal point"),
        ("a.json", '{"fx": "a", "fy": 1, "cx": 2, "cy": 3}', "damaged"),
        ("a.json", '{"fx": -5, "fy": 100, "cx": 15, "cy": 10, "width": 30, "height": 20}', "fx must be"),
        ("a.json", '{"fx": 1e999, "fy": 100, "cx": 15, "cy": 10}', "found"),
        ("a.json", '{"fx": 100, "fy": 100, "cx": 15, "cy": 10, "width": 0, "height": 20}', "a.json"),
        ("a.txt", "1 2 3", "3x3"),
        ("a.txt", "one two three four", "damaged"),
        ("a.txt", "1 0 0 0 1 0 0 0 0", "last row"),
        ("a.yaml", "x", "expected a camera file"),
        ("a.npy", "x", "damaged"),
    ],
)
def test_camera_errors(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(kio.FileError, match=message):
        kio.read_camera(tmp_path / name, 30, 20)


def test_a_photo_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    stream = io.BytesIO()
    PillowImage.new("1", (8, 8)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(kio.FileError, match=r"bomb.png"):
        kio.read_image(tmp_path / "bomb.png")
    with pytest.raises(kio.FileError, match=r"bomb.png"):
        kio.read(tmp_path / "bomb.png")
