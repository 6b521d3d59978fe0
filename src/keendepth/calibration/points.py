"""Known depths: points that a person or a sensor measured, typed or read from a file."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from keendepth import io
from keendepth.core.types import DepthKind, DepthMap

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254, "": 1.0}


@dataclass(frozen=True)
class Points:
    """Known depths: pixel coordinates (the middle of the top-left pixel is 0.5, 0.5) and z in metres, all [n]."""

    u: Float[np.ndarray, " n"]
    v: Float[np.ndarray, " n"]
    z: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.z)


def parse_known(text: str) -> tuple[float, float, float]:
    """(u, v, metres) from "812,640=2.5m": the pixel's column and row as a viewer shows them, and z with m, cm, mm, ft or in."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*,\s*(\d+(?:\.\d*)?)\s*=\s*(\d*\.?\d+(?:e-?\d+)?)\s*([a-z]*)\s*", text)
    if not found or found[4] not in METRES:
        raise ValueError(f"known depth: expected COLUMN,ROW=DEPTH as 812,640=2.5m (or cm, mm, ft, in), found {text!r}")
    column, row, z = float(found[1]), float(found[2]), float(found[3]) * METRES[found[4]]
    if z <= 0:
        raise ValueError(f"known depth: a depth must be above 0, found {text!r}")
    middle = 0.5 if column.is_integer() and row.is_integer() else 0.0
    return column + middle, row + middle, z


def points_of(known: list[tuple[float, float, float]]) -> Points:
    """Points from (u, v, metres)."""
    table = np.asarray(known, dtype=np.float64).reshape(-1, 3)
    return Points(table[:, 0], table[:, 1], table[:, 2])


def read_points(path: str | Path) -> Points | DepthMap:
    """Known depths from a CSV (u, v, metres; a header is passed over; the middle of the top-left pixel is 0.5, 0.5), or from
    any depth file in metres (lidar as a sparse 16-bit PNG, EXR, npz, ...). ValueError for what is neither."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".txt"):
        depth = io.read(path)
        depth.require(DepthKind.METRIC, f"{path.name} as known points")
        return depth
    if not path.is_file():
        raise ValueError(f"{path.name}: no such file")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].lstrip().startswith("#")]
    known = [_row(row, path, number) for number, row in enumerate(rows) if number or _is_number(row[0])]
    if not known:
        raise ValueError(f"{path.name}: expected lines with column, row, metres; found none")
    return points_of(known)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _row(row: list[str], path: Path, number: int) -> tuple[float, float, float]:
    if len(row) < 3 or not all(_is_number(part) for part in row[:3]) or not float(row[2]) > 0:
        raise ValueError(
            f"{path.name}, line {number + 1}: expected column, row and metres above 0, found {','.join(row)!r}"
        )
    return float(row[0]), float(row[1]), float(row[2])
