"""From relative to metric: planted scales and shifts come back, outliers do not matter, and error bars say the truth."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import keendepth
from keendepth import calibration, io
from keendepth.calibration import Points
from keendepth.cli.commands import app
from keendepth.core.geometry import pixel_rays
from keendepth.core.types import Camera, DepthKind, DepthMap, KindError

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"
SIZE = (60, 80)
KINDS = list(DepthKind)


def truth(seed: int = 0) -> np.ndarray:
    """Smooth depth from about 1 to 8 metres."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = sum(
        rng.normal() * np.sin(u / rng.uniform(8, 30) + v / rng.uniform(8, 30) + rng.uniform(0, 6)) for _ in range(4)
    )
    return np.exp(np.interp(waves, (waves.min(), waves.max()), (0.1, 2.0)))


def map_of(kind: DepthKind, z: np.ndarray, scale: float, shift: float) -> DepthMap:
    """The map of this kind for which `scale` and `shift` give z back."""
    target = 1 / z if kind is DepthKind.DISPARITY else z
    return DepthMap((target - shift) / scale, kind)


def planted(kind: DepthKind) -> tuple[float, float]:
    return (2.5, 0.0) if kind.positive else (0.2, 0.05) if kind is DepthKind.DISPARITY else (3.0, 0.4)


def some_points(z: np.ndarray, count: int, rng: np.random.Generator, noise: float = 0.0, outliers: int = 0) -> Points:
    rows, columns = rng.integers(1, SIZE[0] - 1, count), rng.integers(1, SIZE[1] - 1, count)
    # A point takes the median of its 3 x 3 pixels, so that is what is planted.
    exact = np.array([np.median(z[r - 1 : r + 2, c - 1 : c + 2]) for r, c in zip(rows, columns, strict=True)])
    measured = exact * (1 + noise * rng.normal(size=count))
    measured[:outliers] *= rng.uniform(1.5, 4, outliers)
    return Points(columns + 0.5, rows + 0.5, measured)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "noise", "outliers"), [(2, 0, 0), (20, 0.02, 0), (20, 0.02, 6), (300, 0.05, 90)])
def test_planted_scale_and_shift_come_back(kind: DepthKind, count: int, noise: float, outliers: int) -> None:
    z, (scale, shift) = truth(), planted(kind)
    found = calibration.from_points(
        map_of(kind, z, scale, shift), some_points(z, count, np.random.default_rng(1), noise, outliers)
    )
    assert found.kind is DepthKind.METRIC
    np.testing.assert_allclose(np.median(np.abs(found.values / z - 1)), 0, atol=1e-4 + 2 * noise)
    record = found.calibration
    assert record is not None
    assert record.points + record.outliers == count
    assert record.outliers >= outliers * 0.8
    assert record.scale == pytest.approx(scale, rel=1e-3 + 2.5 * noise)
    assert record.residual <= 2 * noise + 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [5, 15])
def test_error_bars_cover(kind: DepthKind, count: int) -> None:
    z, (scale, shift) = truth(), planted(kind)
    depth, off = map_of(kind, z, scale, shift), []
    for seed in range(60):
        record = calibration.from_points(depth, some_points(z, count, np.random.default_rng(seed), 0.03)).calibration
        assert record is not None
        assert record.scale_error_bar is not None
        off.append(abs(record.scale - scale) / record.scale_error_bar)
    assert 0.5 < np.mean(np.array(off) < 1) < 0.85  # 68 % for normal noise
    assert np.mean(np.array(off) < 3) > 0.9


def test_one_wrong_point_of_four_shows_in_the_bar() -> None:
    z = truth()
    points = some_points(z, 4, np.random.default_rng(0))
    wrong = replace(points, z=points.z * [1, 1, 1, 10])
    record = calibration.from_points(DepthMap(z, DepthKind.METRIC), wrong).calibration
    assert record.scale_error_bar > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_with_large_outlying_parts(kind: DepthKind) -> None:
    z, (scale, shift) = truth(), planted(kind)
    rng = np.random.default_rng(0)
    reference = z * (1 + 0.02 * rng.normal(size=SIZE))
    reference[:20, :40] *= 3
    small = DepthMap(reference.astype(np.float32), DepthKind.METRIC)
    found = calibration.from_map(map_of(kind, z, scale, shift), small)
    assert np.median(np.abs(found.values / z - 1)) < 0.01
    assert found.calibration is not None
    assert found.calibration.scale_error_bar is not None
    assert abs(found.calibration.scale - scale) < 4 * found.calibration.scale_error_bar + 1e-3 * scale


def test_errors_that_hang_together_make_wider_bars() -> None:
    z, rng = truth(), np.random.default_rng(0)
    depth = DepthMap(z / 2, DepthKind.SCALE_INVARIANT)
    apart = z * (1 + 0.05 * rng.normal(size=SIZE))
    together = z * (1 + 0.05 * np.kron(rng.normal(size=(4, 4)), np.ones((15, 20))))
    bars = [
        calibration.from_map(depth, DepthMap(found, DepthKind.METRIC)).calibration.scale_error_bar
        for found in (apart, together)
    ]
    assert bars[1] > 5 * bars[0]


