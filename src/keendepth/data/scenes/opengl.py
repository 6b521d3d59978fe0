"""The second renderer: triangles through OpenGL (EGL, so also without a screen), with soft shadows and ambient occlusion."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from keendepth.core.types import Camera
from keendepth.data.scenes.shaders import CAST, COLOUR, EXACT, LIGHT, SCREEN, VERTEX

NEAR, FAR = 0.05, 400.0
SHADOW = 1024  # pixels of the shadow map's side
MOST_HELD = (
    300_000_000  # bytes of meshes and pictures that one process keeps in OpenGL; 3600 scenes grew to 11 GB without it
)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles of one look: rows as in `catalogue.Part`, colour linear, picture [h w 4] sRGB."""

    vertices: Float32[np.ndarray, "n 11"]
    colour: tuple[float, float, float]
    picture: UInt8[np.ndarray, "h w 4"] | None = None
    shine: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True, eq=False)
class Placed:
    """A mesh in the world: model to world [4 4], and the number of the thing it belongs to."""

    mesh: Mesh
    model: Float64[np.ndarray, "4 4"]
    ident: int


@dataclass(frozen=True, eq=False)
class Lighting:
    """A lamp with its colour, windows as (centre, way in, colour), and light from everywhere; linear, metres."""

    lamp: tuple[float, float, float]
    colour: tuple[float, float, float]
    windows: tuple[tuple[tuple[float, float, float], ...], ...]
    ambient: tuple[float, float, float]
    day: float  # brightness of the open


@dataclass(frozen=True, eq=False)
class Buffers:
    """What OpenGL gives back: exact records at pixel centres, and linear colour averaged over n x n samples."""

    normal: Float32[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]
    ident: Int32[np.ndarray, "h w"]
    colour: Float32[np.ndarray, "h w 3"]
    albedo: Float32[np.ndarray, "h w 3"]
    light: Float32[np.ndarray, "h w 3"]
    sky: Float32[np.ndarray, "h w"]  # share of samples that met nothing


class Device:
    """An OpenGL context with its programs, and the meshes that have been sent to it."""

    def __init__(self) -> None:
        import moderngl

        self.gl = moderngl.create_context(standalone=True, backend="egl", require=330)  # type: ignore[arg-type]
        self.gl.gc_mode = "auto"  # what nobody holds is freed: a mesh's buffer, once its vertex arrays are gone
        self.gl.enable(moderngl.DEPTH_TEST)
        self.programs: dict[str, Any] = {
            "exact": self.gl.program(VERTEX, EXACT), "colour": self.gl.program(VERTEX, COLOUR),
            "cast": self.gl.program(VERTEX, CAST), "light": self.gl.program(SCREEN, LIGHT),
        }  # fmt: skip
        corners = self.gl.buffer(np.array([-1, -1, 3, -1, -1, 3], np.float32))
        self.screen = self.gl.vertex_array(self.programs["light"], [(corners, "2f", "corner")])
        self.sent: dict[int, tuple[Mesh, dict[str, Any], Any]] = {}
        self.held = 0  # bytes of vertices and pictures in `sent`

    def send(self, mesh: Mesh) -> tuple[Mesh, dict[str, Any], Any]:
        """The mesh's vertex arrays by program, and its texture; kept for the next time, within bounds."""
        if id(mesh) not in self.sent:
            if self.held > MOST_HELD:
                self.clear()
            buffer = self.gl.buffer(mesh.vertices.tobytes())
            layout = {
                "exact": ("3f 12x 3f 2f", "place", "face", "st"),
                "cast": ("3f 32x", "place"),
                "colour": ("3f 3f 3f 2f", "place", "normal", "face", "st"),
            }
            arrays = {
                name: self.gl.vertex_array(self.programs[name], [(buffer, *what)]) for name, what in layout.items()
            }
            texture = None
            if mesh.picture is not None:
                texture = self.gl.texture(mesh.picture.shape[1::-1], 4, np.ascontiguousarray(mesh.picture).tobytes())
                texture.build_mipmaps()
                texture.anisotropy = 4.0
            self.held += mesh.vertices.nbytes + (0 if mesh.picture is None else mesh.picture.nbytes)
            self.sent[id(mesh)] = (mesh, arrays, texture)  # holding the mesh keeps its id from being used again
        return self.sent[id(mesh)]

    def clear(self) -> None:
        for _, arrays, texture in self.sent.values():
            for array in arrays.values():
                array.release()
            if texture is not None:
                texture.release()
        self.sent.clear()
        self.held = 0

    def target(self, size: tuple[int, int], number: int, dtype: str = "f4") -> Any:
        """A frame buffer (height, width) with `number` float textures and depth."""
        h, w = size
        textures = [self.gl.texture((w, h), 4, dtype=dtype) for _ in range(number)]
        for texture in textures:
            texture.filter = (0x2600, 0x2600)  # GL_NEAREST
            texture.repeat_x = texture.repeat_y = False
        return self.gl.framebuffer(textures, self.gl.depth_texture((w, h)))

    def draw(self, name: str, things: list[Placed], view: np.ndarray, projection: np.ndarray) -> None:
        """Draw the things with a program; view and projection [4 4]."""
        program = self.programs[name]
        _set(program, "projection", projection)
        _set(program, "to_camera", view)
        for thing in things:
            mesh, arrays, texture = self.send(thing.mesh)
            _set(program, "model", thing.model)
            turn = np.linalg.inv(view[:3, :3] @ thing.model[:3, :3]).T
            _set(program, "turn", turn)
            for key, value in (
                ("ident", thing.ident),
                ("shine", mesh.shine),
                ("glow", mesh.glow),
                ("textured", float(texture is not None)),
            ):
                if key in program:
                    program[key].value = value
            if "colour" in program:
                program["colour"].value = mesh.colour
            if texture is not None:
                texture.use(0)
            arrays[name].render()


