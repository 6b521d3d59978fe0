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
Calibrate = Callable[["Image", "DepthMap"], "DepthMap"]


def calibration(
    metric_from: str | None, known: list[str] | None, points: Path | None, height: float | None
) -> Calibrate | None:
    """What turns a result metric, None where nothing was asked for; ValueError for more than one way or what cannot be read."""
    from keendepth import calibration

    ways = {"--metric-from": metric_from, "--known": known, "--metric-points": points, "--camera-height": height}
    asked = [name for name, value in ways.items() if value not in (None, [])]
    if len(asked) > 1:
        raise ValueError(f"metres: expected one way to get them, found {' and '.join(asked)}")
    if metric_from:
        return _by_model(metric_from)
    if known:
        measured = calibration.points_of([calibration.parse_known(text) for text in known])
        return lambda image, depth: calibration.from_points(depth, measured)
    if points:
        return _by_file(points)
    if height is not None:
        return lambda image, depth: calibration.from_camera_height(depth, height)
    return None


def _by_model(spec: str) -> Calibrate:
    from keendepth import calibration, pipeline
    from keendepth.core.types import DepthKind

    second = pipeline.load(spec)
    if second.predictor.kind is not DepthKind.METRIC:
        raise ValueError(f"--metric-from: expected a metric model, {spec} gives {second.predictor.kind} depth")
    return lambda image, depth: calibration.from_map(depth, second(image))


def _by_file(path: Path) -> Calibrate:
    from keendepth import calibration

    found = calibration.read_points(path)
    if isinstance(found, calibration.Points):
        return lambda image, depth: calibration.from_points(depth, found)
    return lambda image, depth: calibration.from_map(depth, found)


def described(found: dict[str, float | int | str | None]) -> str:
    """One calibration block of a sidecar, for people."""
    bar = found["scale_error_bar"]
    scale = found["scale"]
    share = f" +- {abs(bar / scale):.1%}" if isinstance(bar, float) and isinstance(scale, float) else ""
    left = f", {found['outliers']} left out" if found["outliers"] else ""
    return f"metres: {found['method']}, x{scale:.4g}{share}, {found['points']} points{left}"
