"""Pictures for the page: maps that share their colours, a legend in metres, points and lines on a photo, clouds for the viewer."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from keendepth import viz
from keendepth.core import geometry
from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.io import cloud, mesh

SCREEN = 1400  # longer side of what is sent to a browser
VIEWED_VERTICES = 160_000  # of a mesh in the viewer; the file to download has all
VIEWED_POINTS = 300_000
BACKGROUND, INK = (24, 27, 34), (236, 238, 242)  # of the legend: readable in light and dark
MARKS = {"A": (255, 196, 0), "B": (0, 208, 255)}
POINTS_MODE = 0  # glTF 2.0: a primitive of points


def for_screen(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """No larger than a browser needs."""
    size = geometry.fit_inside(rgb.shape[:2], SCREEN)
    if size == rgb.shape[:2]:
        return rgb
    return np.asarray(PillowImage.fromarray(rgb).resize(size[::-1], PillowImage.Resampling.BOX))


def shared_span(*maps: DepthMap) -> viz.Span:
    """One span of colours for maps of one kind: from the last one, which is what the page shows alone."""
    return viz.span(maps[-1])


def coloured(depth: DepthMap, size: tuple[int, int], cmap: str, between: viz.Span) -> UInt8[np.ndarray, "h w 3"]:
    """Depth in colours at the photo's `size`, for the screen; a smaller map keeps its blocks, so that one sees what it is."""
    height, width = geometry.fit_inside(size, SCREEN)
    return viz.colourise(depth.resized(height, width, "nearest"), cmap, between=between)


