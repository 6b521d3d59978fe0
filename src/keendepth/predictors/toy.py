"""A predictor without a network, for tests and documentation: lower and brighter is nearer."""

from __future__ import annotations

import numpy as np

from keendepth.core import geometry
from keendepth.core.types import Card, DepthKind, DepthMap, Image

CARD = Card(
    name="toy",
    summary="Not a depth estimator; for tests and documentation: a ramp from top (far) to bottom (near), plus darkness",
    license="Apache-2.0",
    kind=DepthKind.AFFINE_INVARIANT,
    trained_on="nothing",
    fails_on="everything: it has seen no depth, and guesses from height in the picture and darkness alone",
    native_size=(64, 64),
)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
DARKNESS = 0.25  # how far a black pixel lies behind a white one, as a share of the ramp; chosen by eye


class ToyPredictor:
    """Affine-invariant depth by rule of thumb: 0 near .. 1 far down the picture, dark things a little behind bright ones."""

    kind = DepthKind.AFFINE_INVARIANT
    card = CARD

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """The same for the same picture; `size` (height, width) is how finely it looks, by default 64 at the longer side. No NaN."""
        chosen = size or geometry.fit_inside(image.size, 64)
        if min(chosen) < 1:
            raise ValueError(f"toy: the size to process at must be 1 x 1 or more, found {chosen[0]} x {chosen[1]}")
        luma = geometry.resize(image.rgb, chosen) @ LUMA / np.float32(255)
        _, v = geometry.pixel_grid(*chosen)
        ramp = (1 - v / chosen[0]).astype(np.float32)[:, None]
        values = ramp + np.float32(DARKNESS) * (1 - luma)
        return DepthMap(geometry.resize_depth(values, image.size), self.kind, image.camera, self.card)
