"""The description that travels with every file: kind, unit, encoding, camera, model, refinement, counts and versions."""

from __future__ import annotations

import functools
import json
import platform
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.core.types import Calibration, Camera, Card, DepthKind, DepthMap, Refinement
from keendepth.io.errors import FileError, reading
from keendepth.io.formats import KEY, Loaded

MAX_BYTES = 16_000_000  # of a JSON file; ours have 2 kB


def sidecar(depth: DepthMap, encoding: dict[str, Any] | None = None) -> dict[str, Any]:
    """The description of `depth` as plain JSON types; `encoding` says how a file writes its numbers. Minimum and maximum are of known pixels."""
    valid = depth.valid
    known, sky = int(np.count_nonzero(valid)), int(np.count_nonzero(depth.sky))
    all_known = known == valid.size
    least, most = (depth.values.min(), depth.values.max()) if all_known else _range(depth.values[valid])
    return {
        KEY: version("keendepth"),
        "kind": depth.kind.value,
        "unit": depth.unit,
        "size": {"height": depth.size[0], "width": depth.size[1]},
        "encoding": encoding or {},
        "camera": describe_camera(depth.camera) if depth.camera else None,
        "model": depth.source.to_dict() if depth.source else None,
        "refinement": asdict(depth.refinement) if depth.refinement else None,
        "calibration": asdict(depth.calibration) if depth.calibration else None,
        "pixels": {"known": known, "unknown": valid.size - known - sky, "sky": sky},
        "min": None if least is None else float(least),
        "max": None if most is None else float(most),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def _range(known: np.ndarray) -> tuple[np.float32, np.float32] | tuple[None, None]:
    return (known.min(), known.max()) if known.size else (None, None)


@functools.cache
def version(package: str) -> str:
    """The installed version of a package, without importing it; "unknown" where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def describe_camera(camera: Camera) -> dict[str, Any]:
    """The camera block; `pixel_centre` 0.5 says that the centre of the top-left pixel is (0.5, 0.5)."""
    return {**asdict(camera), "pixel_centre": 0.5, "fov_degrees": camera.fov_degrees}


def dumps(description: dict[str, Any], indent: int | None = None) -> str:
    """ASCII JSON (TIFF and PNG text want it); NaN is refused, as JSON has none."""
    return json.dumps(description, indent=indent, allow_nan=False)


def beside(path: Path) -> Path:
    """Where the sidecar of a file lies: photo.exr -> photo.exr.json."""
    return path.with_name(path.name + ".json")


def load_json(path: Path) -> Any:
    """The content of a JSON file; FileError where it is too large or no JSON."""
    with reading(path, "a JSON file"):
        if path.stat().st_size > MAX_BYTES:
            raise FileError(path, f"a JSON file of more than {MAX_BYTES // 10**6} MB is not read")
        return json.loads(path.read_text(encoding="utf-8"))


def load_beside(path: Path) -> dict[str, Any] | None:
    """The sidecar next to a file, if there is one and it is ours."""
    if not beside(path).is_file():
        return None
    found = load_json(beside(path))
    return found if isinstance(found, dict) and KEY in found else None


def parse_own(text: str) -> dict[str, Any] | None:
    """A description that was embedded in a file; None when it is somebody else's text."""
    found = json.loads(text)
    return found if isinstance(found, dict) and KEY in found else None


def restore(path: Path, loaded: Loaded, own: dict[str, Any]) -> DepthMap:
    """The depth map that a file of ours holds, with kind, camera, model and refinement; FileError where the description does not fit."""
    with reading(path, "a file and a description (embedded, or the .json next to it) written by keendepth"):
        height, width = loaded.values.shape
        size = own["size"]
        if (size["height"], size["width"]) != (height, width):
            raise FileError(
                path,
                f"its description is for {size['width']} x {size['height']} pixels, the file has {width} x {height}: "
                f"if {beside(path).name} belongs to another file, delete it",
            )
        if own["encoding"].get("format") == "preview":
            raise FileError(
                path, "this is a preview for looking at, not depth: use the .png, .exr or .npz written with it"
            )
        if own["encoding"].get("format") == "expected errors":
            raise FileError(path, "this says how far off depth may be, and is not depth: use the file written with it")
        values = decode(loaded.values, own["encoding"])
        camera = parse_camera(own["camera"]) if own["camera"] else None
        card, refinement, calibration = own.get("model"), own.get("refinement"), own.get("calibration")
        return DepthMap(
            values,
            DepthKind(own["kind"]),
            camera,
            _card(card) if card else None,
            Refinement(**refinement) if refinement else None,
            Calibration(**calibration) if calibration else None,
        )


def decode(values: np.ndarray, encoding: dict[str, Any]) -> np.ndarray:
    """Float32 values: offset + scale * (code - first_code), but for the codes of unknown and sky; float files hold the values themselves."""
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    steps = np.arange(65536) - int(encoding["first_code"])
    table = steps * float(encoding["scale"]) + float(encoding["offset"])
    table[int(encoding["unknown"])], table[int(encoding["sky"])] = np.nan, np.inf
    return table.astype(np.float32)[values]


def parse_camera(block: dict[str, Any]) -> Camera:
    """A camera of ours from its JSON block."""
    numbers = {name: float(block[name]) for name in ("fx", "fy", "cx", "cy")}
    return Camera(**numbers, width=int(block["width"]), height=int(block["height"]), source=str(block["source"]))


def _card(block: dict[str, Any]) -> Card:
    known = {field.name for field in fields(Card)}
    card = {name: value for name, value in block.items() if name in known}  # a later version may write more
    card["kind"] = DepthKind(card["kind"]) if card.get("kind") else None
    card["native_size"] = tuple(card["native_size"]) if card.get("native_size") else None
    return Card(**card)