def _set(program: Any, name: str, matrix: np.ndarray) -> None:
    if name in program:
        program[name].write(np.ascontiguousarray(matrix.T, np.float32).tobytes())


@functools.cache
def device() -> Device:
    """This process's context, made when first needed."""
    return Device()


def _projection(camera: Camera) -> np.ndarray:
    """Camera axes (x right, y down, z forward) to clip space; picture row 0 comes out first, as nothing is flipped."""
    p = np.zeros((4, 4))
    p[0, 0], p[0, 2] = 2 * camera.fx / camera.width, 2 * camera.cx / camera.width - 1
    p[1, 1], p[1, 2] = 2 * camera.fy / camera.height, 2 * camera.cy / camera.height - 1
    p[2, 2], p[2, 3], p[3, 2] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR), 1.0
    return p


def _lamp_view(lamp: tuple[float, float, float]) -> np.ndarray:
    """World to the clip space of a shadow map that looks straight down with 150 degrees."""
    view = np.eye(4)
    view[:3, :3] = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    view[:3, 3] = -view[:3, :3] @ np.array(lamp)
    f = 1 / math.tan(math.radians(75))
    p = np.zeros((4, 4))
    p[0, 0], p[1, 1], p[2, 2], p[2, 3], p[3, 2] = f, f, (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR), 1.0
    return p @ view


def photograph(
    things: list[Placed], camera: Camera, pose: Float64[np.ndarray, "4 4"], lighting: Lighting, n: int
) -> Buffers:
    """One picture: an exact pass of one sample at each pixel's centre, and a colour pass of n x n samples a pixel."""
    gpu, view = device(), np.linalg.inv(pose)
    size = (camera.height, camera.width)
    exact = gpu.target(size, 2)
    exact.use()
    exact.clear()
    gpu.programs["exact"]["lens"].value = (camera.fx, camera.fy, camera.cx, camera.cy)
    gpu.draw("exact", things, view, _projection(camera))
    record, who = _read(exact, 0), _read(exact, 1)
    colour, albedo, light, hit = _shaded(gpu, things, camera.resized(n * size[0], n * size[1]), (pose, view), lighting)
    seen = record[..., 3] > 0
    _release(exact)
    return Buffers(
        np.where(seen[..., None], record[..., :3], np.float32(np.nan)), np.where(seen, record[..., 3], np.float32(np.inf)),
        np.rint(who[..., 0]).astype(np.int32), _mean(colour, n), _mean(albedo, n), _mean(light, n), 1 - _mean(hit, n),
    )  # fmt: skip


def _shaded(
    gpu: Device, things: list[Placed], camera: Camera, poses: tuple[np.ndarray, np.ndarray], lighting: Lighting
) -> tuple[np.ndarray, ...]:
    """(colour, albedo, light, hit) at the camera's own size."""
    pose, view = poses
    shadow, lamp_view = gpu.target((SHADOW, SHADOW), 1), _lamp_view(lighting.lamp)
    shadow.use()
    shadow.clear()
    gpu.draw("cast", [t for t in things if not t.mesh.glow], np.eye(4), lamp_view)
    size = (camera.height, camera.width)
    geometry = gpu.target(size, 3)
    geometry.use()
    geometry.clear()
    gpu.draw("colour", things, view, _projection(camera))
    final = gpu.target(size, 2, "f2")
    final.use()
    final.clear()
    program = gpu.programs["light"]
    for k, (name, texture) in enumerate(zip(("albedo", "bend", "spot"), geometry.color_attachments, strict=True)):
        texture.use(k)
        program[name].value = k
    shadow.color_attachments[0].use(3)
    program["shadow"].value = 3
    program["lens"].value = (camera.fx, camera.fy, camera.cx, camera.cy)
    program["eye"].value, program["lamp"].value, program["lamp_colour"].value = (
        tuple(pose[:3, 3]),
        lighting.lamp,
        lighting.colour,
    )
    program["ambient"].value, program["window_count"].value = lighting.ambient, len(lighting.windows)
    for k, name in enumerate(("windows", "window_ways", "window_colours")):
        rows = [w[k] for w in lighting.windows] + [(0.0, 0.0, 0.0)] * (8 - len(lighting.windows))
        program[name].write(np.array(rows, np.float32).tobytes())
    _set(program, "camera", pose[:3, :3])
    _set(program, "lamp_view", lamp_view)
    gpu.screen.render()
    out = _read(final, 0, "f2"), _read(geometry, 0)[..., :3], _read(final, 1, "f2")[..., :3]
    hit = out[0][..., 3].copy()
    for target in (shadow, geometry, final):
        _release(target)
    return out[0][..., :3], out[1], out[2], hit


def _read(target: Any, number: int, dtype: str = "f4") -> np.ndarray:
    w, h = target.size
    values = np.frombuffer(target.read(components=4, attachment=number, dtype=dtype), dtype).reshape(h, w, 4)
    return values.astype(np.float32, copy=False)


def _release(target: Any) -> None:
    for texture in target.color_attachments:
        texture.release()
    target.depth_attachment.release()
    target.release()


def _mean(values: np.ndarray, n: int) -> np.ndarray:
    """Average over blocks of n x n."""
    total = sum(values[i::n, j::n] for i in range(n) for j in range(n))
    return np.asarray(total * np.float32(1 / (n * n)), dtype=np.float32)
