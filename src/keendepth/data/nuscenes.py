"""nuScenes: the lidar sweep of a key frame, carried through the ego poses of two moments into a camera."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from keendepth.core.types import Camera, DepthKind
from keendepth.data import register
from keendepth.data.files import Files, aimed, checked_root, photo, read_text, rigid, with_camera
from keendepth.data.lidar import scatter
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

NEAREST = 1.0  # metres; nearer points belong to the car itself (nuScenes devkit, map_pointcloud_to_image)


@dataclass(frozen=True, eq=False)
class Shot:
    """A camera's picture and the lidar sweep of the same key frame, each with its way to the world."""

    photo: Path
    sweep: Path
    K: list[list[float]]
    world_from_camera: Float64[np.ndarray, "4 4"]
    world_from_lidar: Float64[np.ndarray, "4 4"]


@register(
    "nuscenes",
    summary="nuScenes key frames with one lidar sweep, day, night and rain",
    license="CC BY-NC-SA 4.0",
    paper="Caesar et al., CVPR 2020",
    kind=DepthKind.METRIC,
)
def nuscenes(
    root: Path,
    version: str = "v1.0-mini",
    channel: str = "CAM_FRONT",
    scenes: Sequence[str] | None = None,
    condition: str | None = None,
) -> Files:
    """`<version>/*.json`, `samples/CAM_*/*.jpg`, `samples/LIDAR_TOP/*.pcd.bin` (float32 x y z intensity ring).

    `scenes` are names such as "scene-0103" (the official splits are lists of them); `condition` is a word that the scene's
    description must contain, e.g. "night" or "rain".
    """
    root = checked_root(root)
    tables = Tables(root, version)
    shots = tables.shots(channel, tables.chosen(scenes, condition))
    if not shots:
        raise FileError(root, f"expected key frames of {channel} and LIDAR_TOP with their files, found none")
    facts = Facts("one lidar sweep", "where no ray fell", version, cap=80.0, note="the lidar sees past edges")
    return Files("nuscenes", shots, _read, facts)


class Tables:
    """The few JSON tables that are needed, joined by token."""

    def __init__(self, root: Path, version: str) -> None:
        self.root = root
        self.folder = root / version
        self.calibrated = self._by_token("calibrated_sensor")
        self.poses = self._by_token("ego_pose")
        self.channels = {row["token"]: row["channel"] for row in self._rows("sensor")}

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.json"
        try:
            return json.loads(read_text(path))
        except ValueError as error:
            raise FileError(path, f"expected a JSON table of nuScenes ({error})") from error

    def _by_token(self, name: str) -> dict[str, dict[str, Any]]:
        return {row["token"]: row for row in self._rows(name)}

    def chosen(self, scenes: Sequence[str] | None, condition: str | None) -> set[str] | None:
        """Tokens of the samples in the wanted scenes; None for all."""
        if scenes is None and condition is None:
            return None
        wanted = {
            row["token"]
            for row in self._rows("scene")
            if (scenes is None or row["name"] in scenes)
            and (condition is None or condition.lower() in row["description"].lower())
        }
        return {row["token"] for row in self._rows("sample") if row["scene_token"] in wanted}

    def shots(self, channel: str, samples: set[str] | None) -> dict[str, Shot]:
        """Key frames that have both files, in order of time."""
        found: dict[str, dict[str, dict]] = {}
        for row in self._rows("sample_data"):
            name = self.channels[self.calibrated[row["calibrated_sensor_token"]]["sensor_token"]]
            if row["is_key_frame"] and name in (channel, "LIDAR_TOP"):
                found.setdefault(row["sample_token"], {})[name] = row
        pairs = [
            (pair[channel], pair["LIDAR_TOP"])
            for token, pair in found.items()
            if len(pair) == 2 and (samples is None or token in samples)
        ]
        pairs.sort(key=lambda pair: pair[0]["timestamp"])
        shots = {Path(seen["filename"]).stem: self._shot(seen, swept) for seen, swept in pairs}
        return {id: shot for id, shot in shots.items() if shot.photo.is_file() and shot.sweep.is_file()}

    def films(self, channel: str, samples: set[str] | None) -> dict[str, list[dict[str, Any]]]:
        """Scene's name -> all pictures of a camera, key frames and those between, in order of time."""
        scenes = {row["token"]: row["name"] for row in self._rows("scene")}
        of_sample = {row["token"]: scenes[row["scene_token"]] for row in self._rows("sample")}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows("sample_data"):
            name = self.channels[self.calibrated[row["calibrated_sensor_token"]]["sensor_token"]]
            if name == channel and (samples is None or row["sample_token"] in samples):
                found.setdefault(of_sample[row["sample_token"]], []).append(row)
        return {name: sorted(rows, key=lambda row: row["timestamp"]) for name, rows in sorted(found.items())}

    def _shot(self, seen: dict[str, Any], swept: dict[str, Any]) -> Shot:
        K = self.calibrated[seen["calibrated_sensor_token"]]["camera_intrinsic"]
        picture, sweep = self.root / seen["filename"], self.root / swept["filename"]
        return Shot(picture, sweep, K, self.to_world(seen), self.to_world(swept))

    def to_world(self, row: dict[str, Any]) -> np.ndarray:
        """World from sensor at the moment of this row: the car moves between lidar and camera, so each has its own ego pose."""
        ego, sensor = self.poses[row["ego_pose_token"]], self.calibrated[row["calibrated_sensor_token"]]
        return rigid(ego["rotation"], ego["translation"]) @ rigid(sensor["rotation"], sensor["translation"])


def _read(id: str, shot: Shot) -> Sample:
    image = photo(shot.photo, id)
    camera = Camera.from_opencv(shot.K, image.size[1], image.size[0])
    content = np.fromfile(shot.sweep, np.float32)
    if content.size % 5:
        raise FileError(shot.sweep, f"expected five floats a point, found {content.size} floats: it is truncated")
    camera_from_lidar = np.linalg.inv(shot.world_from_camera) @ shot.world_from_lidar
    points = content.reshape(-1, 5)[:, :3] @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    P = np.column_stack([np.asarray(shot.K, dtype=np.float64), np.zeros(3)])
    depth = scatter(points[points[:, 2] > NEAREST], P, image.size)
    return Sample(aimed(image, camera), with_camera(depth, camera), id, pose=shot.world_from_camera, domain="street")
