"""From relative to metric: fit a depth map to known depths (points, another map, the camera's height), robustly, with error bars."""

from __future__ import annotations

from keendepth.calibration.ground import from_camera_height
from keendepth.calibration.maps import from_map, from_points
from keendepth.calibration.points import Points, parse_known, points_of, read_points

__all__ = ["Points", "from_camera_height", "from_map", "from_points", "parse_known", "points_of", "read_points"]
