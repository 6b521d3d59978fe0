"""Hypersim: rendered rooms whose "depth" is the distance along the ray, turned into z here."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from keendepth.core import geometry
from keendepth.core.types import Camera, DepthKind
from keendepth.data import register
from keendepth.data.files import Entry, Files, aimed, checked_root, hdf5, match, metres, photo, read_text
from keendepth.data.sample import Facts, Sample
from keendepth.io import FileError

# The set's renderer fixes 60 degrees (code/python/tools/scene_generate_camera_trajectories_random_walk.py): 886.81 px over 1024.
FOV_DEGREES = 60.0
SPLITS = "metadata_images_split_scene_v1.csv"


@register(
    "hypersim",
    summary="Hypersim: 77,400 rendered pictures of rooms (needs h5py)",
    license="CC BY-SA 3.0",
    paper="Roberts et al., ICCV 2021",
    kind=DepthKind.METRIC,
)
def hypersim(root: Path, split: str = "test") -> Files:
    """`<scene>/images/scene_<camera>_geometry_hdf5/frame.<n>.depth_meters.hdf5` with the tone-mapped preview.

    With `metadata_images_split_scene_v1.csv` in the root, the public pictures of `split`; without, everything found.
    """
    files = {
        "depth": "{scene}/images/scene_{camera}_geometry_hdf5/frame.{frame}.depth_meters.hdf5",
        "photo": "{scene}/images/scene_{camera}_final_preview/frame.{frame}.tonemap.jpg",
    }
    root = checked_root(root)
    entries = match(root, "{scene}/{camera}/{frame}", files)
    listed = root / SPLITS
    if listed.is_file():
        chosen = _chosen(listed, split)
        entries = {id: entry for id, entry in entries.items() if id in chosen}
        if not entries:
            raise FileError(listed, f"none of the pictures found is in split {split!r}: train, val or test?")
    facts = Facts(
        "rendered",
        "NaN (no surface)",
        split if listed.is_file() else "all",
        sharp=True,
        note="60 degrees in all scenes",
    )
    return Files("hypersim", entries, _read, facts)


def _chosen(listed: Path, split: str) -> set[str]:
    rows = csv.DictReader(read_text(listed).splitlines())
    return {
        f"{row['scene_name']}/{row['camera_name']}/{int(row['frame_id']):04d}"
        for row in rows
        if row["included_in_public_release"] == "True" and row["split_partition_name"] == split
    }


def _read(id: str, entry: Entry) -> Sample:
    image = photo(entry["photo"], id)
    camera = Camera.from_fov(FOV_DEGREES, image.size[1], image.size[0])
    distance = hdf5(entry["depth"], "dataset").astype(np.float64)
    return Sample(aimed(image, camera), metres(ray_to_z(distance, camera), camera), id, domain="indoor")


def ray_to_z(distance: np.ndarray, camera: Camera) -> np.ndarray:
    """Depth z from the distance [h w] between the camera's centre and the surface; NaN stays NaN."""
    height, width = distance.shape
    rays = geometry.pixel_rays(height, width, camera.resized(height, width).K)
    return distance / np.linalg.norm(rays, axis=-1)