def test_sparse_lidar_of_another_size() -> None:
    z = truth()
    sparse = np.full((30, 40), np.nan)
    sparse[::3, ::4] = z[1::2, 1::2][::3, ::4]
    found = calibration.from_map(map_of(DepthKind.DISPARITY, z, 0.2, 0.05), DepthMap(sparse, DepthKind.METRIC))
    assert np.median(np.abs(found.values / z - 1)) < 0.01


def test_one_point_gives_a_scale_and_no_bar() -> None:
    z = truth()
    found = calibration.from_points(
        DepthMap(z, DepthKind.AFFINE_INVARIANT), some_points(2 * z, 1, np.random.default_rng(0))
    )
    assert found.calibration == replace(found.calibration, shift=0.0, points=1, scale_error_bar=None)
    assert found.calibration.scale == pytest.approx(2, rel=1e-5)


def test_a_metric_map_is_corrected_by_a_scale() -> None:
    z = truth()
    found = calibration.from_points(
        DepthMap(z * 1.2, DepthKind.METRIC), some_points(z, 10, np.random.default_rng(0), 0.01)
    )
    assert found.calibration.scale == pytest.approx(1 / 1.2, rel=0.01)
    assert found.calibration.shift == 0


def test_sky_stays_and_what_falls_behind_the_camera_is_unknown() -> None:
    z = truth()
    values = z.copy()
    values[0], values[1] = np.inf, -50
    found = calibration.from_points(
        DepthMap(values, DepthKind.AFFINE_INVARIANT), some_points(z[3:], 0 + 8, np.random.default_rng(3))
    )
    assert found.sky[0].all()
    assert not found.valid[1].any()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (Points(np.array([90.0]), np.array([5.0]), np.array([2.0])), "outside the picture of 80 x 60"),
        (Points(np.array([5.0]), np.array([0.5]), np.array([2.0])), "none of the known points"),
        (Points(np.array([]), np.array([]), np.array([])), "at least one"),
        (Points(np.array([5.5, 5.5]), np.array([9.5, 9.5]), np.array([2.0, 3.0])), "cannot tell scale from shift"),
    ],
)
def test_points_that_cannot_be_used(points: Points, message: str) -> None:
    values = truth()
    values[:2] = np.inf
    with pytest.raises(ValueError, match=message):
        calibration.from_points(DepthMap(values, DepthKind.AFFINE_INVARIANT), points)


def test_turned_polarity_is_said() -> None:
    z = truth()
    with pytest.raises(ValueError, match="farther is nearer"):
        calibration.from_points(DepthMap(-z, DepthKind.AFFINE_INVARIANT), some_points(z, 12, np.random.default_rng(0)))


def test_a_reference_must_be_metric() -> None:
    depth = DepthMap(truth(), DepthKind.AFFINE_INVARIANT)
    with pytest.raises(KindError, match="needs metric depth"):
        calibration.from_map(depth, depth)


# The camera's height


def ground(height: float, pitch: float = 0.0, noise: float = 0.0) -> tuple[np.ndarray, Camera]:
    """Depth of flat ground and a wall 12 metres away, seen from `height`, the camera looking down by `pitch` radians."""
    camera = Camera.from_fov(70, SIZE[1], SIZE[0])
    rays = pixel_rays(*SIZE, camera.K)
    down = rays[..., 1] * np.cos(pitch) + np.sin(pitch)
    with np.errstate(divide="ignore"):
        z = np.where(down > 0, height / down, np.inf)
    z = np.minimum(z, 12.0)
    return z * (1 + noise * np.random.default_rng(0).normal(size=SIZE)), camera


@pytest.mark.parametrize("kind", [DepthKind.METRIC, DepthKind.SCALE_INVARIANT])
@pytest.mark.parametrize("pitch", [0.0, 0.3])
def test_height_of_a_tilted_camera(kind: DepthKind, pitch: float) -> None:
    z, camera = ground(1.6, pitch, 0.01)
    z[45:, 20:30] *= 0.6  # something stands on the ground
    found = calibration.from_camera_height(DepthMap(z / 3, kind, camera), 1.6)
    assert found.calibration.scale == pytest.approx(3, rel=0.01)
    assert 0 < found.calibration.scale_error_bar < 0.1


@pytest.mark.parametrize("kind", [DepthKind.DISPARITY, DepthKind.AFFINE_INVARIANT])
def test_height_of_a_level_camera(kind: DepthKind) -> None:
    z, camera = ground(1.6, 0.0, 0.01)
    depth = replace(map_of(kind, z, *planted(kind)), camera=camera)
    found = calibration.from_camera_height(depth, 1.6)
    below = z[45:]
    assert np.median(np.abs(found.values[45:] / below - 1)) < 0.02
    assert "level" in found.calibration.method


