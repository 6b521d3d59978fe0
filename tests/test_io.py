"""Depth files: round trips within the stated error, descriptions, what is refused, atomic writing."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PillowImage

from keendepth import io as kio
from keendepth import viz
from keendepth.core.types import Camera, Card, DepthKind, DepthMap, KindError, Refinement
from keendepth.io.atomic import atomic
from keendepth.io.formats import CONVENTIONS

FLOAT_SUFFIXES = (".exr", ".tif", ".npz", ".pfm", ".dpt")
DEPTH_SUFFIXES = (".png", *FLOAT_SUFFIXES)
CARD = Card(
    name="toy",
    summary="a test",
    license="MIT",
    paper="none",
    kind=DepthKind.METRIC,
    native_size=(518, 518),
    sha256="ab" * 32,
)


def example(height: int = 6, width: int = 9, kind: DepthKind = DepthKind.METRIC) -> DepthMap:
    values = np.linspace(0.5, 9, height * width, dtype=np.float32).reshape(height, width)
    values[0, 0], values[-1, -1] = np.nan, np.inf
    camera = Camera(50.5, 51.25, 4.5, 3.125, width, height, source="exif")
    return DepthMap(values, kind, camera, CARD, Refinement("classic", 0.5, 1.001, -0.002))


def same(a: DepthMap, b: DepthMap, error: float) -> None:
    np.testing.assert_array_equal(np.isnan(a.values), np.isnan(b.values))
    np.testing.assert_array_equal(a.sky, b.sky)
    both = a.valid
    gap = np.abs(a.values[both].astype(np.float64) - b.values[both])
    rounding = np.spacing(np.abs(a.values[both])).astype(np.float64)  # the result is float32
    assert (gap <= error * (1 + 1e-9) + rounding).all()


def numbers_between(least: float, most: float) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)
    numbers = st.floats(np.float32(least), np.float32(most), width=32)
    special = st.sampled_from([float("nan"), float("inf"), float(np.float32(least)), float(np.float32(most))])
    return hnp.arrays(np.float32, shapes, elements=st.one_of(numbers, special))


def write_and_read(depth: DepthMap, suffix: str, convention: str | None = None) -> tuple[DepthMap, dict]:
    with tempfile.TemporaryDirectory() as folder:
        path = kio.write(Path(folder) / f"depth{suffix}", depth, convention=convention)
        described = json.loads((path.parent / (path.name + ".json")).read_text())
        back = kio.read(path)
        assert sorted(os.listdir(folder)) == [f"depth{suffix}", f"depth{suffix}.json"]
    return back, described


SLOW_DISK = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("suffix", FLOAT_SUFFIXES)
@SLOW_DISK
@given(data=st.data())
def test_float_files_are_lossless(suffix: str, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(DepthKind))
    low = 1e-40 if kind.positive else -3e38
    depth = DepthMap(data.draw(numbers_between(low, 3e38)), kind)
    back, described = write_and_read(depth, suffix)
    assert back.kind is depth.kind
    np.testing.assert_array_equal(back.values, depth.values)
    assert described["encoding"]["error"] == 0


@pytest.mark.parametrize("convention", ["mm", "scannet", "nerfstudio", "ros", "kitti", "tum", "ibims", "vkitti"])
@SLOW_DISK
@given(data=st.data())
def test_png_conventions_stay_within_the_stated_error(convention: str, data: st.DataObject) -> None:
    step = CONVENTIONS[convention].metres
    depth = DepthMap(data.draw(numbers_between(step * 0.5001, step * 65534.49)), DepthKind.METRIC)
    back, described = write_and_read(depth, ".png", convention)
    assert described["encoding"]["error"] == step / 2
    same(depth, back, step / 2)


@pytest.mark.parametrize("kind", [kind for kind in DepthKind if kind is not DepthKind.METRIC])
@SLOW_DISK
@given(data=st.data())
def test_png_of_other_kinds_stays_within_the_stated_error(kind: DepthKind, data: st.DataObject) -> None:
    depth = DepthMap(data.draw(numbers_between(1e-6 if kind.positive else -1e6, 1e6)), kind)
    back, described = write_and_read(depth, ".png")
    assert back.kind is kind
    assert described["encoding"]["convention"] == "relative"
    same(depth, back, described["encoding"]["error"])


@pytest.mark.parametrize("suffix", DEPTH_SUFFIXES)
@pytest.mark.parametrize("kind", list(DepthKind))
def test_kind_camera_model_and_refinement_come_back(tmp_path: Path, suffix: str, kind: DepthKind) -> None:
    depth = example(kind=kind)
    back = kio.read(kio.write(tmp_path / f"photo{suffix}", depth))
    assert (back.kind, back.camera, back.source, back.refinement) == (kind, depth.camera, CARD, depth.refinement)


@pytest.mark.parametrize("suffix", [".png", ".exr", ".tif", ".npz"])
def test_the_description_is_in_the_file_itself(tmp_path: Path, suffix: str) -> None:
    path = kio.write(tmp_path / f"photo{suffix}", example(kind=DepthKind.DISPARITY))
    (tmp_path / f"photo{suffix}.json").unlink()
    assert kio.read(path).kind is DepthKind.DISPARITY
    assert kio.read(path).camera == example().camera


def test_a_png_whose_text_was_stripped_is_read_by_its_sidecar(tmp_path: Path) -> None:
    path = kio.write(tmp_path / "a.png", example(), convention="kitti")
    PillowImage.fromarray(np.asarray(PillowImage.open(path))).save(path)
    assert PillowImage.open(path).text == {}
    same(example(), kio.read(path), 1 / 512)


@pytest.mark.parametrize("suffix", DEPTH_SUFFIXES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_maps_without_a_known_pixel(tmp_path: Path, suffix: str, value: float) -> None:
    depth = DepthMap(np.full((1, 3), value, np.float32), DepthKind.METRIC)
    np.testing.assert_array_equal(kio.read(kio.write(tmp_path / f"a{suffix}", depth)).values, depth.values)


def test_the_sidecar_says_it_all(tmp_path: Path) -> None:
    path = kio.write(tmp_path / "photo.png", example(), convention="kitti")
    told = json.loads((tmp_path / "photo.png.json").read_text())
    assert path == tmp_path / "photo.png"
    assert told["keendepth"] == kio.record.version("keendepth")
    assert (told["kind"], told["unit"], told["size"]) == ("metric", "m", {"height": 6, "width": 9})
    assert told["encoding"] == {
        "format": "16-bit PNG",
        "convention": "kitti",
        "first_code": 0,
        "offset": 0.0,
        "scale": 1 / 256,
        "unknown": 0,
        "sky": 65535,
        "error": 1 / 512,
    }
    assert told["camera"]["pixel_centre"] == 0.5
    assert told["camera"]["source"] == "exif"
    assert told["camera"]["fov_degrees"] == pytest.approx(example().camera.fov_degrees)
    assert (told["model"]["name"], told["model"]["license"], told["model"]["sha256"]) == ("toy", "MIT", "ab" * 32)
    assert told["refinement"] == {
        "name": "classic",
        "strength": 0.5,
        "residual_scale": 1.001,
        "residual_shift": -0.002,
    }
    assert told["pixels"] == {"known": 52, "unknown": 1, "sky": 1}
    assert (told["min"], told["max"]) == (
        float(example().values[0, 1]),
        float(np.nanmax(np.where(example().sky, np.nan, example().values))),
    )
    assert {"python", "numpy", "pillow"} <= set(told["versions"])


def test_sidecar_is_plain_json_for_a_bare_map() -> None:
    told = kio.sidecar(DepthMap(np.full((2, 2), np.nan, np.float32), DepthKind.DISPARITY))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["camera"], told["model"], told["min"], told["unit"]) == (None, None, None, "1")


def test_npz_has_the_promised_keys(tmp_path: Path) -> None:
    depth = example()
    with np.load(kio.write(tmp_path / "a.npz", depth)) as arrays:
        assert set(arrays) == {"depth", "valid", "K", "kind", "unit", "pixel_centre", "meta"}
        assert (arrays["depth"].dtype, arrays["valid"].dtype, arrays["K"].dtype) == (np.float32, bool, np.float64)
        np.testing.assert_array_equal(arrays["depth"], depth.values)
        np.testing.assert_array_equal(arrays["valid"], depth.valid)
        np.testing.assert_array_equal(arrays["K"], depth.camera.K)
        assert (str(arrays["kind"]), str(arrays["unit"]), float(arrays["pixel_centre"])) == ("metric", "m", 0.5)
    bare = DepthMap(depth.values, depth.kind)
    with np.load(kio.write(tmp_path / "b.npz", bare)) as arrays:
        assert "K" not in arrays
    assert kio.read(tmp_path / "b.npz").camera is None


def test_the_same_map_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in DEPTH_SUFFIXES:
        one, two = (kio.write(tmp_path / f"{name}{suffix}", example()).read_bytes() for name in "ab")
        if suffix != ".exr":  # its header names nothing either, but the library does not promise it
            assert one == two


def test_other_programs_read_our_files(tmp_path: Path) -> None:
    depth = example()
    tifffile, OpenEXR = pytest.importorskip("tifffile"), pytest.importorskip("OpenEXR")
    np.testing.assert_array_equal(tifffile.imread(kio.write(tmp_path / "a.tif", depth)), depth.values)
    pillow = np.asarray(PillowImage.open(tmp_path / "a.tif"))
    np.testing.assert_array_equal(pillow, depth.values)
    with OpenEXR.File(str(kio.write(tmp_path / "a.exr", depth))) as content:
        np.testing.assert_array_equal(content.channels()["Z"].pixels, depth.values)
    codes = np.asarray(PillowImage.open(kio.write(tmp_path / "a.png", depth)))
    assert codes.dtype == np.uint16
    assert (codes[0, 0], codes[-1, -1], codes[0, 1]) == (0, 65535, round(float(depth.values[0, 1]) * 1000))


@pytest.mark.parametrize(
    ("metres", "named"), [(70.0, "kitti"), (300.0, "vkitti"), (700.0, ".exr"), (0.0001, ".exr"), (0.0004, "tum")]
)
def test_png_refuses_what_does_not_fit_and_names_what_does(tmp_path: Path, metres: float, named: str) -> None:
    depth = DepthMap(np.float32([[1.0, metres]]), DepthKind.METRIC)
    with pytest.raises(kio.FileError, match="do not fit") as caught:
        kio.write(tmp_path / "a.png", depth)
    assert named in str(caught.value)
    assert not list(tmp_path.iterdir())
    if named in CONVENTIONS:
        convention = f"'{named}'"
        assert convention in str(caught.value)
        if metres > 1:
            kio.write(tmp_path / "a.png", depth, convention=named)


def test_half_a_step_is_rounded_up_to_the_first_code(tmp_path: Path) -> None:
    depth = DepthMap(np.float32([[0.5 / 256, 1.0]]), DepthKind.METRIC)
    back = kio.read(kio.write(tmp_path / "a.png", depth, convention="kitti"))
    assert back.values[0, 0] == np.float32(1 / 256)


def test_metres_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KindError, match="relative"):
        kio.write(tmp_path / "a.png", example(kind=DepthKind.DISPARITY), convention="mm")
    with pytest.raises(kio.FileError, match="png only"):
        kio.write(tmp_path / "a.exr", example(), convention="kitti")
    with pytest.raises(ValueError, match="expected one of mm"):
        kio.write(tmp_path / "a.png", example(), convention="nonsense")
    with pytest.raises(kio.FileError, match="reading only"):
        kio.write(tmp_path / "a.png", example(), convention="sun")


def test_a_file_of_ours_is_not_talked_into_another_kind(tmp_path: Path) -> None:
    path = kio.write(tmp_path / "a.png", example())
    assert kio.read(path, units="cm").kind is DepthKind.METRIC  # it knows that it is in millimetres
    same(example(), kio.read(path, units="cm"), 0.0005)
    with pytest.raises(kio.FileError, match="drop units"):
        kio.read(path, units="disparity")
    with pytest.raises(kio.FileError, match="drop it"):
        kio.read(path, convention="kitti")
    assert kio.read(path, convention="ros").valid.any()


def test_a_sidecar_of_another_file_is_noticed(tmp_path: Path) -> None:
    kio.write(tmp_path / "a.pfm", example())
    other = kio.write(tmp_path / "b.pfm", example(3, 4))
    (tmp_path / "a.pfm").write_bytes(other.read_bytes())
    with pytest.raises(kio.FileError, match=r"4 x 3.*delete it"):
        kio.read(tmp_path / "a.pfm")
    (tmp_path / "a.pfm.json").write_text('{"somebody": "else"}')
    assert kio.read(tmp_path / "a.pfm").kind is DepthKind.METRIC


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize("suffix", [".npz", ".png", ".exr"])
def test_a_write_that_fails_half_way_changes_neither_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kio.write(tmp_path / f"a{suffix}", example())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(*_: object, **__: object) -> str:
        raise Interrupted

    monkeypatch.setattr(kio.record, "dumps", fail)
    with pytest.raises(Interrupted):
        kio.write(path, example(30, 40))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_where_one_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(kio.FileError, match="folder does not exist"):
        kio.write(tmp_path / "no" / "a.npz", example())
    (tmp_path / "dir.npz").mkdir()
    with pytest.raises(kio.FileError, match="found a folder"):
        kio.write(tmp_path / "dir.npz", example())
    kio.write(tmp_path / "a.npz", example())
    with pytest.raises(kio.FileError, match="there already"):
        kio.write(tmp_path / "a.npz", example(), overwrite=False)
    with pytest.raises(kio.FileError, match=r"\.gif"):
        kio.write(tmp_path / "a.gif", example())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "a.npz.json", "dir.npz"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "real" / "a.npz")
    kio.write(tmp_path / "link.npz", example())
    assert (tmp_path / "link.npz").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "real" / "a.npz")


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    path = kio.write(tmp_path / "a.npz", example())
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_coloured_pictures_are_no_depth(tmp_path: Path) -> None:
    depth = example(40, 60)
    path = kio.write_preview(tmp_path / "look.png", depth, viz.colourise(depth))
    assert json.loads((tmp_path / "look.png.json").read_text())["encoding"]["format"] == "preview"
    with pytest.raises(kio.FileError, match="found colours"):
        kio.read(path)
    grey = kio.write_preview(tmp_path / "grey.png", depth, np.repeat(viz.colourise(depth)[..., :1], 3, axis=2))
    with pytest.raises(kio.FileError, match="preview"):
        kio.read(grey)
    with pytest.raises(kio.FileError, match=r"expected .png"):
        kio.write_preview(tmp_path / "look.jpg", depth, viz.colourise(depth))
