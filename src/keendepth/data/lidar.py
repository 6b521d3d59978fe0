"""From lidar points to a sparse depth map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from keendepth.core.types import DepthKind, DepthMap


def scatter(
    points: Float[np.ndarray, "n 3"],
    P: Float[np.ndarray, "3 4"],
    size: tuple[int, int],
    pixel_offset: float = 0.0,
    depths: Float[np.ndarray, " n"] | None = None,
) -> DepthMap:
    """METRIC depth of size (height, width): each point marks the pixel it falls on, and the nearest of several wins.

    `P` projects to pixels whose centres are whole numbers; `pixel_offset` is added before use. `depths` are the numbers to
    write where they are not the projection's own z. Pixels that no point falls on are unknown; points behind the camera do not count.
    """
    height, width = size
    projected = np.column_stack([points, np.ones(len(points))]) @ P.T
    z = projected[:, 2]
    front = z > 0
    column, row = (np.rint(projected[front, axis] / z[front]) + pixel_offset for axis in (0, 1))
    written = z[front] if depths is None else depths[front]
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (written > 0)
    values = np.full(height * width, np.inf)
    np.minimum.at(values, (row[seen] * width + column[seen]).astype(np.int64), written[seen])
    values[np.isinf(values)] = np.nan
    return DepthMap(values.reshape(size).astype(np.float32), DepthKind.METRIC)
