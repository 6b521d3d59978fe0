"""The options that make depth metric: another model, known points, the camera's height; checked before any work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keendepth.core.types import DepthMap, Image

MetricFrom = Annotated[
    str | None, typer.Option(help="Take metres from this second model, keep the first one's detail.")
]
Known = Annotated[
    list[str] | None,
    typer.Option(help="A measured depth, COLUMN,ROW=DEPTH as 812,640=2.5m; several times for several."),
]
MetricPoints = Annotated[
    Path | None, typer.Option(help="Measured depths: CSV with column,row,metres, or a (sparse) metric depth file.")
]
CameraHeight = Annotated[
    float | None, typer.Option(help="The camera's height above flat ground in metres, if the ground is in the picture.")
]
Prompt = Annotated[
    Path | None,
    typer.Option(
        help="Coarse metric depth of the photo (a phone's lidar) for prompt-depth-anything; a folder for several."
    ),
]
Calibrate = Callable[["Image", "DepthMap"], "DepthMap"]


def calibration(
    metric_from: str | None, known: list[str] | None, points: Path | None, height: float | None
) -> Calibrate | None:
    """What turns a result metric, None where nothing was asked for; ValueError for more than one way or what cannot be read."""
    from keendepth import calibration, pipeline

    ways = {"--metric-from": metric_from, "--known": known, "--metric-points": points, "--camera-height": height}
    asked = [name for name, value in ways.items() if value not in (None, [])]
    if len(asked) > 1:
        raise ValueError(f"metres: expected one way to get them, found {' and '.join(asked)}")
    if metric_from:
        return pipeline.metres_of(metric_from)
    if known:
        measured = calibration.points_of([calibration.parse_known(text) for text in known])
        return lambda image, depth: calibration.from_points(depth, measured)
    if points:
        return _by_file(points)
    if height is not None:
        return lambda image, depth: calibration.from_camera_height(depth, height)
    return None


def _by_file(path: Path) -> Calibrate:
    from keendepth import calibration

    found = calibration.read_points(path)
    if isinstance(found, calibration.Points):
        return lambda image, depth: calibration.from_points(depth, found)
    return lambda image, depth: calibration.from_map(depth, found)


def maps_in(folder: Path) -> dict[str, Path]:
    """The depth files of a folder by their names up to the first dot."""
    from keendepth import io

    return {file.name.split(".")[0]: file for file in sorted(folder.iterdir()) if file.suffix.lower() in io.READABLE}


def prompts(photos: list[Path], source: Path | None, units: str | None) -> Callable[[Path], DepthMap | None]:
    """What gives each photo's prompt, None for none; ValueError where one file is to serve several photos, or one has no file."""
    from keendepth import io

    if source is None:
        if units:
            raise ValueError("--units: says what the numbers of --prompt mean; give that too")
        return lambda photo: None
    if not source.is_dir():
        if len(photos) > 1:
            raise ValueError(f"--prompt: {len(photos)} photos need a folder with a file for each, found {source}")
        return lambda photo: io.read(source, units=units)
    files = maps_in(source)
    lacking = [photo.name for photo in photos if photo.stem not in files]
    if lacking:
        raise ValueError(f"--prompt: {source} has no depth file for {', '.join(lacking[:3])}")
    return lambda photo: io.read(files[photo.stem], units=units)


def described(found: dict[str, float | int | str | None]) -> str:
    """One calibration block of a sidecar, for people."""
    bar = found["scale_error_bar"]
    scale = found["scale"]
    share = f" +- {abs(bar / scale):.1%}" if isinstance(bar, float) and isinstance(scale, float) else ""
    left = f", {found['outliers']} left out" if found["outliers"] else ""
    return f"metres: {found['method']}, x{scale:.4g}{share}, {found['points']} points{left}"
