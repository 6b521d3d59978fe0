"""Films made by hand for the tests: a wall of noise and a nearer panel before it, seen by a camera that moves; no renderer, exact depth."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = (48, 96)
FOCAL = 60.0
FAR, NEAR = 8.0, 4.0  # metres


def frame(step: float, size: tuple[int, int] = SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rgb, depth) from a camera `step` metres to the right: each layer is a picture of noise, shifted as its depth asks for."""
    h, w = size
    rng = np.random.default_rng(seed)
    out, depth = np.zeros((h, w, 3)), np.full((h, w), FAR, np.float32)
    v, u = np.mgrid[:h, :w].astype(float)
    for z in (FAR, NEAR):
        texture = ndimage.gaussian_filter(rng.random((h, 4 * w, 3)), (2, 2, 0), mode="wrap")
        texture = (texture - texture.min()) / np.ptp(texture)
        place = u + FOCAL * step / z + 1.5 * w  # on the layer, in pixels
        seen = np.stack([ndimage.map_coordinates(texture[..., c], [v, place], order=1) for c in range(3)], -1)
        inside = np.ones((h, w), bool) if z == FAR else (np.abs(place - 2 * w) < w / 5) & (np.abs(v - h / 2) < h / 3)
        out[inside], depth[inside] = seen[inside], z
    return (255 * out).astype(np.uint8), depth


def pose(step: float) -> np.ndarray:
    """World from camera."""
    made = np.eye(4)
    made[0, 3] = step
    return made


def write_film(folder: Path, count: int = 6, step: float = 0.15, inverted: bool = False) -> Path:
    """Numbered pictures with camera.json and poses.txt."""
    folder.mkdir(parents=True)
    poses = [pose(k * step) for k in range(count)]
    for k in range(count):
        Image.fromarray(frame(k * step)[0]).save(folder / f"{k:06d}.png")
    h, w = SIZE
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": w / 2 - 0.5, "cy": h / 2 - 0.5, "width": w, "height": h}
    (folder / "camera.json").write_text(json.dumps(camera))
    given = [np.linalg.inv(p) for p in poses] if inverted else poses
    np.savetxt(folder / "poses.txt", [p[:3].ravel() for p in given])
    return folder


def write_kitti(root: Path, count: int = 6, step: float = 0.15) -> Path:
    """The same in KITTI's raw layout: the car drives east, its camera looks north, all rigs are turns of the axes alone."""
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    (drive / "image_02" / "data").mkdir(parents=True)
    (drive / "oxts" / "data").mkdir(parents=True)
    h, w = SIZE
    for k in range(count):
        Image.fromarray(frame(k * step)[0]).save(drive / "image_02" / "data" / f"{k:010d}.png")
        longitude = 8.0 + np.degrees(k * step / (6378137.0 * np.cos(np.radians(49.0))))
        words = [49.0, longitude, 100.0, 0, 0, np.pi / 2, *[0] * 24]  # yaw 0 is east
        (drive / "oxts" / "data" / f"{k:010d}.txt").write_text(" ".join(f"{x:.12f}" for x in words))
    K = f"{FOCAL} 0 {w / 2 - 0.5} 0 0 {FOCAL} {h / 2 - 0.5} 0 0 0 1 0"
    lines = [f"S_rect_02: {w} {h}", f"R_rect_00: {' '.join(map(str, np.eye(3).ravel()))}", f"P_rect_02: {K}"]
    day = drive.parent
    (day / "calib_cam_to_cam.txt").write_text("calib_time: 09-Jan-2012 13:57:47\n" + "\n".join(lines) + "\n")
    (day / "calib_imu_to_velo.txt").write_text("R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n")
    (day / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n")  # x ahead, y left, z up
    return root