def with_legend(
    picture: UInt8[np.ndarray, "h w 3"], kind: DepthKind, cmap: str, between: viz.Span
) -> UInt8[np.ndarray, "h2 w 3"]:
    """The picture with its colour bar below: metres where there are any, else the sense of the numbers."""
    width = picture.shape[1]
    high = max(40, min(72, width // 12))
    bar = np.full((high, width, 3), BACKGROUND, np.uint8)
    margin = max(8, width // 40)
    colours = viz.colour_bar(cmap, width - 2 * margin)[::-1]  # near at the left, as metres grow to the right
    bar[high // 6 : high // 2, margin : width - margin] = colours
    drawn = PillowImage.fromarray(bar)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=max(11, high // 4))
    for share, text in ticks(kind, between):
        x = margin + share * (width - 2 * margin - 1)
        pen.line((x, high // 2, x, high // 2 + high // 12), fill=INK)
        anchor = "la" if share < 0.05 else "ra" if share > 0.95 else "ma"
        pen.text((x, high // 2 + high // 8), text, fill=INK, font=font, anchor=anchor)
    return np.concatenate([picture, np.asarray(drawn)])


def ticks(kind: DepthKind, between: viz.Span) -> list[tuple[float, str]]:
    """(place from near 0 to far 1, text) of a legend's marks."""
    far, near = between
    if kind is not DepthKind.METRIC:
        return [(0.0, "near"), (1.0, f"far   ({kind.value.replace('_', ' ')}: no unit)")]
    if not (near > far > 0):
        return [(0.5, f"{1 / near:.3g} m")] if near > 0 else []
    found: list[tuple[float, str]] = [(0.0, f"{1 / near:.3g} m"), (1.0, f"{1 / far:.3g} m")]
    for metres in _round_numbers(1 / near, 1 / far):
        place = (near - 1 / metres) / (near - far)
        if all(abs(place - other) > 0.12 for other, _ in found):
            found.append((place, f"{metres:g}"))
    return sorted(found)


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 ... (and halves between, for short spans) within the range, the roundest first."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    order = (1.0, 2.0, 5.0, 3.0, 1.5, 4.0, 7.0, 2.5, 6.0, 8.0)
    numbers = [round(step * 10.0**decade, 6) for step in order for decade in decades]
    return [number for number in numbers if low < number < high]


def marked(
    rgb: UInt8[np.ndarray, "h w 3"], points: dict[str, tuple[float, float]], text: str = ""
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with named points (column, row in 0..1 of its sides), and a line with `text` between A and B."""
    drawn = PillowImage.fromarray(rgb)
    pen = ImageDraw.Draw(drawn)
    height, width = rgb.shape[:2]
    radius = max(5, round(max(height, width) / 90))
    font = ImageFont.load_default(size=max(16, round(2.6 * radius)))
    at = {name: (x * width, y * height) for name, (x, y) in points.items()}
    if len(at) == 2:
        pen.line([at["A"], at["B"]], fill=(0, 0, 0), width=radius // 2 + 3)
        pen.line([at["A"], at["B"]], fill=(255, 255, 255), width=radius // 2)
    for name, (x, y) in at.items():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(0, 0, 0), width=radius // 2 + 2)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=MARKS[name], width=radius // 2)
        pen.text(
            (x + 1.4 * radius, y - radius), name, fill=MARKS[name], font=font, stroke_width=2, stroke_fill=(0, 0, 0)
        )
    if text and len(at) == 2:
        x, y = (at["A"][0] + at["B"][0]) / 2, (at["A"][1] + at["B"][1]) / 2
        pen.text((x, y - 2 * radius), text, fill="white", font=font, anchor="mb", stroke_width=3, stroke_fill=(0, 0, 0))
    return np.asarray(drawn)


def agreement(share: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """The mirror test in colours: dark blue where both looks agree, yellow where they differ by 30 % or more, grey where nothing is known."""
    table = viz.colour_bar("inferno", 256)
    unknown = np.isnan(share)
    index = np.clip(np.where(unknown, 0, share) / 0.3 * 255, 0, 255).astype(np.uint8)
    picture = table[index]
    picture[unknown] = viz.UNKNOWN
    return for_screen(np.ascontiguousarray(picture))


def mesh_for_viewer(depth: DepthMap, image: Image) -> bytes:
    """A GLB light enough to be turned on a phone."""
    made = mesh.triangulate(depth, VIEWED_VERTICES)
    small = image.resized(*geometry.fit_inside(image.size, SCREEN))
    return mesh.glb_bytes(made, mesh.jpeg(small))


def cloud_for_viewer(depth: DepthMap, image: Image) -> bytes:
    """A GLB of coloured points in glTF axes: viewers take a PLY for something else."""
    camera = cloud.camera_of(depth, "a point cloud")
    z = cloud.solid(depth)
    stride = cloud.stride_for(depth.size, VIEWED_POINTS)
    grid = np.meshgrid(*(cloud.every_nth(side, stride) for side in depth.size), indexing="ij")
    rows, columns = (index.ravel() for index in grid)
    known = np.isfinite(z[rows, columns])
    rows, columns = rows[known], columns[known]
    points = cloud.points_at(z[rows, columns], rows, columns, camera) * np.array([1, -1, -1], np.float32)
    light = (image.rgb[rows, columns].astype(np.float32) / 255) ** 2.2  # glTF colours are linear
    colours = np.concatenate([light, np.ones((len(light), 1))], axis=1).astype(np.float32)
    return _points_glb(points, colours)


def _points_glb(points: np.ndarray, colours: np.ndarray) -> bytes:
    """glTF 2.0 with one primitive of points; an empty scene where there are none."""
    tree: dict[str, object] = {"asset": {"version": "2.0", "generator": "keendepth"}}
    body = points.tobytes() + colours.tobytes()
    if len(points):
        kind = {"componentType": mesh.FLOAT, "count": len(points)}
        reach = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "mode": POINTS_MODE, "material": 0}
        tree |= {
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [primitive]}],
            "accessors": [
                {"bufferView": 0, "type": "VEC3", **kind, **reach},
                {"bufferView": 1, "type": "VEC4", **kind},
            ],
            "bufferViews": [
                {"buffer": 0, "byteOffset": 0, "byteLength": points.nbytes},
                {"buffer": 0, "byteOffset": points.nbytes, "byteLength": colours.nbytes},
            ],
            "buffers": [{"byteLength": len(body)}],
            "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
            "extensionsUsed": ["KHR_materials_unlit"],
        }
    text = json.dumps(tree).encode("ascii")
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), mesh.CHUNK_JSON) + text
    if len(points):
        chunks += struct.pack("<I4s", len(body), mesh.CHUNK_BIN) + body
    return struct.pack("<4sII", mesh.MAGIC, 2, 12 + len(chunks)) + chunks