def test_no_ground_no_metres() -> None:
    camera = Camera.from_fov(70, SIZE[1], SIZE[0])
    wall = DepthMap(np.full(SIZE, 3.0), DepthKind.SCALE_INVARIANT, camera)
    with pytest.raises(ValueError, match="no ground"):
        calibration.from_camera_height(wall, 1.6)
    with pytest.raises(ValueError, match="--fov or --focal"):
        calibration.from_camera_height(DepthMap(truth(), DepthKind.METRIC), 1.6)


# What people type, and what files carry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("812,640=2.5m", (812.5, 640.5, 2.5)),
        ("0,0=250cm", (0.5, 0.5, 2.5)),
        (" 3 , 4 = 10 ft ", (3.5, 4.5, 3.048)),
        ("3.25,4=900mm", (3.25, 4.0, 0.9)),
        ("3,4=2", (3.5, 4.5, 2.0)),
    ],
)
def test_known_points_as_typed(text: str, expected: tuple[float, float, float]) -> None:
    assert calibration.parse_known(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["812,640", "812=2.5m", "a,b=2m", "3,4=0m", "3,4=2yd", "-3,4=2m", ""])
def test_known_points_mistyped(text: str) -> None:
    with pytest.raises(ValueError, match="known depth"):
        calibration.parse_known(text)


def test_points_from_a_csv_and_from_a_lidar_file(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("u,v,metres\n# by tape\n3.5,4.5,2.0\n10,20,3\n")
    points = calibration.read_points(tmp_path / "p.csv")
    assert isinstance(points, Points)
    assert points.z.tolist() == [2, 3]
    lidar = DepthMap(np.where(truth() > 3, truth(), np.nan), DepthKind.METRIC)
    io.write(tmp_path / "l.npz", lidar)
    assert isinstance(calibration.read_points(tmp_path / "l.npz"), DepthMap)
    (tmp_path / "bad.csv").write_text("u,v,z\n1,2\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 2"):
        calibration.read_points(tmp_path / "bad.csv")


def test_a_file_keeps_the_calibration(tmp_path: Path) -> None:
    z = truth()
    found = calibration.from_points(
        map_of(DepthKind.DISPARITY, z, 0.2, 0.05), some_points(z, 9, np.random.default_rng(0), 0.02)
    )
    io.write(tmp_path / "d.exr", found)
    assert io.read(tmp_path / "d.exr").calibration == found.calibration


# The command line, end to end


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def test_a_relative_model_and_two_measured_points_make_a_metric_cloud(tmp_path: Path) -> None:
    raw = keendepth.load("toy")(COFFEE)
    low, high = float(raw.values[350, 100]), float(raw.values[20, 100])
    say = ("--known", "100,350=0.5m", "--known", "100,20=210cm")
    call("depth", COFFEE, "-o", tmp_path, "--model", "toy", "--save", "ply", "--save", "npz", *say)
    assert (tmp_path / "coffee.ply").stat().st_size > 10_000
    made = io.read(tmp_path / "coffee.depth.npz")
    assert made.kind is DepthKind.METRIC
    assert made.calibration.scale == pytest.approx(1.6 / (high - low), rel=0.05)
    assert made.values[350, 100] == pytest.approx(0.5, rel=0.05)
    assert json.loads((tmp_path / "coffee.ply.json").read_text())["calibration"]["points"] == 2


def test_metres_from_another_model_and_from_a_file(tmp_path: Path) -> None:
    out = call("depth", COFFEE, "-o", tmp_path, "--model", "toy", "--save", "npz", "--metric-from", "indoor-small")
    assert "metres" in out
    one = io.read(tmp_path / "coffee.depth.npz")
    io.write(tmp_path / "lidar.npz", keendepth.load("indoor-small")(COFFEE))
    call(
        "depth",
        COFFEE,
        "-o",
        tmp_path / "b",
        "--model",
        "toy",
        "--save",
        "npz",
        "--metric-points",
        tmp_path / "lidar.npz",
    )
    two = io.read(tmp_path / "b" / "coffee.depth.npz")
    np.testing.assert_allclose(one.values, two.values, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "expected", "code"),
    [
        (["--known", "1,2"], "812,640=2.5m", 2),
        (["--known", "9999,2=1m"], "outside the picture", 1),
        (["--known", "3,2=1m", "--camera-height", "2"], "one way", 2),
        (["--metric-from", "toy"], "metric", 2),
        (["--metric-points", "nowhere.csv"], "no such file", 2),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], expected: str, code: int, tmp_path: Path) -> None:
    output = call("depth", COFFEE, "-o", tmp_path, "--model", "toy", *arguments, code=code)
    assert expected in output
    assert "Traceback" not in output
