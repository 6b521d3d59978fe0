"""Meshes: a textured GLB, cut where depth jumps, in glTF axes (x right, y up, the camera looks along -z)."""

from __future__ import annotations

import io
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt32
from PIL import Image as PillowImage

from keendepth.core import edges, geometry
from keendepth.core.types import DepthMap, Image
from keendepth.io import cloud
from keendepth.io.formats import Draft

MAX_VERTICES = 1_000_000
MAX_TEXTURE = 4096  # pixels a side: what every viewer takes
JPEG_QUALITY = 92
GRAZING_DEGREES = 85.0  # a step seen at more than this, and steeper than what lies around it, is a cut

# glTF 2.0: the file's magic, its chunks' names, and the numbers of its component types and targets
MAGIC, CHUNK_JSON, CHUNK_BIN = b"glTF", b"JSON", b"BIN\0"
FLOAT, UNSIGNED_INT, ARRAY_BUFFER, ELEMENT_BUFFER = 5126, 5125, 34962, 34963


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles over a depth map. `texture_at` has its origin at the top left, as glTF wants it."""

    points: Float32[np.ndarray, "n 3"]
    texture_at: Float32[np.ndarray, "n 2"]
    triangles: UInt32[np.ndarray, "m 3"]


def triangulate(depth: DepthMap, max_vertices: int = MAX_VERTICES) -> Mesh:
    """A mesh over every n-th pixel in glTF axes, front sides towards the camera; nothing is averaged.

    A cell is left open where depth jumps inside it (`edges.depth_jumps`), where a pixel is unknown, sky or flying, and where a
    step is seen at more than 85 degrees unless it goes on like that to one side (a road does, a boundary does not).
    """
    camera = cloud.camera_of(depth, "a mesh")
    z = cloud.solid(depth)
    stride = cloud.stride_for(depth.size, max_vertices)
    at_rows, at_columns = (cloud.every_nth(side, stride) for side in depth.size)
    grid = z[np.ix_(at_rows, at_columns)]
    open_cells = _jumps_in_cells(z[at_rows[0] :, at_columns[0] :], stride, grid.shape) | _steep_cells(
        grid, camera.fx / stride, camera.fy / stride
    )
    cells = _triangles(~open_cells, grid.shape)
    corners = np.isfinite(grid.ravel())[cells].all(axis=1)
    cells = cells[corners]
    used = np.zeros(grid.size, bool)
    used[cells.ravel()] = True
    number = (np.cumsum(used) - 1).astype(np.uint32)
    row, column = np.divmod(np.flatnonzero(used), grid.shape[1])
    rows, columns = at_rows[row], at_columns[column]
    points = cloud.points_at(grid.ravel()[used], rows, columns, camera) * np.array([1, -1, -1], np.float32)
    texture_at = np.stack([(columns + 0.5) / depth.size[1], (rows + 0.5) / depth.size[0]], axis=-1)
    return Mesh(points, texture_at.astype(np.float32), number[cells])


def _jumps_in_cells(z: Float32[np.ndarray, "h w"], stride: int, shape: tuple[int, ...]) -> Bool[np.ndarray, "ch cw"]:
    """Which cells of the coarse grid (between neighbouring vertices) have a jump between any two pixels in them."""
    across, down = edges.depth_jumps(z)
    rows, columns = shape[0] - 1, shape[1] - 1
    inside = np.zeros((rows, columns), bool)
    for i in range(stride + 1):
        for j in range(stride + 1):
            if j < stride:
                inside |= across[i::stride, j::stride][:rows, :columns]
            if i < stride:
                inside |= down[i::stride, j::stride][:rows, :columns]
    return inside


def _steep_cells(grid: Float32[np.ndarray, "gh gw"], fx: float, fy: float) -> Bool[np.ndarray, "ch cw"]:
    across = _lonely_steps(np.log(grid), 1, fx)
    down = _lonely_steps(np.log(grid), 0, fy)
    return across[:-1] | across[1:] | down[:, :-1] | down[:, 1:]


def _lonely_steps(log_depth: Float32[np.ndarray, "gh gw"], axis: int, focal: float) -> Bool[np.ndarray, "gh2 gw2"]:
    """Steps at a grazing angle with less than half of that slope on both sides."""
    step = np.diff(log_depth, axis=axis)
    known = np.where(np.isnan(step), 0, step)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 1)
    around = np.pad(known, pad)
    n = step.shape[axis]
    before, after = np.take(around, range(n), axis), np.take(around, range(2, n + 2), axis)
    beside = np.maximum(before * np.sign(known), after * np.sign(known))
    steep = np.abs(known) * focal > math.tan(math.radians(GRAZING_DEGREES))
    return steep & (beside < 0.5 * np.abs(known))


def _triangles(closed: Bool[np.ndarray, "ch cw"], shape: tuple[int, ...]) -> Int[np.ndarray, "m 3"]:
    """Two triangles per closed cell, as indices into the flat grid, counter-clockwise as the camera sees them."""
    row, column = np.nonzero(closed)
    corner = row * shape[1] + column
    below = corner + shape[1]
    first = np.stack([corner, below, corner + 1], axis=-1)
    second = np.stack([corner + 1, below, below + 1], axis=-1)
    return np.concatenate([first, second])


def prepare(depth: DepthMap, image: Image | None, max_vertices: int = MAX_VERTICES) -> Draft:
    """A GLB with the photo as its texture (grey without one), unlit, so that it looks like the photo from where it was taken."""
    mesh = triangulate(depth, max_vertices)
    encoding = {
        "format": "GLB (glTF 2.0)",
        "axes": "glTF: x right, y up, the camera looks along -z; metres",
        "vertices": len(mesh.points),
        "triangles": len(mesh.triangles),
        "stride": cloud.stride_for(depth.size, max_vertices),
        "error": None,
    }

    def save(temporary: Path, _description: dict[str, Any]) -> None:
        temporary.write_bytes(glb_bytes(mesh, jpeg(image) if image else None))

    return Draft(encoding, save, "pillow")


def jpeg(image: Image) -> bytes:
    height, width = geometry.fit_inside(image.size, MAX_TEXTURE)
    picture = PillowImage.fromarray(image.rgb)
    if (height, width) != image.size:
        picture = picture.resize((width, height), PillowImage.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def glb_bytes(mesh: Mesh, jpeg: bytes | None) -> bytes:
    """A binary glTF 2.0 file: one mesh, one material, at most one texture. Empty meshes give an empty scene, as glTF has no empty accessors."""
    blocks = [mesh.points.tobytes(), mesh.texture_at.tobytes(), mesh.triangles.tobytes(), *([jpeg] if jpeg else [])]
    tree = _scene(mesh, blocks) if len(mesh.triangles) else {}
    text = json.dumps({"asset": {"version": "2.0", "generator": "keendepth"}, **tree}).encode("ascii")
    chunks = [_chunk(CHUNK_JSON, _padded(text, b" "))]
    if tree:
        chunks.append(_chunk(CHUNK_BIN, b"".join(_padded(block, b"\0") for block in blocks)))
    body = b"".join(chunks)
    return struct.pack("<4sII", MAGIC, 2, 12 + len(body)) + body


def _padded(block: bytes, filler: bytes) -> bytes:
    return block + filler * (-len(block) % 4)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<I4s", len(content), name) + content


def _scene(mesh: Mesh, blocks: list[bytes]) -> dict[str, Any]:
    views, at = [], 0
    for block, target in zip(blocks, (ARRAY_BUFFER, ARRAY_BUFFER, ELEMENT_BUFFER, None), strict=False):
        views.append(
            {"buffer": 0, "byteOffset": at, "byteLength": len(block), **({"target": target} if target else {})}
        )
        at += len(_padded(block, b"\0"))
    count = len(mesh.points)
    accessors = [
        {
            "bufferView": 0,
            "componentType": FLOAT,
            "count": count,
            "type": "VEC3",
            "min": mesh.points.min(axis=0).tolist(),
            "max": mesh.points.max(axis=0).tolist(),
        },
        {"bufferView": 1, "componentType": FLOAT, "count": count, "type": "VEC2"},
        {"bufferView": 2, "componentType": UNSIGNED_INT, "count": mesh.triangles.size, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
    return {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "depth"}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": at}],
        **_material(textured=len(blocks) > 3),
    }


def _material(textured: bool) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 1}
    surface |= {"baseColorTexture": {"index": 0}} if textured else {"baseColorFactor": [0.7, 0.7, 0.7, 1]}
    material = {"pbrMetallicRoughness": surface, "doubleSided": True}
    if not textured:
        return {"materials": [material]}  # lit, or a grey mesh would show no shape
    return {
        "materials": [{**material, "extensions": {"KHR_materials_unlit": {}}}],
        "extensionsUsed": ["KHR_materials_unlit"],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],  # linear, mipmaps, clamp
        "images": [{"bufferView": 3, "mimeType": "image/jpeg"}],
    }
